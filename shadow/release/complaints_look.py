"""Looks at the complaints around the last release: reads reports and blocks, and has them compared."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from scorer.deployments.records import LIVE, PREVIOUS
from scorer.deployments.slots import Deployments
from shadow.comparison.totals import ALL, LATE_DAY, Run
from shadow.gate.criteria import Release
from shadow.release.after_release import period_of
from shadow.release.complaints import MOST_DAYS, ComplaintLook, Rate, compare, date_of, day_number, split
from shadow.release.look import present_run
from shadow.settings import ShadowSettings
from shadow.store.complaints import ComplaintStore, Reported
from shadow.store.reader import TallyReader

#: Transactions that a shadow could not compare, as a share of those that it did, beyond which its blocks do not count.
MOST_MISSED = 0.01


async def look_at_complaints(
    redis: Any, deployments: Deployments, release: Release, settings: ShadowSettings, at: datetime | None = None
) -> ComplaintLook | None:
    """Compare complaints before and after the last release; None if nothing is watched, or nobody reports any."""
    period, run = period_of(deployments, settings.watch_days), present_run(deployments, PREVIOUS)
    at = at or datetime.now(UTC)
    if period is None or period.since is None or run is None or period.is_over(at):
        return None
    until, released = day_number(at.date()), day_number(period.since.astimezone(UTC).date())
    found = await reported(redis, settings.prefix, date_of(released - MOST_DAYS), date_of(until))
    if not found:
        return None
    after = TallyReader(redis, PREVIOUS, release.segments.names, settings.prefix)
    missed = await _missed(after, run, "since the release")
    former = await _run_before(redis, deployments, release, settings)
    if former is None:
        return _unknown("no shadow ran before the release whose tallies are still there", settings)
    missed = missed or await _missed(*former, "before the release")
    if missed is not None:
        return _unknown(missed, settings)
    days = split(
        {day_number(day): one.complaints for day, one in found.items()},
        await _blocks(*former),
        await _blocks(after, run),
        released,
        until,
    )
    return compare(*days, settings.complaint_rise)


async def reported(redis: Any, prefix: str, first: date, before: date) -> dict[date, Reported]:
    """The reports of the days from one to before another."""
    days = [date_of(day) for day in range(day_number(first), day_number(before))]
    return await ComplaintStore(redis, prefix).days(days)


def _unknown(why: str, settings: ShadowSettings) -> ComplaintLook:
    return ComplaintLook(Rate(0, 0, 0), Rate(0, 0, 0), settings.complaint_rise, thin=why)


async def _run_before(
    redis: Any, deployments: Deployments, release: Release, settings: ShadowSettings
) -> tuple[TallyReader, Run] | None:
    """The run, of any slot, that compared most with the model that was live right before this one."""
    epoch, found = deployments.slot(LIVE).epoch, []
    for slot in sorted(deployments.slots.keys() - {LIVE}):
        store = TallyReader(redis, slot, release.segments.names, settings.prefix)
        found += [(store, info.run) for info in await store.runs() if info.run.live_epoch < epoch]
    last = max((run.live_epoch for _, run in found), default=0)
    sizes = [((await s.totals(run)).compared, at) for at, (s, run) in enumerate(found) if run.live_epoch == last]
    return found[max(sizes)[1]] if sizes else None


async def _missed(store: TallyReader, run: Run, when: str) -> str | None:
    """Why the blocks that a shadow counted are too few to count."""
    totals = await store.totals(run)
    missed = totals.gap + totals.errors
    if missed <= MOST_MISSED * totals.compared:
        return None
    return f"the shadow in slot {store.slot} missed {missed:,} decisions {when}"


async def _blocks(store: TallyReader, run: Run) -> dict[int, int]:
    """Live's blocks by event day."""
    daily = await store.daily(run, [ALL])
    return {day: parts[ALL].live_blocks for day, parts in daily.items() if day != LATE_DAY}
