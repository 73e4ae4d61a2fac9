"""What people decide about a slot: promotion, rejection, rollback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from scorer.deployments.changes import forced, promotion, rollback
from scorer.deployments.deploy import asked, now
from scorer.deployments.evidence import ended, told_lost
from scorer.deployments.ledger import StaleChangeError, append, read
from scorer.deployments.pending import outdated, two_or_one
from scorer.deployments.records import (
    CANDIDATE,
    LIVE,
    PREVIOUS,
    Answer,
    Approval,
    Change,
    Forced,
    Judged,
    Prepare,
    WorkerReport,
)
from scorer.deployments.slots import Deployments, LedgerLine
from scorer.errors import UserError
from scorer.kafka.topics import group_members
from scorer.people import Who
from shadow.gate.criteria import Release
from shadow.gate.findings import Judgement
from shadow.release.criteria_file import load_release
from shadow.release.evidence import gathered
from shadow.release.lapse import Lapse, unsettled
from shadow.release.look import look
from shadow.release.named import require_slot
from shadow.release.obstacles import verdict_of, weigh, why_not_as_seen
from shadow.release.suggestion import withdraw
from shadow.release.twin import missing_twin, twin_of_live
from shadow.release.wording import why_changed, why_empty, why_no_suggestion, why_no_way_back
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling

#: Time between two looks at what the scorers answered.
POLL_SECONDS = 0.2


class NotReadyError(UserError):
    """A scorer could not load the bundle, or did not answer in time."""


async def approve(
    settings: ShadowSettings,
    slot: str,
    who: Who | str,
    reason: str,
    threshold: float | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    automatic: Callable[[Deployments], None] | None = None,
    seen: str | None = None,
) -> tuple[LedgerLine, Deployments]:
    """Put a slot's bundle live, and the old live model into slot `previous`.

    The run is judged again, by the criteria in force now. A suggestion that no longer holds is withdrawn on the ledger.
    What needs two people is, at first, only approved: then the line has an `Approval`, and no scorer is asked.

    who: a text is a name that nobody has verified. threshold: of the new live model, instead of the slot's. force: go
    ahead whatever stands against it (`weigh`), and even if a scorer cannot load the bundle; the ledger keeps that, with
    the verdict at this moment. tell: takes a line on what happens. automatic: nobody asked for it; called with the
    state that it would change, and raises UserError if automation may not act. seen: the ledger key of the suggestion
    that `who` has seen; then that one has to stand, forced or not. Raises UserError if the slot is empty,
    something stands against a promotion, or somebody changed a slot meanwhile; NotReadyError naming the scorers that
    did not load the bundle.
    """
    release = load_release(settings.release)
    who, by = known(who)
    deployments = await read(settings)
    require_slot(deployments, slot)
    candidate = deployments.slot(slot)
    if candidate.digest is None:
        raise UserError(why_empty(deployments, slot))
    if slot == PREVIOUS:
        raise UserError(
            f"slot {PREVIOUS}: its model goes live by `shadow rollback --by … --reason …`, not by an approval"
        )
    judgement = await _judged(settings, deployments, slot, release, force)
    found = weigh(deployments, slot, judgement, release.digest, threshold, datetime.now(UTC))
    if found.against and not force:
        told = found.against[0]
        if found.suggestion is not None and found.withdrawal is not None:
            await withdraw(settings, found.suggestion, found.withdrawal, by)
            told += "; its suggestion is withdrawn"
        raise UserError(told)
    if seen is not None and (found.suggestion != seen or found.withdrawal is not None):
        raise UserError(why_not_as_seen(seen, found))
    for obstacle in found.against:
        tell(f"promoting in spite of this: {obstacle}")
    overrode = list(found.against)
    lacking = missing_twin(deployments, slot, settings.control)
    if lacking is not None:
        tell(lacking)
    beside = settings.control, await twin_of_live(settings, deployments)
    epochs = {name: deployments.slot(name).epoch for name in (LIVE, slot)}

    def require_unchanged(present: Deployments) -> None:
        for name, epoch in epochs.items():
            if present.slot(name).epoch != epoch:
                raise UserError(why_changed(present, slot, name))
        if not force and found.suggestion in present.settled:
            raise UserError(why_no_suggestion(present, slot))

    def build(present: Deployments) -> Change | Approval:
        require_unchanged(present)
        change = promotion(present, slot, by, reason, now(), threshold, None if force else found.suggestion, *beside)
        if automatic is not None:
            return by_itself(present, change, automatic)
        if force:
            change = forced(change, verdict_of(judgement, release.digest), overrode)
        return two_or_one(present, change, who, settings.four_eyes, now())

    if force:
        await _end_outdated(settings, deployments, slot, verdict_of(judgement, release.digest), by)
    first = build(await read(settings))
    if isinstance(first, Approval):
        return await _first(settings, build)
    try:
        await prepare(settings, candidate.digest, by, tell, require_unchanged)
    except NotReadyError as error:
        if not force:
            raise
        overrode.append(str(error))
        tell(f"promoting in spite of this: {error}")
    try:
        line, after = await append(settings, build)
    except StaleChangeError as error:
        require_unchanged(await read(settings))
        raise UserError(str(error)) from None
    if isinstance(line.entry, Forced):
        tell(f"this release was forced, which stays on record (ledger entry {line.seq}): {line.entry.verdict.reason}")
    _tell_control(settings, line, after, tell)
    await _tell_ended(settings, deployments, after, line, tell)
    return line, after


async def _first(
    settings: ShadowSettings, build: Callable[[Deployments], Change | Approval]
) -> tuple[LedgerLine, Deployments]:
    """Write a first approval. Of two at once, the first in log order counts. Raises UserError for the other one."""
    try:
        return await append(settings, build)
    except StaleChangeError as error:
        if isinstance(build(await read(settings)), Approval):
            raise
        raise UserError("somebody else has approved this first; repeat the command to complete it") from error


async def _end_outdated(
    settings: ShadowSettings, deployments: Deployments, slot: str, verdict: Judged, by: str
) -> None:
    """Take back first approvals of a forced release that were given on another verdict."""
    for line in outdated(deployments, slot, verdict.decision, str(verdict.criteria), datetime.now(UTC)):
        await withdraw(settings, line.seq, Lapse("verdict", f"the verdict is another one: {verdict.reason}"), by)


def by_itself(present: Deployments, change: Change, automatic: Callable[[Deployments], None]) -> Change:
    """A change that nobody asked for. Raises UserError if it needs two people, and what `automatic` does."""
    automatic(present)
    why = present.why_two(change, "")
    if why:
        raise UserError(f"automation cannot do this, as {why[0]}")
    return change.model_copy(update={"automatic": True})


def known(who: Who | str) -> tuple[Who, str]:
    """Somebody, and their name. A text is a name that nobody has verified."""
    found = Who.called(who) if isinstance(who, str) else who
    return found, found.name


def _tell_control(settings: ShadowSettings, line: LedgerLine, after: Deployments, tell: Callable[[str], None]) -> None:
    """Say which twin a change of live has put into the slot of the A/A control, if it has."""
    target = line.entry.slots.get(settings.control) if isinstance(line.entry, Change) else None
    twin = after.twins.get(str(after.slot(LIVE).digest))
    if target is not None and twin is not None and target.digest == twin.digest:
        tell(f"slot {settings.control}: bundle {twin.digest[:12]}, the twin of what is live now")


async def _judged(
    settings: ShadowSettings, deployments: Deployments, slot: str, release: Release, force: bool
) -> Judgement | str:
    """The verdict on a slot at this moment; if it is not needed, what keeps it from being made.

    Raises UserError if it is needed and Redis cannot be reached.
    """
    redis = connect(settings.redis)
    try:
        with telling(settings.redis):
            try:
                return (await look(redis, deployments, slot, release, settings)).judgement
            finally:
                await redis.aclose()
    except UserError as error:
        if not force:
            raise
        return str(error)


async def _tell_ended(
    settings: ShadowSettings, before: Deployments, after: Deployments, line: LedgerLine, tell: Callable[[str], None]
) -> None:
    """Say which runs a change of live ended, and what they had gathered."""
    runs = ended(before, line.entry) if isinstance(line.entry, Change) else {}
    if not runs:
        return
    cost = told_lost(runs, *await asked(lambda: gathered(settings, after)))
    if cost is not None:
        tell(cost)


async def prepare(
    settings: ShadowSettings,
    digest: str,
    by: str,
    tell: Callable[[str], None],
    check: Callable[[Deployments], None],
) -> None:
    """Have every scorer of the group load a bundle. Raises NotReadyError naming those that did not.

    check: called with the present state while scorers are waited for; what it raises ends the wait.
    """
    request, _ = await append(settings, lambda _: Prepare(digest=digest, by=by, at=now()))
    deadline = time.monotonic() + settings.promote_seconds
    while True:
        members = await group_members(settings, settings.scorer_group)
        present = await read(settings)
        check(present)
        answers = {name: _answer(present.workers.get(name), digest, request.seq) for name in members}
        failed = {name: report.reason for name, report in answers.items() if report and report.status == "failed"}
        if failed:
            told = "; ".join(f"{name}: {reason}" for name, reason in sorted(failed.items()))
            raise NotReadyError(f"scorer {told}; fix this, then repeat the command")
        waiting = sorted(name for name, report in answers.items() if report is None)
        if members and not waiting:
            tell(f"bundle {digest[:12]}: loaded by every scorer ({len(members)})")
            return
        if time.monotonic() > deadline:
            if not members:
                raise NotReadyError(
                    f"no scorer runs in consumer group {settings.scorer_group}; start one with `scorer run`, then "
                    "repeat the command"
                )
            raise NotReadyError(
                f"scorer {', '.join(waiting)}: did not say within {settings.promote_seconds:g} s that it has loaded "
                f"bundle {digest[:12]}; see its log, then repeat the command"
            )
        await asyncio.sleep(POLL_SECONDS)


def _answer(report: WorkerReport | None, digest: str, request: str) -> WorkerReport | None:
    """A worker's report if it answers this request, or another one for the same bundle that is not older, or says that
    the bundle is live there already. A request is known by its ledger key, which begins with its place in the log."""
    if report is None or report.digest != digest:
        return None
    is_live = report.status == "loaded" and report.epoch is not None
    return report if is_live or (report.request is not None and report.request[:8] >= request[:8]) else None


async def reject(
    settings: ShadowSettings, slot: str, who: Who | str, reason: str, seen: str | None = None
) -> LedgerLine:
    """Answer the standing suggestion of a slot with no. Raises UserError if there is none, or it is not the one that
    somebody has seen."""
    who, by = known(who)

    def build(present: Deployments) -> Answer:
        require_slot(present, slot)
        found = unsettled(present, slot)
        if found is None:
            is_empty = present.slot(slot).digest is None
            raise UserError(why_empty(present, slot) if is_empty else why_no_suggestion(present, slot))
        if seen is not None and found[0] != seen:
            raise UserError(f"suggestion {seen}: is settled; {found[0]} waits now: look at it, then decide again")
        return Answer(suggestion=found[0], answer="rejected", by=by, reason=reason, verified=who.verified, at=now())

    try:
        line, _ = await append(settings, build)
    except StaleChangeError:  # of two answers at once, the first in log order counts
        build(await read(settings))
        raise
    return line


async def roll_back(
    settings: ShadowSettings,
    slot: str,
    who: Who | str,
    reason: str,
    tell: Callable[[str], None] = lambda text: None,
    automatic: Callable[[Deployments], None] | None = None,
    seen: int | None = None,
) -> tuple[LedgerLine, Deployments]:
    """Put the model in slot `previous` live again; the one it replaces goes into `slot` if that is empty.

    Answers the suggestion of the watch to do so, if one stands. One that was never live may need
    two people, as in `approve`. tell: takes a line on what that ends. automatic: as in `approve`. seen: the epoch of
    live that `who` has seen. Of two at once, the second is told who was first.
    """
    if slot in (LIVE, PREVIOUS):
        raise UserError(f"--slot {slot}: the model that is replaced needs another slot, such as {CANDIDATE}")
    before: list[Deployments] = []
    who, by = known(who)

    def epochs(present: Deployments) -> list[int]:
        return [present.slot(name).epoch for name in (LIVE, PREVIOUS)]

    def build(present: Deployments) -> Change | Approval:
        if (before and epochs(before[0]) != epochs(present)) or seen not in (None, present.slot(LIVE).epoch):
            raise UserError(why_no_way_back(present))
        before[:] = [present]
        answers = unsettled(present, PREVIOUS)
        seq = None if answers is None else answers[0]
        try:
            change = rollback(present, by, reason, now(), slot, settings.control, seq)
        except ValueError:
            raise UserError(why_no_way_back(present)) from None
        if automatic is not None:
            return by_itself(present, change, automatic)
        return two_or_one(present, change, who, settings.four_eyes, now())  # what was never live is a release

    try:
        line, after = await append(settings, build)
    except StaleChangeError:  # if it is only that the suggestion was withdrawn just now, there is no reason to stay
        line, after = await append(settings, build)
    _tell_control(settings, line, after, tell)
    await _tell_ended(settings, before[0], after, line, tell)
    return line, after
