"""Sends the workload at a fixed mean rate whatever becomes of it: an open loop, in a process of its own.

`python -m bench.load RATE SECONDS` prints how many it sent, and how late the 99th percentile was, in seconds.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from confluent_kafka import Producer

from bench.workload import PARTITIONS, Workload

SEED = 7
PAUSE_SECONDS = 0.001
FILE = "workload.pickle"


def schedule(rate: float, seconds: float) -> npt.NDArray[np.float64]:
    """When each transaction is due, in seconds after the start: a Poisson process of a rate, float64 (n,)."""
    gaps = np.random.default_rng(SEED).exponential(1 / rate, int(rate * seconds))
    return np.cumsum(gaps)


def main(rate: float, seconds: float) -> None:
    """Send every transaction when it is due, or as soon after as this process can."""
    work: Workload = pickle.loads((Path(os.environ["BENCH_FOLDER"]) / FILE).read_bytes())
    partitions, n = work.partitions, len(work)
    producer = Producer(
        {"bootstrap.servers": os.environ["BENCH_KAFKA"], "linger.ms": 2, "queue.buffering.max.messages": 1_000_000}
    )
    producer.list_topics()
    due = schedule(rate, seconds)
    late = np.zeros(len(due))
    sent, start = 0, time.monotonic()
    while sent < len(due):
        now = time.monotonic() - start
        upto = int(np.searchsorted(due, now, side="right"))
        # one call a partition: a call for each record wakes librdkafka's thread each time, on the broker's core
        due_now: list[list[dict[str, bytes]]] = [[] for _ in range(PARTITIONS)]
        for i in range(sent, upto):
            at = i % n
            due_now[partitions[at]].append({"value": work.values[at], "key": work.keys[at]})
        for partition, messages in enumerate(due_now):
            if messages and producer.produce_batch("transactions", messages, partition=partition) != len(messages):
                raise RuntimeError("librdkafka did not take every transaction: its queue is full")
        late[sent:upto] = time.monotonic() - start - due[sent:upto]
        producer.poll(0)
        sent = upto
        time.sleep(PAUSE_SECONDS)
    producer.flush()
    print(sent, float(np.quantile(late, 0.99)), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
