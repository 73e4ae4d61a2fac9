"""Live seen from the model that it replaced: the run of that model's shadow with the two sides exchanged. Pure.

After a release the former model goes on as a shadow. In its run, live is the new model. The gate asks what a candidate
does to live; exchanged, the same sums and reviews say what the new live does to the model before it. So the claims, the
limits and the error of a rejection are those of the gate (`shadow.gate.measure`).

Sums of whole money cannot be exchanged, as the part of live that counts at most (`held`) and the heaviest of the other
side are not kept. So criteria on whole money are left out. Money cut at the cap can: a card-day is at most one cap, so
what counts at most is all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from shadow.comparison.case import Case
from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import CAP_PARTS, CELLS, HEAVIEST_PARTS, RunTotals, SegmentTotals
from shadow.gate.criteria import Release
from shadow.gate.evidence import Evidence

#: Probability that the watch after a release ever finds harm although live keeps every limit.
WATCH_ERROR = 0.01
#: The other side of each disagreement.
_OTHER = {Outcome.LIVE_ONLY: Outcome.CANDIDATE_ONLY, Outcome.CANDIDATE_ONLY: Outcome.LIVE_ONLY}
#: The kinds of card-days with bits 2 (live alone) and 4 (the candidate alone) exchanged.
_CELLS = [kind & 1 | (kind & 2) << 1 | (kind & 4) >> 1 for kind in range(CELLS)]
#: Limits that say nothing of live: how much was compared, and whole money.
_NOT_OF_LIVE = {
    "minimum_transactions": 1,
    "maximum_more_uncapped_amount": None,
    "maximum_fewer_uncapped_amount": None,
}


def mirrored(evidence: Evidence) -> Evidence:
    """Evidence on the former model's shadow as evidence on the new live, without a floor and without the last days.

    There is no A/A control of the former model any more, and a rise of the disagreement alone, as in an attack that the
    new model catches, says nothing against it.
    """
    return replace(
        evidence,
        candidate=mirrored_totals(evidence.candidate),
        floor=None,
        no_floor="the model before this one has no A/A control any more",
        cases=mirrored_cases(evidence.cases),
        recent=None,
        origin=None,
    )


def mirrored_totals(totals: RunTotals) -> RunTotals:
    """The sums of a run with the two models exchanged. What the shadow could not score, or read, is left out."""
    return replace(
        totals,
        segments={name: mirrored_segment(part) for name, part in totals.segments.items()},
        errors=0,
        conflicts=0,
        gap=0,
        resets=(),
        begun=(),
        live_digest=totals.candidate_digest,
        candidate_digest=totals.live_digest,
    )


def mirrored_segment(part: SegmentTotals) -> SegmentTotals:
    """The sums of a segment with the two models exchanged; without scores, whole money and errors.

    Live's money is the base b, and the candidate's alone less live's alone the net change d. Exchanged, the base is
    b + d and the net change -d, and their products follow.
    """
    net, base, _, net_net, net_base, base_base, _, _, live, live_squares, candidate_squares = part.money[0].tolist()
    gain, loss, most = part.tops[0].tolist()
    other, products = base + net, (-(net_base + net_net), base_base + 2 * net_base + net_net)
    money, tops = np.zeros_like(part.money), np.full_like(part.tops, HEAVIEST_PARTS)
    money[0] = (-net, other, other, net_net, *products, *products, live + net, candidate_squares, live_squares)
    tops[0] = loss, gain, min(most + gain, CAP_PARTS)
    return SegmentTotals(
        counts=part.counts[[0, 1, 3, 2]],
        minor=part.minor[[0, 1, 3, 2]],
        capped=part.capped[[0, 2, 1]],
        cells=part.cells[_CELLS],
        money=money,
        tops=tops,
    )


def mirrored_cases(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Disagreements with the two models exchanged."""
    return tuple(replace(case, outcome=_OTHER[case.outcome]) for case in cases)


def watch_criteria(release: Release) -> Release:
    """The criteria for live after a release: the limits of `release` on what is blocked and on harm, with the error of
    the watch."""
    dumped = release.model_dump(mode="json", by_alias=True)
    dumped |= {
        "minimum_covered_hours": 1,
        "tolerated_error_rate": 0.0,
        "reject_error": WATCH_ERROR,
        "require_lineage": False,
        "overall": _eased(dumped["overall"]),
        "per_segment": _eased(dumped["per_segment"]),
        "exceptions": {name: _eased(limits) for name, limits in dumped["exceptions"].items()},
    }
    return Release.again(dumped, release.implied)


def _eased(limits: dict[str, Any]) -> dict[str, Any]:
    return limits | _NOT_OF_LIVE
