"""Merchant risk: decisions and labels in, snapshots on their topic, and the features that training computes out."""

from __future__ import annotations

import asyncio
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaProducer

from harness.models import Models
from harness.places import ROOT
from harness.stack import Stack, by_source, wait_for, write_lines
from scorer.bundles.view_file import load_view
from scorer.pipeline.instants import instant_ms, stamps
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.risk_records import Assembly
from scorer.pipeline.transaction import Reading
from scorer.sources.files import read_transactions
from scorer.training.history import read_history

HOUR = 3_600_000
RISK = "{windows: [12h, 1d], delay_days: 1, period: 3h, most_move: 0.05}"
FIRST, THEN = 4000, 400


def is_fraud(row: dict[str, Any]) -> bool:
    return zlib.crc32(row["merchant_id"].encode()) % 7 == 0 and zlib.crc32(row["transaction_id"].encode()) % 2 == 0


def known_ms(row: dict[str, Any]) -> int:
    """Some labels come within hours, some after days."""
    return instant_ms(row["occurred_at"]) + HOUR * (1 + zlib.crc32(row["transaction_id"].encode()) % 60)


def text(ms: int) -> str:
    return stamps(np.array([ms], dtype=np.int64))[0]


def send(stack: Stack, topic: str, rows: list[tuple[str, bytes]]) -> None:
    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            for key, value in rows:
                await producer.send(topic, value, key=key.encode())

    asyncio.run(go())


@pytest.fixture
def env(models: Models, tmp_path: Path) -> dict[str, str]:
    view = tmp_path / "view.yaml"
    view.write_text((ROOT / "deploy" / "local" / "features.yaml").read_text() + f"\nrisk: {RISK}\n")
    return {**models.env, "SCORER_VIEW": str(view), "SCORER_CLOCK": "event"}


@pytest.mark.parametrize("decisions", ["json", "avro"])
def test_a_decision_has_the_snapshot_and_the_very_features_that_training_computes(
    models: Models, env: dict[str, str], tmp_path: Path, decisions: str
) -> None:
    rows = [orjson.loads(line) for line in models.stream.read_bytes().splitlines()[: FIRST + THEN]]
    paid = [row for row in rows if row["amount"] >= 0]
    with Stack(tmp_path, env) as stack:
        stack.deploy(models.live, "live")
        scorer = stack.start("scorer", "run")
        stack.run("scorer", "replay", str(models.stream), "--limit", str(FIRST))
        stack.until_settled(FIRST)
        early = stack.decisions()
        assert scorer.stop() == 0
        assert all("risk_snapshot" not in decision for decision in early)
        assert all(cell is None for decision in early for cell in decision["features"][-6:])

        said = [
            {"transaction_id": row["transaction_id"], "source": "chargeback", "verdict": "fraud", "by": "bank"}
            | {"at": text(known_ms(row)), "schema": 1}
            for row in paid
            if is_fraud(row)
        ]
        junk = [("x", b"{"), ("y", orjson.dumps({"card_id": "c", "occurred_at": "x", "verdict": "fraud"}))]
        send(stack, "labels", junk + [(label["transaction_id"], orjson.dumps(label)) for label in said])
        stack.run("scorer", "risk", "--once")
        published = stack.read("risk")
        stack.run("scorer", "risk", "--once")
        assert len(stack.read("risk")) == len(published)  # nothing more is due

        view = load_view(env["SCORER_VIEW"])
        assert view.risk is not None
        folded = [Assembly(view.risk)] * len(published)
        snapshots = [one for a, r in zip(folded, published, strict=True) if (one := a.fold(r.key, r.value))]
        assert len(snapshots) > 3
        assert (snapshots[-1].rate > snapshots[-1].overall + 0.02).any()

        scorer = stack.start(
            "scorer", "run", env={"SCORER_DECISIONS_FORMAT": decisions, "SCORER_DECISIONS_SCHEMA_ID": "9"}
        )
        stack.run("scorer", "replay", str(models.stream), "--skip", str(FIRST), "--limit", str(THEN))
        stack.until_settled(FIRST + THEN)
        before = by_source(early)
        later = [one for at, one in by_source(stack.decisions()).items() if at not in before]
        assert scorer.metric("scorer_risk_missing_total") == 0
        assert scorer.stop() == 0

    file = tmp_path / "all.jsonl"
    write_lines(file, [{**r, "is_fraud": is_fraud(r), "label_available_at": text(known_ms(r))} for r in paid])
    history = read_history(
        read_transactions(file, FieldNames.model_validate({})), view, Reading(attributes=view.attributes), str(file)
    )
    wanted = dict(zip(history.ids, history.matrix, strict=True))
    compared = 0
    for decision in later:
        assert decision["risk_snapshot"] == snapshots[-1].version
        occurred = instant_ms(decision["transaction"]["occurred_at"])
        assert decision["risk_staleness_seconds"] == (occurred - snapshots[-1].effective_ms) // 1000
        if decision["risk_staleness_seconds"] < 3 * 3600 and not decision.get("repeat"):
            served = np.array([np.nan if cell is None else cell for cell in decision["features"]])
            assert served.tobytes() == wanted[decision["transaction"]["transaction_id"]].tobytes()
            compared += 1
    assert compared > 100


def test_scorer_risk_publishes_what_comes_until_it_is_stopped(
    models: Models, env: dict[str, str], tmp_path: Path
) -> None:
    with Stack(tmp_path, env) as stack:
        stack.deploy(models.live, "live")
        scorer = stack.start("scorer", "run")
        risk = stack.start("scorer", "risk")
        stack.run("scorer", "replay", str(models.stream), "--limit", "1600")
        wait_for("a snapshot", lambda: risk.metric("scorer_risk_snapshots_total") > 0)
        risk.kill()  # and another one goes on
        again = stack.start("scorer", "risk")
        before = len(stack.read("risk"))
        stack.run("scorer", "replay", str(models.stream), "--skip", "1600", "--limit", "1200")
        wait_for("another snapshot", lambda: again.metric("scorer_risk_snapshots_total") > 0)
        assert len(stack.read("risk")) > before
        assert again.stop() == 0
        stack.until_settled(2800)
        stack.run("scorer", "replay", str(models.stream), "--skip", "2800", "--limit", "100")
        stack.until_settled(2900)
        assert sum("risk_snapshot" in decision for decision in stack.decisions()) >= 90
        assert scorer.stop() == 0


def test_a_view_without_merchant_risk_is_told_so(models: Models, stack: Stack) -> None:
    told = stack.fails("scorer", "risk", "--once")
    assert "has no merchant risk; add `risk: {}` to it" in told
