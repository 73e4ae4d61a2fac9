"""The product under load on loopback, watched by a real Prometheus: what faults strike, panels show, links lead to."""

from __future__ import annotations

import itertools
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis

from deploy.alerts.monitor import Monitor
from faults.wire import Wire
from harness.kafka import Kafka
from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, Worker, wait_for
from monitoring.settings import DAY, Limits, Windows

#: Marks of tests on a stage.
ON_STAGE = [
    pytest.mark.deploy,
    pytest.mark.needs("prometheus", "alertmanager", "kafka"),
]
#: Seconds instead of minutes; the expressions are those of production. As there, what tells of news waits for longer
#: than what explains it (swap, soon), and is over sooner (news, event). A scorer that stood still for 8 s has caught up
#: before it is scraped: only a window that began before shows what rose (slow_short). A shadow that is gone is told of
#: (steady) after all that a fault strikes in its absence.
WINDOWS = Windows(
    short=8,
    fast_short=8,
    fast_long=20,
    slow_short=20,
    slow_long=40,
    usual=120,
    memory=120,
    event=30,
    news=18,
    soon=4,
    swap=8,
    steady=26,
    patient=20,
    unanswered=5,
    rotation=1 * DAY,
    interval=1,
    behind=5,
)
#: A rebalance takes a few seconds: as long as that a decision is not late here.
LIMITS = Limits(objective="5")
#: Transactions a second; the share of them that are none, and that somebody says something of at once.
RATE, BAD_SHARE, LABEL_SHARE = 100, 0.002, 0.01
#: What Redis may use, as it is to have a limit.
REDIS_BYTES = 256 * 2**20
#: Transactions after which other cards come: the stream is sent again and again, and much faster than it happened.
CARDS_LAST = 3000
#: The gate is never through, and fails nobody but who blocks a multiple of what live does.
RELEASE = """
schema: 1
segments:
  country: {field: country, values: [DE, ES, FR, GB]}
  channel: {field: channel, values: [pos, contactless, online]}
minimum_covered_hours: 40
overall: &limits
  minimum_transactions: 1000000000
  maximum_candidate_error_rate: 1
  maximum_more_blocks: 10
  maximum_fewer_blocks: 10
  maximum_more_blocked_amount: 10
  maximum_fewer_blocked_amount: 10
  maximum_lost_fraud: 10
  maximum_lost_fraud_amount: 10
  maximum_insults: 10
  maximum_insults_amount: 10
per_segment: *limits
"""


@dataclass
class Stage:
    """Kafka, Redis, a sender and workers; `start` adds them to what Prometheus scrapes."""

    folder: Path
    models: Models
    hours: int = 10  # over so many the transactions are dated, up to now
    workers: dict[str, Worker] = field(default_factory=dict)

    def __enter__(self) -> Stage:
        self._open = ExitStack()
        self.began = time.time()
        (self.folder / "release.yaml").write_text(RELEASE)
        env = {**self.models.env, "SHADOW_RELEASE": str(self.folder / "release.yaml")}
        self.kafka = Kafka(self.folder / "kafka")
        self.stack = Stack(self.folder, env, broker=self.kafka)
        self._open.enter_context(self.stack)
        with redis.Redis(port=self.stack.store.port) as client:
            client.config_set("maxmemory", REDIS_BYTES)
        # on a busy machine a shadow stands back for others, and would be told of for that
        self.stack.env |= {"SHADOW_SESSION_SECONDS": "6", "SHADOW_HEARTBEAT_SECONDS": "1"}
        self.stack.env |= {
            "SCORER_CLOCK": "wall",
            "SHADOW_CLOCK": "wall",
            "SHADOW_GATE_SECONDS": "1",
            "SHADOW_NICENESS": "0",
        }
        self.wire = Wire(self.kafka.address)
        self._open.callback(self.wire.close)
        self.monitor = self._open.enter_context(Monitor(self.folder / "monitor", WINDOWS, LIMITS))
        self.stack.deploy(self.models.live, "live")
        self.stack.deploy(self.models.control, "control")
        self._rows = itertools.cycle(orjson.loads(line) for line in self.models.stream.read_bytes().splitlines())
        self._ended = threading.Event()
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._sender.join(10)
        self._open.close()

    def start(self, name: str, *argv: str) -> Worker:
        """Start a worker under a name, and have it scraped."""
        worker = self.stack.start(*argv, ready=False)
        self.workers[name] = worker
        self.monitor.watch("serve" if "serve" in argv else argv[0], worker.port)
        wait_for(f"{name} ready", worker.is_ready)
        return worker

    def _send(self) -> None:
        chance = random.Random(7)
        sent = 0
        next_at = time.monotonic()
        while not self._ended.wait(max(0.0, next_at - time.monotonic())):
            next_at = max(next_at + 0.2, time.monotonic() - 1.0)
            rows, labels = [], []
            for row in itertools.islice(self._rows, RATE // 5):
                if row["amount"] < 0:
                    continue
                sent += 1
                at = datetime.now(UTC) - timedelta(hours=chance.randrange(self.hours) if self.hours > 1 else 0)
                told = {
                    **row,
                    "transaction_id": f"{row['transaction_id']}-{sent}",
                    "occurred_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                }
                told["card_id"] = card = f"{row['card_id']}-{sent // CARDS_LAST}"
                if chance.random() < BAD_SHARE:
                    told["amount"] = -1
                rows.append((card.encode(), orjson.dumps(told)))
                if chance.random() < LABEL_SHARE:
                    labels.append((told["transaction_id"].encode(), _label(told, chance)))
            self.wire.send("transactions", rows)
            self.wire.send("labels", labels)

    def until(self, expr: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a query gives something."""
        wait_for(expr, lambda: self.monitor.query(expr), seconds)


def _label(transaction: dict[str, Any], chance: random.Random) -> bytes:
    source, verdict = chance.choice((("chargeback", "fraud"), ("review", "fraud"), ("review", "legit")))
    subject = {"transaction_id": transaction["transaction_id"], "at": transaction["occurred_at"]}
    return orjson.dumps({"schema": 1, **subject, "source": source, "verdict": verdict, "by": "test"})
