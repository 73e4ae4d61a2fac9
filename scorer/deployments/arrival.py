"""Waits until a change of live has reached every scorer: until then it is asked for, not done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from scorer.deployments.ledger import read
from scorer.deployments.records import WorkerReport
from scorer.kafka.topics import group_members
from scorer.settings import CommonSettings

POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Arrival:
    """Which scorers decide by an epoch of the live slot. late: what each of the others does instead."""

    epoch: int
    arrived: tuple[str, ...]
    late: Mapping[str, str]

    @property
    def told(self) -> str:
        """One line for people."""
        if not self.arrived and not self.late:
            return "no scorer is running; it applies when one starts"
        if not self.late:
            return f"every scorer decides by it ({len(self.arrived)})"
        each = "; ".join(f"{name}: {why}" for name, why in sorted(self.late.items()))
        return f"NOT every scorer decides by it yet: {each}"


def arrival(epoch: int, members: list[str], reports: Mapping[str, WorkerReport]) -> Arrival:
    """Where the members of the scorers' group stand. A later epoch than this one counts as arrived, too."""
    late = {}
    for name in members:
        report = reports.get(name)
        if report is None:
            late[name] = "has not said what it runs"
        elif report.runs is None or report.runs < epoch:
            why = f", {report.reason}" if report.status == "failed" and report.reason else ""
            late[name] = f"runs epoch {report.runs}{why}"
    return Arrival(epoch, tuple(sorted(set(members) - set(late))), late)


async def arrived(settings: CommonSettings, group: str, epoch: int, seconds: float) -> Arrival:
    """Wait until every member of the scorers' group decides by an epoch of live, or until so many seconds are over.

    Raises BrokerError if no broker answers.
    """
    deadline = time.monotonic() + seconds
    while True:
        members = await group_members(settings, group)
        found = arrival(epoch, members, (await read(settings)).workers)
        if not found.late or time.monotonic() > deadline:
            return found
        await asyncio.sleep(POLL_SECONDS)
