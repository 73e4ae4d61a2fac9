"""`shadow serve` in the background: it ends when it is told to."""

from __future__ import annotations

import asyncio

from shadow.criteria import parse
from shadow.serving import Serve
from shadow.settings import ShadowSettings


class Swallowing(Serve):
    """Loses a cancellation, as `asyncio.wait_for` does up to Python 3.11 if it comes together with a result."""

    async def look_at_all(self) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return


def test_a_lost_cancellation_keeps_nothing_running() -> None:
    async def story() -> None:
        serve = Swallowing(ShadowSettings(gate_seconds=60), parse("schema: 1"))
        serve._tasks = [asyncio.create_task(serve._look_often())]
        await asyncio.sleep(0.05)
        await asyncio.wait_for(serve.stop(), 5)

    asyncio.run(story())
