"""A scenario: what is done to whom, on which servers. Its name is that of its function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from faults.arena import Arena
from harness.places import ROOT

Play = Callable[[Arena], None]


def injected(name: str) -> dict[str, str]:
    """The environment of processes that `tests/faults/injected` spoils. They import this tree, as all others do."""
    return {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "faults" / "injected" / name), str(ROOT)])}


@dataclass(frozen=True)
class Scenario:
    """play: starts workers, sends, and strikes. needs: parts that may be missing, see tests/conftest.py."""

    name: str
    play: Play
    brokers: int = 1
    appendonly: bool = True
    clock: str = "event"
    allows_extras: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """What it does, in one line."""
        return " ".join((self.play.__doc__ or "").split())


ALL: dict[str, Scenario] = {}


def scenario(
    brokers: int = 1,
    appendonly: bool = True,
    clock: str = "event",
    allows_extras: bool = False,
    env: Mapping[str, str] | None = None,
    needs: tuple[str, ...] = (),
) -> Callable[[Play], Play]:
    """Put a function among the scenarios."""

    def add(play: Play) -> Play:
        name = play.__name__
        ALL[name] = Scenario(name, play, brokers, appendonly, clock, allows_extras, env or {}, needs)
        return play

    return add
