"""The product with a real Prometheus and Alertmanager: a fault of each severity fires its alert, reaches who is to know
and nobody else, and resolves. What every other rule does is in tests/deploy/rules.

One of them only: `pytest -m deploy tests/deploy/alerts -k ShadowStoreTrouble`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis

from deploy.alerts.boards import look
from deploy.alerts.monitor import RECEIVERS, Monitor
from deploy.alerts.stage import ON_STAGE, RATE, WINDOWS, Stage
from harness import models
from harness.manifests import built, find
from harness.stack import PARTITIONS
from monitoring.alerts import ALERTS

#: Longest wait until everybody is at work, for an alert, and for its end: a busy machine is no fault of theirs.
WARM_SECONDS, FIRE_SECONDS, RESOLVE_SECONDS = 180.0, 120.0, 180.0
#: Queries that are empty here: the stream is of some hours, and what follows the first days of a run wants days.
OF_DAYS = {
    "release: Thresholds C",
    "release: Extra blocks at live's block rate A",
    "release: Drift index as a multiple of its limit A",
    "release: Distance of scores from the first days A",
}
SEVERITY = {alert.name: alert.severity for alert in ALERTS}
pytestmark = ON_STAGE


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Live, a candidate, one that blocks everything, and their control under load, with a few labels, and fewer bad
    records than would be told."""
    made = models.make(tmp_path_factory.mktemp("models"))
    with Stage(tmp_path_factory.mktemp("stage"), made) as begun:
        begun.stack.deploy(made.candidate, "candidate")
        begun.stack.deploy(made.candidate, "challenger", threshold=0)
        begun.start("scorer", "scorer", "run")
        for slot in ("control", "candidate", "challenger"):
            begun.start(slot, "shadow", "run", "--slot", slot)
        begun.start("serve", "shadow", "serve")
        begun.until('namespace_slot:shadow_judged:rate{slot="candidate"} > 0', WARM_SECONDS)
        begun.until('namespace_slot:shadow_clean_period:max{slot="candidate"} > 0.2', WARM_SECONDS)
        begun.until('namespace_slot:shadow_gate_decision:max{slot="challenger"} == -1', WARM_SECONDS)
        begun.monitor.until_quiet(WARM_SECONDS)
        yield begun


def test_every_panel_of_the_dashboards_has_data_and_links_lead_to_samples(stage: Stage) -> None:
    seen = look(stage)
    assert set(seen.empty) <= OF_DAYS
    assert seen.wrong == []
    assert seen.visited > 20


@pytest.mark.needs("kustomize")
def test_keda_finds_the_lag_of_the_scorers_where_it_asks(stage: Stage) -> None:
    """Every partition is committed to, and little waits: a group or a topic of another name would have no offsets.
    Worked out as its scaler does, from what its trigger names."""
    trigger = find(built("production", "keda"), "ScaledObject", "scorer")["spec"]["triggers"][0]["metadata"]
    committed = stage.wire.committed(trigger["consumerGroup"])
    ends = stage.wire.ends_by_partition(trigger["topic"])
    waiting = [end - committed[trigger["topic"], p] for p, end in ends.items() if (trigger["topic"], p) in committed]
    assert len(waiting) == PARTITIONS
    assert all(0 <= n < RATE * 20 for n in waiting), waiting


@contextmanager
def the_scorer_stands_still_for_seconds(stage: Stage) -> Iterator[None]:
    """Not killed: what a new process did before its first scrape is not seen to rise."""
    stage.workers["scorer"].pause()
    time.sleep(8)
    stage.workers["scorer"].resume()
    yield


@contextmanager
def redis_refuses_to_write(stage: Stage) -> Iterator[None]:
    """As after the loss of a replica that it must have. That the shadows compare nothing then is no news of its own."""
    with redis.Redis(port=stage.stack.store.port) as client:
        client.config_set("min-replicas-to-write", 1)
        yield
        client.config_set("min-replicas-to-write", 0)


@contextmanager
def the_candidate_is_deployed_anew(stage: Stage) -> Iterator[None]:
    """While the stream is of this hour only, so that a new run covers fewer hours than the last one did."""
    hours, stage.hours = stage.hours, 1
    stage.stack.deploy(stage.models.candidate, "candidate")
    yield
    stage.hours = hours


FAULTS: dict[str, Callable[[Stage], AbstractContextManager[None]]] = {
    "LiveLatencyBudgetBurn": the_scorer_stands_still_for_seconds,
    "ShadowStoreTrouble": redis_refuses_to_write,
    "CleanPeriodReset": the_candidate_is_deployed_anew,
}


@pytest.mark.parametrize("alert", FAULTS)
def test_a_fault_fires_its_alert_and_nothing_else_and_resolves(stage: Stage, alert: str) -> None:
    monitor = stage.monitor
    monitor.until_quiet(RESOLVE_SECONDS)
    began = time.monotonic()
    with FAULTS[alert](stage):
        fired = monitor.until_told(alert, True, began, FIRE_SECONDS)
    monitor.until_told(alert, False, fired.at, RESOLVE_SECONDS)
    monitor.until_quiet(RESOLVE_SECONDS)
    told = monitor.told_since(began)
    assert {one.alert for one in told} - {"Watchdog"} == {alert}
    for one in told:
        assert not any(re.search(r"<no value>|\{\{|<error", text) for text in one.annotations.values()), one
        assert one.receiver == RECEIVERS[SEVERITY[one.alert]], one


def test_the_watchdog_is_told_until_nobody_evaluates_rules(tmp_path: Path) -> None:
    with Monitor(tmp_path, WINDOWS) as monitor:
        fired = monitor.until_told("Watchdog", True, 0, FIRE_SECONDS)
        assert fired.receiver == RECEIVERS[SEVERITY["Watchdog"]]
        monitor.stop_prometheus()
        monitor.until_told("Watchdog", False, fired.at, RESOLVE_SECONDS)


def test_a_fault_of_every_severity_is_tried() -> None:
    assert sorted(SEVERITY[alert] for alert in [*FAULTS, "Watchdog"]) == sorted(set(SEVERITY.values()))
