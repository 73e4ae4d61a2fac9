"""A share of every attack, with nothing found; and an attack finds what is there to find."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from attack import api, bundles, files, records, stores, topics
from attack.counts import Counts
from attack.forge import PLAIN, Forge
from attack.judge import judged
from attack.run import WHOLE
from harness.places import ROOT

SHARE = 0.01


@pytest.mark.needs("kafka")
@pytest.mark.timeout(1500)
def test_a_hundredth_of_the_attack_finds_nothing(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "attack.run",
        "--share",
        str(SHARE),
        "--seed",
        "7",
        "--out",
        str(tmp_path / "out.json"),
    ]
    done = subprocess.run(argv, cwd=ROOT / "tests", capture_output=True, timeout=1400, check=False)
    assert done.returncode == 0, done.stdout.decode()[-6000:] + done.stderr.decode()[-2000:]
    rows = {row.pop("target"): row for row in orjson.loads((tmp_path / "out.json").read_bytes())}
    assert all(row == {"tried": row["tried"], "crashes": 0, "hangs": 0, "wrong": 0} for row in rows.values()), rows
    assert sum(row["tried"] for name, row in rows.items() if name.startswith("records")) >= SHARE * WHOLE["records"]
    every = {
        "records plain",
        "records mapped",
        "bundles",
        "store failures",
        "command lines",
        "settings",
        "feature view",
    }
    every |= {"release.yaml", *(f"topic {name}" for name in topics.WAVES)}
    assert rows.keys() - {"API"} == every
    assert ("API" in rows) == api.PROGRAM.exists(), "schemathesis is in an environment of its own"


@pytest.mark.parametrize(
    ("attack", "n"),
    [(bundles.attack, 25), (stores.attack, 12), (files.texts, 900), (files.commands, 10)],
    ids=["bundles", "stores", "texts", "commands"],
)
def test_bundles_stores_texts_and_commands_stand(attack: Callable[[int, int], Counts | list[Counts]], n: int) -> None:
    found = attack(5, n)
    for counts in found if isinstance(found, list) else [found]:
        assert counts.is_clean, counts.told


@pytest.mark.parametrize("source", ["records plain", "records mapped"])
def test_records_of_every_kind_are_decided_or_refused_as_the_contract_says(source: str) -> None:
    found = records.piece(source, 11, 3000)
    assert found.is_clean, found.told
    assert {"good", "bad_id", "bad_time", "card_number", "too_deep", "no_json", "mutated"} <= set(found.seen)


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scorer with a fault of each kind."""
    from scorer.pipeline import decode, size

    monkeypatch.setattr(size, "DEEPEST", 100)
    monkeypatch.setattr(decode, "LONGEST", 64)
    return


@pytest.mark.usefixtures("lenient")
def test_an_attack_finds_what_is_decided_and_should_not_be_and_the_other_way_round() -> None:
    counts = Counts("x")
    for seed in range(4):
        counts.add(records.piece("records plain", seed, 3000))
    assert counts.wrong, counts.seen


def test_an_attack_finds_a_record_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(records, "absorb", raising)
    assert records.piece("records plain", 1, 500).crashes == 1


def test_the_judge_agrees_with_what_the_forge_makes_on_purpose() -> None:
    """Two independent readings of the contract: what is good, and what is bad for a reason."""
    forge, seen = Forge(PLAIN, 5), {True: 0, False: 0}
    for _ in range(3000):
        made = forge.one()
        if made.kind in ("mutated", "card_number") or made.expected is None:
            continue
        found = judged(made.value, None, {}, {}, frozenset())
        assert found is None or found is made.expected, made
        seen[made.expected] += found is not None
    assert min(seen.values()) > 500
    good = replace(forge.good(), key=None)
    assert good.value is not None
    assert judged(good.value + b"}", None, {}, {}, frozenset()) is False
