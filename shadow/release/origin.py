"""Where a bundle of the store comes from."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from scorer.bundles.manifest import Manifest
from scorer.bundles.store import BundleStore
from scorer.errors import UserError
from shadow.gate.origin import Origin
from shadow.settings import ShadowSettings

NOT_TOLD = "its manifest does not say how it was made"


def origin_of(manifest: Manifest) -> Origin:
    """What a manifest says of how its model was made."""
    return Origin(NOT_TOLD if manifest.lineage is None else manifest.lineage.doubt)


def origin_in_store(settings: ShadowSettings, digest: str) -> Origin:
    """What the manifest of a bundle says of how it was made, or why it cannot be read. May wait for the store."""
    try:
        return _known((settings.store, settings.cache, settings.store_seconds), digest)
    except UserError as error:
        return Origin(trouble=str(error))


@lru_cache(maxsize=64)
def _known(where: tuple[str, Path, float], digest: str) -> Origin:
    """Manifests never change. An error is not remembered."""
    return origin_of(BundleStore(*where).manifest(digest))
