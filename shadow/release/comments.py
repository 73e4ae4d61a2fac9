"""Comments of people on a suggestion that waits."""

from __future__ import annotations

from scorer.deployments.deploy import now
from scorer.deployments.ledger import StaleChangeError, append
from scorer.deployments.records import LONGEST_COMMENT, MOST_COMMENTS, Comment, Suggestion
from scorer.deployments.slots import Deployments, LedgerLine
from scorer.errors import UserError
from scorer.people import Who, one_line
from scorer.pipeline.card_number import find
from scorer.settings import CommonSettings


def checked(text: str, field: str = "text") -> str:
    """A comment, or a reason, as it may be written: one line, of bounded length, without a card number.

    Raises UserError that names the field.
    """
    said = one_line(text)
    if said is None:
        what = "what you have to say of the suggestion" if field == "text" else f"the {field}, for the record"
        raise UserError(f"{field}: says nothing; write {what}")
    if len(said) > LONGEST_COMMENT:
        raise UserError(f"{field}: has {len(said):,} characters; the ledger keeps every one of them, so write at most "
                        f"{LONGEST_COMMENT:,}")  # fmt: skip
    if find(said):
        raise UserError(f"{field}: holds a card number; leave it out, as the ledger is kept for ever")
    return said


async def comment(settings: CommonSettings, suggestion: str, text: str, who: Who) -> LedgerLine:
    """Write a comment on a suggestion to the ledger. Raises UserError if that does not wait, or has too many."""
    said = checked(text)

    def build(present: Deployments) -> Comment:
        require_waiting(present, suggestion)
        if len(present.comments(suggestion)) >= MOST_COMMENTS:
            raise UserError(f"suggestion {suggestion}: has {MOST_COMMENTS} comments already, and takes no more")
        return Comment(suggestion=suggestion, text=said, by=who.name, verified=who.verified, at=now())

    try:
        line, _ = await append(settings, build)
    except StaleChangeError:
        raise UserError(f"suggestion {suggestion[:40]}: somebody has settled it first") from None
    return line


def told_json(line: LedgerLine) -> dict[str, str]:
    """A comment that is on the ledger, for machines."""
    entry = line.entry
    assert isinstance(entry, Comment)  # noqa: S101 - for mypy: `comment` has made it
    return {"suggestion": entry.suggestion, "seq": line.seq, "by": entry.by}


def require_waiting(deployments: Deployments, suggestion: str) -> None:
    """Raises UserError unless a suggestion waits for a person."""
    waiting = [line.seq for line in deployments.open_suggestions() if isinstance(line.entry, Suggestion)]
    if suggestion not in waiting:
        known = f"; {', '.join(waiting)} waits" if waiting else ""
        raise UserError(f"suggestion {suggestion[:40]!r}: none that waits has this ledger key{known}")
