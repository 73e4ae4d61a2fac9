"""Promotion and rollback as a person decides them: prepare, wait for every scorer, then change the slots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from scorer.deployments import (
    LIVE,
    Answer,
    Change,
    Deployments,
    LedgerLine,
    Prepare,
    Suggestion,
    WorkerReport,
    promotion,
    rollback,
)
from scorer.errors import UserError
from scorer.ledger import append, read
from scorer.topics import group_members
from shadow.settings import ShadowSettings

POLL_SECONDS = 0.2


class NotReadyError(UserError):
    """A scorer could not load the bundle, or did not answer in time."""


def now() -> str:
    """The present time as the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def standing(deployments: Deployments, slot: str) -> tuple[str, Suggestion] | None:
    """The newest open suggestion for a slot, with its ledger key."""
    for line in reversed(deployments.open_suggestions()):
        if isinstance(line.entry, Suggestion) and line.entry.slot == slot:
            return line.seq, line.entry
    return None


async def approve(
    settings: ShadowSettings,
    slot: str,
    by: str,
    reason: str,
    threshold: float | None = None,
    force: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> tuple[LedgerLine, Deployments]:
    """Put a slot's bundle live, because a suggestion stands or because of `force`.

    threshold: go live at this one instead (an edit of the suggestion). Raises UserError without a suggestion,
    NotReadyError naming the scorers that failed, StaleChangeError if somebody else was faster; `force` skips the first
    two. The old model goes on in slot `previous`.
    """
    deployments = await read(settings)
    found = standing(deployments, slot)
    candidate = deployments.slot(slot)
    if candidate.digest is None:
        raise UserError(f"slot {slot}: is empty; fill it with `scorer deploy BUNDLE --slot {slot} --by … --reason …`")
    if found is None and not force:
        raise UserError(f"slot {slot}: no suggestion stands; see `shadow gate --slot {slot}`, or add --force")
    seen = {name: deployments.slot(name).epoch for name in (LIVE, slot)}
    try:
        await prepare(settings, candidate.digest, by, tell)
    except NotReadyError as error:
        if not force:
            raise
        tell(f"forced although {error}")

    def build(present: Deployments) -> Change:
        for name, epoch in seen.items():
            if present.slot(name).epoch != epoch:
                raise UserError(f"slot {name}: was changed meanwhile; look again and repeat the command")
        return promotion(present, slot, by, reason, now(), threshold, found[0] if found else None)

    return await append(settings, build)


async def prepare(settings: ShadowSettings, digest: str, by: str, tell: Callable[[str], None]) -> None:
    """Have every scorer of the group load a bundle. Raises NotReadyError naming those that did not."""
    request, _ = await append(settings, lambda _: Prepare(digest=digest, by=by, at=now()))
    deadline = time.monotonic() + settings.promote_seconds
    while True:
        members = await group_members(settings, settings.scorer_group)
        reports = (await read(settings)).workers
        answers = {name: _answer(reports.get(name), digest, request.seq) for name in members}
        failed = {name: report.reason for name, report in answers.items() if report and report.status == "failed"}
        if failed:
            told = "; ".join(f"{name}: {reason}" for name, reason in sorted(failed.items()))
            raise NotReadyError(f"scorer {told}; mend it and repeat the command, or add --force")
        waiting = sorted(name for name, report in answers.items() if report is None)
        if members and not waiting:
            tell(f"bundle {digest[:12]} is loaded by every scorer ({len(members)})")
            return
        if time.monotonic() > deadline:
            told = ", ".join(waiting) if members else "no scorer is running"
            raise NotReadyError(
                f"no answer from {told} in {settings.promote_seconds:g} s; look at its log, or add --force"
            )
        await asyncio.sleep(POLL_SECONDS)


def _answer(report: WorkerReport | None, digest: str, request: str) -> WorkerReport | None:
    """A worker's report if it answers this request, or says that the bundle is live there already."""
    if report is None or report.digest != digest:
        return None
    is_live = report.status == "loaded" and report.epoch is not None
    return report if is_live or report.request == request else None


async def reject(settings: ShadowSettings, slot: str, by: str, reason: str) -> LedgerLine:
    """Answer the standing suggestion of a slot with no. Raises UserError if there is none."""

    def build(present: Deployments) -> Answer:
        found = standing(present, slot)
        if found is None:
            raise UserError(f"slot {slot}: no suggestion stands")
        return Answer(suggestion=found[0], answer="rejected", by=by, reason=reason, at=now())

    line, _ = await append(settings, build)
    return line


async def roll_back(settings: ShadowSettings, slot: str, by: str, reason: str) -> tuple[LedgerLine, Deployments]:
    """Put the model before this one live again; the one it replaces goes on in `slot`, if that is empty."""

    def build(present: Deployments) -> Change:
        try:
            return rollback(present, by, reason, now(), slot)
        except ValueError as error:
            raise UserError(str(error)) from None

    return await append(settings, build)


async def suggest(settings: ShadowSettings, suggestion: Suggestion) -> LedgerLine:
    """Write a suggestion to the ledger."""
    line, _ = await append(settings, lambda _: suggestion)
    return line
