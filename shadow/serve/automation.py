"""Carries suggestions out by itself, where people have earned that and an admin has switched it on."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from scorer.deployments.deploy import now
from scorer.deployments.key_files import signer, trusted_keys
from scorer.deployments.ledger import append
from scorer.deployments.records import CANDIDATE, Automation, Suggestion
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.process.office_hours import office_hours
from shadow import metrics
from shadow.release.automatic import pace_of, rules_of
from shadow.release.promotion import approve, roll_back
from shadow.release.streak import due, streaks
from shadow.settings import ShadowSettings

log = logging.getLogger(__name__)


class Automatic:
    """Acts on suggestions that stand. Whatever keeps it from acting is logged once."""

    def __init__(self, settings: ShadowSettings) -> None:
        self._settings = settings
        self._hours = office_hours(settings.automation_hours)
        self._said: dict[str, str] = {}

    async def act(self, deployments: Deployments) -> None:
        """Say on the ledger what took automation away, and carry out what is due."""
        await self._say_losses(deployments)
        for kind, one in streaks(deployments, rules_of(self._settings)).items():
            metrics.AUTOMATION.labels(kind).set(one.is_on)
            metrics.STREAK.labels(kind).set(one.accepted)
        at = datetime.now(UTC)
        for line in deployments.open_suggestions(at):
            if isinstance(line.entry, Suggestion) and self._is_due(deployments, line.seq, at):
                await self._carry_out(line.seq, line.entry)

    def _is_due(self, deployments: Deployments, seq: str, at: datetime) -> bool:
        found = due(deployments, seq, rules_of(self._settings), pace_of(self._settings))
        return found.at is not None and at >= found.at and (self._hours is None or self._hours.hold(at))

    async def _carry_out(self, seq: str, suggestion: Suggestion) -> None:
        settings = self._settings
        trusted = trusted_keys(settings)
        signs = signer(settings, trusted)
        by = "shadow serve" if signs is None else signs.name
        reason = f"automation of {suggestion.change}: nobody stopped suggestion {seq}"

        def still_due(present: Deployments) -> None:
            if not self._is_due(present, seq, datetime.now(UTC)):
                raise UserError(f"suggestion {seq}: automation may not act on it any more")

        try:
            if suggestion.action == "rollback":
                line, _ = await roll_back(settings, CANDIDATE, by, reason, automatic=still_due)
            else:
                line, _ = await approve(settings, suggestion.slot, by, reason, automatic=still_due)
        except UserError as error:
            if self._said.get(seq) != str(error):
                log.warning("suggestion %s is not carried out by itself: %s", seq, error)
            self._said = {seq: str(error)}
            return
        log.warning("suggestion %s is carried out by itself (ledger entry %s)", seq, line.seq)

    async def _say_losses(self, deployments: Deployments) -> None:
        rules = rules_of(self._settings)
        for kind, one in streaks(deployments, rules).items():
            loss = one.took_away
            if loss is None:
                continue

            def build(present: Deployments, kind: str = kind) -> Automation:
                again = streaks(present, rules)[kind].took_away  # type: ignore[index]
                if again is None:
                    raise UserError("somebody has said so")
                return Automation(
                    change=kind,
                    state="lost",
                    by="shadow serve",
                    reason=f"entry {again.seq}: {again.why}",
                    at=now(),
                )

            try:
                await append(self._settings, build)
            except UserError as error:
                log.warning("automation of %s is lost, which cannot be put on the ledger: %s", kind, error)
            else:
                log.warning("automation of %s is lost: entry %s: %s", kind, loss.seq, loss.why)
