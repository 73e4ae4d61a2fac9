"""A quick part of `make faults`, a scenario of each kind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import faults.scenarios  # noqa: F401 - fills ALL
from faults.run import play
from faults.scenario import ALL
from faults.workload import prepared
from harness.models import Models
from harness.places import ROOT

on_servers = pytest.mark.needs("kafka", "redis")
QUICK = ("broker_restart", "zombie_scorer", "redis_failover_rollback", "retention_gap")


@pytest.fixture(scope="session")
def models() -> Models:
    return prepared()


@on_servers
@pytest.mark.parametrize("name", QUICK)
def test_nothing_is_lost_doubled_or_miscounted(name: str, models: Models, tmp_path: Path) -> None:
    arena, verdict = play(ALL[name], models, seed=1, folder=tmp_path)
    assert arena.faults, "no fault struck"
    assert verdict.is_clean, "\n".join(verdict.told)
    assert verdict.transactions >= 20_000


def test_every_scenario_says_what_it_does_and_is_in_the_runbook() -> None:
    assert len(ALL) >= 37
    assert all(scene.told for scene in ALL.values())
    runbook = (ROOT / "deploy" / "runbooks" / "failure-modes.md").read_text()
    assert [name for name in ALL if f"`{name}`" not in runbook] == []


def test_every_metric_and_alert_of_the_runbook_is_there() -> None:
    runbook = (ROOT / "deploy" / "runbooks" / "failure-modes.md").read_text()
    declared = (ROOT / "docs" / "metrics.md").read_text()
    named = set(re.findall(r"\b(?:scorer|shadow)_[a-z_]+", runbook))
    rules = (ROOT / "deploy" / "prometheus" / "rules" / "alerts.yaml").read_text()
    alerts = {name for told in re.findall(r"Alert: ([^.|]*)", runbook) for name in re.findall(r"`([A-Z]\w+)`", told)}
    assert len(named | alerts) > 10
    assert [name for name in sorted(alerts) if f"alert: {name}\n" not in rules] == []
    assert [name for name in sorted(named) if f"`{name}`" not in declared] == []
