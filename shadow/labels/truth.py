"""What a transaction was, by all that is said of it: what a model is trained on, and measured by. Pure.

Nobody can charge back what live blocked, so there only reviews count, and without one nobody knows. What live allowed
was legitimate if nobody has said otherwise by the time in which such labels come; that is for the caller to wait for.
"""

from __future__ import annotations

from enum import IntEnum

from shadow.labels.label import CHARGEBACK, REVIEW, State, Votes, state


class Truth(IntEnum):
    """What a transaction was. UNKNOWN: nobody can tell. PENDING: nobody has said anything yet."""

    UNKNOWN = -1
    LEGIT = 0
    FRAUD = 1
    PENDING = 2


_SAID = {State.FRAUD: Truth.FRAUD, State.LEGIT: Truth.LEGIT}


def truth(votes: Votes, is_blocked: bool) -> Truth:
    """What the labels of a transaction say.

    A review and a chargeback that contradict each other, and persons who do, leave it unknown. An unsure review says
    nothing. is_blocked: whether live blocked it.
    """
    review = state(votes.get(REVIEW, {}))
    if is_blocked:
        return _SAID.get(review, Truth.UNKNOWN)
    both = (state(votes.get(CHARGEBACK, {})), review)
    if State.CONTRADICTORY in both or {State.FRAUD, State.LEGIT} <= set(both):
        return Truth.UNKNOWN
    return next((_SAID[one] for one in both if one in _SAID), Truth.PENDING)
