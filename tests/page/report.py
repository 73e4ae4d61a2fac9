"""A report of made-up numbers with everything in it, also names that would break a page that does not escape them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from shadow.criteria import Release
from shadow.gate import judge
from shadow.labelled import ChargebackBounds
from shadow.report import Path, Report
from shadow.tally import BINS, Run, RunTotals, SegmentTotals

NASTY = '<script>alert(1)</script>"&'
RELEASE = Release.model_validate(
    {
        "schema": 1,
        "segments": {
            "country": {"field": "country", "values": ["DE", NASTY]},
            "amount": {"field": "amount", "bands": [50, 100]},
        },
    }
)


def a_part(scale: float, lost: int, added: int) -> SegmentTotals:
    """A segment: live blocks 1 % of so many."""
    both = int(1000 * scale)
    scores = np.round(100_000 * scale * np.exp(-((np.arange(BINS) - BINS / 4) ** 2) / (BINS / 4))).astype(np.int64)
    counts = np.array([int(100_000 * scale), both, lost, added])
    return SegmentTotals(
        counts=counts,
        minor=counts * 4200,
        capped=counts[1:] * 4200,
        squares=counts[2:] * 84**2,
        pairs=counts[2:],
        live_scores=scores,
        candidate_scores=np.roll(scores, 1),
    )


def a_run(lost: int, added: int) -> RunTotals:
    """Every segment alike but for the last, in which little happens."""
    names = RELEASE.segments.names
    parts = {name: a_part(1.0 if name == "all" else 0.4, lost, added) for name in names[:-1]}
    return RunTotals(Run(1, 1), parts, 400, live_digest="a" * 64, candidate_digest="b" * 64)


def a_sample(n: int) -> dict[str, Any]:
    return {
        "transaction_id": f"t-{n}{NASTY}",
        "occurred_at": "2026-02-01T12:00:00.123Z",
        "amount_minor": 1234,
        "outcome": "live_only" if n % 2 else "candidate_only",
        "gap": n / 10,
        "live": {"score": 0.25},
        "candidate": {"score": 0.75},
        "segments": ["all", "country=DE", "amount=<50"],
        "why": [{"feature": NASTY, "difference": 1.25}],
    }


def a_report(lost: int = 40, added: int = 900, controlled: bool = True) -> Report:
    """By default a candidate that blocks far too much."""
    totals = a_run(lost, added)
    judgement = judge(totals, a_run(50, 50) if controlled else None, RELEASE)
    hours = range(1, 401)
    paths = [
        Path("more_blocks", "all", [-1.0] * 400, [h / 60 for h in hours]),
        Path("fewer_blocks", "amount=<50", [math.log10(h) for h in hours], [-1.0] * 400),
    ]
    need = {"segment": "all", "reviewed": 57, "settled": 0.31, "more": 126}
    return Report(
        slot="candidate",
        at="2026-02-01T12:00:00+00:00",
        totals=totals,
        judgement=judgement,
        criteria=RELEASE.digest,
        segments=RELEASE.segments.names,
        thresholds=(0.1, 0.2),
        paths=paths,
        bar=-math.log10(RELEASE.promote_error),
        samples=[a_sample(n) for n in range(10)],
        review={"run": "L1-C1", "waiting": 986, "cases": {"fraud": 40, "legit": 17}, "segments": [need]},
        chargebacks={"all": ChargebackBounds(-0.4, 0.02, 0.125, 2)},
        gaps=["Partition 2: retention took decisions 10-20 before they were compared"],
        minor_per_unit=100.0,
    )
