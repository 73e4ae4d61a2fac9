"""What a scorer learns from the topics before it takes a partition over, whatever the tails look like."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.kafka import Kafka
from harness.patience import PATIENCE_SECONDS
from scorer.deployments.ledger import Follower, put
from scorer.deployments.records import WorkerReport, encode
from scorer.deployments.slots import Deployments
from scorer.errors import BrokerError
from scorer.kafka.producer import BatchProducer
from scorer.kafka.reading import reader
from scorer.kafka.topics import ensure_topics
from scorer.pipeline.batch import Published, Record
from scorer.settings import ScorerSettings
from scorer.worker.recovery import TAIL_BATCHES, Recovered, recover
from shadow.local import embedded


@pytest.fixture
def settings(broker_in: Callable[[Path], embedded.Server | Kafka], tmp_path: Path) -> Iterator[ScorerSettings]:
    with broker_in(tmp_path) as broker:
        yield ScorerSettings(
            kafka=broker.address,  # type: ignore[arg-type]
            partitions=2,
            batch_records=10,
            require_idempotence=isinstance(broker, Kafka),
        )


Parts = list[tuple[str, list[Record], list[list[tuple[str, bytes]]]]]


def after(settings: ScorerSettings, *parts: Parts, transactions: int = 3000) -> Recovered:
    """Write so many transactions and then batches to partition 0, and recover it."""

    async def go() -> Recovered:
        await ensure_topics(settings)
        producer = BatchProducer(settings)
        await producer.start(require_idempotence=False)
        await producer.write("transactions", 0, [(b"c", b"{}")] * transactions)
        for part in parts:
            for topic, records, headers in part:
                await producer.write(topic, 0, records, headers)
        await producer.stop()
        async with reader(settings) as consumer:
            return (await recover(consumer, [0, 1], settings))[0]

    return asyncio.run(go())


def decided(*offsets: int) -> Parts:
    rows: list[Record] = [(b"c", orjson.dumps({"source": {"partition": 0, "offset": offset}})) for offset in offsets]
    return [("decisions", rows, [])]


def refused(*offsets: int) -> Parts:
    headers = [[("offset", b"%d" % offset), ("field", b"amount"), ("reason", b"no")] for offset in offsets]
    return [("transactions.rejected", [(b"c", b"x")] * len(offsets), headers)]


def marks(n: int) -> Parts:
    return [("transactions.rejected", [(b"c", None)] * n, [[("replayed", b"%d" % offset)] for offset in range(n)])]


def test_empty_topics_have_nothing_published(settings: ScorerSettings) -> None:
    found = after(settings)
    assert found.published == Published(-1, -1)
    assert len(found.states) == 0


def test_the_highest_offset_counts_not_the_last(settings: ScorerSettings) -> None:
    """One who was thought dead may append old decisions at the end."""
    found = after(settings, decided(*range(30)), refused(31, 35), decided(7, 8, 9), refused(31))
    assert found.published == Published(29, 35)


def test_a_log_longer_than_the_tail_is_read_at_its_end(settings: ScorerSettings) -> None:
    n = 5 * TAIL_BATCHES * settings.batch_records
    found = after(settings, *(decided(*range(start, start + 10)) for start in range(0, n, 10)))
    assert found.published == Published(n - 1, -1)


def test_one_large_batch_at_the_end_is_read_whole(settings: ScorerSettings) -> None:
    """An embedded broker says that the log ends where its last batch begins."""
    found = after(settings, decided(*range(5)), decided(*range(5, 2005)))
    assert found.published == Published(2004, -1)


def test_marks_of_replays_do_not_hide_the_dead_letters_before_them(settings: ScorerSettings) -> None:
    found = after(settings, refused(3, 17), marks(2 * TAIL_BATCHES * settings.batch_records))
    assert found.published == Published(-1, 17)


def test_following_the_ledger_ends_although_a_cancellation_is_lost(settings: ScorerSettings) -> None:
    """As it is in `asyncio.wait_for` of Python 3.11 when the result comes at the same moment."""

    async def go() -> None:
        await ensure_topics(settings)
        is_at_work = asyncio.Event()

        async def lose(deployments: Deployments) -> None:
            if deployments.workers:
                is_at_work.set()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)

        follower = Follower(settings, lose)
        spawned: list[asyncio.Task[None]] = []

        def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
            spawned.append(asyncio.create_task(work, name=name))
            return spawned[0]

        await follower.start(spawn)
        report = WorkerReport(digest="d" * 64, status="loaded", epoch=1, at="now")
        await put(settings, {"worker/one": encode(report)})
        await asyncio.wait_for(is_at_work.wait(), PATIENCE_SECONDS)
        follower.stop()
        spawned[0].cancel()
        await asyncio.wait(spawned, timeout=10)
        assert spawned[0].done()

    asyncio.run(go())


@pytest.mark.parametrize(
    "headers", [[], [("offset", b"")], [("offset", b"-5")], [("offset", b"1e9")], [("offset", b"\xff")]]
)
def test_a_foreign_record_on_our_topics_stops_no_take_over(
    settings: ScorerSettings, headers: list[tuple[str, bytes]]
) -> None:
    foreign = [b"", b"[]", b'{"source": {"offset": "x"}}', b'{"source": {"offset": 1e400}}', b'{"source": 1}', b"\xff"]
    rows: list[Record] = [(None, value) for value in foreign]
    found = after(
        settings,
        decided(*range(5)),
        refused(5),
        [("decisions", rows, [])],
        [("transactions.rejected", [(b"c", b"x")], [headers])],
    )
    assert found.published == Published(4, 5)


def test_a_foreign_record_cannot_say_that_transactions_to_come_are_decided(settings: ScorerSettings) -> None:
    found = after(settings, decided(3), refused(4), decided(2**40), refused(2**40), transactions=10)
    knows_ends = settings.require_idempotence  # as the embedded broker does not
    assert found.published == (Published(3, 4) if knows_ends else Published(2**40, 2**40))


def test_any_number_of_records_that_are_no_card_states_stops_no_take_over(settings: ScorerSettings) -> None:
    noise: list[Record] = [(b"c", b"x" * length) for length in range(60)]
    assert after(settings, decided(3), [("velocity", noise, [])], transactions=10).published.decisions == 3


def test_card_states_of_another_version_are_refused_with_the_mend(settings: ScorerSettings) -> None:
    with pytest.raises(BrokerError, match="recreate the topic"):
        after(settings, [("velocity", [(b"c", b"not a card state")], [])])
