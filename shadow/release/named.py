"""Checks names that people give: slots, segments, runs, transactions. An unknown one is refused with the nearest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from scorer.deployments.records import CANDIDATE, CONTROL, LIVE, PREVIOUS
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from shadow.comparison.totals import Run
from shadow.release.wording import to_be_filled

#: Most names to list where none is near.
LISTED = 12


class UnknownNameError(UserError):
    """Somebody named what is not there."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What to say of names that are there to somebody who gave one that is not.

    >>> nearest("contry=FR", ["all", "country=DE", "country=FR"])
    'did you mean country=FR?'
    >>> nearest("x", ["all", "country=DE"])
    'expected one of all, country=DE'
    """
    names = list(dict.fromkeys(known))
    folded = {one.casefold(): one for one in reversed(names)}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]}?"
    if not names:
        return "there is none yet"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"expected one of {', '.join(names[:LISTED])}{more}"


def require_slot(deployments: Deployments, slot: str) -> None:
    """Raise UnknownNameError unless a slot other than live was ever filled."""
    if slot == LIVE:
        raise UnknownNameError(
            f"slot {LIVE}: is what candidates are compared with; name the slot of one, such as {CANDIDATE}"
        )
    if slot in deployments.slots:
        return
    if slot in (CANDIDATE, CONTROL, PREVIOUS):
        raise UnknownNameError(to_be_filled(slot))
    raise UnknownNameError(f"slot {slot}: was never filled; {nearest(slot, sorted(deployments.slots.keys() - {LIVE}))}")


def require_any_slot(deployments: Deployments, slot: str) -> None:
    """Raise UnknownNameError unless a slot, live included, was ever filled."""
    if slot not in deployments.slots:
        raise UnknownNameError(f"slot {slot}: was never filled; {nearest(slot, sorted(deployments.slots))}")


def require_segment(names: Sequence[str], segment: str | None) -> None:
    """Raise UnknownNameError for a segment that release.yaml does not declare. names: those that it does."""
    if segment is not None and segment not in names:
        raise UnknownNameError(f"segment {segment}: is not declared in release.yaml; {nearest(segment, names)}")


def require_run(known: Iterable[Run], slot: str, run: Run) -> None:
    """Raise UnknownNameError for a run that a slot never had. known: its runs, oldest first."""
    names = [str(one) for one in known]
    if str(run) not in names:
        raise UnknownNameError(f"run {run}: slot {slot} never had it; {nearest(str(run), reversed(names))}")


def require_transaction(known: Iterable[str], slot: str, transaction: str) -> None:
    """Raise UnknownNameError for a transaction that no run of a slot keeps. known: those that one does."""
    names = sorted(set(known))
    if transaction not in names:
        raise UnknownNameError(
            f"transaction {transaction}: no run of slot {slot} keeps it; {nearest(transaction, names)} "
            f"`shadow review next --slot {slot}` hands out what is to be reviewed"
        )
