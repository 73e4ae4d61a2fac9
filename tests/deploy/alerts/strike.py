"""A fault and what came of it: when its alert fired, what else did, when it was over."""

from __future__ import annotations

import time
from typing import Any

from deploy.alerts.faults import Fault
from deploy.alerts.monitor import GROUP_SECONDS
from deploy.alerts.stage import Stage

#: Longest wait for an alert, and for its end: a busy machine is no fault of theirs.
FIRE_SECONDS, RESOLVE_SECONDS = 120.0, 180.0


def struck(stage: Stage, alert: str, fault: Fault) -> dict[str, Any]:
    """What came of a fault: seconds until the webhook knew, and from the mend until it knew that it was over."""
    start = time.monotonic()
    at_work = fault(stage)
    next(at_work)
    fired = told(stage, alert, True, start, FIRE_SECONDS)
    mended = time.monotonic()
    next(at_work, None)
    resolved = told(stage, alert, False, start, RESOLVE_SECONDS)
    left = stage.quiet() or forgotten(stage)
    others = {t.alert for t in stage.monitor.notified(start) if t.is_firing} | left
    return {
        "alert": alert,
        "fired_s": fired and round(fired - start, 1),
        "others": sorted(others - {alert, "Watchdog"}),
        "resolved_s": None if alert in left else resolved and round(resolved - mended, 1),
    }


def told(stage: Stage, alert: str, is_firing: bool, since: float, seconds: float) -> float | None:
    """When the webhook was told so; None if it was not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for one in stage.monitor.notified(since):
            if one.alert == alert and one.is_firing is is_firing:
                return one.at
        time.sleep(0.1)
    return None


def forgotten(stage: Stage) -> set[str]:
    """Wait until Alertmanager knows of nothing, and has told the last of it; what it knows still."""
    deadline = time.monotonic() + RESOLVE_SECONDS
    while (known := stage.monitor.known()) and time.monotonic() < deadline:
        time.sleep(0.5)
    time.sleep(2 * GROUP_SECONDS)
    return known


def prometheus_dies(stage: Stage) -> dict[str, Any]:
    """The watchdog is told from the start, and no more when nobody evaluates rules. Nothing can be struck then."""
    fired = min(t.at for t in stage.monitor.notified(0) if t.alert == "Watchdog")
    mended = time.monotonic()
    stage.monitor.stop_prometheus()
    resolved = told(stage, "Watchdog", False, mended, RESOLVE_SECONDS)
    return {
        "alert": "Watchdog",
        "fired_s": round(fired - stage.monitor.began, 1),
        "others": sorted({t.alert for t in stage.monitor.notified(mended) if t.is_firing} - {"Watchdog"}),
        "resolved_s": resolved and round(resolved - mended, 1),
    }
