"""Whether the A/A floor is known: only a seed twin of live measures how much two equal models differ by chance."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path

from scorer.bundles.store import BundleStore
from scorer.bundles.twin import why_not_twin
from scorer.deployments.records import LIVE
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from shadow.gate.wording import NO_CONTROL
from shadow.settings import ShadowSettings


async def why_no_floor(settings: ShadowSettings, deployments: Deployments) -> str | None:
    """Why the floor is not known, for people; None if the control is shown to be a seed twin of live."""
    live, control = (deployments.slot(name).digest for name in (LIVE, settings.control))
    if control is None:
        return NO_CONTROL
    if live is None:
        return "The floor is not known: live decides by an override, not by a model"
    where = settings.store, settings.cache, settings.store_seconds
    try:
        why = await asyncio.to_thread(_why_not_twin, where, live, control)
    except UserError as error:
        return f"The floor is not known: {error}"
    if why is None:
        return None
    mend = f"`scorer train FILE --twin {live[:12]}`"
    return f"Slot {settings.control} is not a twin of live: {why}; deploy a seed twin of live to it, made by {mend}"


@lru_cache(maxsize=64)
def _why_not_twin(where: tuple[str, Path, float], live: str, control: str) -> str | None:
    """Manifests never change. An error is not remembered."""
    store = BundleStore(*where)
    return why_not_twin(*(store.manifest(digest) for digest in (live, control)))
