"""Changes of slots, and the state after them."""

from __future__ import annotations

from typing import Any

from scorer.deployments.records import Change, Target, encode
from scorer.deployments.slots import Deployments

AT = "2026-01-01T00:00:00+00:00"


def a_change(slots: dict[str, str | None], expects: dict[str, int], **more: Any) -> Change:
    targets = {
        name: None if digest is None else Target(digest=digest * 64, threshold=0.5) for name, digest in slots.items()
    }
    fields: dict[str, Any] = {"by": "ann", "reason": "because", "cause": "deploy", "at": AT} | more
    return Change(slots=targets, expects=expects, **fields)


def fold(*entries: Any, start: Deployments | None = None) -> Deployments:
    deployments = start or Deployments()
    for entry in entries:
        deployments.fold(f"ledger/{deployments.next_seq('a1b2c3d4')}".encode(), encode(entry))
    return deployments
