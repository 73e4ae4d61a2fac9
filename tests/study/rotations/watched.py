"""How often the watch raises a false alarm, and how soon it finds harm: simulated promotions, looked at twice a day."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from shadow.comparison.totals import Run, SegmentTotals
from shadow.gate.harm import label_claims, labelled
from shadow.gate.measure import FAIL, RunProgress, measure
from shadow.gate.mirror import mirrored_cases, mirrored_segment, watch_criteria
from shadow.gate.sums import Sums
from study.rotations.world import NAMES, RELEASE, Drawn, Harm, draw, reviewed, totals_of, up_to

DAYS = 14
#: Reviews a day of the cases on which live and the former model differ.
REVIEWS = 100
#: New live models that keep to every limit, some of them just so.
GOOD = (
    Harm(),
    Harm(gains=0.1),
    Harm(loses=0.045),
    Harm(insults=0.09),
    Harm(loses=0.09, country="FR"),
    Harm(insults=0.18, country="ES"),
    Harm(loses=0.03, insults=0.05, gains=0.03),
)
#: Harm of twice the limit.
BAD = (
    Harm(loses=0.1),
    Harm(insults=0.2),
    Harm(loses=0.2, country="DE"),
    Harm(loses=0.2, country="FR"),
    Harm(loses=0.2, country="ES"),
    Harm(insults=0.4, country="FR"),
    Harm(loses=0.1, insults=0.1),
)
_WATCH = watch_criteria(RELEASE)


@dataclass(frozen=True)
class Watch:
    """harm: of the new live model. day: of the alarm, None if there was none in a fortnight."""

    harm: Harm
    day: int | None


def exchanged(drawn: Drawn, path: Sums, day: int) -> list[SegmentTotals]:
    """The sums of all segments at the end of a day as the watch sees them."""
    found = totals_of(
        Sums(**{name: getattr(path, name)[day] for name in Sums.__dataclass_fields__}), day + 1, Run(2, 1)
    )
    return [mirrored_segment(found.segments[name]) for name in NAMES]


def watch(which: str, at: int, seed: int) -> Watch:
    """One promotion. which: `good` or `bad`."""
    rng = np.random.default_rng([53, seed, which == "bad", at])
    choices = GOOD if which == "good" else BAD
    harm = choices[at % len(choices)]
    drawn = draw(rng, DAYS, harm)  # live is the former model here
    drawn = Drawn(drawn.day, np.choose(drawn.side, [0, 2, 1]), drawn.parts, drawn.where, drawn.fraud, drawn.rank,
                  drawn.allowed)  # fmt: skip
    path = drawn.by_day(DAYS)
    cases, known = reviewed(drawn, DAYS, rng, REVIEWS)
    for day in range(DAYS):
        sums = Sums.of_segments(exchanged(drawn, path, day))
        some, said = up_to(cases, known[day], day)
        pairs = labelled(mirrored_cases(some), said, NAMES, _WATCH.cap_minor(100.0))
        progress = RunProgress(*(np.array(0) for _ in range(3)))
        seen = measure(sums, None, progress, _WATCH, label_claims(pairs, sums, _WATCH))
        if int(seen.decisions) == FAIL:
            return Watch(harm, day + 1)
    return Watch(harm, None)


def upper(events: int, n: int) -> float:
    """The upper 95 % bound of a share. Source: Clopper and Pearson (1934)."""
    from scipy.special import betaincinv

    return 1.0 if events >= n else float(betaincinv(events + 1, n - events, 0.95))


def within_a_week(found: list[Watch]) -> float:
    """The share of alarms within seven days."""
    return sum(one.day is not None and one.day <= 7 for one in found) / len(found) if found else math.nan
