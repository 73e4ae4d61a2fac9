"""Reviews as people do them: what to look at next, what it shows, and what they say of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from scorer.deployments import Deployments
from shadow.cases import Case
from shadow.criteria import Release
from shadow.labelfeed import send
from shadow.labels import Known, Label, State, Verdict, vote
from shadow.labelstore import LabelStore
from shadow.look import Look, look
from shadow.readback import TallyReader
from shadow.review import Need, needs, turns
from shadow.settings import ShadowSettings


@dataclass(frozen=True)
class Queue:
    """The review queue of a slot's present run. turns: cases that wait, in order, each with the segment it is for."""

    seen: Look
    cases: Sequence[Case]
    known: Sequence[Known]
    needs: tuple[Need, ...]
    turns: tuple[tuple[Case, str], ...]

    @property
    def progress(self) -> dict[str, Any]:
        """For people and machines: where each segment stands."""
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
    """The queue of a slot now. Raises UserError if the slot is empty."""
    seen = await look(redis, deployments, slot, release, settings)
    states = [one.review for one in seen.labels.known]
    wanted = needs(seen.labels.claims, seen.label_segments, release.segments.names, -math.log(release.promote_error))
    waiting = turns(seen.labels.cases, states, wanted)
    return Queue(seen, seen.labels.cases, seen.labels.known, tuple(wanted), tuple(waiting))


async def hand_out(
    redis: Any, deployments: Deployments, queue: Queue, settings: ShadowSettings, by: str, count: int
) -> list[dict[str, Any]]:
    """The next cases for somebody, theirs for some minutes; nobody else is handed them meanwhile."""
    slot, run = queue.seen.slot, queue.seen.candidate.run
    labels = LabelStore(redis, settings.prefix)
    store = TallyReader(redis, slot, (), settings.prefix)
    out: list[dict[str, Any]] = []
    for case, segment in queue.turns:
        if len(out) == count:
            break
        if await labels.lease(slot, case.transaction, by, settings.review_minutes):
            sample = await store.sample_of(run, case)
            beside = [other for other in queue.cases if other.card == case.card and other is not case]
            out.append(_shown(case, segment, sample, beside, deployments, 10.0**settings.minor_digits))
    return out


def _shown(
    case: Case,
    segment: str,
    sample: dict[str, Any] | None,
    beside: Sequence[Case],
    deployments: Deployments,
    minor_per_unit: float,
) -> dict[str, Any]:
    """What is needed to decide a case. What the models say is apart: who has seen it answers for the model."""
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
    view = deployments.views.get(sample["view"])
    told["transaction"] = sample["transaction"]
    if view is not None:
        told["features"] = dict(zip(view["names"], sample["features"], strict=True))
    told["models"] |= {"live": sample["live"], "candidate": sample["candidate"], "why": sample["why"]}
    return told


async def mark(
    redis: Any, settings: ShadowSettings, slot: str, transaction: str, verdict: Verdict, by: str, reason: str | None
) -> None:
    """Put a review on record: on the topic first, then at once in the store, which takes it in again from the topic."""
    now = datetime.now(UTC)
    label = Label(
        transaction_id=transaction,
        source="review",
        verdict=verdict,
        at=now.isoformat(timespec="milliseconds"),
        by=by,
        reason=reason,
    )
    await send(settings, [label])
    labels = LabelStore(redis, settings.prefix, settings.label_days)
    await labels.merge([vote(label, 0)], {})
    await labels.release(slot, transaction)
