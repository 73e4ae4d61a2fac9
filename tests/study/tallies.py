"""From a simulated stream to what the gate is given at each hourly look: sums of segments, and labels known."""

from __future__ import annotations

import math

import numpy as np

from shadow.claims import Sums, within_floor
from shadow.criteria import Release
from shadow.labelled import LabelledPairs, label_claims
from shadow.tally import CAP_PARTS
from study.model import CAP_MINOR, CHANNEL_AT, DAYS, HOURS, NAMES, REGION_AT, Array, Stream

REVIEWS_A_DAY, RIGHT = 40, 0.95


def segments_of(stream: Stream) -> Array:
    """Positions in NAMES of each cluster's segments: (n, 3)."""
    n = len(stream.hour)
    return np.stack([np.zeros(n, dtype=np.int64), REGION_AT + stream.region, CHANNEL_AT + stream.channel], axis=1)


def sums(stream: Stream, of: str) -> Sums:
    """The sums of the candidate or the control at every hour: (HOURS, S, ...)."""
    other = stream.candidate if of == "candidate" else stream.control
    code = np.where(stream.live, np.where(other, 1, 2), np.where(other, 3, 0))
    mine = code > 0
    hour, segments, code = stream.hour[mine], segments_of(stream)[mine], code[mine]
    size, amount = stream.size[mine].astype(np.float64), np.minimum(stream.amount[mine], CAP_MINOR)
    parts = -(-amount * CAP_PARTS // CAP_MINOR)

    def by_hour(columns: int, column: Array, weight: Array) -> Array:
        out = np.zeros((HOURS, len(NAMES), columns))
        np.add.at(out, (hour[:, None], segments, column[:, None]), weight[:, None])
        return out

    counts = by_hour(4, code, size)
    counts[:, 0, 0] += stream.traffic.sum(axis=(1, 2))
    counts[:, REGION_AT : REGION_AT + stream.traffic.shape[1], 0] += stream.traffic.sum(axis=2)
    counts[:, CHANNEL_AT : CHANNEL_AT + stream.traffic.shape[2], 0] += stream.traffic.sum(axis=1)
    capped = by_hour(4, code, size * amount)[..., 1:]
    squares = by_hour(4, code, size * parts.astype(np.float64) ** 2)[..., 2:]
    pairs = by_hour(4, code, np.ones(len(code)))[..., 2:]
    errors = np.zeros(counts.shape[:2])
    return Sums(*(np.cumsum(part, axis=0) for part in (counts, capped, squares, pairs, errors)))


def reviewed(stream: Stream, candidate: Sums, control: Sums, release: Release, rng: np.random.Generator) -> Array:
    """Labelled disagreements by day, segment and kind of `shadow.labelled.KINDS`: (DAYS, S, 6, 3), in the last axis
    cases, their amounts as shares of the cap, and squares of these.

    Every day the queue hands out 40 cases, as `shadow review next` does: segments in which labels are asked for take
    turns, the most open first, and each hands out the case with the smallest hash that nobody has looked at. In each
    segment only cases count that come, by their hash, before the first that is still open, as `shadow.labelled` has it.
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
            counted = _in_turn(queue, day[queue], is_done[queue])
            for power in range(3):
                out[today, at, :, power] = np.bincount(kind[counted], share[counted] ** power, minlength=6)
        known = out[today]
    return out


def _in_turn(queue: Array, day: Array, is_done: Array) -> Array:
    """Cases that count, of a queue by hash: up to the first open one, of the days up to the one with most of them."""
    best = queue[:0]
    for last in range(int(day.max(initial=-1)), -1, -1):
        until = day <= last
        still = np.flatnonzero(~is_done & until)
        counted = queue[: still[0]][until[: still[0]]] if len(still) else queue[until]
        if len(counted) > len(best):
            best = counted
        if until.sum() <= len(best):
            break
    return best


def at_hour(sums: Sums, hour: int) -> Sums:
    """One look of a path."""
    return Sums(*(getattr(sums, name)[hour] for name in ("counts", "capped", "squares", "pairs", "errors")))


def _turns(known: Array, candidate: Sums, control: Sums, release: Release) -> list[int]:
    """Segments in which labels are asked for and not settled, the most open first."""
    bar = -math.log(release.promote_error)
    claims = label_claims(_pairs(known), candidate, release)
    asked = within_floor(candidate, control, release).log_within() < bar
    open_by = np.min([np.maximum(claim.log_within(), claim.log_beyond()) for claim in claims], axis=0)
    wanted = asked & (open_by < bar) & ~release.excused("lost_fraud") & (candidate.pairs.sum(axis=-1) > 0)
    return [at for at in np.argsort(open_by, kind="stable").tolist() if wanted[at]]


def _pairs(known: Array) -> LabelledPairs:
    cases, money, squares = known[..., 0], known[..., 1], known[..., 2]
    return LabelledPairs(cases, cases, money, squares, cases.sum(axis=-1))


def by_hour(labels: Array) -> LabelledPairs:
    """Labels as they are known at every hour: those of a day at its end. Of sums by day, as from `reviewed`."""
    return _pairs(np.concatenate([np.zeros_like(labels[:1]), labels[:-1]]).repeat(24, axis=0))
