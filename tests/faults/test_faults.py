"""A quick part of `make faults`, one scenario of each kind; and the checker notices every kind of harm."""

from __future__ import annotations

from pathlib import Path

import pytest

import faults.scenarios  # noqa: F401 - fills ALL
from faults.run import play
from faults.scenario import ALL
from faults.workload import prepared
from harness.models import Models

pytestmark = [pytest.mark.needs("kafka", "redis")]
QUICK = ("broker_restart", "zombie_scorer", "redis_failover_rollback", "retention_gap")


@pytest.fixture(scope="session")
def models() -> Models:
    return prepared()


@pytest.mark.parametrize("name", QUICK)
def test_nothing_is_lost_doubled_or_miscounted(name: str, models: Models, tmp_path: Path) -> None:
    arena, verdict = play(ALL[name], models, seed=1, folder=tmp_path)
    assert arena.faults, "no fault struck"
    assert verdict.is_clean, "\n".join(verdict.told)
    assert verdict.transactions >= 20_000


def test_every_scenario_says_what_it_does() -> None:
    assert len(ALL) == 30
    assert all(scene.play.__doc__ for scene in ALL.values())
