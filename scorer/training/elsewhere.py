"""What a rotation asks of whoever keeps an archive: what is in it, and a backtest.

The scorer knows neither: whoever does says so by the entry points `scorer.rotation`.
"""

from __future__ import annotations

from datetime import date, datetime
from importlib.metadata import entry_points
from typing import Any, Protocol

from scorer.deployments.records import Judged
from scorer.errors import UserError
from scorer.training.rotation import Archived

GROUP = "scorer.rotation"


class Looks(Protocol):
    """Says what an archive has."""

    def __call__(self, address: str) -> Archived:
        """Raises UserError if it has no decisions, or cannot be read."""


class Tries(Protocol):
    """Judges a bundle on archived decisions."""

    def __call__(
        self, address: str, store: str, candidate: str, control: str | None, first: date, as_of: datetime
    ) -> Judged:
        """The verdict on event days from `first` to that of `as_of`, with the labels that were known then; `promote` if
        nothing stands against the candidate. store: of bundles. candidate, control: digests. Raises UserError."""


def looks() -> Looks:
    """What says what an archive has. Raises UserError if nothing does."""
    found: Looks = _named("archived", "--from-archive: nothing here reads archives")
    return found


def tries() -> Tries:
    """What makes backtests. Raises UserError if nothing does."""
    found: Tries = _named(
        "backtest", "backtest: nothing here makes one, and --no-backtest leaves it out, which the ledger tells"
    )
    return found


def _named(name: str, missing: str) -> Any:
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    if found is None:
        raise UserError(f"{missing}; install the extras `shadow`, `archive` and `local` of this package")
    try:
        return found.load()
    except ImportError as error:
        raise UserError(
            f"{missing} ({error}); install the extras `shadow`, `archive` and `local` of this package"
        ) from None
