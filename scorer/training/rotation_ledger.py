"""What a rotation does to the ledger: fills the slots once, and notes how it ended once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from scorer.deployments.ask_shadow import Ask, gathered
from scorer.deployments.changes import rotating
from scorer.deployments.deploy import asked, now, require_nothing_lost
from scorer.deployments.evidence import Gathered, ended, necessary
from scorer.deployments.ledger import append, read, require_may_write
from scorer.deployments.pending import stamped
from scorer.deployments.records import CANDIDATE, LIVE, Change, Rotation, Target, Twin
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.people import Who
from scorer.settings import ScorerSettings
from scorer.training.rotation import Begun, Found, Kept, change_of, control_of, require_nothing_waits

#: What else can be done than to throw evidence away.
WAIT = "decide that candidate first, or add --discard-evidence"


class _DoneError(Exception):
    """It is on the ledger already: seq."""

    def __init__(self, seq: str) -> None:
        self.seq = seq


@dataclass(frozen=True)
class Ledger:
    """The ledger for one rotation. known: the rotations that had ended when it was planned. discard: even if runs end
    that have gathered evidence. ask: what runs have gathered."""

    settings: ScorerSettings
    begun: Begun
    who: Who
    reason: str
    known: frozenset[str]
    discard: bool = False
    ask: Ask = gathered

    def require_free(self, deployments: Deployments, live_twins: Sequence[tuple[str, float]]) -> None:
        """Raise UserError if the slots could not be filled now, or what is written would not count."""
        stand_in = "0" * 64
        change = self._change(deployments, _kept(stand_in), _kept(stand_in), live_twins)
        note = self._note("rejected", Found(candidate=_kept(stand_in), twin=_kept(stand_in)), None)
        for entry in (change, note):
            require_may_write(self.settings, deployments, entry)
        runs = ended(deployments, change)
        if runs and not self.discard:
            seen, unknown = asyncio.run(asked(self.ask))
            require_nothing_lost(CANDIDATE, runs, seen, unknown, WAIT)

    def fill(self, candidate: Kept, twin: Kept, live_twins: Sequence[tuple[str, float]]) -> str:
        """Fill slot candidate, and control if no twin of live is there; the entry's ledger key. Raises UserError."""
        return asyncio.run(self._fill(candidate, twin, live_twins))

    async def _fill(self, candidate: Kept, twin: Kept, live_twins: Sequence[tuple[str, float]]) -> str:
        def build(deployments: Deployments) -> Change:
            seq = change_of(deployments, candidate)
            if seq is not None:
                raise _DoneError(seq)
            self._require_unchanged(deployments)
            require_nothing_waits(deployments, datetime.now(UTC))
            change = self._change(deployments, candidate, twin, live_twins)
            if not self.discard:
                require_nothing_lost(CANDIDATE, ended(deployments, change), seen, unknown, WAIT)
            return change

        seen: list[Gathered] = []
        unknown: str | None = None
        present = await read(self.settings)
        if ended(present, self._change(present, candidate, twin, live_twins)):
            seen, unknown = await asked(self.ask)
        try:
            line, _ = await append(self.settings, build)
        except _DoneError as done:
            return done.seq
        return line.seq

    def _change(
        self, deployments: Deployments, candidate: Kept, twin: Kept, live_twins: Sequence[tuple[str, float]]
    ) -> Change:
        control = control_of(deployments, live_twins)
        change = rotating(
            deployments,
            Target(digest=candidate.digest, threshold=candidate.threshold),
            Twin(digest=twin.digest, threshold=twin.threshold),
            None if control is None else Target(digest=control[0], threshold=control[1]),
            self.who.name,
            self.reason,
            now(),
        )
        return stamped(necessary(deployments, change) or change, self.who)

    def _require_unchanged(self, deployments: Deployments) -> None:
        """Raise UserError if another rotation has ended since this one was planned, or live is another bundle."""
        other = next((one for one in deployments.rotations if one[0] not in self.known), None)
        if other is not None:
            raise UserError(
                f"entry {other[0]}: another rotation, by {other[1].by}, has ended meanwhile; look at `shadow history`"
            )
        live = deployments.slot(LIVE).digest
        if live != self.begun.parent:
            raise UserError(
                f"slot live: holds bundle {str(live)[:12]} now, and this rotation is of {self.begun.parent[:12]}; "
                "rotate again"
            )

    def note(self, found: Found, doubt: str | None) -> str:
        """Note how the rotation ended, unless that is noted; the entry's ledger key. Raises UserError."""

        def build(deployments: Deployments) -> Rotation:
            for seq, entry in deployments.rotations:
                if entry.rotation == self.begun.key:
                    raise _DoneError(seq)
            return self._note("rejected" if found.is_rejected else "deployed", found, doubt)

        try:
            line, _ = asyncio.run(append(self.settings, build))
        except _DoneError as done:
            return done.seq
        return line.seq

    def _note(self, outcome: str, found: Found, doubt: str | None) -> Rotation:
        assert found.candidate is not None and found.twin is not None  # noqa: S101, PT018
        return Rotation.model_validate(
            {
                "rotation": self.begun.key,
                "outcome": outcome,
                "parent": self.begun.parent,
                "candidate": found.candidate.digest,
                "twin": found.twin.digest,
                "as_of": str(self.begun.recipe.labels_known_by),
                "change": found.change,
                "backtest": found.backtest,
                "doubt": doubt,
                "by": self.who.name,
                "reason": self.reason,
                "verified": self.who.verified,
                "at": now(),
            }
        )


def _kept(digest: str) -> Kept:
    return Kept(digest, 0.5, None, None, None, datetime.min.replace(tzinfo=UTC))
