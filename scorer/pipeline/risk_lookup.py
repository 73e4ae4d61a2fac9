"""The snapshots of merchant risk that a scorer holds, and what transactions find in them. Pure."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scorer.pipeline.merchant_risk import NOBODY, Floats, Ints, Snapshot, features

SECOND_MS = 1000


@dataclass(frozen=True)
class Found:
    """What n transactions found. features: float64 (n, 3 w), NaN without a snapshot. versions: of the snapshot of each;
    None without. staleness_s: int64 (n,), seconds from when that began to count to the transaction."""

    features: Floats
    versions: list[str | None]
    staleness_s: Ints


class _Ready:
    """A snapshot as it is looked up in."""

    def __init__(self, snapshot: Snapshot, units: float, names: dict[str, str]) -> None:
        m, w = snapshot.count.shape
        self.snapshot = snapshot
        self.places = {names.setdefault(key, key): at for at, key in enumerate(snapshot.keys)}
        count, minor = np.zeros((2, m + 1, w), dtype=np.int64)
        count[:m], minor[:m] = snapshot.count, snapshot.minor
        rate = np.full((m + 1, w), snapshot.overall)
        rate[:m] = snapshot.rate
        self.table = features(count, minor, rate, units)  # the last row is of everybody else

    def features_of(self, keys: Sequence[str | None]) -> Floats:
        get = self.places.get
        out: Floats = self.table[[NOBODY if key is None else get(key, NOBODY) for key in keys]]
        missing = [at for at, key in enumerate(keys) if key is None]
        if missing:
            out[missing] = np.nan
        return out


class Snapshots:
    """The newest snapshots, at most `most`. units: minor units in a unit of the reporting currency."""

    def __init__(self, width: int, units: float, most: int) -> None:
        self._width, self._units, self._most = width, units, most
        self._held: tuple[_Ready, ...] = ()
        self._effective = np.empty(0, dtype=np.int64)

    def with_one(self, snapshot: Snapshot) -> Snapshots:
        """These, and another one; of two of one time the later comer stays. Who looks up meanwhile is not disturbed."""
        made = Snapshots(self._width, self._units, self._most)
        held = [ready for ready in self._held if ready.snapshot.as_of_ms != snapshot.as_of_ms]
        names: dict[str, str] = {key: key for ready in held[-1:] for key in ready.places}
        insort(held, _Ready(snapshot, self._units, names), key=lambda ready: ready.snapshot.as_of_ms)
        made._held = tuple(held[-self._most :])
        made._effective = np.array([ready.snapshot.effective_ms for ready in made._held], dtype=np.int64)
        return made

    @property
    def newest(self) -> Snapshot | None:
        return self._held[-1].snapshot if self._held else None

    def find(self, keys: Sequence[str | None], occurred_ms: npt.NDArray[np.int64]) -> Found:
        """What n transactions find: in the newest snapshot that counts from no later than their own time."""
        n = len(keys)
        at = np.searchsorted(self._effective, occurred_ms, side="right") - 1
        out = np.full((n, self._width), np.nan)
        versions: list[str | None] = [None] * n
        staleness = np.zeros(n, dtype=np.int64)
        for one in np.unique(at[at >= 0]).tolist():
            ready = self._held[one]
            rows = np.flatnonzero(at == one)
            listed = rows.tolist()
            out[rows] = ready.features_of(keys if len(rows) == n else [keys[row] for row in listed])
            staleness[rows] = (occurred_ms[rows] - ready.snapshot.effective_ms) // SECOND_MS
            version = ready.snapshot.version
            for row in listed:
                versions[row] = version
        return Found(out, versions, staleness)
