"""The harness's own fold of the deployments topic: which bundle filled a slot at which epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson


@dataclass(frozen=True)
class Filling:
    """What a slot held at an epoch. since_ms: when it was filled, milliseconds since 1970."""

    epoch: int
    digest: str
    threshold: float
    since_ms: int


@dataclass
class History:
    """fillings: by slot and epoch. emptied: slots that were. changes: ledger entries that won, and void: those that
    came too late."""

    fillings: dict[str, dict[int, Filling]]
    views: dict[str, dict[str, Any]]
    changes: list[dict[str, Any]]
    void: list[dict[str, Any]]
    emptied: set[str]


def fold(records: Sequence[Any]) -> History:
    """Records of the topic, in log order."""
    history, epochs, seen = History({}, {}, [], [], set()), dict[str, int](), set[bytes]()
    settled = set[str]()  # suggestions
    for record in records:
        kind, _, name = record.key.decode().partition("/")
        if record.value is None or record.key in seen:
            continue
        body = orjson.loads(record.value)
        if kind == "view":
            history.views[name] = body
        if kind != "ledger":
            continue
        seen.add(record.key)
        if body["kind"] in ("answer", "withdrawal"):
            settled.add(body["suggestion"])
        if body["kind"] not in ("change", "forced"):
            continue
        is_late = any(epochs.get(slot, 0) != expected for slot, expected in body["expects"].items())
        if is_late or body["suggestion"] in settled:
            history.void.append(body)
            continue
        history.changes.append(body)
        settled |= {body["suggestion"]} - {None}
        for slot, target in body["slots"].items():
            epochs[slot] = epochs.get(slot, 0) + 1
            if target is not None and target["digest"] is not None:
                since_ms = int(datetime.fromisoformat(body["at"]).timestamp() * 1000)
                filling = Filling(epochs[slot], target["digest"], target["threshold"], since_ms)
                history.fillings.setdefault(slot, {})[epochs[slot]] = filling
            else:
                history.emptied.add(slot)
    return history
