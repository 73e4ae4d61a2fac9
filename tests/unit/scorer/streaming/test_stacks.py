"""Stacks show where threads and tasks stand, down to what they await last, and never a value."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from typing import Any

from scorer.streaming.stacks import stacks

CARD = "4111-secret"


async def innermost(card: str) -> None:
    assert card
    await asyncio.Event().wait()


async def steps(card: str) -> AsyncIterator[None]:
    await innermost(card)
    yield


class Wrapped:
    """Awaited as an object, as Faust awaits an agent."""

    def __init__(self, card: str) -> None:
        self.card = card

    def __await__(self) -> Generator[Any, None, None]:
        return self.go().__await__()

    async def go(self) -> None:
        async for _ in steps(self.card):
            pass


async def middle(card: str) -> None:
    await Wrapped(card)


def waits_for(event: threading.Event, card: str) -> None:
    assert card
    event.wait()


def test_every_task_is_shown_down_to_what_it_awaits_last_and_every_thread() -> None:
    event = threading.Event()
    thread = threading.Thread(target=waits_for, args=(event, CARD), name="patient")
    thread.start()

    async def go() -> str:
        task = asyncio.create_task(middle(CARD), name="waiter")
        fresh = asyncio.create_task(middle(CARD), name="fresh")
        await asyncio.sleep(0)
        told = await asyncio.to_thread(stacks, [asyncio.get_running_loop()])
        for one in (task, fresh):
            one.cancel()
        return told

    told = asyncio.run(go())
    event.set()
    thread.join()
    _, _, waiter = told.partition("task waiter:")
    names = [line.rpartition(" in ")[2] for line in waiter.splitlines()[1:6]]
    assert names == ["middle", "Wrapped.go", "steps", "innermost", "Event.wait"]
    assert "task fresh:" in told
    _, _, patient = told.partition("thread patient:")
    assert "in waits_for" in patient
    assert CARD not in told
