"""Amounts of a currency without cents are told apart as people mean them, and nothing has to be set twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, get, wait_for, write_lines
from scorer.deployments.ledger import put
from scorer.deployments.records import PublishedView, encode
from scorer.pipeline.money import Currency

RELEASE = "schema: 1\nsegments:\n  amount: {field: amount, bands: [1000, 10000]}\n"
YEN = '{"currency": "JPY"}'


@pytest.fixture
def stack(models: Models, tmp_path: Path) -> Iterator[Stack]:
    (tmp_path / "release.yaml").write_text(RELEASE)
    with Stack(
        tmp_path, {**models.env, "SCORER_MONEY": YEN, "SHADOW_RELEASE": str(tmp_path / "release.yaml")}
    ) as stack:
        stack.deploy(models.live, "live")
        stack.deploy(models.live, "candidate")
        yield stack


def rows(*amounts: float) -> list[dict[str, object]]:
    return [
        {
            "transaction_id": f"t-{n}",
            "occurred_at": f"2026-02-01T12:00:{n:02}Z",
            "card_id": f"c-{n}",
            "merchant_id": "m",
            "amount": amount,
            "currency": "JPY",
        }
        for n, amount in enumerate(amounts)
    ]


def test_yen_fall_into_the_band_that_their_number_says(stack: Stack) -> None:
    stack.start("scorer", "run", ready=False)
    stack.start("shadow", "run", "--slot", "candidate", ready=False)
    serve = stack.start("shadow", "serve", ready=False)
    stack.until_ready()
    stack.run("scorer", "replay", str(write_lines(stack.folder / "yen.jsonl", rows(999, 15_000, 15_001, 5_000))))
    stack.until_settled(4)
    url = f"http://127.0.0.1:{serve.port}/api/runs?slot=candidate"
    found: list[dict[str, dict[str, list[int]]]] = []

    def compared() -> bool:
        found[:] = [run["segments"] for run in orjson.loads(get(url) or b"[]") if run["compared"] == 4]
        return bool(found)

    wait_for("four comparisons", compared)
    bands = {name: sum(part["counts"]) for name, part in found[0].items() if name.startswith("amount=")}
    few = {"amount=<500": 0, "amount=500-1000": 1}  # divided at the cap
    assert bands == {**few, "amount=1000-10000": 1, "amount=>=10000": 2, "amount=other": 0}
    assert sum(found[0]["all"]["minor"]) == 999 + 15_000 + 15_001 + 5_000


def test_another_currency_stops_scorer_and_shadow_with_one_line(stack: Stack) -> None:
    stack.start("scorer", "run").stop()
    line = stack.fails("scorer", "run", "--http-port", "0", SCORER_MONEY='{"currency": "EUR"}')
    assert "the reporting currency is EUR, but this deployment's decisions are in JPY" in line
    running = stack.start("shadow", "run", "--slot", "candidate")
    settings = stack.settings()
    view = PublishedView(names=("amount",), definitions={}, currency=Currency(code="EUR", digits=2))
    asyncio.run(put(settings, {"view/foreign": encode(view)}))
    assert running.process.wait(PATIENCE_SECONDS) == 2
    assert "foreign in EUR with 2 decimal digits" in running.log.read_text().splitlines()[-1]
    assert "foreign in EUR" in stack.fails("shadow", "run", "--slot", "candidate", "--http-port", "0")
