"""Where bundles lie: a shared store (a folder or an fsspec address) and each worker's own copies, by digest."""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import fsspec

from scorer.bundle import MANIFEST, MODEL, Bundle
from scorer.errors import BundleError

log = logging.getLogger(__name__)

_DIGEST = re.compile(r"[0-9a-f]{64}")
#: Fewest digits that may stand for a digest.
SHORTEST = 8


class BundleStore:
    """Bundles by digest. Every load checks the digest; a damaged copy is fetched again."""

    def __init__(self, uri: str, cache: Path) -> None:
        self.uri, self.cache = uri.rstrip("/"), cache

    def _filesystem(self) -> tuple[Any, str]:
        try:
            return fsspec.core.url_to_fs(self.uri)  # type: ignore[no-any-return]
        except (ImportError, ValueError) as error:
            raise BundleError(f"store {self.uri}: {error}; install what it needs, or set another store") from None

    def put(self, bundle: Bundle) -> str:
        """Publish a bundle; returns its digest. One that is there already stays as it is."""
        fs, root = self._filesystem()
        try:
            if "file" in fs.protocol:
                bundle.write(Path(root))
            else:
                # The manifest goes last: a bundle without it is not there.
                fs.pipe_file(f"{root}/{bundle.digest}/{MODEL}", bundle.model)
                fs.pipe_file(f"{root}/{bundle.digest}/{MANIFEST}", bundle.manifest_bytes)
        except OSError as error:
            raise BundleError(f"store {self.uri}: cannot be written ({error})") from None
        return bundle.digest

    def fetch(self, digest: str) -> Bundle:
        """A bundle by its whole digest, from this worker's copies if it is there.

        A copy that cannot be kept is only told. Raises BundleError if it is nowhere, or is not what its digest says.
        """
        if (self.cache / digest).is_dir():
            try:
                return Bundle.load(self.cache / digest, digest)
            except BundleError:
                shutil.rmtree(self.cache / digest, ignore_errors=True)
        fs, root = self._filesystem()
        parts = []
        for name in (MODEL, MANIFEST):
            try:
                parts.append(bytes(fs.cat_file(f"{root}/{digest}/{name}")))
            except OSError as error:
                told = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
                raise BundleError(f"bundle {digest[:12]}: {name} {told} in store {self.uri}; put it there") from None
        bundle = Bundle.read(parts[0], parts[1], digest)
        try:
            bundle.write(self.cache)
        except OSError as error:  # a full disk is no reason to decide with an older model
            log.warning("bundle %s: cannot keep a copy in %s: %s", digest[:12], self.cache, error.strerror)
        return bundle

    def cached(self) -> list[str]:
        """Digests of this worker's own copies, newest first."""
        if not self.cache.is_dir():
            return []
        found = [entry for entry in self.cache.iterdir() if _DIGEST.fullmatch(entry.name)]
        return [entry.name for entry in sorted(found, key=lambda entry: entry.stat().st_mtime, reverse=True)]

    def resolve(self, name: str) -> str:
        """The digest that begins with these digits. Raises BundleError if there is none, or more than one."""
        if _DIGEST.fullmatch(name):
            return name
        if len(name) < SHORTEST or not re.fullmatch(r"[0-9a-f]+", name):
            raise BundleError(f"bundle {name}: neither a folder nor at least {SHORTEST} digits of a digest")
        fs, root = self._filesystem()
        try:
            there = {str(path).rstrip("/").rpartition("/")[2] for path in fs.ls(root, detail=False)}
        except OSError:
            there = set()
        found = sorted(d for d in there | set(self.cached()) if d.startswith(name) and _DIGEST.fullmatch(d))
        if len(found) != 1:
            raise BundleError(f"bundle {name}: {len(found) or 'no'} such digests in store {self.uri}; give more digits")
        return found[0]
