"""Where a candidate comes from, as far as its manifest says it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of how a candidate was made.

    doubt: why nobody can tell what made it, as the end of a sentence about it; None if that is known, with a commit and
    without further changes. trouble: why its manifest could not be read, for people; None if it was.
    """

    doubt: str | None = None
    trouble: str | None = None

    @property
    def is_clean(self) -> bool:
        """Whether all that made the candidate is known."""
        return self.doubt is None and self.trouble is None
