"""A plain Faust agent, as the framework's tutorial has it: one event at a time, card states in a Table.

Settings: sessions as short as the scorer's, so that it starts as fast; the rest as it comes.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import faust
import numpy as np

from bench.floor import RULES, model
from bench.workload import PARTITIONS
from scorer.pipeline import Incoming, Published, settle
from scorer.velocity import CardStates

app = faust.App(
    "plain",
    broker=f"kafka://{os.environ['BENCH_KAFKA']}",
    store="memory://",
    topic_partitions=PARTITIONS,
    broker_session_timeout=2.0,
    broker_heartbeat_interval=0.5,
    value_serializer="raw",
    key_serializer="raw",
)
transactions = app.topic("transactions", key_type=bytes, value_type=bytes)
decisions = app.topic("decisions", key_type=bytes, value_type=bytes)
velocity = app.Table("velocity", partitions=PARTITIONS, key_type=bytes, value_type=bytes)
live = model(Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_DIGEST"])
states: dict[int, CardStates] = defaultdict(lambda: CardStates(2))


@app.agent(transactions)
async def decide(stream):  # type: ignore[no-untyped-def]
    async for event in stream.events():
        message = event.message
        offset, stamp = np.array([message.offset]), np.array([int(message.timestamp * 1000)])
        incoming = Incoming(message.partition, [message.key], [message.value], offset, stamp)
        settled = settle(incoming, states[message.partition], Published(), live, RULES, None)
        for key, row in settled.states:
            velocity[key] = row
        for key, value in settled.decisions:
            await decisions.send(key=key, value=value, partition=message.partition)


if __name__ == "__main__":
    app.main()
