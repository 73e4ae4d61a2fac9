"""Headers of a transaction's record that its decision has, too, such as those of a trace."""

from __future__ import annotations

from collections.abc import Sequence

from scorer.pipeline.card_number_json import masked_bytes
from scorer.pipeline.card_number_screen import screen, unquoted
from scorer.pipeline.origin import Headers

#: Most bytes of a header that is carried; a longer one is left out. A trace needs 55, and its state at most 512.
LONGEST_CARRIED = 1024
Carried = list[tuple[str, bytes]]


def carried(headers: Sequence[Headers], names: frozenset[str]) -> list[Carried]:
    """Of each of n records, the headers of these names; of several with one name, the last. Empty if no record has any.

    Card numbers in them are masked: no decision holds one.
    """
    if not (names and any(headers)):
        return []
    found = [_of_one(own, names) for own in headers]
    values = [value for own in found for _, value in own]
    suspects = screen(unquoted(values)) if values else []
    if suspects:
        plain = dict.fromkeys(suspects)
        flat = iter([masked_bytes(value) if at in plain else value for at, value in enumerate(values)])
        found = [[(name, next(flat)) for name, _ in own] for own in found]
    return found if values else []


def _of_one(own: Headers, names: frozenset[str]) -> Carried:
    """The headers of a record."""
    last = {name: value for name, value in own if name in names and value is not None and len(value) <= LONGEST_CARRIED}
    return list(last.items())
