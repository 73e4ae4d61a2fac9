"""Bytewax, as its documentation has a keyed stateful job in batches: `stateful_batch` with one key a partition.

Settings, and why: a source batch of 5,000, the hand-written loop's best (1,000 by default); KafkaSink, which flushes
every batch and so waits for its acknowledgement; recovery on, with its default snapshot interval of 10 s, so that card
states survive as they do elsewhere (there they are written with every batch). The key is the partition: a key for each
card would split every batch into single events. The sink routes by the card's key, with the partitioner of the others.
librdkafka is set as in the hand-written loop.
"""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path
from typing import Any

import bytewax.operators as op
import numpy as np
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.floor import RULES, model, wanted
from scorer.pipeline.batch import Incoming, Published
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.settle import settle

BROKERS = [os.environ["BENCH_KAFKA"]]
live = model(Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_DIGEST"], wanted())


class Decide(op.StatefulBatchLogic):
    """The cards of one partition."""

    def __init__(self, rows: tuple[list[bytes], list[bytes]] | None) -> None:
        self.states = CardStates(2)
        if rows is not None:
            self.states.load(*rows)

    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        incoming = Incoming(
            values[0].partition,
            [message.key for message in values],
            [message.value for message in values],
            np.array([message.offset for message in values]),
            np.full(len(values), -1),
        )
        settled = settle(incoming, self.states, Published(), live, RULES, None)
        return [KafkaSinkMessage(key, value) for key, value in settled.decisions], False

    def snapshot(self) -> tuple[list[bytes], list[bytes]]:
        rows = self.states.packed(list(self.states._places))
        return [key for key, _ in rows], [row for _, row in rows]


flow = Dataflow("decide")
source = KafkaSource(
    BROKERS,
    ["transactions"],
    add_config={"fetch.wait.max.ms": "20", "fetch.queue.backoff.ms": "20"},
    batch_size=5000,
)
sink = KafkaSink(
    BROKERS,
    "decisions",
    add_config={
        "linger.ms": "5",
        "batch.size": "900000",
        "queue.buffering.max.messages": "500000",
        "partitioner": "murmur2_random",
        "acks": "all",
    },
)
stream = op.input("transactions", flow, source)
keyed = op.key_on("partition", stream, lambda message: str(message.partition))
decided = op.stateful_batch("decide", keyed, Decide)
op.output("decisions", op.map("unkeyed", decided, lambda pair: pair[1]), sink)

if __name__ == "__main__":
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    with tempfile.TemporaryDirectory() as recovery:
        init_db_dir(Path(recovery), 1)
        cli_main(flow, recovery_config=RecoveryConfig(Path(recovery)))
