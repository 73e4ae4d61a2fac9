"""The study runs through: simulated releases by every rule, and a small made-up data set instead of the real one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.places import ROOT
from study import real
from study.edge import edge
from study.handbook import GROUPS, TERMINALS
from study.model import HARMFUL, KINDS
from study.published import marks, publish, table
from study.run import simulate, totals
from study.shadowed import by_deciles
from study.simulated import RULES
from study.timing import timing

DAYS, TRANSACTIONS_A_DAY, CARDS = 136, 400, 2_000


def payments(path: Path) -> Path:
    """A file as the handbook's: some terminals are bad for all of it, and large amounts are more often fraud."""
    rng = np.random.default_rng(3)
    n = DAYS * TRANSACTIONS_A_DAY
    at = np.datetime64("2018-04-01", "ms") + np.sort(rng.integers(0, DAYS * 86_400_000, n)).astype("timedelta64[ms]")
    terminal, amount = rng.integers(0, TERMINALS, n), np.round(rng.gamma(2, 25, n) + 1, 2)
    fraud = rng.random(n) < np.where(terminal % 50 == 0, 0.5, np.where(amount > 150, 0.2, 0.002))
    columns = {
        "TRANSACTION_ID": np.arange(n),
        "TX_DATETIME": at,
        "CUSTOMER_ID": rng.integers(0, CARDS, n),
        "TERMINAL_ID": terminal,
        "TX_AMOUNT": amount,
        "TX_FRAUD": fraud.astype(np.int64),
        "TX_FRAUD_SCENARIO": fraud.astype(np.int64),
    }
    pq.write_table(pa.table(columns), path)
    return path


def test_real_candidates_are_judged_on_one_pair_of_windows(tmp_path: Path) -> None:
    found = real.study(payments(tmp_path / "payments.parquet"), tmp_path / "study", seed=7, pairs=1, rounds=10)
    (window,) = found["windows"]
    assert window["transactions"] == pytest.approx(28 * TRANSACTIONS_A_DAY, rel=0.05)
    assert 0 < window["live_blocks"] < 0.1 * window["transactions"]
    without_older = {kind for kind in real.KINDS if kind != "older_model"}
    assert set(found["kinds"]) == without_older, "there is no older model yet"
    assert all(set(rule) == without_older for rule in found["baselines"].values())
    assert sum(row["n"] for row in found["kinds"].values()) == len(found["releases"]) == 11
    effects = {release["told"]: release["effects"]["all"]["blocks"] for release in found["releases"]}
    fewer, more = (effects[f"threshold for {share:g} of the blocks"] for share in real.MOVED)
    assert fewer < min(0.0, more), "a hundred blocks set the thresholds here, so live's own may be off"
    assert "| without merchant features, or card velocity | 2 |" in table(found)
    page = tmp_path / "study.md"
    page.write_bytes((ROOT / "docs" / "study.md").read_bytes())
    publish(table(found), page)
    begin, end = marks("`make study`")
    assert f"{begin}\n{table(found)}\n{end}" in page.read_text()
    page.write_text("a page without marks\n")
    with pytest.raises(AssertionError, match="lacks"):
        publish(table(found), page)


def test_simulated_releases_go_through_every_rule() -> None:
    with ThreadPoolExecutor(1) as pool:
        rules = simulate(pool, 0.003, seed=7)
        at_edge = edge(pool, 1, seed=7)
    assert set(rules) == set(RULES)
    assert all(set(kinds) == set(KINDS) for kinds in rules.values())
    gate = rules["gate"]
    assert all(row["n"] == row["promote"] + row["hold"] + row["reject"] for row in gate.values())
    assert [kind for kind in HARMFUL if gate[kind]["promote"]] == []
    assert totals(gate)["harmful_promoted"] == 0
    assert at_edge
    assert set(timing()) == {"gate_ms", "path_ms"}


def test_deciles_hold_a_tenth_of_lives_scores_each() -> None:
    rng = np.random.default_rng(1)
    live = rng.poisson(20, (28, 1 + GROUPS, 200)).cumsum(axis=0).astype(np.float64)
    candidate = np.roll(live, 20, axis=-1)
    ours, theirs = by_deciles(live, candidate)
    assert np.array_equal(ours.sum(axis=-1), live.sum(axis=-1))
    assert np.array_equal(theirs.sum(axis=-1), candidate.sum(axis=-1))
    shares = ours[-1, 0] / ours[-1, 0].sum()
    assert np.abs(shares - 0.1).max() < 0.01
