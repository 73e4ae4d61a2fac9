"""What a good engineer would write without a framework: confluent-kafka around the same pure pipeline.

The same guarantees for one worker: decisions to the same partition in order, card states to their changelog, and the
offset committed only when all of it is acknowledged. A batch is settled while the one before it is on its way.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from bench.floor import RULES, model, wanted
from scorer.pipeline.batch import Incoming, Published
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.settle import settle


def main(broker: str, folder: Path, digest: str, batch: int) -> None:
    """Decide until killed."""
    live = model(folder, digest, wanted())
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "handwritten",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
            "fetch.queue.backoff.ms": 20,  # a second by default: the loop would run dry
            "session.timeout.ms": 6000,
        }
    )
    # One batch a request: large enough that sending is no part of the cost.
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "acks": "all",
            "linger.ms": 5,
            "batch.size": 900_000,
            "queue.buffering.max.messages": 500_000,
        }
    )
    consumer.subscribe(["transactions"])
    states: dict[int, CardStates] = defaultdict(lambda: CardStates(2))
    on_the_way: list[TopicPartition] = []
    failures: list[object] = []

    def acknowledged(error: object, message: Message) -> None:
        if error is not None:
            failures.append(error)

    gc.freeze()  # what is loaded by now stays; collecting it again and again took 5 %
    gc.set_threshold(100_000, 20, 100)
    while True:
        # What is there, up to a batch: `consume` waits for a full batch or its whole timeout.
        came = consumer.consume(1, timeout=1.0 if not on_the_way else 0.0)
        messages = [m for m in came + consumer.consume(batch - len(came), timeout=0.0) if m.error() is None]
        by_partition: dict[int, list[Message]] = defaultdict(list)
        for message in messages:
            by_partition[message.partition()].append(message)
        settled = {
            partition: settle(incoming(partition, part), states[partition], Published(), live, RULES, None)
            for partition, part in by_partition.items()
        }
        producer.flush()
        if failures:
            sys.exit(f"a send failed: {failures[0]}")
        if on_the_way:
            consumer.commit(offsets=on_the_way, asynchronous=True)
        on_the_way = [
            TopicPartition("transactions", partition, part[-1].offset() + 1) for partition, part in by_partition.items()
        ]
        for partition, made in settled.items():
            for topic, records in (("decisions", made.decisions), ("velocity", made.states)):
                for key, value in records:
                    producer.produce(topic, value, key, partition, on_delivery=acknowledged)
        producer.poll(0)


def incoming(partition: int, part: list[Message]) -> Incoming:
    """Messages of a partition as the pipeline takes them."""
    return Incoming(
        partition,
        [message.key() for message in part],
        [message.value() for message in part],
        np.array([message.offset() for message in part], dtype=np.int64),
        np.array([message.timestamp()[1] for message in part], dtype=np.int64),
    )


if __name__ == "__main__":
    main(os.environ["BENCH_KAFKA"], Path(os.environ["BENCH_FOLDER"]), os.environ["BENCH_DIGEST"], 5000)
