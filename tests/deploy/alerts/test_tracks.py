"""The tracks leave no alert out."""

from __future__ import annotations

from deploy.alerts.tracks import BOARDS, LAG, tracks
from monitoring.alerts import ALERTS


def test_there_is_a_fault_for_each_alert() -> None:
    every = [BOARDS, LAG, *(alert.name for alert in ALERTS)]
    steps = [step for track in tracks(every) for step in track.steps]
    assert sorted(steps) == sorted(every)


def test_a_track_without_anything_chosen_is_left_out() -> None:
    assert [(track.name, list(track.steps)) for track in tracks(["DecisionConflict"])] == [
        ("shadow", ["DecisionConflict"])
    ]
