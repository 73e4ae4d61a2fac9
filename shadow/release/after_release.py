"""The watch after a release: is live worse than the model that it replaced?

The former model goes on as a shadow in slot `previous`. For `watch_days` from the release on, its run is judged with
the sides exchanged (`shadow.gate.mirror`), reviews included.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from scorer.deployments.records import LIVE, PREVIOUS, Answer, Suggestion, Target, Watched
from scorer.deployments.slots import Deployments
from shadow.gate.criteria import Release
from shadow.gate.evidence import Evidence, judged
from shadow.gate.findings import Decision, Judgement, Verdict
from shadow.gate.mirror import mirrored, watch_criteria
from shadow.release.history import instant
from shadow.release.lapse import Lapse, lapse_by_age
from shadow.release.look import present_run
from shadow.release.suggestion import may_be_made
from shadow.settings import ShadowSettings
from shadow.store.labels import LabelStore
from shadow.store.reader import TallyReader

#: Findings that a reason names, at most.
NAMED = 4
#: Who writes what the watch saw.
BY = "shadow serve"


@dataclass(frozen=True, slots=True)
class Period:
    """How long the watch lasts. since: the release, None if its time cannot be read; then the watch does not end."""

    since: datetime | None
    until: datetime | None

    def is_over(self, now: datetime) -> bool:
        return self.until is not None and now >= self.until

    def days(self, now: datetime) -> float:
        """Days since the release, up to the end of the watch."""
        if self.since is None:
            return 0.0
        end = now if self.until is None else min(now, self.until)
        return max(0.0, (end - self.since).total_seconds() / 86_400)


@dataclass(frozen=True)
class Afterwards:
    """Live as the watch sees it at one moment.

    evidence, judgement: with the sides exchanged; criteria: those of the watch. A decision to reject is one against
    live. expects: the epochs that it is about. release: digest of the criteria that these come from.
    """

    period: Period
    at: datetime
    expects: dict[str, int]
    evidence: Evidence
    criteria: Release
    release: str
    judgement: Judgement

    @property
    def is_harm(self) -> bool:
        """Whether live is found to be worse than the model before it."""
        return self.judgement.decision is Decision.REJECT

    @property
    def compared(self) -> int:
        return self.evidence.candidate.compared

    @property
    def reason(self) -> str:
        """What it sees, in one line for people."""
        if not self.compared:
            return f"nothing is compared with the model before it: is there a shadow for slot {PREVIOUS}?"
        if not self.is_harm:
            return f"no harm found in {self.compared:,} transactions beside the model before it"
        failed = [f for f in self.judgement.findings if f.verdict is Verdict.FAIL]
        told = ", ".join(f"{f.criterion} in {f.segment}" for f in failed[:NAMED])
        more = f" and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        return f"live is worse than the model before it: {told}{more}"


def period_of(deployments: Deployments, days: float) -> Period | None:
    """The watch over the present live model; None if there is none before it, or the kill switch decides."""
    previous, live = deployments.slot(PREVIOUS), deployments.slot(LIVE)
    if previous.digest is None or live.digest is None or live.override is not None or not days:
        return None
    since = None if previous.since is None else instant(previous.since)
    return Period(since, None if since is None else since + timedelta(days=days))


async def look_afterwards(
    redis: Any, deployments: Deployments, release: Release, settings: ShadowSettings
) -> Afterwards | None:
    """Judge live beside the model that it replaced; None if nothing is to be watched."""
    period, run = period_of(deployments, settings.watch_days), present_run(deployments, PREVIOUS)
    if period is None or run is None:
        return None
    expects = epochs(deployments)
    store = TallyReader(redis, PREVIOUS, release.segments.names, settings.prefix)
    totals = await store.totals(run)
    cases = await store.cases(run)
    known = await LabelStore(redis, settings.prefix).known(cases)
    seen = Evidence(totals, None, "", deployments.minor_per_unit, tuple(cases), tuple(known), None)
    return afterwards(seen, release, period, expects, datetime.now(UTC))


def afterwards(seen: Evidence, release: Release, period: Period, expects: dict[str, int], at: datetime) -> Afterwards:
    """The watch's look at evidence on the former model's shadow."""
    evidence, criteria = mirrored(seen), watch_criteria(release)
    return Afterwards(period, at, expects, evidence, criteria, release.digest, judged(evidence, criteria))


def epochs(deployments: Deployments) -> dict[str, int]:
    """The epochs of live and of slot `previous`: what the watch is about."""
    return {name: deployments.slot(name).epoch for name in (LIVE, PREVIOUS)}


def rollback_proposal(deployments: Deployments, seen: Afterwards, bundles: dict[str, Any]) -> Suggestion | None:
    """The suggestion to put the former model back; None if live is not found to be worse, a slot has changed since, the
    watch is over, or the same suggestion stands, was rejected, or comes and goes (`may_be_made`).

    bundles: facts about the former model, kept with the evidence.
    """
    if not seen.is_harm or epochs(deployments) != seen.expects or seen.period.is_over(seen.at):
        return None
    if not may_be_made(deployments, PREVIOUS, seen.expects, seen.release, seen.at):
        return None
    previous = deployments.slot(PREVIOUS)
    return Suggestion(
        action="rollback",
        change="rollback",
        slot=PREVIOUS,
        target=Target(digest=previous.digest, threshold=previous.threshold),
        expects=seen.expects,
        criteria=seen.release,
        evidence={
            "run": str(seen.evidence.candidate.run),
            "live": deployments.slot(LIVE).digest,
            "compared": seen.compared,
            "judgement": {**seen.judgement.to_json(), "reason": seen.reason},
            "bundle": bundles,
            "twin": None,
        },
        at=seen.at.isoformat(),
    )


def is_refused(deployments: Deployments, seen: Afterwards) -> bool:
    """Whether a person has rejected to put the former model back: they know of it, and nobody has to be woken."""
    mine = {
        line.seq
        for line in deployments.ledger
        if isinstance(line.entry, Suggestion)
        and line.entry.slot == PREVIOUS
        and (line.entry.expects, line.entry.criteria) == (seen.expects, seen.release)
    }
    return any(isinstance(line.entry, Answer) and line.entry.suggestion in mine for line in deployments.ledger)


def lapse_of_rollback(suggestion: Suggestion, seen: Afterwards) -> Lapse | None:
    """Why a suggestion to roll back is to be withdrawn; None while it stands."""
    if not seen.is_harm:
        return Lapse("verdict" if suggestion.criteria == seen.release else "criteria", seen.reason)
    return lapse_by_age(suggestion, seen.release, seen.at)


def report(deployments: Deployments, seen: Afterwards) -> Watched | None:
    """What the watch saw, once it is over; None before, or if the ledger has it."""
    if not seen.period.is_over(seen.at) or epochs(deployments) != seen.expects or not seen.compared:
        return None
    if any(isinstance(line.entry, Watched) and line.entry.expects == seen.expects for line in deployments.ledger):
        return None
    verdict: Literal["no_harm", "harm"] = "harm" if seen.is_harm else "no_harm"
    return Watched(
        expects=seen.expects,
        verdict=verdict,
        reason=seen.reason,
        compared=seen.compared,
        days=round(seen.period.days(seen.at), 2),
        by=BY,
        at=seen.at.isoformat(),
    )


def told_in_words(suggestion: Suggestion, reason: str) -> Suggestion:
    """A suggestion to roll back whose verdict says what it means for live."""
    judgement = {**suggestion.evidence["judgement"], "reason": reason}
    return suggestion.model_copy(update={"evidence": {**suggestion.evidence, "judgement": judgement}})


def without_cases(seen: Afterwards) -> Afterwards:
    """A look that is kept to be shown: the cases, of which there may be many, are not."""
    return replace(seen, evidence=replace(seen.evidence, cases=(), known=()))
