"""Public data sets from a file to decisions, with real processes: what was trained on is what is decided on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.places import ROOT
from harness.public_layouts import write
from harness.stack import Stack
from scorer.bundles.view_file import load_view
from scorer.pipeline.transaction import Reading
from scorer.settings import ScorerSettings, load
from scorer.sources.files import read_transactions
from scorer.sources.source import Source
from scorer.training.history import read_history

KEY = "0123456789abcdef"


@pytest.mark.parametrize("name", ["sparkov", "tabformer"])
def test_a_file_is_trained_on_and_decided_with_the_same_snapshots(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(name, tmp_path)
    mappings = ROOT / "deploy" / "mappings"
    env = {
        "SCORER_SETTINGS": str(mappings / f"{name}.yaml"),
        "SCORER_VIEW": str(mappings / f"{name}.features.yaml"),
        "SCORER_STORE": str(tmp_path / "bundles"),
        "SCORER_TOKEN_KEY": KEY,
    }
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    settings = load(ScorerSettings)
    view = load_view(settings.view)
    source = Source(settings.mapping, settings.files, view.attributes, settings.token_bytes)
    reading = Reading(settings.money, settings.mapping, view.attributes, settings.card_number_fields)
    wanted = read_history(read_transactions(path, source), view, reading, name)
    snapshots = dict(zip(wanted.ids, wanted.matrix, strict=True))
    with Stack(tmp_path, env) as stack:
        command = ["scorer", "train", str(path), "--param", "num_iterations=10", "--block-rate", "0.06"]
        if name == "tabformer":  # whose made-up rows are all of one category
            told = stack.run(*command, expect=2)
            assert "feature mcc is 5300 in every transaction" in told
            command += ["--without", "mcc"]
        digest = stack.run(*command)
        stack.deploy(digest, "live")
        stack.start("scorer", "run")
        told = stack.run("scorer", "replay", str(path))
        assert "sent 1500 transactions" in told
        stack.until_settled(1500)
        every = stack.decisions()
    assert len(every) == 1500
    assert (len(every) > len(snapshots)) == (name == "tabformer"), "refunds are passed on without a score"
    decisions = [decision for decision in every if decision["transaction"]["transaction_id"] in snapshots]
    assert (
        len(decisions) == len(snapshots) == len({decision["transaction"]["transaction_id"] for decision in decisions})
    )
    for decision in decisions:
        found = np.array(decision["features"], dtype=np.float64)
        np.testing.assert_array_equal(found, snapshots[decision["transaction"]["transaction_id"]])
    frauds = dict(zip(wanted.ids, wanted.labels.tolist(), strict=True))
    blocked = [decision["transaction"]["transaction_id"] for decision in decisions if decision["decision"] == "block"]
    assert sum(frauds[one] for one in blocked) > 0.6 * len(blocked) > 20
