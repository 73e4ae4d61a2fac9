"""Dossiers in the store of bundles: one file each, under its digest."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import orjson

from scorer.bundles.store import SHORTEST, BundleStore
from scorer.deployments.signatures import Signer, TrustedKeys
from shadow.release.dossier import Dossier, DossierError, digest_of, read_dossier

FOLDER = "dossiers"
#: How the name of a dossier's signature ends.
SIGNATURE = ".sig"
_NAME = re.compile(r"([0-9a-f]{64})\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def versions() -> Mapping[str, str]:
    """Versions of the code, and of what it computes with."""
    return {name: version(name) for name in ("shadow-scorer", "numpy", "scipy")}


def keep_dossier(store: BundleStore, content: bytes, signs: Signer | None) -> str:
    """Put a dossier into the store, and its signature beside it; returns its digest.

    Raises StoreError if the store cannot be written.
    """
    digest = digest_of(content)
    if signs is not None:
        store.keep(f"{FOLDER}/{digest}{SIGNATURE}", signs.of_dossier(digest))
    store.keep(f"{FOLDER}/{digest}.json", content)
    return digest


def require_signed(found: Dossier, trusted: TrustedKeys | None, signature: Callable[[], bytes]) -> Dossier:
    """The dossier, if nobody is asked for signatures or a trusted key has signed it. Raises DossierError.

    signature: reads what lies beside the dossier. Raises BundleError or StoreError as the store does, or OSError.
    """
    if trusted is None:
        return found
    try:
        why = trusted.refusal_of_dossier(found.digest, orjson.loads(signature()))
    except orjson.JSONDecodeError:
        why = "its signature cannot be read"
    except OSError as error:
        why = f"its signature {found.digest[:12]}…{SIGNATURE} cannot be read ({error.strerror})"
    if why is not None:
        raise DossierError(f"{found.name}: is not to be trusted: {why}")
    return found


def all_dossiers(store: BundleStore) -> list[str]:
    """The digests of all dossiers of a store, sorted. Raises StoreError."""
    return [match[1] for name in store.names(FOLDER) if (match := _NAME.fullmatch(name))]


def fetch_dossier(store: BundleStore, name: str, trusted: TrustedKeys | None) -> Dossier:
    """A dossier from the store by its digest, or its first digits. Raises DossierError, BundleError or StoreError.

    trusted: whose key has to have signed it.
    """
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
    found_one = read_dossier(store.kept(f"{FOLDER}/{digest}.json"), digest)
    return require_signed(found_one, trusted, lambda: store.kept(f"{FOLDER}/{digest}{SIGNATURE}"))


def open_dossier(path: Path, trusted: TrustedKeys | None) -> Dossier:
    """A dossier from a file that bears its digest as its name. Raises DossierError.

    trusted: whose key has to have signed it; the signature lies beside it.
    """
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise DossierError(
            f"dossier {path.name}: its name is not its digest; name the file as it was in the store, DIGEST.json, with "
            "the digest on the ledger"
        )
    try:
        found = read_dossier(path.read_bytes(), match[1])
    except OSError as error:
        raise DossierError(f"dossier {path}: {error.strerror}") from None
    return require_signed(found, trusted, path.with_suffix(SIGNATURE).read_bytes)
