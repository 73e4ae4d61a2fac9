"""From a simulated stream to what the gate is given at each hourly look: sums of segments, and labels known."""

from __future__ import annotations

import numpy as np

from shadow.claims import Sums
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
    return Sums(*(np.cumsum(part, axis=0) for part in (counts, capped, squares, pairs)), np.zeros(counts.shape[:2]))


def reviewed(stream: Stream, rng: np.random.Generator) -> Array:
    """Labelled disagreements by day, segment and kind of `shadow.labelled.KINDS`: (DAYS, S, 6, 2), in the last axis
    cases and their amounts as shares of the cap.

    Every day the queue hands out 40 cases: for one segment after the other the one with the smallest hash that nobody
    has looked at. In each segment only cases count that come, by their hash, before the first that is still open.
    """
    differs = np.flatnonzero(stream.live != stream.candidate)
    n = len(differs)
    segments, hashes = segments_of(stream)[differs], rng.random(n)
    by_hash = np.argsort(hashes)
    answer = stream.fraud[differs] ^ (rng.random(n) >= RIGHT)
    live_only = stream.live[differs]
    kind = np.where(answer, np.where(live_only, 0, 1), np.where(live_only, 2, 3))
    day = stream.hour[differs] // 24
    share = np.minimum(stream.amount[differs], CAP_MINOR) / CAP_MINOR
    is_done = np.zeros(n, dtype=bool)
    out = np.zeros((DAYS, len(NAMES), 6, 2))
    queues = [by_hash[(segments[by_hash] == at).any(axis=1)] for at in range(len(NAMES))]
    for today in range(DAYS):
        left = REVIEWS_A_DAY
        mine = [queue[day[queue] <= today] for queue in queues]
        heads = [0] * len(NAMES)
        is_open = True
        while left and is_open:
            is_open = False
            for at in range(len(NAMES)):
                queue = mine[at]
                while heads[at] < len(queue) and is_done[queue[heads[at]]]:
                    heads[at] += 1
                if heads[at] < len(queue) and left:
                    is_done[queue[heads[at]]] = True
                    left -= 1
                    is_open = True
        for at, queue in enumerate(mine):
            still = np.flatnonzero(~is_done[queue])
            counted = queue[: still[0]] if len(still) else queue
            out[today, at, :, 0] = np.bincount(kind[counted], minlength=6)
            out[today, at, :, 1] = np.bincount(kind[counted], share[counted], minlength=6)
    return out
