"""The bundles and the stream that integration tests share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.places import ROOT
from harness.stack import Stack, write_lines
from scorer.pipeline.mapping import FieldNames
from scorer.sources.files import read_transactions

#: Models learn from what is before, the stream is what comes after.
CUT = "2026-01-21"
#: Transactions of the stream, and how many of them are refused, or sent twice.
STREAM, BAD, REPEATED = 12_000, 40, 30

Decisions = dict[tuple[int, int], dict[str, Any]]


@dataclass(frozen=True)
class Models:
    """Digests of bundles in a store, and files of transactions that no model has seen."""

    env: dict[str, str]
    live: str
    control: str
    candidate: str
    history: Path
    stream: Path


def make(folder: Path, transactions: int = 30_000, stream: int = STREAM) -> Models:
    """Simulate and train, as a user would. The stream takes what comes after CUT of the transactions."""
    local = ROOT / "deploy" / "local"
    env = {
        "SCORER_VIEW": str(local / "features.yaml"),
        "SHADOW_RELEASE": str(local / "release.yaml"),
        "SCORER_STORE": str(folder / "bundles"),
        "SHADOW_STORE": str(folder / "bundles"),
    }
    maker = Stack(folder, {**env, "SCORER_CACHE": str(folder / "cache")})
    maker.run("scorer", "simulate", "--out", "history.parquet", "--transactions", str(transactions), "--days", "40")
    train = ["scorer", "train", "history.parquet", "--to", CUT, "--param", "num_iterations=25"]
    live = maker.run(*train, "--features", "amount,country,channel,card_count_1d,card_mean_30d")
    control, candidate = maker.run(*train, "--twin", live), maker.run(*train)
    history = folder / "history.parquet"
    return Models(env, live, control, candidate, history, _stream(history, folder / "stream.jsonl", stream))


def _stream(history: Path, out: Path, n: int) -> Path:
    """What a topic brings: transactions, some that are none, and some that their sender repeats."""
    chunks = read_transactions(history, FieldNames.model_validate({}), since=CUT, limit=n)
    rows: list[dict[str, Any]] = []
    for i, value in enumerate(value for chunk in chunks for value in chunk.values):
        row = orjson.loads(value)
        is_bad = i % (STREAM // BAD) == 7
        rows.append({**row, "amount": -row["amount"]} if is_bad else row)
        if i % (STREAM // REPEATED) == 11:
            rows.append(row)
    return write_lines(out, rows)
