"""Ledgers of deployments in which every slot is filled."""

from __future__ import annotations

import hashlib
from typing import Any

from scorer.deployments.records import Change, Target, encode
from scorer.deployments.slots import Deployments

#: When every entry is made.
AT = "2026-01-01T00:00:00+00:00"


def a_ledger(*entries: Any) -> Deployments:
    """Each slot filled once, and then these entries."""
    deployments = Deployments()
    for slot in ("live", "candidate", "control", "previous"):
        fill(deployments, slot, 0)
    for entry in entries:
        deployments.fold(f"ledger/{deployments.next_seq('a1b2c3d4')}".encode(), encode(entry))
    return deployments


def a_digest(slot: str, expects: int) -> str:
    """What `fill` puts into a slot."""
    return hashlib.sha256(f"{slot}-{expects}".encode()).hexdigest()


def fill(deployments: Deployments, slot: str, expects: int) -> None:
    """Fill a slot. expects: its epoch until then."""
    target = Target(digest=a_digest(slot, expects), threshold=0.5)
    change = Change(slots={slot: target}, expects={slot: expects}, by="a", reason="b", cause="deploy", at=AT)
    deployments.fold(f"ledger/{deployments.next_seq('a1b2c3d4')}".encode(), encode(change))
