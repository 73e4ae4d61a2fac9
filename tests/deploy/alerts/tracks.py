"""Faults on several stages at a time, each in a thread of its own: most of what they take is waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from deploy.alerts.boards import look
from deploy.alerts.faults import EVIDENCE_FAULTS, LIVE_FAULTS, SHADOW_FAULTS, Fault
from deploy.alerts.monitor import Told
from deploy.alerts.stage import Stage
from deploy.alerts.strike import prometheus_dies, struck
from harness.manifests import built, find
from harness.models import Models

#: Steps that are no faults: the dashboards are looked at, Kafka is asked what KEDA asks, and Prometheus dies.
BOARDS, LAG, WATCHDOG = "dashboards", "lag", "Watchdog"
#: Longest wait until everybody on a stage is at work and no alert is pending.
WARM_SECONDS = 180.0

Step = Callable[[Stage], Any]


def live_path(stage: Stage) -> None:
    """No candidate; whatever live is replaced by goes on in slot `previous`."""
    for start in (stage.scorer, partial(stage.shadow, "control"), partial(stage.shadow, "previous"), stage.serve):
        start()
    stage.until('namespace_slot:shadow_judged:rate{slot="control"} > 0', WARM_SECONDS)


def with_a_candidate(stage: Stage) -> None:
    """A candidate beside the control, a few labels, and fewer bad records than would be told."""
    stage.bad_share, stage.label_share = 0.002, 0.01
    stage.stack.deploy(stage.models.candidate, "candidate")
    for start in (stage.scorer, partial(stage.shadow, "control"), partial(stage.shadow, "candidate"), stage.serve):
        start()
    stage.until('namespace_slot:shadow_judged:rate{slot="candidate"} > 0', WARM_SECONDS)
    stage.until('namespace_slot:shadow_clean_period:max{slot="candidate"} > 0.2', WARM_SECONDS)


@dataclass
class Track:
    """Steps on a stage, in their order. done: what came of each. told: what receivers were told up to the last."""

    name: str
    cast: Callable[[Stage], None]
    steps: dict[str, Step]
    done: dict[str, Future[Any]] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

    def start(self, folder: Path, models: Models, ready: threading.Barrier) -> threading.Thread:
        """Take the steps in a thread. What goes wrong is told to who waits for a step.

        ready: where the tracks wait for each other before anything is struck, as whoever starts keeps a machine busy.
        """
        self.done = {name: Future() for name in self.steps}
        thread = threading.Thread(target=self._run, args=(folder, models, ready), name=self.name)
        thread.start()
        return thread

    def _run(self, folder: Path, models: Models, ready: threading.Barrier) -> None:
        try:
            with Stage(folder, models) as stage:
                self.cast(stage)
                ready.wait(2 * WARM_SECONDS)
                left = stage.quiet(seconds=WARM_SECONDS)
                assert left == set(), f"{self.name}: before anything was struck"
                for name, step in self.steps.items():
                    begun = time.monotonic()
                    found = step(stage)
                    print(f"{self.name}: {name}: {time.monotonic() - begun:.0f} s: {found}", flush=True)
                    self.told = list(stage.monitor.notified(0))
                    self.done[name].set_result(found)
        except BaseException as error:  # an assertion of the harness, too
            ready.abort()
            for waiting in self.done.values():
                if not waiting.done():
                    waiting.set_exception(error)


def tracks(chosen: Collection[str]) -> list[Track]:
    """Those that have a chosen step, with their chosen steps only."""
    found = [
        Track("live", live_path, {LAG: lag, **_striking(LIVE_FAULTS), WATCHDOG: prometheus_dies}),
        Track("evidence", with_a_candidate, _with_boards(EVIDENCE_FAULTS)),
        Track("shadow", with_a_candidate, _striking(SHADOW_FAULTS)),
    ]
    for track in found:
        track.steps = {name: step for name, step in track.steps.items() if name in chosen}
    return [track for track in found if track.steps]


def _striking(faults: dict[str, Fault]) -> dict[str, Step]:
    return {alert: partial(struck, alert=alert, fault=fault) for alert, fault in faults.items()}


def _with_boards(faults: dict[str, Fault]) -> dict[str, Step]:
    """The dashboards are looked at when the run has seen a good deal, and before it is replaced by another."""
    steps: dict[str, Step] = {}
    for name, step in _striking(faults).items():
        if name == "CleanPeriodReset":
            steps[BOARDS] = look
        steps[name] = step
    return steps


def lag(stage: Stage) -> dict[int, int]:
    """Records that wait, by partition, of the group and topic that KEDA's trigger names: as its scaler works it out."""
    trigger = find(built("production", "keda"), "ScaledObject", "scorer")["spec"]["triggers"][0]["metadata"]
    committed = stage.wire.committed(trigger["consumerGroup"])
    ends = stage.wire.ends_by_partition(trigger["topic"])
    return {p: end - committed[trigger["topic"], p] for p, end in ends.items() if (trigger["topic"], p) in committed}


def reports(run: Sequence[Track]) -> list[dict[str, Any]]:
    """What came of every fault that was struck to its end."""
    ended = (done.result() for track in run for done in track.done.values() if done.done() and not done.exception())
    return [found for found in ended if isinstance(found, dict) and "alert" in found]
