"""The reviewers' desk: opens the queue of a slot, hands out cases, and records the answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from shadow.comparison.case import Case
from shadow.comparison.query import Query
from shadow.comparison.sample import Sample
from shadow.gate.criteria import Release
from shadow.gate.harm import needs
from shadow.intake.topic import send
from shadow.labels.decided import Decision, decisions
from shadow.labels.label import OPEN, Known, LabelVerdict, State, parse, vote
from shadow.labels.queue import Need, offered, turns
from shadow.release.look import Look, look
from shadow.release.named import require_transaction
from shadow.release.status import SlotVerdict
from shadow.settings import ShadowSettings
from shadow.store.labels import LabelStore
from shadow.store.reader import TallyReader
from shadow.store.samples import SampleReader

#: Cases of which one command asks who has them open.
CLAIMS = 200


@dataclass(frozen=True)
class Queue:
    """The review queue of a slot's current run.

    cases: all cases of the run. known: what is known of each, in the same order. needs: where each segment stands.
    turns: the cases that wait for a review, next first, each with the segment whose turn it is.
    """

    seen: Look
    cases: Sequence[Case]
    known: Sequence[Known]
    needs: tuple[Need, ...]
    turns: tuple[tuple[Case, str], ...]

    @property
    def progress(self) -> dict[str, Any]:
        """Where the reviews of each segment stand, as JSON."""
        states = Counter(one.review for one in self.known)
        return {
            "run": str(self.seen.candidate.run),
            "waiting": len(self.turns),
            "cases": {state.value: states[state] for state in State if states[state]},
            "segments": [asdict(need) for need in self.needs],
        }


async def open_queue(
    redis: Any, deployments: Deployments, slot: str, release: Release, settings: ShadowSettings
) -> Queue:
    """The review queue of a slot, as of now. Raises UserError if the slot is empty."""
    return queue_of(await look(redis, deployments, slot, release, settings), release)


async def reopened(redis: Any, seen: Look, release: Release, settings: ShadowSettings) -> Queue:
    """The review queue at an earlier look, with the reviews that stand now. How far each segment is, is as of the look:
    to count that anew takes all sums of the run, and people wait for their next case."""
    fresh = tuple(await LabelStore(redis, settings.prefix).known(seen.labels.cases))
    return queue_of(replace(seen, labels=replace(seen.labels, known=fresh)), release)


def queue_of(seen: Look, release: Release) -> Queue:
    """The review queue at a look."""
    states = [one.review for one in seen.labels.known]
    wanted = needs(seen.labels.claims, seen.label_segments, release.segments.names, -math.log(release.promote_error))
    waiting = turns(seen.labels.cases, states, wanted)
    return Queue(seen, seen.labels.cases, seen.labels.known, tuple(wanted), tuple(waiting))


def verdict_of(seen: Look, release: Release) -> SlotVerdict:
    """The verdict of a look, and how many cases wait for a review."""
    return SlotVerdict(seen.judgement.decision, seen.judgement.reason, len(queue_of(seen, release).turns))


async def hand_out(
    redis: Any, deployments: Deployments, queue: Queue, settings: ShadowSettings, by: str, count: int
) -> list[dict[str, Any]]:
    """The next cases for a reviewer. Nobody else gets them for `review_minutes`."""
    slot, run = queue.seen.slot, queue.seen.candidate.run
    store = TallyReader(redis, slot, (), settings.prefix)
    out: list[dict[str, Any]] = []
    async for case, segment in claimed(redis, queue, settings, by):
        sample = await store.sample_of(run, case)
        beside = [other for other in queue.cases if other.card == case.card and other is not case]
        out.append(_shown(case, segment, sample, beside, deployments, deployments.minor_per_unit))
        if len(out) == count:
            break
    return out


async def claimed(redis: Any, queue: Queue, settings: ShadowSettings, by: str) -> AsyncIterator[tuple[Case, str]]:
    """The cases for a reviewer, next first, each leased to them before it is yielded; those that they have open, and
    those assigned to them, come first of any CLAIMS."""
    slot, labels = queue.seen.slot, LabelStore(redis, settings.prefix)
    assigned = {name: one.to for name, one in (await labels.assignments(slot)).items()}
    theirs = [turn for turn in queue.turns if turn[0].transaction in assigned]
    rest = [turn for turn in queue.turns if turn[0].transaction not in assigned]
    for some in [theirs + rest[:CLAIMS], *(rest[at : at + CLAIMS] for at in range(CLAIMS, len(rest), CLAIMS))]:
        names = [case.transaction for case, _ in some]
        holders = dict(zip(names, await labels.holders(slot, names), strict=True))
        for case, segment in offered(some, by, holders, assigned):
            if await labels.lease(slot, case.transaction, by, settings.review_minutes):
                yield case, segment


async def decided(redis: Any, cases: Sequence[Case], settings: ShadowSettings) -> list[Decision]:
    """What people decided of cases, newest first."""
    labels = LabelStore(redis, settings.prefix)
    subjects = {subject for case in cases for subject in case.subjects}
    return decisions(cases, await labels.of(subjects), await labels.notes(subjects))


def _shown(
    case: Case,
    segment: str,
    sample: Sample | None,
    beside: Sequence[Case],
    deployments: Deployments,
    minor_per_unit: float,
) -> dict[str, Any]:
    """A case as JSON for a reviewer. What the models say is in `models`, apart, so that a caller can withhold it:
    reviewers who see it tend to agree with it."""
    told: dict[str, Any] = {
        "transaction_id": case.transaction,
        "segment": segment,
        "occurred_at": datetime.fromtimestamp(case.occurred_ms / 1000, UTC).isoformat(timespec="seconds"),
        "amount": case.minor / minor_per_unit,
        "same_card": [
            {
                "transaction_id": other.transaction,
                "occurred_at": datetime.fromtimestamp(other.occurred_ms / 1000, UTC).isoformat(timespec="seconds"),
                "amount": other.minor / minor_per_unit,
            }
            for other in sorted(beside, key=lambda other: other.occurred_ms)
        ],
        "transaction": None,
        "features": None,
        "models": {"blocked_by": "live" if case.is_live_only else "candidate"},
    }
    if sample is None:
        return told
    view = deployments.views.get(sample.view)
    told["transaction"] = sample.transaction
    if view is not None:
        told["features"] = dict(zip(view.names, sample.features, strict=True))
    found = sample.to_json()
    told["models"] |= {name: found[name] for name in ("live", "candidate", "why")}
    return told


async def mark(
    redis: Any,
    settings: ShadowSettings,
    slot: str,
    transaction: str,
    verdict: LabelVerdict,
    by: str,
    reason: str | None,
) -> None:
    """Record a review: on the topic, then in the store, so that it counts at once. The store will read it again from
    the topic, which changes nothing.

    Raises UnknownNameError if no run of the slot keeps the transaction, BrokerError if Kafka does not take it,
    UserError if it is not valid.
    """
    now = datetime.now(UTC)
    said = {
        "transaction_id": transaction,
        "source": "review",
        "verdict": verdict,
        "at": now.isoformat(timespec="milliseconds"),
        "by": by,
        "reason": reason,
    }
    try:
        label = parse(said, settings.card_number_fields)
    except ValueError as error:
        raise UserError(f"label: {error}") from None
    await require_kept(redis, slot, settings.prefix, transaction)
    await send(settings, [label])
    labels = LabelStore(redis, settings.prefix, settings.label_days)
    await labels.merge([vote(label, 0)], {})
    await labels.release(slot, transaction)
    if verdict != OPEN:
        await labels.unassign(slot, [transaction])


async def require_kept(redis: Any, slot: str, prefix: str, transaction: str) -> None:
    """Raise UnknownNameError unless a run of the slot has the transaction among its cases or samples."""
    store, samples = TallyReader(redis, slot, (), prefix), SampleReader(redis, slot, prefix)
    runs = [info.run for info in reversed(await store.runs())]
    cases: set[str] = set()
    for run in runs:
        cases |= {case.transaction for case in await store.cases(run)}
        if transaction in cases:
            return
    wanted = Query(transaction=transaction, agreements=True, limit=1)
    for run in runs:
        if (await samples.find(run, wanted, 1.0)).total:
            return
    require_transaction(cases, slot, transaction)
