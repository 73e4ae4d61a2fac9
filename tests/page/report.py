"""A report of made-up numbers with everything in it, also names that would break a page that does not escape them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from harness.samples import a_sample
from harness.totals import of_cards
from shadow.comparison.bins import BINS, EDGES, FEATURE_BINS, KINDS
from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import Contribution, Sample
from shadow.comparison.totals import Run, RunTotals, SegmentTotals
from shadow.gate.criteria import Release
from shadow.gate.drift import DriftLook, Windows, drift_between
from shadow.gate.harm import ChargebackBounds
from shadow.gate.judge import judge
from shadow.gate.matched import Matched, matched
from shadow.gate.sums import Sums
from shadow.report.document import EvidencePath, Report

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
    return drift_between(cells, features, names, within, 0.01, totals[0], totals[1], 0.005)


def a_part(scale: float, lost: int, added: int) -> SegmentTotals:
    """A segment: live blocks 1 % of so many."""
    both = int(1000 * scale)
    counts = np.array([int(100_000 * scale), both, lost, added])
    return SegmentTotals(
        counts=counts,
        minor=counts * 4200,
        capped=counts[1:] * 4200,
        scores=a_histogram(scale),
        **{name: np.array(value) for name, value in of_cards(counts[1:], 84).items()},
    )


def a_run(lost: int, added: int) -> RunTotals:
    """Every segment alike but for the last, in which little happens."""
    names = RELEASE.segments.names
    parts = {name: a_part(1.0 if name == "all" else 0.4, lost, added) for name in names[:-1]}
    return RunTotals(Run(1, 1), parts, 400, live_digest="a" * 64, candidate_digest="b" * 64)


def a_telling_sample(n: int, gap: float) -> Sample:
    """A disagreement with everything that a page shows of it, names that look like markup among it."""
    return a_sample(
        n,
        gap=gap,
        transaction={"transaction_id": f"t-{n}{NASTY}", "occurred_at": "2026-02-01T12:00:00.123Z"},
        amount_minor=1234,
        outcome=Outcome.LIVE_ONLY if n % 2 else Outcome.CANDIDATE_ONLY,
        segments=("all", "country=DE", "amount=<50"),
        why=(Contribution(NASTY, None, 0.0, 1.25, 1.25),),
    )


def a_report(lost: int = 40, added: int = 900, controlled: bool = True) -> Report:
    """By default a candidate that blocks far too much."""
    totals = a_run(lost, added)
    names = RELEASE.segments.names
    beside = {"matched": a_second_view(names), "drift": a_drift()}
    judgement = judge(totals, a_run(50, 50) if controlled else None, RELEASE, **beside)
    hours = range(1, 401)
    paths = [
        EvidencePath("more_blocks", "all", [-1.0] * 400, [h / 60 for h in hours]),
        EvidencePath("fewer_blocks", "amount=<50", [math.log10(h) for h in hours], [-1.0] * 400),
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
        samples=[a_telling_sample(n, n / 10) for n in range(10)],
        review={"run": "L1-C1", "waiting": 986, "cases": {"fraud": 40, "legit": 17}, "segments": [need]},
        chargebacks={"all": ChargebackBounds(-0.4, 0.02, 0.125, 2)},
        gaps=["Partition 2: retention took decisions 10-20 before they were compared"],
        minor_per_unit=100.0,
        currency="EUR",
    )
