"""Why two models differ on a transaction: the difference of their LightGBM contributions, feature by feature."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.bundle import Bundle
from scorer.errors import UserError
from scorer.store import BundleStore
from shadow.candidate import own_columns
from shadow.store import TallyStore

#: How many features are told for a sample.
TOP = 8
#: Bundles held for explaining, the live ones and the candidate's.
HELD = 4


def differences(
    live: Bundle, candidate: Bundle, view: dict[str, Any], snapshot: npt.NDArray[np.float64], top: int = TOP
) -> list[dict[str, Any]]:
    """The features whose contributions differ most, largest first.

    snapshot: float64 (features of the view,). Contributions are in log-odds; a feature that only one model uses counts
    0 for the other. Source: TreeSHAP (Lundberg, Erion and Lee 2018), as LightGBM's `pred_contrib`.
    """
    contributed: list[dict[str, float]] = []
    for bundle in (live, candidate):
        row = bundle.contributions(own_columns(bundle, view, snapshot[None, :]))[0]
        contributed.append(dict(zip(bundle.features, row[:-1].tolist(), strict=True)))
    ours, theirs = contributed
    names = list(dict.fromkeys([*ours, *theirs]))
    names.sort(key=lambda name: -abs(theirs.get(name, 0.0) - ours.get(name, 0.0)))
    values = dict(zip(view["names"], snapshot.tolist(), strict=True))
    return [
        {
            "feature": name,
            "value": None if np.isnan(values[name]) else values[name],
            "live": ours.get(name, 0.0),
            "candidate": theirs.get(name, 0.0),
            "difference": theirs.get(name, 0.0) - ours.get(name, 0.0),
        }
        for name in names[:top]
    ]


class Explainer:
    """Explains samples that are kept, a few at a time, beside the batches; or one that somebody looks at."""

    def __init__(self, bundles: BundleStore) -> None:
        self._bundles = bundles
        self._held: dict[str, Bundle] = {}
        self.views: dict[str, dict[str, Any]] = {}

    async def explain_some(self, store: TallyStore, partitions: Sequence[int], most: int) -> int:
        """Explain at most so many samples of a slot; returns how many were."""
        done, left = 0, most
        for partition in partitions:
            if left <= 0:
                break
            waiting = await store.unexplained(partition, left)
            left -= len(waiting)
            for name, sample in waiting:
                sample["why"] = await asyncio.to_thread(self.why, sample)
                done += await store.explain(partition, name, sample)
        return done

    def why(self, sample: dict[str, Any]) -> list[dict[str, Any]]:
        """Why the models differ on a sample; nothing where a bundle or the view is gone."""
        view = self.views.get(sample["view"])
        if view is None or sample["live"]["bundle"] is None:
            return []
        try:
            live, candidate = (self._bundle(sample[side]["bundle"]) for side in ("live", "candidate"))
            return differences(live, candidate, view, np.array(sample["features"], dtype=np.float64))
        except UserError:
            return []

    def _bundle(self, digest: str) -> Bundle:
        if digest not in self._held:
            if len(self._held) >= HELD:
                self._held.pop(next(iter(self._held)))
            self._held[digest] = self._bundles.fetch(digest)
        return self._held[digest]
