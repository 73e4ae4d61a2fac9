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
    """What the labels of a transaction say. is_blocked: whether live blocked it.

    A review that decides counts first; then, of what live allowed, a chargeback. An unsure review, and people who
    contradict each other, decide nothing.
    """
    review = state(votes.get(REVIEW, {}))
    if review in _SAID:
        return _SAID[review]
    if is_blocked:
        return Truth.UNKNOWN
    return _SAID.get(state(votes.get(CHARGEBACK, {})), Truth.PENDING)


def contradict(votes: Votes) -> bool:
    """Whether review and chargeback contradict each other."""
    return {state(votes.get(source, {})) for source in (CHARGEBACK, REVIEW)} == {State.FRAUD, State.LEGIT}
