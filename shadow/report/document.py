"""The release report: all that the gate saw of a run, what of it is worth telling, and a Markdown summary. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from shadow.comparison.outcome import DISAGREEMENTS
from shadow.comparison.sample import Sample
from shadow.comparison.totals import RunTotals
from shadow.gate.criteria import Criterion
from shadow.gate.findings import Judgement
from shadow.gate.harm import ChargebackBounds
from shadow.release.sentences import obstacles, verdict
from shadow.release.wording import BACKTEST

#: Samples that are told.
TELLING = 10


@dataclass(frozen=True, slots=True)
class EvidencePath:
    """Evidence on a criterion over time: base-10 logs, one for each event day."""

    criterion: Criterion
    segment: str
    within: Sequence[float]
    beyond: Sequence[float]


@dataclass(frozen=True)
class Report:
    """All that a report tells. bar: base-10 log of the evidence that settles a pass. minor_per_unit: of the reporting
    currency. thresholds: live's and the candidate's, None where they are not known. currency: code of the
    reporting currency, empty where it is not known. is_backtest: whether the run is one of a backtest, and of no slot.
    """

    slot: str
    at: str
    totals: RunTotals
    judgement: Judgement
    criteria: str
    segments: Sequence[str]
    thresholds: tuple[float | None, float | None]
    paths: Sequence[EvidencePath]
    bar: float
    samples: Sequence[Sample]
    review: dict[str, Any]
    chargebacks: dict[str, ChargebackBounds]
    gaps: Sequence[str]
    minor_per_unit: float
    currency: str = ""
    is_backtest: bool = False

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        return verdict(self.judgement, obstacles(self.judgement, self.totals), self.is_backtest)

    @property
    def note(self) -> str:
        """Of a backtest, what its verdict is worth; empty for the run of a slot."""
        return BACKTEST if self.is_backtest else ""


def telling(samples: Iterable[Sample], n: int = TELLING) -> list[Sample]:
    """The disagreements with the widest gaps between the scores, half of each direction where there are enough."""
    by_gap = sorted(samples, key=lambda s: (-abs(s.gap or 0.0), s.transaction_id))
    sides = [[s for s in by_gap if s.outcome is outcome] for outcome in DISAGREEMENTS]
    half = max(n // 2, n - len(sides[1])), max(n - n // 2, n - len(sides[0]))
    chosen = [s for side, most in zip(sides, half, strict=True) for s in side[:most]]
    return sorted(chosen, key=lambda s: -abs(s.gap or 0.0))[:n]
