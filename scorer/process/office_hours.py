"""The hours in which automation may act: `mon-fri 09:00-17:00 Europe/Berlin`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, tzinfo
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = "|".join(DAYS)
_FORM = re.compile(rf"({_DAY})(?:-({_DAY}))? (\d\d:\d\d)-(\d\d:\d\d)(?: (\S+))?")
EXPECTED = "expected days, hours and a time zone, such as `mon-fri 09:00-17:00 Europe/Berlin`"


@dataclass(frozen=True, slots=True)
class OfficeHours:
    """days: 0 for Monday. begin, end: of each day, in `zone`; the end is not included."""

    days: frozenset[int]
    begin: time
    end: time
    zone: tzinfo

    def hold(self, at: datetime) -> bool:
        """Whether a time, which has a time zone, is in these hours."""
        there = at.astimezone(self.zone)
        return there.weekday() in self.days and self.begin <= there.time() < self.end


def office_hours(text: str) -> OfficeHours | None:
    """Read office hours; None for an empty text, which is at any time. Raises ValueError for any other text.

    >>> found = office_hours("fri-mon 09:00-17:30")
    >>> sorted(found.days), found.hold(datetime.fromisoformat("2026-01-05T16:00:00+00:00"))
    ([0, 4, 5, 6], True)
    """
    if not text.strip():
        return None
    match = _FORM.fullmatch(text.strip().lower() if "/" not in text else _lowered(text.strip()))
    if match is None:
        raise ValueError(EXPECTED)
    first = DAYS.index(match[1])
    last = first if match[2] is None else DAYS.index(match[2])
    days = frozenset((first + n) % 7 for n in range((last - first) % 7 + 1))
    try:
        begin, end = time.fromisoformat(match[3]), time.fromisoformat(match[4])
        zone = ZoneInfo((match[5] or "UTC").upper() if match[5] in (None, "utc") else match[5])
    except (ValueError, KeyError, OSError):
        raise ValueError(EXPECTED) from None
    if begin >= end:
        raise ValueError("the hours end before they begin")
    return OfficeHours(days, begin, end, zone)


def _lowered(text: str) -> str:
    """Days in small letters; the zone keeps its own."""
    before, _, zone = text.rpartition(" ")
    return f"{before.lower()} {zone}"
