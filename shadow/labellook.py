"""What labels say of a run right now: its cases out of Redis, joined to labels, as claims for the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shadow.cases import Case
from shadow.claims import Sums
from shadow.criteria import Release
from shadow.labelled import LabelClaim, label_claims, labelled
from shadow.labels import Known
from shadow.labelstore import LabelStore
from shadow.readback import TallyReader
from shadow.settings import ShadowSettings
from shadow.tally import RunTotals


@dataclass(frozen=True)
class Labels:
    """Cases of a run by hash, what is known of each, and what that claims."""

    cases: tuple[Case, ...]
    known: tuple[Known, ...]
    claims: tuple[LabelClaim, ...]


async def labels_of(
    redis: Any, store: TallyReader, totals: RunTotals, release: Release, settings: ShadowSettings
) -> Labels:
    """Join the cases of a run to the labels."""
    cases = await store.cases(totals.run)
    known = await LabelStore(redis, settings.prefix).known(cases)
    names = release.segments.names
    pairs = labelled(cases, known, names, release.cap_minor(10.0**settings.minor_digits))
    return Labels(tuple(cases), tuple(known), tuple(label_claims(pairs, Sums.of(totals, names), release)))
