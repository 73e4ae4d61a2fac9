"""Two years of fortnightly releases: candidates, people, and the ledger, with the rules of the product."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from scorer.deployments.changes import deployment, forced, promotion, rollback
from scorer.deployments.records import (
    CANDIDATE,
    LIVE,
    PREVIOUS,
    Answer,
    Automation,
    Change,
    ChangeKind,
    Entry,
    Judged,
    encode,
)
from scorer.deployments.slots import Deployments
from shadow.comparison.totals import Run
from shadow.gate.challenge import challenge
from shadow.gate.evidence import Evidence, judged
from shadow.gate.findings import Decision, Judgement
from shadow.release.after_release import Afterwards, afterwards, epochs, period_of, report, rollback_proposal
from shadow.release.dossier import beside, digest_of, dossier_of, last_dossier, read_dossier, replay
from shadow.release.look import Labels, Look, present_run
from shadow.release.streak import KINDS, Pace, Rules, due, streaks
from shadow.release.suggestion import proposal
from study.rotations.book import Book
from study.rotations.world import RELEASE, Drawn, Harm, draw, evidence, reviewed, totals, up_to

ROTATIONS, DAYS = 52, 14
BEGIN = datetime(2026, 1, 5, 9, tzinfo=UTC)
RULES, PACE = Rules(), Pace()
#: Harm of twice the limits, at least; and what is none.
HARMFUL = (
    Harm(loses=0.1),
    Harm(loses=0.2, country="FR"),
    Harm(loses=0.25, country="ES"),
    Harm(insults=0.2),
    Harm(insults=0.4, country="DE"),
    Harm(loses=0.12, insults=0.12),
)
HARMLESS = (Harm(), Harm(gains=0.05), Harm(gains=0.03), Harm(loses=0.005, gains=0.02))


@dataclass
class Tale:
    """What happened. replayed, dossiers: those that give the same verdict again, and all."""

    counts: Counter[str] = field(default_factory=Counter)
    replayed: int = 0
    dossiers: int = 0
    disagreed: list[str] = field(default_factory=list)


class Office:
    """A ledger, a clock in days, and people who decide."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([52, seed])
        self.deployments = Deployments()
        self.book, self.tale = Book(), Tale()
        self.day, self.made = 0.0, 0
        self.harm_of: dict[str, Harm] = {}
        self.dossiers: dict[str, bytes] = {}
        self.release = RELEASE
        self.add(deployment(self.deployments, LIVE, self._bundle(Harm()), 0.5, "ann", "first", self.at))
        self.add(deployment(self.deployments, "control", self._bundle(Harm()), 0.5, "ann", "twin", self.at))

    @property
    def at(self) -> str:
        return (BEGIN + timedelta(days=self.day)).isoformat()

    def _bundle(self, harm: Harm) -> str:
        self.made += 1
        digest = f"{self.made:064x}"
        self.harm_of[digest] = harm
        return digest

    def add(self, entry: Entry) -> str:
        seq = self.deployments.next_seq(f"{self.made:08x}")
        line = self.deployments.fold(f"ledger/{seq}".encode(), encode(entry))
        assert line is not None, entry
        assert not line.is_void, entry
        return seq

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def run(self) -> Tale:
        """All rotations."""
        for n in range(ROTATIONS):
            self.rotation(n)
            self._compare(f"rotation {n}")
        self._replay_all()
        self.tale.counts["lost"] = self.book.lost
        return self.tale

    def rotation(self, n: int) -> None:
        """A candidate for a fortnight in the shadow, live beside the model before it; then somebody decides."""
        if n in (20, 40):
            self.release = RELEASE.model_copy(update={"recent_days": 3 + n // 20, "minimum_covered_hours": 300 + n})
        is_harmful = self.chance(0.3)
        choices = HARMFUL if is_harmful else HARMLESS
        harm = choices[int(self.rng.integers(len(choices)))]
        kind: ChangeKind = str(self.rng.choice(["retrain", "design", "threshold"], p=[0.8, 0.12, 0.08]))  # type: ignore[assignment]
        digest = self._bundle(harm)
        self.add(deployment(self.deployments, CANDIDATE, digest, 0.5, "ann", "rotation", self.at))
        self.tale.counts["rotations"] += 1
        self.tale.counts["harmful"] += is_harmful
        begun = self.day
        if self._watch():
            self.day = begun + DAYS
            return  # live was rolled back: the candidate's run began anew
        self.day = begun + DAYS
        self._decide(kind, is_harmful)
        self.day = max(self.day, begun + DAYS)

    def _watch(self) -> bool:
        """A fortnight of live beside the model before it; whether that was put back."""
        period = period_of(self.deployments, DAYS)
        if period is None or period.since is None or period.is_over(BEGIN + timedelta(days=self.day + 1)):
            return False
        begun = self.day
        drawn, cases, known = self._beside_previous()
        for day in range(2, DAYS + 1, 2):
            self.day = begun + day
            of_day = up_to(cases, known[day - 1], day - 1)
            run = present_run(self.deployments, PREVIOUS)
            assert run is not None
            seen = afterwards(
                Evidence(totals(drawn, day, run), None, "", 100.0, *of_day, None),
                self.release,
                period,
                epochs(self.deployments),
                BEGIN + timedelta(days=self.day),
            )
            if self._alarm(seen):
                return True
        return False

    def _beside_previous(self) -> tuple[Drawn, Any, Any]:
        """The former model as a shadow of live. What live does to it is what its harm was, the other way round."""
        harm = self.harm_of[str(self.deployments.slot(LIVE).digest)]
        drawn = draw(self.rng, DAYS, harm)
        exchanged = replace(drawn, side=np.choose(drawn.side, [0, 2, 1]))
        return exchanged, *reviewed(exchanged, DAYS, self.rng)

    def _alarm(self, seen: Afterwards) -> bool:
        """Suggest a rollback if there is harm, and have somebody answer; whether live is another model now."""
        found = report(self.deployments, seen)
        if found is not None:
            self.add(found)
        made = rollback_proposal(self.deployments, seen, {})
        if made is None:
            return False
        content = dossier_of(
            made, seen.evidence, seen.judgement, seen.criteria, {}, {"study": "1"}, last_dossier(self.deployments)
        )
        seq = self.add(beside(made, seen.judgement, self._keep(content)))
        self.tale.counts["alarms"] += 1
        self.book.broken()
        self._say_losses()
        if self.chance(0.9):
            self.add(rollback(self.deployments, "bea", "the watch found it", self.at, "spare", suggestion=seq))
            self.tale.counts["rolled_back"] += 1
            return True
        self.add(Answer(suggestion=seq, answer="rejected", by="bea", reason="a wave", at=self.at))
        return False

    def _keep(self, content: bytes) -> str:
        digest = digest_of(content)
        self.dossiers[digest] = content
        return digest

    def _decide(self, kind: ChangeKind, is_harmful: bool) -> None:
        run = present_run(self.deployments, CANDIDATE)
        assert run is not None
        seen, judgement = self._judged(run)
        if judgement.decision is not Decision.PROMOTE:
            self.tale.counts["stopped"] += is_harmful
            if self.chance(0.02):
                verdict = Judged(decision=judgement.decision.value, reason=judgement.reason)
                change = promotion(self.deployments, CANDIDATE, "bea", "now", self.at, None, None)
                self.add(forced(change, verdict, ()))
                self.book.broken()
                self._went_live(is_harmful, "forced")
            return
        looked = Look(CANDIDATE, seen.candidate, seen.floor, judgement, Labels((), (), ()), evidence=seen)
        made = proposal(self.deployments, looked, self.release, {}, self.at)
        assert made is not None
        planted = challenge(seen, self.release)
        told = {**made.evidence, "challenge": {"stopped": planted.stopped}}
        made = made.model_copy(update={"change": kind, "evidence": told})
        content = dossier_of(
            made, seen, judgement, self.release, {}, {"study": "1"}, last_dossier(self.deployments), planted.to_json()
        )
        if self._criteria_changed(made.criteria):
            self.book.broken()
        seq = self.add(beside(made, judgement, self._keep(content)))
        self._say_losses()
        self._answer(seq, kind, is_harmful, could_fail=planted.stopped >= 0.95)

    def _criteria_changed(self, criteria: str) -> bool:
        before = [
            line.entry.criteria
            for line in self.deployments.ledger
            if line.entry.kind == "suggestion" and line.entry.action == "promote"
        ]
        return bool(before) and before[-1] != criteria

    def _judged(self, run: Run) -> tuple[Evidence, Judgement]:
        harm = self.harm_of[str(self.deployments.slot(CANDIDATE).digest)]
        seen = evidence(draw(self.rng, DAYS, harm), draw(self.rng, DAYS, Harm()), DAYS, run, self.rng)
        return seen, judged(seen, self.release)

    def _answer(self, seq: str, kind: ChangeKind, is_harmful: bool, could_fail: bool) -> None:
        """A person accepts, edits or rejects; or nobody does, and automation carries it out."""
        found = due(self.deployments, seq, RULES, PACE)
        assert (found.at is not None) == (kind in self.book.on and could_fail), (found, kind, self.book.on)
        if self.chance(0.04):
            self.add(Answer(suggestion=seq, answer="rejected", by="bea", reason="holidays", at=self.at))
            self.book.broken(kind)
        elif found.at is not None and not self.chance(0.05):
            self.day = max(self.day, (found.at - BEGIN).total_seconds() / 86_400)
            self._approve(seq, automatic=True)
            self.tale.counts["automatic"] += 1
            self._went_live(is_harmful, "automatic")
        elif self.chance(0.03):
            self._approve(seq, threshold=0.45)
            self.book.broken(kind)
            self._went_live(is_harmful, "edited")
        else:
            self._approve(seq)
            if could_fail:
                self.book.accepted(kind, self.day)
            self._went_live(is_harmful, "accepted")
        self._say_losses()
        self._switch_on()

    def _approve(self, seq: str, automatic: bool = False, threshold: float | None = None) -> None:
        by = "shadow serve" if automatic else "bea"
        change: Change = promotion(self.deployments, CANDIDATE, by, "good", self.at, threshold, seq)
        self.add(change.model_copy(update={"automatic": automatic}))

    def _went_live(self, is_harmful: bool, how: str) -> None:
        self.tale.counts[f"live_{how}"] += 1
        self.tale.counts[f"harmful_live_{how}"] += is_harmful

    def _switch_on(self) -> None:
        for kind in ("retrain", "threshold", "design"):
            if self.book.is_earned(kind) and kind not in self.book.on and self.chance(0.8):
                self.add(Automation(change=kind, state="on", by="eve", reason="earned", at=self.at))
                self.book.switched_on(kind)

    def _say_losses(self) -> None:
        for kind, one in streaks(self.deployments, RULES).items():
            if one.took_away is not None:
                told = one.took_away.why
                self.add(Automation(change=kind, state="lost", by="shadow serve", reason=told, at=self.at))

    def _compare(self, when: str) -> None:
        """Hold the state of automation against what the rules say."""
        found = streaks(self.deployments, RULES)
        on = {kind for kind in KINDS if found[kind].is_on}
        counted = {kind: found[kind].accepted for kind in self.book.row}  # type: ignore[index]
        expected = {kind: len(times) for kind, times in self.book.row.items()}
        if on != self.book.on or counted != expected:
            self.tale.disagreed.append(
                f"{when}: on {sorted(on)}, {counted}; by the rules {sorted(self.book.on)}, {expected}"
            )

    def _replay_all(self) -> None:
        for digest, content in self.dossiers.items():
            self.tale.dossiers += 1
            self.tale.replayed += replay(read_dossier(content, digest)).is_same


def two_years(seed: int) -> Tale:
    """Two years of releases."""
    return Office(seed).run()
