"""A report of made-up numbers with everything in it, also names that would break a page that does not escape them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from shadow.bins import BINS, EDGES, FEATURE_BINS, KINDS
from shadow.claims import Sums
from shadow.criteria import Release
from shadow.drift import DriftLook, Windows, look
from shadow.gate import judge
from shadow.labelled import ChargebackBounds
from shadow.matched import Matched, matched
from shadow.report import Path, Report
from shadow.tally import Run, RunTotals, SegmentTotals

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


def a_histogram(scale: float, shift: float = 0.3) -> np.ndarray:
    """Scores of normal log-odds: live blocks 1 %, the candidate's are higher by so much and agree on most."""
    odds = np.log(EDGES / (1 - EDGES))
    out = np.zeros((len(KINDS), BINS), dtype=np.int64)
    for row, n, middle, sd in ((0, 1e5, -4.0, 1.5), (1, 1e5, -4.0 + shift, 1.5), (2, 1e3, 1.2 + shift, 1.6)):
        below = np.array([0.0, *(NormalDist(middle, sd).cdf(edge) for edge in odds), 1.0])
        out[row] = np.round(np.diff(below) * n * scale)
    out[3:] = out[1:3] * 4200
    return out


def a_second_view(names: Sequence[str]) -> Matched:
    """The candidate at live's block rate; in one segment it blocks more."""
    before, after = (np.stack([a_histogram(1.0 if at == 0 else 0.4) for at in range(len(names))]) for _ in range(2))
    after[2] = a_histogram(0.4, 1.4)
    floor = np.stack([a_histogram(1.0 if at == 0 else 0.4, 0.0) for at in range(len(names))])
    sums = Sums.of(a_run(40, 900), names)
    found = matched(before, after, sums, RELEASE, range(20_500, 20_507), 0.2, (floor, floor, sums))
    assert found is not None
    return found


def a_drift() -> DriftLook:
    """One feature drifts, one has a single value."""
    rng = np.random.default_rng(1)
    cells = rng.poisson(40, (2, 8, 7, len(KINDS), BINS))
    features = rng.poisson(20, (2, 8, 7, 12, FEATURE_BINS))
    features[1, ..., 3, 60:90] += 12
    features[..., 5, :] = 0
    features[..., 5, 7] = 500
    names = [f"card_mean_{n}d" for n in range(11)] + [NASTY]
    within = Windows(tuple(range(20_500, 20_507)), tuple(range(20_514, 20_521)))
    totals = cells.sum(axis=(1, 2))
    return look(cells, features, names, within, 0.01, totals[0], totals[1], 0.005)


def a_part(scale: float, lost: int, added: int) -> SegmentTotals:
    """A segment: live blocks 1 % of so many."""
    both = int(1000 * scale)
    counts = np.array([int(100_000 * scale), both, lost, added])
    return SegmentTotals(
        counts=counts,
        minor=counts * 4200,
        capped=counts[1:] * 4200,
        squares=counts[2:] * 84**2,
        pairs=counts[2:],
        scores=a_histogram(scale),
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
    names = RELEASE.segments.names
    beside = {"matched": a_second_view(names), "drift": a_drift()}
    judgement = judge(totals, a_run(50, 50) if controlled else None, RELEASE, **beside)
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
