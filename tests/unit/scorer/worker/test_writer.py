"""What a scorer writes in which order: no card state before its decisions, nothing after a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.patience import PATIENCE_SECONDS
from scorer.kafka.producer import Write
from scorer.settings import Topics
from scorer.worker.writer import Work, Writer

TOPICS = Topics()
LINGER_SECONDS = 0.01


class Wire:
    """Notes what a request holds; a request lasts until it is let go, if it is to be held."""

    def __init__(self) -> None:
        self.requests: list[list[Write]] = []
        self.let_go = asyncio.Event()
        self.let_go.set()
        self.fails_at: int | None = None

    async def write_all(self, writes: Iterable[Write]) -> None:
        self.requests.append([write for write in writes if write.records])
        await self.let_go.wait()
        if len(self.requests) - 1 == self.fails_at:
            raise ConnectionError("no broker")

    @property
    def told(self) -> list[list[str]]:
        """As decisions 1, of each request."""
        return [[f"{w.topic} {w.records[0][1].decode()}" for w in request] for request in self.requests]  # type: ignore[union-attr]


class Notes:
    """Whose work it is: refuses some, and all once something failed."""

    def __init__(self, refused: Iterable[str] = ()) -> None:
        self.refused, self.did, self.failed = set(refused), list[str](), False

    async def may_publish(self, work: Work) -> bool:
        return work.bundle not in self.refused and not self.failed

    def published(self, work: Work) -> None:
        self.did.append(f"published {work.bundle}")

    def finished(self, work: Work) -> None:
        self.did.append(f"finished {work.bundle}")

    async def gave_up(self, work: Work, error: Exception | None) -> None:
        self.failed |= error is not None
        self.did.append(f"gave up {work.bundle}" + (f": {error}" if error else ""))


def work(name: str) -> Work:
    batch: Any = SimpleNamespace(partition=0)
    row = [(b"card", name.encode())]
    settled: Any = SimpleNamespace(decisions=row, carried=[], rejected=[], headers=[], states=row, clock=[], dropped=[])
    return Work([(batch, SimpleNamespace(), settled)], name)  # type: ignore[list-item]


@asynccontextmanager
async def writing(wire: Wire, notes: Notes) -> AsyncIterator[Writer]:
    writer = Writer(wire, TOPICS, notes, LINGER_SECONDS)  # type: ignore[arg-type]
    task = asyncio.create_task(writer.run())
    yield writer
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until_done(notes: Notes, n: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sum(not done.startswith("published") for done in notes.did) < n:
            await asyncio.sleep(0.001)


@pytest.mark.anyio
async def test_card_states_go_with_the_next_decisions_and_alone_where_none_follow() -> None:
    wire, notes = Wire(), Notes()
    async with writing(wire, notes) as writer:
        writer.put(work("1"))
        writer.put(work("2"))
        await until_done(notes, 2)
        await asyncio.sleep(2 * LINGER_SECONDS)
    assert wire.told == [["decisions 1"], ["decisions 2", "velocity 1"], ["velocity 2"]]
    assert notes.did == ["published 1", "finished 1", "published 2", "finished 2"]


@pytest.mark.anyio
async def test_nothing_is_sent_while_decisions_are_not_acknowledged() -> None:
    wire, notes = Wire(), Notes()
    wire.let_go.clear()
    async with writing(wire, notes) as writer:
        writer.put(work("1"))
        writer.put(work("2"))
        await asyncio.sleep(2 * LINGER_SECONDS)
        assert wire.told == [["decisions 1"]]
        assert notes.did == []
        wire.let_go.set()
        await until_done(notes, 2)


@pytest.mark.anyio
async def test_what_fails_is_given_up_with_the_states_beside_it_and_nothing_follows() -> None:
    wire, notes = Wire(), Notes()
    wire.fails_at = 1
    async with writing(wire, notes) as writer:
        for name in "123":
            writer.put(work(name))
        await until_done(notes, 3)
        await asyncio.sleep(2 * LINGER_SECONDS)
    assert wire.told == [["decisions 1"], ["decisions 2", "velocity 1"]]
    assert notes.did == ["published 1", "gave up 1: no broker", "gave up 2: no broker", "gave up 3"]


@given(st.lists(st.booleans(), max_size=6))
def test_what_is_not_ours_any_more_is_given_up_and_what_was_published_is_finished(ours: list[bool]) -> None:
    names = [str(n) for n in range(len(ours))]
    kept = [name for name, is_ours in zip(names, ours, strict=True) if is_ours]

    async def go() -> tuple[Wire, Notes]:
        wire, notes = Wire(), Notes(set(names) - set(kept))
        async with writing(wire, notes) as writer:
            for name in names:
                writer.put(work(name))
            await until_done(notes, len(names))
        return wire, notes

    wire, notes = asyncio.run(go())
    written = [one for request in wire.told for one in request]
    assert [one for one in written if one.startswith("decisions")] == [f"decisions {name}" for name in kept]
    assert [one for one in written if one.startswith("velocity")] == [f"velocity {name}" for name in kept]
    assert all(written.index(f"decisions {name}") < written.index(f"velocity {name}") for name in kept)
    assert [done for done in notes.did if done.startswith("gave up")] == [
        f"gave up {name}" for name in names if name not in kept
    ]
