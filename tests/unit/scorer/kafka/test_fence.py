"""Each partition's records bear the producer number, epoch and sequence of its own transactional id."""

from __future__ import annotations

import asyncio

from aiokafka import TopicPartition
from aiokafka.producer.transaction_manager import PidAndEpoch
from hypothesis import given
from hypothesis import strategies as st

from scorer.kafka.aiokafka_internals import PartitionEpochs

SHARED = PidAndEpoch(7, 0)
TPS = [TopicPartition(topic, partition) for topic in ("decisions", "velocity") for partition in (0, 1)]


def numbered(epochs: PartitionEpochs, tp: TopicPartition, records: int) -> tuple[int, int, int]:
    """Number, epoch and base sequence of a batch, asked in aiokafka's order: the sequence is counted on first."""
    base = epochs.sequence_number(tp)
    epochs.increment_sequence_number(tp, records)
    return epochs.producer_id, epochs.producer_epoch, base


def fresh() -> PartitionEpochs:
    async def make() -> PartitionEpochs:  # aiokafka wants a running loop
        return PartitionEpochs()

    epochs = asyncio.run(make())
    epochs.set_pid_and_epoch(*SHARED)
    return epochs


def test_what_nobody_took_over_bears_the_shared_number() -> None:
    epochs = fresh()
    epochs.begin(TPS[:1], PidAndEpoch(9, 3))
    assert [numbered(epochs, tp, 5) for tp in TPS] == [(9, 3, 0), (7, 0, 0), (7, 0, 0), (7, 0, 0)]


def test_a_take_over_numbers_its_partitions_anew_and_no_other() -> None:
    epochs = fresh()
    epochs.begin(TPS, PidAndEpoch(9, 1))
    for tp in TPS:
        numbered(epochs, tp, 4)
    epochs.begin(TPS[:1], PidAndEpoch(9, 3))
    assert [numbered(epochs, tp, 1) for tp in TPS] == [(9, 3, 0), (9, 1, 4), (9, 1, 4), (9, 1, 4)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(TPS),
            st.one_of(st.integers(1, 500), st.builds(PidAndEpoch, st.integers(1, 9), st.integers(0, 9))),
        ),
        max_size=40,
    )
)
def test_sequences_have_no_hole_within_an_epoch(steps: list[tuple[TopicPartition, PidAndEpoch | int]]) -> None:
    epochs, expected = fresh(), dict.fromkeys(TPS, (*SHARED, 0))
    for tp, step in steps:
        if isinstance(step, PidAndEpoch):
            epochs.begin([tp], step)
            expected[tp] = (*step, 0)
        else:
            assert numbered(epochs, tp, step) == expected[tp]
            pid, epoch, base = expected[tp]
            expected[tp] = (pid, epoch, base + step)
