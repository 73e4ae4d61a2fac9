"""How well live and a candidate do by what labels say: precision, recall, insults and money, by segment. Pure.

Only transactions whose label has had time to come are judged: those that happened at least the label delay before the
moment as of which it is asked. All others are pending, whatever their label. Of the judged ones

* fraud is what a review calls fraud, or, without a review that decides, a chargeback on what live allowed or released;
* honest is what a review calls honest, or what live allowed or released and nobody charged back;
* unknown is what live blocked and nobody could decide: no chargeback can follow a block.

So a figure has two ends: all that is unknown were fraud, or all of it honest, whichever is worse and better. Would-be
blocks that live draws and partly releases are estimated from the released instead: see `drawn`. The ends are Wilson
limits (95 %) of these two, on numbers divided by the transactions of a card-day, as transactions of one card and day
share their fate. Money has normal limits, with the same factor. Without unknowns both ends are of one figure.
Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shadow.archive.drawn import NEEDED, Support
from shadow.archive.level_figures import INSULTS, PRECISION, RECALL, RECALL_OF_MONEY, Figure, Side, money, ratio, side
from shadow.archive.level_sums import FRAUD, UNKNOWN, LevelSums


@dataclass(frozen=True, slots=True)
class Costs:
    """What a decision costs. honest_block: of blocking an honest customer, in minor units. recovered: the share of the
    money of fraud that comes back although it was allowed, so that blocking it saves the rest."""

    honest_block: float = 0.0
    recovered: float = 0.0


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of what live blocks was drawn, and what was released. blocks, minor: of live, drawn or not. drawn_minor:
    of the drawn. number, amount: what stands behind estimates of a number, and of an amount."""

    blocks: int
    minor: float
    drawn_minor: float
    number: Support
    amount: Support

    def to_json(self) -> dict[str, Any]:
        return {
            "drawn": self.number.drawn,
            "share_of_blocks": _part(self.number.drawn, self.blocks),
            "share_of_amount": _part(self.drawn_minor, self.minor),
            "released": self.number.released,
            "cards": self.number.cards,
            "effective": self.number.effective,
            "effective_of_amount": self.amount.effective,
            "needed": NEEDED,
            "reason": self.number.reason,
            "reason_of_amount": self.amount.reason,
        }

    @property
    def of_blocks(self) -> float | None:
        return _part(self.number.drawn, self.blocks)

    @property
    def of_money(self) -> float | None:
        return _part(self.drawn_minor, self.minor)


def _part(part: float, whole: float) -> float | None:
    return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class ModelLevels:
    """The levels of a model in a segment. unknown: blocks of which no label says what they were. saved: minor units,
    against a model that blocks nothing. coverage: of those of its blocks that live blocks, too."""

    blocks: int
    unknown: int
    precision: Figure | None
    recall: Figure | None
    recall_of_money: Figure | None
    insult_rate: Figure | None
    saved: Figure
    coverage: Coverage

    def to_json(self, minor_per_unit: float) -> dict[str, Any]:
        return {
            "blocks": self.blocks,
            "unknown": self.unknown,
            "precision": _json(self.precision),
            "recall": _json(self.recall),
            "recall_of_amount": _json(self.recall_of_money),
            "insult_rate": _json(self.insult_rate),
            "saved": self.saved.times(1 / minor_per_unit).to_json(),
            "exploration": self.coverage.to_json(),
        }


def _json(figure: Figure | None) -> dict[str, Any] | None:
    return None if figure is None else figure.to_json()


@dataclass(frozen=True, slots=True)
class AloneLevels:
    """What a model blocks and the other does not. fraud: their share of fraud. honest: how many of them are honest.
    fraud_minor: money of the fraud among them. saved: as of a model."""

    blocks: int
    minor: float
    unknown: int
    fraud: Figure | None
    honest: Figure
    fraud_minor: Figure
    saved: Figure
    coverage: Coverage

    def to_json(self, minor_per_unit: float) -> dict[str, Any]:
        return {
            "blocks": self.blocks,
            "amount": self.minor / minor_per_unit,
            "unknown": self.unknown,
            "fraud": _json(self.fraud),
            "honest": self.honest.to_json(),
            "fraud_amount": self.fraud_minor.times(1 / minor_per_unit).to_json(),
            "saved": self.saved.times(1 / minor_per_unit).to_json(),
            "exploration": self.coverage.to_json(),
        }


@dataclass(frozen=True, slots=True)
class SegmentLevels:
    """The levels of both models in a segment. judged, pending, unscored: transactions. fraud: by labels. live_only,
    candidate_only: what one of them alone blocks."""

    segment: str
    judged: int
    pending: int
    unscored: int
    fraud: int
    live: ModelLevels
    candidate: ModelLevels
    live_only: AloneLevels
    candidate_only: AloneLevels


def levels(sums: LevelSums, names: Sequence[str], costs: Costs) -> Iterator[SegmentLevels]:
    """The levels of each segment in which there is anything. names: of the segments."""
    crowding = sums.crowding
    for at, name in enumerate(names):
        counts = sums.counts[at]
        if not counts.sum() + sums.pending[at] + sums.unscored[at]:
            continue
        crowd = float(crowding[at])
        yield SegmentLevels(
            name,
            int(counts.sum()),
            int(sums.pending[at]),
            int(sums.unscored[at]),
            int(counts[:, FRAUD].sum()),
            _model(side(sums, at, [1, 3]), side(sums, at, [0, 2]), costs, crowd),
            _model(side(sums, at, [2, 3]), side(sums, at, [0, 1]), costs, crowd),
            _alone(side(sums, at, [1]), costs, crowd),
            _alone(side(sums, at, [2]), costs, crowd),
        )


def _model(blocked: Side, missed: Side, costs: Costs, crowding: float) -> ModelLevels:
    return ModelLevels(
        blocks=int(blocked.whole.counts.sum()),
        unknown=int(blocked.whole.counts[UNKNOWN]),
        precision=ratio(PRECISION, blocked, missed, crowding),
        recall=ratio(RECALL, blocked, missed, crowding),
        recall_of_money=ratio(RECALL_OF_MONEY, blocked, missed, crowding),
        insult_rate=ratio(INSULTS, blocked, missed, crowding),
        saved=_saved(blocked, costs, crowding),
        coverage=_coverage(blocked),
    )


def _alone(blocked: Side, costs: Costs, crowding: float) -> AloneLevels:
    return AloneLevels(
        blocks=int(blocked.whole.counts.sum()),
        minor=float(blocked.whole.minor.sum()),
        unknown=int(blocked.whole.counts[UNKNOWN]),
        fraud=ratio(PRECISION, blocked, blocked, crowding),
        honest=money(blocked, 0.0, 1.0, None),
        fraud_minor=money(blocked, 1.0, 0.0, None),
        saved=_saved(blocked, costs, crowding),
        coverage=_coverage(blocked),
    )


def _saved(blocked: Side, costs: Costs, crowding: float) -> Figure:
    """Money that blocks save, less what those of honest customers cost."""
    return money(blocked, 1 - costs.recovered, -costs.honest_block, crowding)


def _coverage(of: Side) -> Coverage:
    drawn = of.drawn
    return Coverage(
        int(of.blocked.counts.sum()),
        float(of.blocked.minor.sum()),
        float(drawn.minor.sum()),
        drawn.support,
        drawn.money_support,
    )
