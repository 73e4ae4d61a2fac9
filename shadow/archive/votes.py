"""What the archive's labels say, as it was known at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shadow.archive.rows import label_of
from shadow.archive.tables import TopicTable
from shadow.labels.label import Vote, Votes, merge, vote

_COLUMNS = (
    *("transaction_id", "card_id", "occurred_at", "source", "verdict", "by", "reason", "at", "appended_at", "problem"),
)


def votes_of(rows: Sequence[Mapping[str, Any]], as_of_ms: int) -> list[Vote]:
    """The votes in rows of `labels` that were known at a time: which the broker had, or if it does not say when, were
    given. as_of_ms: milliseconds since 1970."""
    found = [(vote(label, known_ms), known_ms) for label, known_ms in map(label_of, rows)]
    return [one for one, known_ms in found if (known_ms if known_ms > 0 else one.at_ms) <= as_of_ms]


def known_votes(labels: TopicTable, as_of_ms: int) -> Iterator[list[Vote]]:
    """The votes of a table that were known at a time, some thousand at once, in no order."""
    for batch in labels.batches(_COLUMNS):
        yield votes_of([row for row in batch.to_pylist() if row["problem"] is None], as_of_ms)


def by_subject(labels: TopicTable, as_of_ms: int) -> dict[str, Votes]:
    """What holds on each subject, of what was known at a time. Memory grows with the labels."""
    found: dict[str, Votes] = {}
    for votes in known_votes(labels, as_of_ms):
        for one in votes:
            said: Votes = {one.source: {one.by: (one.at_ms, one.verdict)}}
            found[one.subject] = merge(found[one.subject], said) if one.subject in found else said
    return found
