"""A model is trained, twinned and remade from the archive of what a real scorer has served, by the commands alone."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from deltalake import DeltaTable

from harness.models import Models
from harness.stack import Stack, by_source
from scorer.bundles.view_file import load_view
from scorer.pipeline.instants import instant_ms
from shadow.archive.served import served

SERVED = 6000
ROUNDS = ("--param", "num_iterations=10")


@pytest.fixture
def stack(models: Models, tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, {**models.env, "SHADOW_ARCHIVE": "archive"}) as stack:
        stack.deploy(models.live, "live")
        stack.start("scorer", "run")
        stack.run("scorer", "replay", str(models.stream), "--limit", str(SERVED))
        stack.until_settled(SERVED)
        yield stack


def send_labels(stack: Stack, verdicts: dict[str, tuple[str, str]]) -> None:
    """verdicts: by transaction, the source and what it says."""

    async def go() -> None:
        async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
            for name, (source, verdict) in verdicts.items():
                said = {"transaction_id": name, "source": source, "verdict": verdict, "by": source}
                body = orjson.dumps({**said, "at": "2026-02-20T00:00:00Z"})
                await producer.send_and_wait("labels", body, key=name.encode())

    asyncio.run(go())


def test_training_takes_what_was_served_and_what_was_known_and_is_remade_on_demand(
    stack: Stack, models: Models
) -> None:
    decisions = by_source(stack.decisions())
    rng = np.random.default_rng(3)
    frauds: dict[str, tuple[str, str]] = {}
    for row in decisions.values():
        if not row.get("repeat") and rng.random() < min(1.0, 0.01 + 2 * (row["score"] or 0)):
            source = "review" if row["decision"] == "block" else "chargeback"
            frauds[row["transaction"]["transaction_id"]] = (source, "fraud")
    send_labels(stack, frauds)
    time.sleep(0.01)
    as_of = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    stack.run("shadow", "archive", "run", "--once")

    view = load_view(Path(models.env["SCORER_VIEW"]))
    rows = served(str(stack.folder / "archive"), view, None, None, instant_ms(as_of), print)
    wanted = {row["transaction"]["transaction_id"]: row for row in decisions.values() if not row.get("repeat")}
    assert set(rows.ids) == set(wanted)
    for name, snapshot, label in zip(rows.ids, rows.matrix, rows.labels.tolist(), strict=True):
        expected = np.array([np.nan if cell is None else cell for cell in wanted[name]["features"]])
        assert snapshot.tobytes() == expected.tobytes()
        blocked = wanted[name]["decision"] == "block"
        assert label == (1 if name in frauds else -1 if blocked else 0)

    train = ("scorer", "train", "--from-archive", "archive", "--as-of", as_of, "--label-delay", "1d", *ROUNDS)
    digest = stack.run(*train)
    assert stack.run(*train, "--threads", "1") == digest
    late = next(name for name in wanted if name not in frauds and wanted[name]["decision"] == "allow")
    send_labels(stack, {late: ("chargeback", "fraud")})  # known later: it changes nothing as of then
    stack.run("shadow", "archive", "run", "--once")
    stack.run("shadow", "archive", "compact")
    assert stack.run(*train) == digest
    assert stack.run("scorer", "reproduce", digest) == f"the same: {digest}"
    manifest = json.loads((Path(models.env["SCORER_STORE"]) / digest / "manifest.json").read_text())
    assert manifest["lineage"]["reading"]["files"] == {"from": "archive"}
    assert manifest["lineage"]["data"]["transactions"] == len(wanted)
    twin = stack.run("scorer", "train", "--from-archive", "archive", "--twin", digest)
    assert twin != digest

    assert "differs: data" in stack.run("scorer", "reproduce", digest, "--from-archive", str(emptied(stack)), expect=1)
    assert "--label-delay: is missing" in stack.fails("scorer", "train", "--from-archive", "archive", "--as-of", as_of)
    assert "--as-of: is missing" in stack.fails("scorer", "train", "--from-archive", "archive")
    assert "train on files or on an archive" in stack.fails(*train, str(models.history))
    assert "was trained on an archive" in stack.fails("scorer", "train", str(models.history), "--twin", digest)
    assert "has no decisions" in stack.fails(
        "scorer", "train", "--from-archive", "nowhere", "--as-of", as_of, "--label-delay", "1d"
    )


def emptied(stack: Stack) -> Path:
    """A copy of the archive that has lost its last day."""
    copy = stack.folder / "copy"
    shutil.copytree(stack.folder / "archive", copy)
    table = DeltaTable(copy / "decisions")
    table.delete(f"day = '{max(part['day'] for part in table.partitions())}'")
    return copy
