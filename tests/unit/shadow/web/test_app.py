"""`shadow serve`: what it is asked for samples, and in the background: it ends when it is told to."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from harness.card_numbers import digits_of
from harness.patience import PATIENCE_SECONDS
from shadow.gate.criteria import parse
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.web.app import build


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
        serve._tasks.start(serve._look_often(), "gate")
        await asyncio.sleep(0.05)
        await asyncio.wait_for(serve.stop(), PATIENCE_SECONDS)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("slot=candidate&segment=country%3DFR&sort=gap&limit=50&at=1795554840141", 404),
        ("slot=candidate&segment=all&scored_since=1795554540255&scored_until=1795554840255", 404),
        ("run=L1-C1x", 422),
        ("run=L1-C1%0A", 422),
        ("run=L99999999999999999999-C1", 422),
        ("slot=a%3Ab", 422),
        ("slot=", 422),
        ("slot=candidate%0A", 422),
        ("limit=10001", 422),
        ("after=-1", 422),
        ("min_gap=x", 422),
        ("slot=candidate&segmnet=all", 422),
        ("slot=candidate&at=noon", 422),
    ],
)
def test_samples_are_asked_for_by_slot_and_filters_together(asked: str, status: int) -> None:
    """Of a slot that is empty: what is understood is not found."""
    client = TestClient(build(Serve(ShadowSettings(), parse("schema: 1"))), base_url="http://localhost")
    assert client.get(f"/api/disagreements?{asked}").status_code == status


@pytest.mark.parametrize(
    "said",
    [
        {"transaction_id": "4111111111111111", "verdict": "fraud"},
        {"transaction_id": "4111 1111 1111 1111", "verdict": "4111111111111111", "by": "4111111111111111"},
        {"transaction_id": ["4111111111111111"], "verdict": "fraud", "by": "ann"},
        {"transaction_id": "4111111111111111", "verdict": "fraud", "by": "ann"},
        {"transaction_id": "t-1", "verdict": "fraud", "by": "ann", "reason": "card 4111-1111-1111-1111"},
        {"transaction_id": "t-1", "verdict": "fraud", "by": "ann", "4111111111111111": 1},
    ],
)
def test_an_answer_repeats_no_card_number(said: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = ShadowSettings(operator_token=SecretStr("secret"))
    app = build(Serve(settings, parse("schema: 1")))
    client = TestClient(app, base_url="http://localhost", headers={"Authorization": "Bearer secret"})
    answer = client.post("/api/review/mark", json=said)
    assert answer.status_code == 422
    assert "4111111111111111" not in digits_of(answer.text)
    assert answer.json()["detail"]
    assert "4111111111111111" not in digits_of(caplog.text)


@pytest.mark.slow
def test_serve_loads_no_library_of_models() -> None:
    """It would take more memory than everything else, and a damaged model could kill it."""
    code = "import shadow.cli.serve, sys; sys.exit(bool({'lightgbm', 'pandas', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("", 200),
        ("at=" + "9" * 30, 200),
        ("since=0&until=2026-01-31T12:00:00.5%2B01:00", 200),
        ("limit=100&skip=2147483648", 200),
        ("at=0001-01-01T00:00:00Z&since=0001-01-01T00:00:00%2B14:00", 200),
        ("slot=nobody", 404),
        ("slot=candidate%0A", 422),
        ("at=yesterday", 422),
        ("at=2026-11-03T10:00", 422),
        ("since=-5", 422),
        ("until=" + "9" * 5000, 422),
        ("until=", 422),
        ("limit=0", 422),
        ("skip=-1", 422),
    ],
)
def test_the_history_is_asked_for_by_slot_and_times(asked: str, status: int) -> None:
    client = TestClient(build(Serve(ShadowSettings(), parse("schema: 1"))), base_url="http://localhost")
    answer = client.get(f"/api/history?{asked}")
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["detail"]


def test_a_status_of_nothing_is_told() -> None:
    client = TestClient(build(Serve(ShadowSettings(), parse("schema: 1"))), base_url="http://localhost")
    told = client.get("/api/status").json()
    assert told["live"]["digest"] is None
    assert told["trouble"] == "starting"
    assert "no bundle is live" in client.get("/history").text
