"""Two real scorers under load, spoiled one way after the other: each alert on a fault of scorers fires, and is over.

Their rule tests are in tests/deploy/rules; here it is shown that what a real scorer exports makes them fire.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from deploy.alerts.stage import ON_STAGE, Stage
from faults.scenario import injected
from harness import models
from harness.patience import PATIENCE_SECONDS
from harness.signing import signing, smuggle

#: Longest wait until everybody is at work, for an alert, and for its end.
WARM_SECONDS, FIRE_SECONDS, RESOLVE_SECONDS = 180.0, 120.0, 180.0
pytestmark = ON_STAGE


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two scorers that can be spoiled, and `shadow serve`, which tells what the ledger names."""
    made = models.make(tmp_path_factory.mktemp("models"))
    with Stage(tmp_path_factory.mktemp("stage"), made) as begun:
        begun.stack.env |= {**injected("spoiling"), "SPOIL_IN": str(begun.folder)}
        begun.stack.env |= {"SCORER_SIGNING_KEY": signing(begun.stack, ann="releaser")["ann"]}
        for name in ("scorer", "other"):
            begun.start(name, "scorer", "run")
        begun.start("serve", "shadow", "serve")
        begun.until("namespace:scorer_decisions:rate > 0", WARM_SECONDS)
        begun.until("namespace:scorer_workers:count == 2", WARM_SECONDS)
        yield begun


@contextmanager
def spoiled(stage: Stage, what: str, *names: str) -> Iterator[None]:
    orders = [stage.folder / f"{what}-{stage.workers[name].process.pid}" for name in names]
    for order in orders:
        order.touch()
    yield
    for order in orders:
        order.unlink()


def switch(stage: Stage, option: str, wait: str = "30") -> None:
    """Turn the kill switch on or off, and wait for the scorers; it may say that they do not follow."""
    command = ("scorer", "deploy", option, "--by", "ann", "--reason", "a test", "--wait", wait)
    stage.stack.begin(*command).communicate(timeout=PATIENCE_SECONDS)


@contextmanager
def a_partition_gets_nothing(stage: Stage) -> Iterator[None]:
    with spoiled(stage, "partition", "scorer", "other"):
        yield


@contextmanager
def a_model_gives_no_number(stage: Stage) -> Iterator[None]:
    with spoiled(stage, "score", "scorer"):
        time.sleep(2)
    yield


@contextmanager
def a_transaction_raises(stage: Stage) -> Iterator[None]:
    with spoiled(stage, "raised", "scorer"):
        time.sleep(2)
    yield


@contextmanager
def the_kill_switch_is_on(stage: Stage) -> Iterator[None]:
    switch(stage, "--block-all")
    yield
    switch(stage, "--resume")


@contextmanager
def no_scorer_takes_up_the_kill_switch(stage: Stage) -> Iterator[None]:
    """They agree with each other, and not with the ledger."""
    with spoiled(stage, "deaf", "scorer", "other"):
        switch(stage, "--block-all", wait="1")
        yield
    switch(stage, "--resume")


@contextmanager
def somebody_changes_live_without_a_key(stage: Stage) -> Iterator[None]:
    smuggle(stage.stack, stage.models.candidate)
    yield


@contextmanager
def a_scorer_dies(stage: Stage) -> Iterator[None]:
    stage.workers["other"].kill()
    yield
    stage.start("another", "scorer", "run")


FAULTS: dict[str, tuple[str, Callable[[Stage], AbstractContextManager[None]]]] = {
    "partition": ("PartitionStuck", a_partition_gets_nothing),
    "score": ("RecordsNotDecidable", a_model_gives_no_number),
    "raised": ("RecordsNotDecidable", a_transaction_raises),
    "override": ("KillSwitchOn", the_kill_switch_is_on),
    "epoch": ("LiveWorkersDisagree", no_scorer_takes_up_the_kill_switch),
    "unsigned": ("LedgerEntryRefused", somebody_changes_live_without_a_key),
    "replica": ("ScorerLost", a_scorer_dies),  # last: which scorer is which changes
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_scorer_fires_its_alert_and_it_is_over_afterwards(stage: Stage, fault: str) -> None:
    alert, harm = FAULTS[fault]
    stage.monitor.until_no(alert, RESOLVE_SECONDS)
    began = time.monotonic()
    with harm(stage):
        fired = stage.monitor.until_told(alert, True, began, FIRE_SECONDS)
    if alert == "RecordsNotDecidable":
        assert fired.labels["field"] == fault
    if alert == "PartitionStuck":
        assert fired.labels["partition"] == "0"
    stage.monitor.until_told(alert, False, fired.at, RESOLVE_SECONDS)
