"""Quix Streams, as its documentation has a stateful job, in the best batches that its API gives: count windows.

Settings, and why: the key deserializer gives every record of a partition the same key, so that a count window collects
1,000 records of the partition and not of one card, without a repartition topic; card states lie in its RocksDB state
under that key, with changelog topics on (its default) and at-least-once delivery; a checkpoint each second or 20,000
records (each 5 s by default), which flushes and waits for every acknowledgement. State is pickled, as JSON has no
bytes. librdkafka is set as in the hand-written loop. The last, unfilled window of each partition is not waited for.
"""

from __future__ import annotations

import gc
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from quixstreams import Application
from quixstreams.context import message_context
from quixstreams.dataframe.windows.aggregations import Collect
from quixstreams.models.serializers import BytesDeserializer, BytesSerializer
from quixstreams.state import State
from quixstreams.state.rocksdb import RocksDBOptions

from bench.floor import RULES, model, wanted
from scorer.pipeline.batch import Incoming, Published, Record
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.settle import settle

COUNT = 1000
live = model(Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_DIGEST"], wanted())


class OneKey(BytesDeserializer):
    """The same key for every record: windows and state belong to the partition."""

    def __call__(self, value: bytes, ctx: Any) -> bytes:
        return b"partition"


class Value(BytesSerializer):
    """The value of a (key, value) pair."""

    def __call__(self, value: Any, ctx: Any) -> bytes:
        return value[1]


def with_place(value: bytes, key: Any, timestamp: int, headers: Any) -> tuple[int, int, bytes]:
    context = message_context()
    return context.partition, context.offset, value


def decide(window: dict[str, Any], state: State) -> list[Record]:
    rows = window["value"]
    states = CardStates(2)
    incoming = Incoming(
        rows[0][0],
        [None] * len(rows),
        [value for _, _, value in rows],
        np.array([offset for _, offset, _ in rows]),
        np.full(len(rows), -1),
    )
    cards = {card_of(value) for _, _, value in rows}
    known = {card: row for card in cards if (row := state.get(card)) is not None}
    states.load([card.encode() for card in known], list(known.values()))
    settled = settle(incoming, states, Published(), live, RULES, None)
    for key, row in settled.states:
        assert key is not None, "every card has a name"
        state.set(key.decode(), row)
    return settled.decisions


def card_of(value: bytes) -> str:
    """The card of a transaction; a scan, as the JSON is read in the pipeline."""
    start = value.index(b'"card_id":"') + 11
    return value[start : value.index(b'"', start)].decode()


def main() -> None:
    """Decide until killed."""
    client = {"fetch.wait.max.ms": 20, "fetch.queue.backoff.ms": 20, "session.timeout.ms": 6000}
    app = Application(
        os.environ["BENCH_KAFKA"],
        consumer_group="quix",
        auto_offset_reset="earliest",
        commit_interval=1.0,
        commit_every=20_000,
        state_dir=tempfile.mkdtemp(),
        rocksdb_options=RocksDBOptions(dumps=pickle.dumps, loads=pickle.loads),
        consumer_extra_config=client,
        producer_extra_config={"linger.ms": 5, "batch.size": 900_000, "queue.buffering.max.messages": 500_000},
        loglevel="WARNING",
    )
    source = app.topic("transactions", key_deserializer=OneKey(), value_deserializer="bytes")
    sink = app.topic("decisions", key_serializer="bytes", value_serializer=Value())
    # The embedded broker does not tell a topic's retention, which Quix Streams wants for its changelogs.
    source.broker_config.extra_config.setdefault("retention.ms", "604800000")
    frame = app.dataframe(source)
    frame = frame.apply(with_place, metadata=True)
    frame = frame.tumbling_count_window(COUNT).agg(value=Collect()).final()
    frame = frame.apply(decide, stateful=True, expand=True)
    frame = frame.to_topic(sink, key=lambda pair: pair[0])
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    app.run()


if __name__ == "__main__":
    main()
