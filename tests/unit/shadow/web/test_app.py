"""`shadow serve`: what it is asked for samples, and in the background: it ends when it is told to."""

from __future__ import annotations

import asyncio

import pytest
from fastapi.testclient import TestClient

from shadow.api import build
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


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("slot=candidate&segment=country%3DFR&sort=gap&limit=50&at=1795554840141", 404),
        ("slot=candidate&segment=all&scored_since=1795554540255&scored_until=1795554840255", 404),
        ("run=L1-C1x", 422),
        ("slot=candidate&segmnet=all", 422),
        ("slot=candidate&at=noon", 422),
    ],
)
def test_samples_are_asked_for_by_slot_and_filters_together(asked: str, status: int) -> None:
    """Of a slot that is empty: what is understood is not found."""
    client = TestClient(build(Serve(ShadowSettings(), parse("schema: 1"))))
    assert client.get(f"/api/disagreements?{asked}").status_code == status
