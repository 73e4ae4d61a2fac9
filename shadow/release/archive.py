"""Dossiers in the store of bundles: one file each, under its digest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from scorer.bundles.store import SHORTEST, BundleStore
from shadow.release.dossier import Dossier, DossierError, digest_of, read_dossier

FOLDER = "dossiers"
_NAME = re.compile(r"([0-9a-f]{64})\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def versions() -> Mapping[str, str]:
    """Versions of the code, and of what it computes with."""
    return {name: version(name) for name in ("shadow-scorer", "numpy", "scipy")}


def keep_dossier(store: BundleStore, content: bytes) -> str:
    """Put a dossier into the store; returns its digest. Raises StoreError if the store cannot be written."""
    digest = digest_of(content)
    store.keep(f"{FOLDER}/{digest}.json", content)
    return digest


def all_dossiers(store: BundleStore) -> list[str]:
    """The digests of all dossiers of a store, sorted. Raises StoreError."""
    return [match[1] for name in store.names(FOLDER) if (match := _NAME.fullmatch(name))]


def fetch_dossier(store: BundleStore, name: str) -> Dossier:
    """A dossier from the store by its digest, or its first digits. Raises DossierError, BundleError or StoreError."""
    digest = name
    if not _DIGEST.fullmatch(name):
        if len(name) < SHORTEST or not re.fullmatch(r"[0-9a-f]+", name):
            raise DossierError(
                f"dossier {name[:80]!r}: neither a file nor a digest; expected at least {SHORTEST} of its hex digits"
            )
        found = [one for one in all_dossiers(store) if one.startswith(name)]
        if len(found) != 1:
            many, fix = (str(len(found)), "give more digits") if found else ("no", "check them")
            raise DossierError(f"dossier {name}: {many} dossiers in store {store.uri} begin with these digits; {fix}")
        digest = found[0]
    return read_dossier(store.kept(f"{FOLDER}/{digest}.json"), digest)


def open_dossier(path: Path) -> Dossier:
    """A dossier from a file that bears its digest as its name. Raises DossierError."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise DossierError(
            f"dossier {path.name}: its name is not its digest; name the file as it was in the store, DIGEST.json, with "
            "the digest on the ledger"
        )
    try:
        return read_dossier(path.read_bytes(), match[1])
    except OSError as error:
        raise DossierError(f"dossier {path}: {error.strerror}") from None
