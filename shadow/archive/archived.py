"""What an archive has, in a few figures: what `scorer rotate` plans by.

The scorer finds `archived` by the entry point `scorer.rotation`, so that it knows nothing of the archive.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow.compute as pc

from scorer.errors import UserError
from scorer.settings import load
from scorer.training.rotation import Archived
from shadow.archive.rows import KINDS
from shadow.archive.tables import UNREADABLE, Archive, TopicTable, in_a_line
from shadow.settings import ShadowSettings

_DECISIONS, _DEPLOYMENTS = "decisions", "deployments"
_ENTRY = "ledger/"
#: Event days, the latest ones, among whose decisions the newest is looked for.
_DAYS = 3


def archived(address: str) -> Archived:
    """What an archive has. Raises UserError if it has no decisions, or cannot be read."""
    settings = load(ShadowSettings, archive=address)
    options = {name: secret.get_secret_value() for name, secret in settings.archive_options.items()}
    place = Archive(address, options)
    try:
        tables = {
            kind.table: place.existing(kind, getattr(settings.topics, kind.role))
            for kind in KINDS
            if kind.table in (_DECISIONS, _DEPLOYMENTS)
        }
        decisions, deployments = tables[_DECISIONS], tables[_DEPLOYMENTS]
        days = [] if decisions is None else decisions.days()
        if decisions is None or not days:
            raise UserError(f"--from-archive {address}: has no decisions; start `shadow archive run`, or name another")
        newest = _newest(decisions, days)
        entries = frozenset() if deployments is None else _entries(deployments)
        return Archived(days[0], days[-1], newest, decisions.rows, entries)
    except UNREADABLE as error:
        raise UserError(f"--from-archive {address}: cannot be read ({in_a_line(error)})") from None


def _newest(decisions: TopicTable, days: list[str]) -> datetime | None:
    """When the broker got the newest decision; None if it does not say. Event days are those of senders' clocks, so
    several are looked at."""
    since = date.fromisoformat(days[-_DAYS:][0])
    newest: datetime | None = None
    for batch in decisions.stored().to_batches(columns=["appended_at"], filter=pc.field("day") >= since):
        found = pc.max(batch["appended_at"]).as_py()
        if found is not None:
            at = found.astimezone(UTC)
            newest = at if newest is None else max(newest, at)
    return newest


def _entries(deployments: TopicTable) -> frozenset[str]:
    """The ledger keys that are archived."""
    found: set[str] = set()
    rows = deployments.stored().to_batches(columns=["key"], filter=pc.field("problem").is_null())
    for batch in rows:
        found |= {key.removeprefix(_ENTRY) for key in batch["key"].to_pylist() if key and key.startswith(_ENTRY)}
    return frozenset(found)
