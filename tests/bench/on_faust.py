"""A plain Faust agent, as the framework's tutorial has it: one event at a time, card states in a Table.

Settings: sessions as short as the scorer's, so that it starts as fast; the rest as it comes.
"""

from __future__ import annotations

import os
from pathlib import Path

import faust

from bench.floor import model, wanted
from bench.one_by_one import decide as decided
from bench.one_by_one import new_card
from bench.workload import PARTITIONS

app = faust.App(
    "plain",
    broker=f"kafka://{os.environ['BENCH_KAFKA']}",
    store="memory://",
    topic_partitions=PARTITIONS,
    broker_session_timeout=2.0,
    broker_heartbeat_interval=0.5,
)
transactions = app.topic("transactions", key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
decisions = app.topic("decisions", key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
cards = app.Table("cards", partitions=PARTITIONS, default=new_card)
live = model(Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_DIGEST"], wanted())


@app.agent(transactions)
async def decide(stream):  # type: ignore[no-untyped-def]
    async for event in stream.events():
        message, name = event.message, event.key.decode()
        card = cards[name]
        value = decided(event.value, card, live, message.partition, message.offset)
        cards[name] = card
        await decisions.send(key=event.key, value=value, partition=message.partition)


if __name__ == "__main__":
    app.main()
