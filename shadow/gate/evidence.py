"""What a verdict follows from: given the same evidence and criteria, the verdict is the same. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from shadow.comparison.bins import Counts
from shadow.comparison.case import Case
from shadow.comparison.totals import RunTotals
from shadow.gate.criteria import Release
from shadow.gate.drift import DriftLook
from shadow.gate.findings import Judgement
from shadow.gate.groups import Group
from shadow.gate.harm import HarmClaim, harm_claims, label_claims, labelled
from shadow.gate.judge import judge
from shadow.gate.matched import Matched
from shadow.gate.origin import Origin
from shadow.gate.recency import Recent, recent_of, score_shift
from shadow.gate.sums import Sums
from shadow.labels.label import Known


@dataclass(frozen=True)
class RecentEvidence:
    """What the criteria on the last days follow from.

    path, floor: sums up to the end of each event day, (T, S) and so on, of the candidate and of the A/A control; None
    if the floor is not known. skipped: event days of the run before those of the path. before, late: histograms of
    scores, int64 (KINDS, BINS), of the run before its last days and of these; None while the run is too short.
    clustering: counted values that are worth one independent value.
    """

    path: Sums
    floor: Sums | None
    skipped: int
    before: Counts | None
    late: Counts | None
    clustering: float


@dataclass(frozen=True)
class Evidence:
    """What a verdict follows from.

    candidate: the sums of its run, without the resets that the criteria tolerate. floor: those of the A/A control; None
    if the floor is not known, and no_floor says why. cases: of the run, by hash; known: what is known of each. recent:
    None if the last days are not judged. origin: of the candidate; None if nobody has looked.
    """

    candidate: RunTotals
    floor: RunTotals | None
    no_floor: str
    minor_per_unit: float
    cases: tuple[Case, ...]
    known: tuple[Known, ...]
    recent: RecentEvidence | None
    origin: Origin | None = None


def of_segments(evidence: Evidence, names: Sequence[str], wanted: Sequence[str]) -> Evidence:
    """Evidence on fewer segments. names: its own, in order. wanted: some of them. Raises ValueError for any other."""
    if evidence.recent is None:
        return evidence
    rows = [names.index(name) for name in wanted]

    def of(sums: Sums) -> Sums:
        arrays = {field.name: getattr(sums, field.name) for field in fields(Sums)}
        return Sums(**{name: array[:, rows] for name, array in arrays.items()})

    recent = evidence.recent
    floor = None if recent.floor is None else of(recent.floor)
    return replace(evidence, recent=replace(recent, path=of(recent.path), floor=floor))


def recent_from(evidence: RecentEvidence, release: Release) -> Recent:
    """What the last days say."""
    recent = recent_of(evidence.path, evidence.floor, 1, release, skipped=evidence.skipped).at(-1)
    if evidence.before is None or evidence.late is None:
        return recent
    shift = score_shift(evidence.before, evidence.late, evidence.clustering, release.promote_error)
    return Recent(recent.claims, shift)


def claims_of(
    cases: Sequence[Case],
    known: Sequence[Known],
    candidate: RunTotals,
    floor: RunTotals | None,
    release: Release,
    minor_per_unit: float,
) -> list[HarmClaim]:
    """The claims on harm that follow from labels, and from the size of the disagreement."""
    names, cap_minor = release.segments.names, release.cap_minor(minor_per_unit)
    sums, beside = Sums.of(candidate, names), None if floor is None else Sums.of(floor, names)
    by_labels = label_claims(labelled(cases, known, names, cap_minor), sums, release)
    return harm_claims(by_labels, sums, beside, release)


def judged(
    evidence: Evidence,
    release: Release,
    matched: Matched | None = None,
    drift: DriftLook | None = None,
    group: Group | None = None,
    claims: Sequence[HarmClaim] | None = None,
    recent: Recent | None = None,
) -> Judgement:
    """The verdict on evidence. matched, drift, group: passed on for information; they decide nothing.

    claims, recent: what `claims_of` and `recent_from` make of it, if somebody has worked it out before.
    """
    if claims is None:
        of = evidence.candidate, evidence.floor, release, evidence.minor_per_unit
        claims = claims_of(evidence.cases, evidence.known, *of)
    if recent is None and evidence.recent is not None:
        recent = recent_from(evidence.recent, release)
    return judge(
        evidence.candidate,
        evidence.floor,
        release,
        evidence.minor_per_unit,
        labelled=[claim.labels for claim in claims],
        matched=matched,
        drift=drift,
        recent=recent,
        no_floor=evidence.no_floor,
        group=group,
        origin=evidence.origin,
    )
