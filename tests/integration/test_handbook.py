"""Real input: a public card data set that nobody here made, taken in by settings alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from harness.places import HANDBOOK
from harness.stack import Stack, wait_for

SETTINGS = """
view: {folder}/view.yaml
store: {folder}/bundles
cache: {folder}/cache
mapping:
  fields:
    transaction_id: TRANSACTION_ID
    occurred_at: TX_DATETIME
    card_id: CUSTOMER_ID
    merchant_id: TERMINAL_ID
    amount: TX_AMOUNT
  defaults: {{currency: EUR}}
  label: TX_FRAUD
  drop: [TX_FRAUD_SCENARIO]
"""
RELEASE = "schema: 1\nsegments:\n  amount: {field: amount, bands: [20, 100, 200]}\n"


@pytest.mark.needs("data")
def test_a_data_set_of_other_names_is_trained_on_streamed_and_compared(tmp_path: Path) -> None:
    # the stream begins with no velocity, so the history does, too: training counts what is before --from
    history = tmp_path / "history.parquet"
    pq.write_table(
        pq.read_table(HANDBOOK, filters=[("TX_DATETIME", ">=", np.datetime64("2018-08-01T00:00:00"))]), history
    )
    (tmp_path / "view.yaml").write_text("name: handbook\n")
    (tmp_path / "release.yaml").write_text(RELEASE)
    (tmp_path / "scorer.yaml").write_text(SETTINGS.format(folder=tmp_path))
    env = {
        "SCORER_SETTINGS": str(tmp_path / "scorer.yaml"),
        "SHADOW_STORE": str(tmp_path / "bundles"),
        "SHADOW_RELEASE": str(tmp_path / "release.yaml"),
    }
    with Stack(tmp_path, env) as stack:
        train = ["scorer", "train", str(history), "--to", "2018-08-11", "--block-rate", "0.01"]
        live = stack.run(*train, "--param", "num_iterations=20")
        stack.deploy(live, "live")
        stack.deploy(stack.run(*train, "--twin", live), "control")
        stack.start("scorer", "run", ready=False)
        stack.start("shadow", "run", "--slot", "control", ready=False)
        stack.until_ready()
        sent = int(
            stack.run("scorer", "replay", str(HANDBOOK), "--from", "2018-08-11", "--to", "2018-08-12").split()[1]
        )
        assert sent > 9000
        settled = stack.until_settled(sent)
        assert len(settled) == len(set(settled)) == sent
        decisions = stack.decisions()
        assert len(decisions) == sent
        names = decisions[0]["transaction"].keys()
        assert {"transaction_id", "occurred_at", "card_id", "merchant_id", "amount", "currency"} <= names
        assert not {"TX_FRAUD", "TX_FRAUD_SCENARIO", "TX_DATETIME"} & names
        assert 0.002 < sum(d["decision"] == "block" for d in decisions) / sent < 0.03

        def verified() -> bool:
            try:
                return f"{sent} decisions" in stack.run("shadow", "verify", "--slot", "control")
            except (AssertionError, subprocess.SubprocessError):
                return False

        wait_for("verified", verified)
        shown = orjson.loads(stack.run("scorer", "bundle", "show", live, "--json"))
        assert shown["training"]["rows"] > 60_000
