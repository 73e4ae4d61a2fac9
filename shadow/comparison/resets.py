"""Causes that restart the clean period."""

from __future__ import annotations

from dataclasses import dataclass

#: Causes that start a new run, in either slot, and the clean period with it.
ARTEFACT, THRESHOLD, AGAIN = "new artefact", "new threshold", "deployed again"
#: Causes that restart the clean period within a run.
CRITERIA, VIEW, GAP, ERROR, CONFLICT = (
    "release criteria",
    "feature view",
    "coverage gap",
    "candidate error",
    "decision conflict",
)
CAUSES = (ARTEFACT, THRESHOLD, AGAIN, CRITERIA, VIEW, GAP, ERROR, CONFLICT)


@dataclass(frozen=True, slots=True, order=True)
class Reset:
    """A restart of the clean period. hour: event hour, since 1970, in which the cause was seen."""

    hour: int
    cause: str
