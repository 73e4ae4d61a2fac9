"""People who answer what the review queue hands out, day by day, right now and then or nearly always.

Follows the product's queue (`shadow.labels.queue`) in arrays; a test holds it against the queue itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from shadow.gate.harm import LabelledPairs
from study.in_turn import in_turn
from study.shapes.catalogue import Reviews
from study.shapes.seen import A_DAY, CAP, KINDS, NAMES, RELEASE, Seen, asked, at_looks, pairs_of
from study.shapes.world import Array


def labels_by_look(by_day: Sequence[Array]) -> LabelledPairs:
    """The labels that are known at every look of some days: those of a day at its end. by_day: from `reviewed`."""
    known = [np.zeros_like(by_day[0]), *by_day[:-1]]
    return pairs_of(np.stack(known).repeat(A_DAY, axis=0))


def reviewed(seen: Seen, reviews: Reviews, rng: np.random.Generator) -> Iterator[Array]:
    """Answers that count, day by day, by segment and kind: (S, 6, 3), as `pairs_of` takes them."""
    rows, days = seen.rows, seen.days
    differs = np.flatnonzero(rows.live != rows.candidate)
    n = len(differs)
    day, live_only = rows.hour[differs] // 24, rows.live[differs]
    answer = rows.fraud[differs] ^ (rng.random(n) >= reviews.right)
    kind = np.where(answer, np.where(live_only, 0, 1), np.where(live_only, 2, 3))
    share = np.minimum(rows.minor[differs], CAP) / CAP
    queues = _queues(rows.card[differs] * 128 + day, seen.segments[differs], rng.permutation(n))
    handed = np.full(n, days + reviews.late)  # the day on which a case is handed out
    bar, known = -math.log(RELEASE.promote_error), np.zeros((len(NAMES), KINDS, 3))
    for today in range(days):
        look = (today + 1) * A_DAY - 1
        control = None if seen.control is None else at_looks(seen.control, look)
        order = asked(at_looks(seen.candidate, look), control, pairs_of(known), bar)
        _hand_out(order, [queues[at] for at in order], day, handed, today, reviews.a_day)
        is_open = handed + reviews.late > today
        known = np.zeros_like(known)
        for at, queue in enumerate(queues):
            counted = in_turn(queue, day[queue], is_open[queue])
            for power in range(3):
                known[at, :, power] = np.bincount(kind[counted], share[counted] ** power, minlength=KINDS)
        yield known


def _queues(card_day: Array, segments: Array, order: Array) -> list[Array]:
    """The cases of each segment in the order of their hash, one of each card-day."""
    out = []
    for at in range(len(NAMES)):
        mine = order[(segments[order] == at).any(axis=1)]
        _, first = np.unique(card_day[mine], return_index=True)
        out.append(mine[np.sort(first)])
    return out


def _hand_out(order: list[int], queues: list[Array], day: Array, handed: Array, today: int, left: int) -> None:
    """Hand out cases of the segments in turns; marks the day in `handed`."""
    until = 2 * left
    waiting = [iter(q[(day[q] <= today) & (handed[q] > today)][:until].tolist()) for q in queues]
    while left and waiting:
        for one in list(waiting):
            case = next((case for case in one if handed[case] > today), None)
            if case is None:
                waiting.remove(one)
            elif left:
                handed[case] = today
                left -= 1
