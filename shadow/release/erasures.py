"""What an erasure of a card leaves on the ledger: who asked for it, when and why, and how much of it was in Redis.

The card is not in it, nor anything that is made of it. The ledger is kept for ever.
"""

from __future__ import annotations

import re

from scorer.deployments.deploy import now
from scorer.deployments.ledger import append, read, require_may_write
from scorer.deployments.records import Erasure
from scorer.deployments.slots import LedgerLine
from scorer.errors import UserError
from scorer.people import Who
from scorer.settings import CommonSettings
from shadow.release.comments import checked

#: What stands for a name and a reason that nobody has given.
NOBODY, NO_REASON = "shadow erase (nobody was asked)", "none was given"
#: A card with so many characters is looked for within words, too.
SHORTEST = 8


def reason_of(text: str | None, card: str, who: Who) -> str:
    """The reason as it may be written. Raises UserError if it names the card, or whoever asks is called like it."""
    reason = None if text is None else checked(text, "--reason")
    for option, said in (("--reason", reason), ("--by", who.name)):
        if said not in (None, NOBODY) and _names(str(said), card):
            raise UserError(f"{option}: names the card; leave it out, as the ledger is kept for ever")
    return reason or NO_REASON


def _names(text: str, card: str) -> bool:
    """Whether a text has a card in it; a short one only as a word, as `42` is in many texts."""
    said, wanted = text.casefold(), card.casefold()
    if len(card) >= SHORTEST:
        return wanted in said
    return re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", said) is not None


def entry(request: str, partitions: int, rows: dict[str, int], who: Who, reason: str) -> Erasure:
    """What is written. rows: samples, cases and labels that were in Redis."""
    return Erasure(
        request=request, partitions=partitions, **rows, by=who.name, reason=reason, verified=who.verified, at=now()
    )


async def require_notable(settings: CommonSettings, who: Who, reason: str) -> None:
    """Raise UserError, before anything is erased, if the entry would not count."""
    none = {"samples": 0, "cases": 0, "labels": 0}
    require_may_write(settings, await read(settings), entry("0" * 16, 1, none, who, reason))


async def note(settings: CommonSettings, erased: Erasure) -> LedgerLine:
    """Write the entry of an erasure; its line. Raises what `append` does."""
    line, _ = await append(settings, lambda _: erased)
    return line
