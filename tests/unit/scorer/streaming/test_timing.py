"""The times of a group member fit each other."""

from __future__ import annotations

import pytest

from scorer.errors import SettingsError
from scorer.settings import ScorerSettings, load
from scorer.streaming.timing import checked_timing


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"heartbeat_seconds": 4.0}, "heartbeat_seconds"),
        ({"request_seconds": 5.0}, "request_seconds"),
        ({"request_seconds": 11.0, "fetch_wait_ms": 3000}, "fetch_wait_ms"),
    ],
)
def test_times_that_do_not_fit_each_other_are_told(changes: dict[str, float], told: str) -> None:
    checked_timing(load(ScorerSettings))
    with pytest.raises(SettingsError, match=told):
        checked_timing(load(ScorerSettings, **changes))
