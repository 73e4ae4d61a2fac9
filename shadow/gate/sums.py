"""Sums of segments, and the ratios that claims are about. The unit of evidence is the card-day: one card on one day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shadow.comparison.outcome import DISAGREEMENTS, Outcome
from shadow.comparison.totals import (
    CAP_PARTS,
    HEAVIEST_PARTS,
    HELD_CAPS,
    OF_CELL,
    RunTotals,
    SegmentTotals,
)
from shadow.statistics.clusters import ClusterRatio, KindRatio
from shadow.statistics.eprocess import Array, Ratio

#: Limits of the search for the bounds of a ratio.
LOWEST, HIGHEST = -10.0, 50.0

#: Of each kind of card-day: whether both block, live alone, and the candidate alone, float64 (CELLS,) each.
_BOTH, _LIVE, _CANDIDATE = OF_CELL.T.astype(np.float64)
_BLOCKED_BY_LIVE, _BLOCKED_BY_CANDIDATE = ((_BOTH + side > 0).astype(np.float64) for side in (_LIVE, _CANDIDATE))
#: Of each kind: whether a side of the disagreement is in it.
_HAS = {Outcome.LIVE_ONLY: _LIVE > 0, Outcome.CANDIDATE_ONLY: _CANDIDATE > 0}
#: Money of card-days: cut at the cap, or whole.
CUT, WHOLE = 0, 1
#: What a card-day of each weighs where bets begin, in caps: of whole money the few heaviest decide how large a bet may
#: be, and these weigh some tens of caps.
UNITS = (1.0, 8.0)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of S segments at any number of looks.

    counts, capped, errors: over transactions, (..., S, 4), (..., S, 3) and (..., S). cells, money, tops: over
    card-days, (..., S, CELLS), (..., S, 2, MONEY_SUMS) and (..., S, 2, MONEY_TOPS). All as in `SegmentTotals`, float64.
    """

    counts: Array
    capped: Array
    cells: Array
    money: Array
    tops: Array
    errors: Array

    @classmethod
    def of(cls, totals: RunTotals, names: Sequence[str]) -> Sums:
        """The sums of a run, at one look. A segment that the run lacks is empty."""
        return cls.of_segments([totals.segments.get(name, SegmentTotals()) for name in names])

    @classmethod
    def of_segments(cls, parts: Sequence[SegmentTotals]) -> Sums:
        """The sums of segments in this order, at one look."""

        def stacked(field: str) -> Array:
            return np.array([getattr(part, field) for part in parts], dtype=np.float64)

        return cls(*(stacked(field) for field in ("counts", "capped", "cells", "money", "tops", "errors")))

    @property
    def compared(self) -> Array:
        """Transactions that both models decided: (..., S)."""
        return np.asarray(self.counts.sum(axis=-1))

    @property
    def live_blocks(self) -> Array:
        """Transactions that live blocks: (..., S)."""
        return np.asarray(self.counts[..., Outcome.BOTH_BLOCK] + self.counts[..., Outcome.LIVE_ONLY])

    @property
    def disagreements(self) -> Array:
        """Transactions that only one model blocks: (..., S)."""
        return np.asarray(self.counts[..., list(DISAGREEMENTS)].sum(axis=-1))

    @property
    def live_cards(self) -> Array:
        """Card-days on which live blocks something: (..., S)."""
        return np.asarray(self.cells @ _BLOCKED_BY_LIVE)

    @property
    def candidate_cards(self) -> Array:
        """Card-days on which the candidate blocks something: (..., S)."""
        return np.asarray(self.cells @ _BLOCKED_BY_CANDIDATE)

    @property
    def live_pairs(self) -> Array:
        """Card-days on which live alone blocks something: (..., S)."""
        return pairs_of(self, (Outcome.LIVE_ONLY,))

    @property
    def candidate_pairs(self) -> Array:
        """Card-days on which the candidate alone blocks something: (..., S)."""
        return pairs_of(self, (Outcome.CANDIDATE_ONLY,))

    @property
    def agreed_cards(self) -> Array:
        """Card-days on which live blocks something, and nothing alone: (..., S)."""
        return np.asarray(self.live_cards - self.live_pairs)

    @property
    def crowding(self) -> Array:
        """Blocked transactions for each card-day, at least 1; where there are none, of all traffic: (..., S)."""
        blocked, days = self.counts[..., Outcome.BOTH_BLOCK :].sum(axis=-1), self.cells.sum(axis=-1)
        whole = np.divide(blocked[..., :1], days[..., :1], out=np.ones_like(days[..., :1]), where=days[..., :1] > 0)
        own = np.divide(blocked, days, out=np.broadcast_to(whole, days.shape).copy(), where=days > 0)
        return np.asarray(np.maximum(1.0, own))


def up_to_each(parts: Sequence[Sums]) -> Sums:
    """The sums of consecutive stretches of time, added up: up to the end of each, (looks, ...)."""

    def stacked(name: str) -> Array:
        return np.stack([getattr(part, name) for part in parts])

    added = {name: np.cumsum(stacked(name), axis=0) for name in ("counts", "capped", "cells", "money", "errors")}
    return Sums(**added, tops=np.maximum.accumulate(stacked("tops"), axis=0))


def card_shift(sums: Sums) -> KindRatio:
    """Additional card-days that the candidate blocks, as a share of those that live blocks. -0.3 means 30 % fewer."""
    kinds = _BLOCKED_BY_LIVE + 2 * _BLOCKED_BY_CANDIDATE
    only_live, only_candidate, both = (np.asarray(sums.cells @ (kinds == at).astype(np.float64)) for at in (1, 2, 3))
    counts = np.stack([only_candidate, only_live, both], axis=-1)
    return KindRatio(np.array([1.0, -1, 0]), np.array([0.0, 1, 1]), counts)


def counted_shift(sums: Sums) -> Array:
    """Additional transactions that the candidate blocks, as a share of live's, as counted: (..., S), NaN for none."""
    return _change(sums.counts[..., Outcome.BOTH_BLOCK :])


def counted_amount_shift(sums: Sums) -> Array:
    """Additional money that the candidate blocks, as a share of live's, each amount capped, as counted: (..., S)."""
    return _change(sums.capped)


def _change(parts: Array) -> Array:
    """Of what both block, live alone and the candidate alone: (..., 3)."""
    both, live, candidate = np.moveaxis(parts, -1, 0)
    out: Array = np.divide(candidate - live, both + live, out=np.full(both.shape, np.nan), where=both + live > 0)
    return out


def amount_shift(sums: Sums, of: int = CUT) -> ClusterRatio:
    """Additional money that the candidate blocks, as a share of the money that live blocks, over card-days.

    of: CUT, with the money of a card-day cut at the cap, or WHOLE.
    """
    net, base, held, net_net, net_base, base_base, net_held, held_held = np.moveaxis(sums.money[..., of, :8], -1, 0)
    fallen, risen = np.moveaxis(sums.money[..., of, 9:11], -1, 0)
    # a card-day that is cut at the most that can be counted may be heavier by any amount
    gain, loss, most = np.moveaxis(np.where(sums.tops >= HEAVIEST_PARTS, np.inf, sums.tops)[..., of, :], -1, 0)
    return ClusterRatio(
        net=net,
        base=base,
        held=held,
        net_net=net_net,
        net_base=net_base,
        base_base=base_base,
        net_held=net_held,
        held_held=held_held,
        fallen=fallen,
        risen=risen,
        gain=gain,
        loss=loss,
        most=most,
        unit=UNITS[of] * CAP_PARTS,
        bound=HELD_CAPS * CAP_PARTS,
    )


def alike(one: Sums, other: Sums) -> tuple[Sums, Sums]:
    """Scale the card-days of two runs against one live model to equal numbers of those that live blocks, by segment.

    The run that has seen more of them is scaled down. A weight a below 1 creates no evidence, because log(1 + c * a) is
    at least a * log(1 + c). Runs of different lengths are thus compared by their rates.
    """
    blocks = [sums.live_cards for sums in (one, other)]
    fewer = np.minimum(*blocks)
    out = []
    for sums, mine in zip((one, other), blocks, strict=True):
        share = np.divide(fewer, mine, out=np.ones_like(mine), where=mine > 0)[..., None]
        out.append(replace(sums, counts=sums.counts * share, cells=sums.cells * share))
    return out[0], out[1]


def excess(candidate: Sums, control: Sums, sides: Sequence[Outcome] = DISAGREEMENTS) -> Ratio:
    """The candidate's disagreements beyond those of the control, as a share of live's blocks, in card-days.

    sides: the disagreements that count; a card-day with several of them counts once. Both runs compare the same
    transactions with live. On a card-day on which both disagree with live, the two bets multiply; as one gains where
    the other loses, their product is at most the payoff of a bet on the difference. So the joint distribution of the
    two is not needed.

    If one run has seen more of live's blocks, such as a control that started earlier, its card-days weigh less: see
    `alike`.
    """
    candidate, control = alike(candidate, control)
    differs = _has(sides)
    lost, added, agreed = (
        np.asarray(control.cells @ kind)
        for kind in (
            differs * _BLOCKED_BY_LIVE,
            differs * (1 - _BLOCKED_BY_LIVE),
            (1 - differs) * _BLOCKED_BY_LIVE,
        )
    )
    return Ratio((1, -1, -1, 0), (0, 1, 0, 1), (pairs_of(candidate, sides), lost, added, agreed))


def side(candidate: Sums, control: Sums | None, outcome: Outcome) -> Ratio:
    """What one of the two models alone blocks, beyond what it does beside the control, as a share of live's blocks.

    outcome: LIVE_ONLY or CANDIDATE_ONLY. Counts card-days, as `excess` does. Without a control all of it. A card-day
    that counts twice, in both sums, has two bets, of which one gains where the other loses: see `excess`.
    """
    if control is not None:
        return excess(candidate, control, (outcome,))
    return Ratio((1, 0), (0, 1), (pairs_of(candidate, (outcome,)), candidate.live_cards))


def amount_side(candidate: Sums, control: Sums | None, outcome: Outcome) -> Ratio:
    """`side` in money, that of a card-day cut at the cap, as a share of the money that live blocks.

    Money of the run that has seen more of live's is scaled down, with its squares: see `alike`.
    """
    ours = _money(candidate)
    at = outcome - Outcome.BOTH_BLOCK
    if control is None:
        return Ratio((1, 0), (0, 1), (ours[at], ours[0] + ours[1]), (ours[at + 2], ours[0] + ours[1]))
    theirs = _money(control)
    blocked = [money[0] + money[1] for money in (ours, theirs)]
    fewer = np.minimum(*blocked)
    share = [np.divide(fewer, own, out=np.ones_like(own), where=own > 0) for own in blocked]
    ours, theirs = ([part * by for part in money] for money, by in zip((ours, theirs), share, strict=True))
    lost, added = float(outcome is Outcome.LIVE_ONLY), float(outcome is Outcome.CANDIDATE_ONLY)
    both, live_only, candidate_only, live_squares, candidate_squares = theirs
    return Ratio(
        (1, -lost, -added, 0),
        (0, 1, 0, 1),
        (ours[at], live_only, candidate_only, both),
        (ours[at + 2], live_squares, candidate_squares, both),
    )


def _money(sums: Sums) -> list[Array]:
    """Money of card-days, cut at the cap and as shares of it: what both block, live alone, the candidate alone, and
    squares of the last two."""
    parts = np.moveaxis(sums.money[..., CUT, :], -1, 0)
    net, base, live = (parts[at] / CAP_PARTS for at in (0, 1, 8))
    live_squares, candidate_squares = (parts[at] / CAP_PARTS**2 for at in (9, 10))
    return [np.maximum(base - live, 0.0), live, np.maximum(net + live, 0.0), live_squares, candidate_squares]


def pairs_of(sums: Sums, sides: Sequence[Outcome]) -> Array:
    """Card-days with any of these disagreements: (..., S)."""
    return np.asarray(sums.cells @ _has(sides))


def _has(sides: Sequence[Outcome]) -> Array:
    return np.asarray(np.any([_HAS[side] for side in sides], axis=0), dtype=np.float64)
