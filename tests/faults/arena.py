"""Where a scenario plays: a Kafka, a Redis, workers that a supervisor would keep alive, and a sender; all seeded.

A fault strikes while a backlog remains: `strike` sends a part of the stream at once, waits until some of it is through,
does its harm, and counts the fault only if records were still waiting afterwards.
"""

from __future__ import annotations

import random
import shutil
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import orjson
import redis

from faults.wire import Wire
from harness.kafka import Kafka
from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, Worker
from harness.stores import RedisServer

#: Fewest transactions of a scenario.
LEAST = 20_000
#: Transactions that are sent at once before a fault.
PART = 1000


class Waited(AssertionError):  # noqa: N818 - what it says is what happened
    """Something that had to come did not come in time."""


@dataclass
class Member:
    """A worker that is started anew whenever it ends without having been told to."""

    arena: Arena
    argv: tuple[str, ...]
    env: dict[str, str]
    worker: Worker | None = None
    is_wanted: bool = False
    revivals: int = 0

    @property
    def alive(self) -> Worker:
        """Its process."""
        assert self.worker is not None, f"{self.argv}: was not started"
        return self.worker

    def start(self) -> Member:
        """Start without waiting."""
        self.worker = self.arena.stack.start(*self.argv, env=self.env, ready=False)
        self.is_wanted = True
        return self

    def kill(self) -> None:
        """kill -9; it stays down until it is started."""
        self.is_wanted = False
        self.alive.kill()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.is_wanted = False
        return self.alive.stop()

    def revive(self) -> None:
        """Start it anew if it ended by itself."""
        if self.is_wanted and self.alive.process.poll() is not None:
            self.revivals += 1
            self.arena.notes.append(f"{self.alive.log.name} ended by itself: {self._last_words()}")
            self.start()

    def _last_words(self) -> str:
        """The error that it ended with, else its last line."""
        lines = self.alive.log.read_text(errors="replace").splitlines() or ["without a word"]
        return next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1])


@dataclass
class Arena:
    """The stage of one scenario."""

    folder: Path
    models: Models
    kafka: Kafka
    store: RedisServer
    seed: int
    clock: str = "event"
    env: Mapping[str, str] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what is worth telling beside the numbers
    problems: list[str] = field(default_factory=list)  # what a scenario itself found wrong
    faults: int = 0
    sent: int = 0
    extras: int = 0  # decisions and dead letters beside the first of their transactions, as last counted
    allows_extras: bool = False  # a zombie may append decisions that are there already
    allows_failed_stop: bool = False
    expects_drops: bool = False  # cards go idle

    #: By slot and partition, the range of decisions that was taken away before the slot had read them.
    gaps: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    #: Decisions that are on the topic no more, by partition.
    deleted: dict[int, list[Any]] = field(default_factory=dict)
    #: Transactions that are on the topic no more and were decided, by partition; and ranges that never will be.
    expired: dict[int, list[Any]] = field(default_factory=dict)
    undecided: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    #: By slot, whether its candidate cannot score the decision at this partition and offset.
    unscored: dict[str, Callable[[int, int], bool]] = field(default_factory=dict)

    def __enter__(self) -> Arena:
        self._sending = threading.Lock()
        self.rng = random.Random(self.seed)
        self._servers = ExitStack()
        self.stack = Stack(self.folder, {**self.models.env, **self.env}, broker=self.kafka, store=self.store)
        self._servers.enter_context(self.stack)
        for program in ("SCORER", "SHADOW"):
            self.stack.env[f"{program}_CLOCK"] = self.clock
            self.stack.env[f"{program}_BATCH_RECORDS"] = "100"
            self.stack.env[f"{program}_LOG_LEVEL"] = "DEBUG"
        self.stack.env |= dict(self.env)
        self.wire = Wire(self.kafka.address)
        lines = self.models.stream.read_bytes().splitlines()
        self.rows = [(orjson.loads(line)["card_id"].encode(), line) for line in lines]
        self.stack.deploy(self.models.live, "live")
        return self

    def __exit__(self, *_: object) -> None:
        self.wire.close()
        self._servers.close()

    def enter(self, server: RedisServer) -> RedisServer:
        """Start one more server."""
        return self._servers.enter_context(server)

    def own_store(self) -> Path:
        """A copy of the bundle store that may be spoiled; returns its folder."""
        folder = self.folder / "bundles"
        shutil.copytree(self.models.env["SCORER_STORE"], folder)
        self.stack.env |= {"SCORER_STORE": str(folder), "SHADOW_STORE": str(folder)}
        return folder

    # Workers

    def scorer(self, **env: str) -> Member:
        """A scorer, started."""
        return self._member(("scorer", "run"), {f"SCORER_{name}": value for name, value in env.items()})

    def shadow(self, slot: str = "candidate", bundle: str | None = None, is_filled: bool = False, **env: str) -> Member:
        """A shadow of a slot, started; the first one fills the slot, unless that `is_filled`."""
        if not is_filled and slot not in self.slots:
            self.stack.deploy(bundle or self.models.candidate, slot)
        return self._member(("shadow", "run", "--slot", slot), {f"SHADOW_{name}": value for name, value in env.items()})

    def shadows(self, bundles: Mapping[str, str], **env: str) -> Member:
        """The shadows of several slots in one process, started; fills those that have none. bundles: by slot."""
        for slot in bundles.keys() - set(self.slots):
            self.stack.deploy(bundles[slot], slot)
        named = chain.from_iterable(("--slot", slot) for slot in bundles)
        return self._member(("shadow", "run", *named), {f"SHADOW_{name}": value for name, value in env.items()})

    def _member(self, argv: tuple[str, ...], env: dict[str, str]) -> Member:
        member = Member(self, argv, env)
        self.members.append(member)
        return member.start()

    def ready(self) -> None:
        """Wait for every worker that is to run."""
        for member in self.members:
            if member.is_wanted:
                self.until(f"{member.argv} is ready", partial(_is_ready, member))

    @property
    def slots(self) -> list[str]:
        """Slots that have a shadow."""
        argvs = [member.argv for member in self.members if member.argv[0] == "shadow"]
        return sorted({slot for argv in argvs for option, slot in pairwise(argv) if option == "--slot"})

    def until(self, what: str, holds: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait, reviving who ended; raises Waited at the deadline."""
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            if time.monotonic() > deadline:
                raise Waited(f"{what}: not so after {seconds:g} s")
            for member in self.members:
                member.revive()
            time.sleep(0.01)
        return found

    # The stream

    def send(self, n: int) -> None:
        """Append the next n transactions, at once."""
        with self._sending:
            rows = self.rows[self.sent : self.sent + n]
            assert len(rows) == n, f"the stream ends after {len(self.rows)} transactions"
            self.send_rows(rows)

    def send_rows(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Append transactions, by card, at once."""
        self.wire.send("transactions", rows)
        self.sent += len(rows)

    @contextmanager
    def pouring(self, rate: int) -> Iterator[None]:
        """Send the stream in the background, so many transactions a second, while this is open."""
        done = threading.Event()

        def pour() -> None:
            while not done.wait(0.1):
                self.send(rate // 10)

        thread = threading.Thread(target=pour)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def restamp(self) -> None:
        """Date the stream as if it had come in the last hours, one transaction every half second."""
        began = datetime.now(UTC) - timedelta(seconds=len(self.rows) / 2)
        for at, (card, value) in enumerate(self.rows):
            stamp = (began + timedelta(seconds=at / 2)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self.rows[at] = card, orjson.dumps({**orjson.loads(value), "occurred_at": stamp})

    def spread(self, days: float) -> None:
        """Date the stream anew, evenly over so many days."""
        began = datetime(2026, 1, 1, tzinfo=UTC)
        for at, (card, value) in enumerate(self.rows):
            when = began + timedelta(days=days * at / len(self.rows))
            stamp = when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            self.rows[at] = card, orjson.dumps({**orjson.loads(value), "occurred_at": stamp})

    def settled(self) -> int:
        """Decisions and dead letters so far, extras included; 0 while no broker answers."""
        seen = self.wire.seen("decisions", "transactions.rejected") or {}
        return sum(len(offsets) for partitions in seen.values() for offsets in partitions.values())

    def applied(self, slot: str = "candidate") -> int:
        """Decisions behind the fences of a slot, 0 while Redis or no broker answers."""
        try:
            with self.store.client(timeout=1.0) as client:
                keys = [f"shadow:{{{slot}:{p}}}:2:fence" for p in range(len(self._decided()))]
                fences = [int(client.hget(key, "next") or 0) for key in keys]
        except (redis.RedisError, OSError):
            return 0
        return sum(bisect_left(offsets, fences[p]) for p, offsets in self._decided().items())

    def _decided(self) -> dict[int, list[int]]:
        """Offsets of the decisions so far, by partition; none while no broker answers."""
        return (self.wire.seen("decisions") or {"decisions": {}})["decisions"]

    def behind_live(self) -> int:
        """Transactions that are sent and not settled."""
        return self.due + self.extras - self.settled()

    @property
    def due(self) -> int:
        """Transactions that were sent and can be settled."""
        return self.sent - sum(after - first for ranges in self.undecided.values() for first, after in ranges)

    def count_extras(self) -> int:
        """How many decisions and dead letters came since the last count that are not the first of their transaction.
        Everything that was sent is settled already; waits a moment for the first of them."""
        deadline = time.monotonic() + 3.0
        while self.behind_live() >= 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        more = self.settled() - len(self.settled_sources()) - self.extras
        self.extras += more
        return more

    def behind_shadow(self, slot: str = "candidate") -> int:
        """Transactions that are sent, and not behind the fences of a slot or refused."""
        return self.due + self.extras - self.applied(slot) - self.refused()

    def refused(self) -> int:
        """Dead letters so far, 0 while no broker answers."""
        seen = self.wire.seen("transactions.rejected") or {"transactions.rejected": {}}
        return sum(map(len, seen["transactions.rejected"].values()))

    def strike(
        self,
        harm: Callable[[], Any],
        times: int = 1,
        backlog: Callable[[], int] | None = None,
        part: int = PART,
    ) -> None:
        """Do harm so many times, each in the middle of a part of the stream. backlog: what is waiting for the one who
        is to suffer; live by default."""
        waiting = backlog or self.behind_live
        struck = 0
        for _ in range(3 * times + 5):
            self.until("room for another part", partial(_is_at_most, waiting, part // 2))
            before = waiting()
            self.send(part)
            left = (before + part) * self.rng.uniform(0.3, 0.9)
            self.until("work under way", partial(_is_at_most, waiting, left))
            # Not always just after something was published: what is begun and not through must be hit, too.
            time.sleep(self.rng.choice((0.0, self.rng.uniform(0, 0.1))))
            if waiting() <= 0:
                # some harm cannot be done twice; a slow machine is given longer parts, if the stream has more
                spared = (len(self.rows) - self.sent) // (3 * (times - struck) + 5)
                part = max(part, min(part * 3 // 2, spared))
                continue
            harm()
            remains = waiting()
            if remains > 0:
                struck += 1
                self.faults += 1
            if struck == times:
                return
        raise Waited(f"only {struck} of {times} faults struck while a backlog remained")

    def strike_at_once(self, harm: Callable[[], Any], part: int, backlog: Callable[[], int] | None = None) -> None:
        """Do harm that takes its time, from the moment on at which a part of the stream waits."""
        waiting = backlog or self.behind_live
        for _ in range(5):
            self.send(part)
            if waiting() > 0:
                break
        else:
            raise Waited("no backlog was left when the fault was to begin")
        harm()
        self.faults += 1

    def finish(self) -> None:
        """Send the rest, wait until everything is through, and stop every worker in good order."""
        if self.sent < LEAST:
            self.send(LEAST - self.sent)
        self.until("every transaction settled", lambda: self.behind_live() <= 0)
        self.until("every source offset settled", lambda: len(self.settled_sources()) >= self.due, 30)
        for slot in self.slots:
            self.until(f"slot {slot} read to the end", partial(self._is_applied, slot))
        for member in self.members:
            if member.is_wanted and member.alive.process.poll() is None:
                member.alive.process.terminate()
        for member in self.members:
            if member.is_wanted:
                code = member.alive.process.wait(PATIENCE_SECONDS)
                if code and not self.allows_failed_stop:
                    self.problems.append(f"{' '.join(member.argv)} ended with {code} when it was stopped")
        revived = sum(member.revivals for member in self.members)
        if revived:
            self.notes.append(f"{revived} workers ended by themselves and were started anew")

    @staticmethod
    def source_of(topic: str, record: Any) -> int:
        """Source offset of a decision or a dead letter, -1 for a mark that one was sent again."""
        if topic == "decisions":
            return int(orjson.loads(record.value)["source"]["offset"])
        return -1 if record.value is None else int(dict(record.headers)["offset"])

    def last_epoch(self) -> int:
        """Highest epoch of live that any decision bears."""
        found = self.wire.read("decisions")["decisions"].values()
        return max((orjson.loads(record.value)["epoch"] for records in found for record in records[-200:]), default=0)

    def fences(self, slot: str) -> dict[int, int]:
        """Where the fences of a slot stand."""
        with self.store.client() as client:
            found = {
                p: client.hget(f"shadow:{{{slot}:{p}}}:2:fence", "next")
                for p in self.wire.read("decisions")["decisions"]
            }
        return {p: int(at or 0) for p, at in found.items()}

    def settled_sources(self) -> set[tuple[int, int]]:
        """Partition and offset of every transaction that has a decision or a dead letter."""
        return {
            (p, self.source_of(topic, record))
            for topic, partitions in self.wire.read("decisions", "transactions.rejected").items()
            for p, records in partitions.items()
            for record in [*(self.deleted.get(p, []) if topic == "decisions" else []), *records]
        }

    def _is_applied(self, slot: str) -> bool:
        """Whether the fences of a slot stand behind the last decision of every partition."""
        ends = {p: records[-1].offset + 1 for p, records in self.wire.read("decisions")["decisions"].items() if records}
        try:
            fences = self.fences(slot)
        except (redis.RedisError, OSError):
            return False
        return all(fences.get(p, 0) >= ends[p] for p in ends)


def _is_at_most(waiting: Callable[[], int], most: float) -> bool:
    return waiting() <= most


def _is_ready(member: Member) -> bool:
    return member.alive.process.poll() is None and member.alive.is_ready()
