"""What to do where `shadow.gate.planning` forecasts that a segment does not settle: more traffic, more reviews, wider
limits, or a line that excuses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from shadow.comparison.totals import ALL
from shadow.gate.criteria import Criterion, Kind, Limits, Release, SegmentLimits
from shadow.gate.planning import Forecast, Reviews, Traffic, plan

#: Multiples of the traffic and of reviews a day that are tried where a segment does not settle; reviews to begin with.
MORE_TRAFFIC, MORE_REVIEWS, SOME_REVIEWS = (1.5, 2.0, 3.0, 5.0, 8.0), (1.0, 2.0, 4.0), 20.0
#: Multiples of limits that are tried.
WIDER_LIMITS = (1.5, 2.0, 3.0)
#: Simulated runs of each of these.
TRIED = 40


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would settle a segment: so many times its traffic, or so many reviews a day, or wider limits.

    The first two are None, and limits is empty, if not even the most that is tried is enough. limits: fields of
    `release.yaml` with the values that would do, of the criteria that lack evidence.
    """

    segment: str
    traffic: float | None
    reviews: float | None
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """A line for people."""
        ways = []
        if self.traffic is not None:
            ways.append(f"with about {self.traffic:g} times its traffic: merge it with other segments, or wait longer")
        if self.reviews is not None:
            ways.append(f"with about {self.reviews:g} reviews a day")
        if self.limits:
            ways.append(f"with {', '.join(f'{name} {value:g}' for name, value in self.limits.items())}")
        return (
            f"{self.segment} would settle {', or '.join(ways)}" if ways else f"{self.segment}: nothing tried would do"
        )


def remedies(
    traffic: Traffic,
    release: Release,
    horizon: int,
    rng: np.random.Generator,
    people: Reviews,
    forecasts: Sequence[Forecast],
) -> list[Remedy]:
    """What would settle the segments that do not, of those that have to."""
    never = [f.segment for f in forecasts if not f.settles and not release.excuses(Criterion.TRANSACTIONS, f.segment)]

    def first(tries: Iterable[tuple[float, Traffic, Reviews]]) -> dict[str, float]:
        """The first of the tries with which each segment settles."""
        out: dict[str, float] = {}
        for told, given, asked in tries:
            if len(out) < len(never):
                found = plan(given, release, horizon, TRIED, rng, asked)
                out |= {f.segment: told for f in found if f.settles and f.segment in never and f.segment not in out}
        return out

    by_traffic = first(
        (n, replace(traffic, transactions=traffic.transactions * n, blocks=traffic.blocks * n), people)
        for n in MORE_TRAFFIC
    )
    a_day = max(SOME_REVIEWS, 2 * people.per_day)
    by_reviews = first((n * a_day, traffic, replace(people, per_day=n * a_day)) for n in MORE_REVIEWS)
    by_limits: dict[str, Mapping[str, float]] = {}
    open_ones = {f.segment: _widened(f, release) for f in forecasts if f.segment in never}
    for n in WIDER_LIMITS:
        left = {name: limits for name, limits in open_ones.items() if limits and name not in by_limits}
        if left:
            wider = {name: {key: n * value for key, value in limits.items()} for name, limits in left.items()}
            found = plan(traffic, _with_limits(release, wider), horizon, TRIED, rng, people)
            by_limits |= {f.segment: wider[f.segment] for f in found if f.settles and f.segment in wider}
    return [Remedy(name, by_traffic.get(name), by_reviews.get(name), by_limits.get(name, {})) for name in never]


def _widened(forecast: Forecast, release: Release) -> dict[str, float]:
    """The limits of the criteria that lack evidence in a segment; empty where one of them has no limit to widen."""
    limits = release.limits(forecast.segment)
    out = {}
    for criterion in forecast.lacking:
        if criterion.kind not in (Kind.CHANGE, Kind.HARM, Kind.FLOOR, Kind.RECENT):
            return {}
        name = str(criterion.limit_field)
        if criterion is not Criterion.EXCESS_DISAGREEMENT:  # follows from those on harm
            out[name] = float(getattr(limits, name))
    return out


def _with_limits(release: Release, by_segment: Mapping[str, Mapping[str, float]]) -> Release:
    """The criteria with some limits of some segments replaced. A limit on the excess that nobody wrote follows."""
    overall, exceptions = release.overall, dict(release.exceptions)
    for name, limits in by_segment.items():
        before = release.limits(name)
        written = before.model_dump(include=before.model_fields_set) | dict(limits)
        if name == ALL:
            overall = Limits.model_validate(written)
        else:
            kept = release.limits(name).model_dump() | dict(limits)
            kept.pop("maximum_excess_disagreement", None)
            exceptions[name] = SegmentLimits.model_validate(kept)
    return release.model_copy(update={"overall": overall, "exceptions": exceptions})


def advice(forecasts: Sequence[Forecast], release: Release) -> list[str]:
    """Lines that this traffic needs in `may_stay_insufficient` and `release.yaml` does not have yet.

    All traffic is never excused: without it nothing can be judged.
    """
    never = [f.segment for f in forecasts if not f.settles and f.segment != ALL]
    return [f"*: {segment}" for segment in never if not release.excuses(Criterion.TRANSACTIONS, segment)]
