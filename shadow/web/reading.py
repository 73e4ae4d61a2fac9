"""Who reads, and what of a sample they may see: viewers see no card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request

from shadow.comparison.sample import Sample
from shadow.web.auth import People, role_of

#: The role that sees no card.
VIEWER = "viewer"


@dataclass(frozen=True)
class Reader:
    """Who asks. role: None with a token that is nobody's, or without one where none is needed."""

    role: str | None

    @property
    def sees_cards(self) -> bool:
        return self.role != VIEWER

    def require(self, card: str | None) -> None:
        """Raise HTTPException, 403, for somebody who asks for a card and may not see it."""
        if card is not None and not self.sees_cards:
            raise HTTPException(403, "card: viewers see no cards; ask with the token of a reviewer")


def reading(people: People) -> Callable[[Request], Reader]:
    """A dependency that says who asks."""
    role = role_of(people)

    def reader(request: Request) -> Reader:
        return Reader(role(request))

    return reader


def shown(sample: Sample, reader: Reader) -> dict[str, Any]:
    """A sample as JSON, without its card for whoever may not see it."""
    told = sample.to_json()
    if not reader.sees_cards:
        told["card_id"] = None
        told["transaction"] = {name: value for name, value in sample.transaction.items() if name != "card_id"}
    return told
