"""Office hours are read as written, hold in their own time zone, and nothing else is taken for them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scorer.process.office_hours import office_hours


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_hours_hold_in_their_zone_summer_time_included() -> None:
    hours = office_hours("mon-fri 09:00-17:00 Europe/Berlin")
    assert hours is not None
    winter, summer = "2026-01-05", "2026-07-06"  # Mondays
    assert [hours.hold(at(f"{winter}T{t}:00Z")) for t in ("07:59", "08:00", "15:59", "16:00")] == [
        False, True, True, False
    ]  # fmt: skip
    assert [hours.hold(at(f"{summer}T{t}:00Z")) for t in ("06:59", "07:00", "14:59", "15:00")] == [
        False, True, True, False
    ]  # fmt: skip
    assert not hours.hold(at("2026-01-10T10:00:00Z")), "a Saturday"


def test_a_zone_may_turn_the_day() -> None:
    hours = office_hours("MON 08:00-10:00 Pacific/Auckland")
    assert hours is not None
    assert hours.hold(at("2026-01-04T19:30:00Z")), "Monday there"


def test_without_a_text_there_are_none_and_without_a_zone_it_is_utc() -> None:
    assert office_hours("  ") is None
    hours = office_hours("sun 00:00-23:59")
    assert hours is not None
    assert hours.hold(datetime(2026, 1, 4, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    "text",
    [
        "always", "mon-fri", "mon-fri 9-17", "mon-fri 09:00-17:00 Europe/Berlin x", "mon-fri 25:00-26:00",
        "mon-fri 17:00-09:00", "mon-fri 09:00-09:00", "mon-fri 09:00-17:00 Mars/Base", "mon-fri 09:00-17:00 ../../etc",
        "mon-fri 09:00-17:00 /etc/passwd", "xyz 09:00-17:00", "mon-fri 09:00-17:00\n",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    if text.endswith("\n"):  # blanks around it are nobody's fault
        assert office_hours(text) is not None
        return
    with pytest.raises(ValueError, match=r"expected days|end before"):
        office_hours(text)
