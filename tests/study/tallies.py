"""From a simulated stream to what the gate is given at each hourly look: sums of segments, and labels known."""

from __future__ import annotations

import math

import numpy as np

from shadow.comparison.totals import CAP_PARTS, CELLS, HELD_CAPS, MONEY_SUMS, MONEY_TOPS
from shadow.gate.criteria import Release
from shadow.gate.harm import LabelledPairs, harm_claims, label_claims, labels_wanted
from shadow.gate.sums import Sums
from study.in_turn import in_turn
from study.model import ABOVE_CAP, AMOUNT_AT, CAP_MINOR, CHANNEL_AT, DAYS, HOURS, NAMES, REGION_AT, Array, Stream

REVIEWS_A_DAY, RIGHT = 40, 0.95


def segments_of(stream: Stream) -> Array:
    """Positions in NAMES of each cluster's segments: (n, 4)."""
    everything = np.zeros(len(stream.hour), dtype=np.int64)
    band = AMOUNT_AT + (stream.amount >= CAP_MINOR)
    return np.stack([everything, REGION_AT + stream.region, CHANNEL_AT + stream.channel, band], axis=1)


def sums(stream: Stream, of: str) -> Sums:
    """The sums of the candidate or the control at every hour: (HOURS, S, ...). Each cluster is a card-day."""
    other = stream.candidate if of == "candidate" else stream.control
    code = np.where(stream.live, np.where(other, 1, 2), np.where(other, 3, 0))
    mine = code > 0
    hour, segments, code = stream.hour[mine], segments_of(stream)[mine], code[mine]
    size, amount = stream.size[mine].astype(np.float64), stream.amount[mine]
    n, place = len(code), hour[:, None] * len(NAMES) + segments

    def by_hour(columns: int, column: Array, weight: Array) -> Array:
        at = (place * columns + column[:, None]).ravel()
        out = np.bincount(at, weight.repeat(segments.shape[1]), HOURS * len(NAMES) * columns)
        return np.cumsum(out.reshape(HOURS, len(NAMES), columns), axis=0)

    counts = by_hour(4, code, size)
    allowed = stream.traffic.sum(axis=(1, 2)).cumsum()
    counts[:, 0, 0] += allowed
    counts[:, REGION_AT : REGION_AT + stream.traffic.shape[1], 0] += stream.traffic.sum(axis=2).cumsum(axis=0)
    counts[:, CHANNEL_AT : CHANNEL_AT + stream.traffic.shape[2], 0] += stream.traffic.sum(axis=1).cumsum(axis=0)
    counts[:, AMOUNT_AT : AMOUNT_AT + 2, 0] += allowed[:, None] * [1 - ABOVE_CAP, ABOVE_CAP]
    capped = by_hour(4, code, size * np.minimum(amount, CAP_MINOR))[..., 1:]
    cells = by_hour(CELLS, 1 << (code - 1), np.ones(n))
    whole = size * -(-amount * CAP_PARTS // CAP_MINOR)
    money = np.zeros((HOURS, len(NAMES), 2, MONEY_SUMS))
    tops = np.zeros((HOURS, len(NAMES), 2, MONEY_TOPS))
    for at, parts in enumerate((np.minimum(whole, CAP_PARTS), whole)):
        net, base = parts * ((code == 3) * 1.0 - (code == 2)), parts * (code < 3)
        held = np.minimum(base, HELD_CAPS * CAP_PARTS)
        live, candidate = parts * (code == 2), parts * (code == 3)
        products = (net * net, net * base, base * base, net * held, held * held, live, live * live, candidate**2)
        for column, weight in enumerate((net, base, held, *products)):
            money[..., at, column] = by_hour(1, np.zeros(n, dtype=np.int64), weight)[..., 0]
        for column, is_part in enumerate((code == 3, code == 2, code < 3)):
            heaviest = np.zeros(HOURS * len(NAMES))
            np.maximum.at(heaviest, place.ravel(), (parts * is_part).repeat(segments.shape[1]))
            tops[..., at, column] = np.maximum.accumulate(heaviest.reshape(HOURS, -1), axis=0)
    return Sums(counts, capped, cells, money, tops, np.zeros(counts.shape[:2]))


def reviewed(stream: Stream, candidate: Sums, control: Sums, release: Release, rng: np.random.Generator) -> Array:
    """Labelled disagreements by day, segment and kind of `shadow.gate.harm.KINDS`: (DAYS, S, 6, 3), in the last axis
    cases, their amounts as shares of the cap, and squares of these.

    Every day the queue hands out 40 cases, as `shadow review next` does: segments in which labels are asked for take
    turns, the most open first, and each hands out the case with the smallest hash that nobody has looked at. In each
    segment only cases count that come, by their hash, before the first that is still open, as `gate.harm` has it.
    """
    differs = np.flatnonzero(stream.live != stream.candidate)
    n = len(differs)
    segments, by_hash = segments_of(stream)[differs], rng.permutation(n)
    answer = stream.fraud[differs] ^ (rng.random(n) >= RIGHT)
    live_only = stream.live[differs]
    kind = np.where(answer, np.where(live_only, 0, 1), np.where(live_only, 2, 3))
    day = stream.hour[differs] // 24
    share = np.minimum(stream.amount[differs], CAP_MINOR) / CAP_MINOR
    is_done = np.zeros(n, dtype=bool)
    out = np.zeros((DAYS, len(NAMES), 6, 3))
    queues = [by_hash[(segments[by_hash] == at).any(axis=1)] for at in range(len(NAMES))]
    known = np.zeros((len(NAMES), 6, 3))
    for today in range(DAYS):
        mine = [queue[day[queue] <= today] for queue in queues]
        waiting = [iter(queue[~is_done[queue]].tolist()) for queue in mine]
        hour = today * 24 + 23
        order = _turns(known, at_hour(candidate, hour), at_hour(control, hour), release)
        left = REVIEWS_A_DAY
        while left and order:
            for at in list(order):
                case = next((case for case in waiting[at] if not is_done[case]), None)
                if case is None:
                    order.remove(at)
                elif left:
                    is_done[case] = True
                    left -= 1
        for at, queue in enumerate(mine):
            counted = in_turn(queue, day[queue], ~is_done[queue])
            for power in range(3):
                out[today, at, :, power] = np.bincount(kind[counted], share[counted] ** power, minlength=6)
        known = out[today]
    return out


def at_hour(sums: Sums, hour: int) -> Sums:
    """One look of a path."""
    return Sums(*(getattr(sums, name)[hour] for name in Sums.__dataclass_fields__))


def _turns(known: Array, candidate: Sums, control: Sums, release: Release) -> list[int]:
    """Segments in which labels are asked for and not settled, the most open first."""
    bar = -math.log(release.promote_error)
    claims = harm_claims(label_claims(_pairs(known), candidate, release), candidate, control, release)
    asked = labels_wanted(claims, candidate, release)
    open_by = np.min([np.maximum(claim.log_within(), claim.log_beyond()) for claim in claims], axis=0)
    wanted = asked & (open_by < bar)
    return [at for at in np.argsort(open_by, kind="stable").tolist() if wanted[at]]


def _pairs(known: Array) -> LabelledPairs:
    cases, money, squares = known[..., 0], known[..., 1], known[..., 2]
    return LabelledPairs(cases, cases, money, squares, cases.sum(axis=-1))


def by_hour(labels: Array) -> LabelledPairs:
    """Labels as they are known at every hour: those of a day at its end. Of sums by day, as from `reviewed`."""
    return _pairs(np.concatenate([np.zeros_like(labels[:1]), labels[:-1]]).repeat(24, axis=0))
