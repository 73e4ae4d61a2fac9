"""The largest undeclared group: where a candidate differs from live most, by what no segment declares.

A candidate that is dead for one device or one merchant category may be fine in every declared segment. So the sampled
comparisons are looked at by every categorical attribute, by hours of the day, and by weekends: how large a share of
live's blocks the candidate loses in a group, or how much it adds to them, against all the rest.

Samples have unequal inclusion probabilities, so each weighs the inverse of its own (Horvitz and Thompson 1952). A
group counts as many independent values as its weights are worth (Kish 1965), one of each card and day. The log of the
ratio of the two rates is compared with a normal distribution. Everything looked at shares one error, on the n-th event
day a part of 6 / (pi * n)^2 of it, so that it holds for all days together.

A group informs: it names a segment that release.yaml had better declare, and decides nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import scipy  # which loads `special` where it is first used

from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import Sample
from shadow.gate.shares import percent

#: Hours of the day and parts of the week, in UTC.
HOURS, WEEK = "hour of day", "part of week"
BANDS = ("0-6", "6-12", "12-18", "18-24")
#: Chance that any group is ever named where a candidate differs from live everywhere alike.
ERROR = 0.01
#: Added to each count of independent values, so that an empty group has a variance.
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Row:
    """A sampled comparison. inclusion: probability of being sampled. cluster: card and day. values: by attribute."""

    outcome: Outcome
    inclusion: float
    cluster: tuple[str, int]
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """A group in which the candidate differs from live more than elsewhere.

    side: what differs more. rate, elsewhere: disagreements of this side as shares of live's blocks, in the group and in
    all the rest. blocks: the group's share of live's blocks. excess: what the group adds to the disagreements of all
    traffic, as a share of live's blocks.
    """

    attribute: str
    value: str
    side: str
    rate: float
    elsewhere: float
    blocks: float
    excess: float

    @property
    def told(self) -> str:
        """A line for people."""
        does = "live alone blocks" if self.side == Outcome.LIVE_ONLY.key else "the candidate alone blocks"
        name, size = f"{self.attribute}={self.value}", percent(self.blocks)
        return (
            f"largest undeclared group: {name}, {size} of live's blocks; there {does} {percent(self.rate)} of these, "
            f"elsewhere {percent(self.elsewhere)}; declare it as a segment to have it judged"
        )


def rows_of(samples: Iterable[Sample], attributes: Sequence[str]) -> list[Row]:
    """The samples on which anybody blocks, one of each card, day and outcome, with their groups."""
    seen: set[tuple[str, int, Outcome]] = set()
    out = []
    for sample in samples:
        at = datetime.fromtimestamp(sample.occurred_ms / 1000, UTC)
        cluster = sample.card_id, at.toordinal()
        if sample.outcome is Outcome.BOTH_ALLOW or (*cluster, sample.outcome) in seen:
            continue
        seen.add((*cluster, sample.outcome))
        values = {name: str(sample.transaction.get(name)) for name in attributes}
        values |= {HOURS: BANDS[at.hour // 6], WEEK: "weekend" if at.weekday() >= 5 else "weekday"}
        out.append(Row(sample.outcome, sample.inclusion_probability, cluster, values))
    return out


@dataclass(slots=True)
class _Sum:
    """Weights of a group: their sum, and the number of independent values that they are worth."""

    weight: float = 0.0
    squares: float = 0.0

    def add(self, weight: float) -> None:
        self.weight += weight
        self.squares += weight * weight

    @property
    def worth(self) -> float:
        return self.weight**2 / self.squares if self.squares else 0.0


def largest_group(rows: Sequence[Row], event_days: int, error: float = ERROR) -> Group | None:
    """The group that adds most to the disagreements, of those that are no chance; None if there is none.

    event_days: of the run so far; one look a day is reckoned with.
    """
    sums: dict[tuple[str, str, Outcome], _Sum] = defaultdict(_Sum)
    whole: dict[Outcome, _Sum] = defaultdict(_Sum)
    for row in rows:
        weight = 1 / row.inclusion
        whole[row.outcome].add(weight)
        for attribute, value in row.values.items():
            sums[attribute, value, row.outcome].add(weight)
    places = sorted({(attribute, value) for attribute, value, _ in sums})
    if not places:
        return None
    day = max(1, event_days)
    bar = math.log(error * 6 / (math.pi * day) ** 2 / (2 * len(places)))
    found = []
    for attribute, value in places:
        for side in (Outcome.LIVE_ONLY, Outcome.CANDIDATE_ONLY):
            group = _group(attribute, value, side, {o: sums[attribute, value, o] for o in Outcome}, whole, bar)
            if group is not None:
                found.append(group)
    return max(found, key=lambda group: group.excess, default=None)


def _group(
    attribute: str,
    value: str,
    side: Outcome,
    inside: Mapping[Outcome, _Sum],
    whole: Mapping[Outcome, _Sum],
    bar: float,
) -> Group | None:
    """A group, if a candidate that differs from live everywhere alike would hardly show it. bar: log of the chance."""

    def rest(outcome: Outcome) -> _Sum:
        return _Sum(whole[outcome].weight - inside[outcome].weight, whole[outcome].squares - inside[outcome].squares)

    ours, theirs = (inside[side], inside[Outcome.BOTH_BLOCK]), (rest(side), rest(Outcome.BOTH_BLOCK))
    if not ours[0].weight or theirs[1].weight <= 0:
        return None
    variance = sum(1 / (max(0.0, part.worth) + _HALF) for part in (*ours, *theirs))
    odds = [math.log((differ.weight + _HALF) / (both.weight + _HALF)) for differ, both in (ours, theirs)]
    if float(scipy.special.log_ndtr(-(odds[0] - odds[1]) / math.sqrt(variance))) > bar:
        return None
    blocks, elsewhere = (
        part[Outcome.BOTH_BLOCK].weight + part[Outcome.LIVE_ONLY].weight
        for part in (inside, {o: rest(o) for o in (Outcome.BOTH_BLOCK, Outcome.LIVE_ONLY)})
    )
    if blocks <= 0 or elsewhere <= 0:
        return None
    rate, beside = ours[0].weight / blocks, max(0.0, theirs[0].weight) / elsewhere
    share = blocks / (blocks + elsewhere)
    return Group(attribute, value, side.key, rate, beside, share, (rate - beside) * share)
