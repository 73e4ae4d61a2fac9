"""Stores bundles by digest: in a shared store (a folder or an fsspec address) and in each worker's own copies."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from scorer.bundles.bundle import Bundle
from scorer.bundles.manifest import MANIFEST, Manifest, digest_of, read_manifest
from scorer.bundles.model_text import MODEL
from scorer.bundles.notes import Notes
from scorer.bundles.predictor import FAST, LIGHTGBM, UnfitError, Wanted, versions
from scorer.bundles.proof import DeadlyBundleError, prove
from scorer.errors import BundleError, UnavailableError

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_DIGEST = re.compile(r"[0-9a-f]{64}")
#: Fewest digits that may abbreviate a digest.
SHORTEST = 8


#: Larger files are no model.
LARGEST = 1 << 30
#: Longest wait for one answer of the store.
SECONDS = 30.0
#: Answers over HTTP that say that there is no such file.
MISSING = (404, 410)


class StoreError(UnavailableError):
    """The store cannot be reached, read or written, in whatever way it says so."""


class BundleStore:
    """Bundles by digest. Every read checks the digest, and a damaged copy is fetched again.

    A bundle is proven in a child process before it is parsed here: see `scorer.bundles.proof`. uri: the shared store.
    cache: folder of this worker's copies. seconds: longest wait for one answer of the store. predictor: `auto` where
    many rows are scored: bundles come with the fast predictor if it gives LightGBM's scores. Whoever checks scores, or
    explains them, leaves it to LightGBM.
    """

    def __init__(self, uri: str, cache: Path, seconds: float = SECONDS, predictor: Wanted = LIGHTGBM) -> None:
        self.uri, self.cache, self._seconds = uri.rstrip("/"), cache, seconds
        self._compares = predictor == "auto" and versions() is not None

    def _ask(self, what: str, call: Callable[[Any, str], Answer]) -> Answer:
        """What a call of the store's file system and root returns.

        Raises FileNotFoundError for a file that is missing, StoreError for everything else that goes wrong: every
        backend has errors of its own, and none of them may end a worker's task.
        """
        answer: list[Answer] = []
        wrong: list[BaseException] = []

        def ask() -> None:
            try:
                fs, root = fsspec.core.url_to_fs(self.uri)
            except Exception as error:
                mend = "install what it needs, or correct the setting store"
                wrong.append(StoreError(f"store {self.uri}: {error}; {mend}"))
                return
            try:
                answer.append(call(fs, root))
            except BaseException as error:
                wrong.append(error)

        # a thread of its own, for no backend's time limit holds in every case; one that hangs is left behind
        thread = threading.Thread(target=ask, name="store", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if answer:
            return answer[0]
        if not wrong:
            raise StoreError(f"store {self.uri}: {what}: no answer in {self._seconds:g} s; is it up?")
        error = wrong[0]
        if isinstance(error, FileNotFoundError) and (failed := _failed_request(error)) is not None:
            error = failed
        if isinstance(error, FileNotFoundError | StoreError):
            raise error
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise StoreError(f"store {self.uri}: {what}: {' '.join(told.split())[:300]}") from None

    def put(self, bundle: Bundle) -> str:
        """Put a bundle into the store, unless it is there already; returns its digest.

        Raises StoreError if the store cannot be written.
        """

        def write(fs: Any, root: str) -> None:
            if "file" in fs.protocol:
                bundle.write(Path(root))
                return
            if "http" in fs.protocol:
                mend = f"copy {MODEL} and {MANIFEST} to {bundle.digest}/ on its server by other means"
                raise StoreError(f"store {self.uri}: is read-only; {mend}")
            # the manifest goes last: a bundle without one counts as missing
            for name, content in ((MODEL, bundle.model), (MANIFEST, bundle.manifest_bytes)):
                if not fs.exists(f"{root}/{bundle.digest}/{name}"):
                    fs.pipe_file(f"{root}/{bundle.digest}/{name}", content)

        try:
            self._ask("cannot be written", write)
        except FileNotFoundError as error:
            raise StoreError(f"store {self.uri}: cannot be written: {error}; create it first") from None
        return bundle.digest

    def adopt(self, folder: Path) -> Bundle:
        """Put a bundle that lies in a folder into the store, once it is proven. Raises BundleError."""
        return self.accept(*files_in(folder))

    def accept(self, model: bytes, manifest: bytes) -> Bundle:
        """Put a bundle from elsewhere into the store, once it is proven. Raises BundleError."""
        bundle = proven(model, manifest)
        self.put(bundle)
        return bundle

    def fetch(self, digest: str) -> Bundle:
        """A bundle by its full digest, from this worker's copies if possible.

        If no copy can be kept, this only logs a warning. Raises BundleError if the bundle is missing, does not match
        its digest, or is no usable model; UnavailableError if the store does not answer, or its proof was not done in
        time.
        """
        if not _DIGEST.fullmatch(digest):
            raise BundleError(f"bundle {digest[:12]!r}: is not a digest; expected 64 lower-case hex digits")
        notes = Notes(self.cache, digest)
        notes.check()
        parts = self._copy(digest)
        if parts is None:
            parts = self._file(digest, MODEL), self._file(digest, MANIFEST)
        unfit = notes.unfit
        is_compared = notes.is_compared or not self._compares
        if not (notes.is_proven and is_compared):
            try:
                compared = prove(*parts, digest, compare=not is_compared)
            except DeadlyBundleError as error:
                notes.give_up(str(error))
                raise
            if compared is not None:
                unfit = compared.unfit
                if compared.is_final:
                    notes.compare(unfit)
        with notes.parsing():
            bundle = Bundle.read(*parts, digest)
            if self._compares:
                bundle = _quickened(bundle, unfit)
        try:
            bundle.write(self.cache)
        except OSError as error:  # a full disk must not keep an older model live
            log.warning("bundle %s: cannot keep a copy in %s: %s", digest[:12], self.cache, error.strerror)
        notes.prove()
        return bundle

    def manifest(self, digest: str) -> Manifest:
        """The manifest of a bundle whose model nobody here wants to open. Raises BundleError as `fetch` does."""
        if not _DIGEST.fullmatch(digest):
            raise BundleError(f"bundle {digest[:12]!r}: is not a digest; expected 64 lower-case hex digits")
        parts = self._copy(digest) or (self._file(digest, MODEL), self._file(digest, MANIFEST))
        return read_manifest(*parts, digest)[1]

    def _copy(self, digest: str) -> tuple[bytes, bytes] | None:
        """Model and manifest of this worker's copy; None if there is none. Removes one that is damaged."""
        folder = self.cache / digest
        try:
            model, manifest = (folder / MODEL).read_bytes(), (folder / MANIFEST).read_bytes()
        except OSError:
            model, manifest = b"", b""
        if digest_of(model, manifest) == digest:
            return model, manifest
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        return None

    def _file(self, digest: str, name: str) -> bytes:
        def read(fs: Any, root: str) -> bytes:
            path = f"{root}/{digest}/{name}"
            size = fs.info(path).get("size")
            if size is not None and size > LARGEST:
                raise ValueError(f"{name} has {size} bytes, at most {LARGEST} expected")
            return bytes(fs.cat_file(path))

        try:
            return self._ask(f"bundle {digest[:12]}: {name} cannot be read", read)
        except FileNotFoundError:
            raise BundleError(f"bundle {digest[:12]}: {name} is missing in store {self.uri}; put it there") from None

    def keep(self, name: str, content: bytes) -> None:
        """Put another file beside the bundles, unless it is there already. name: below the root, with slashes.

        Raises StoreError if the store cannot be written.
        """

        def write(fs: Any, root: str) -> None:
            if "http" in fs.protocol:
                raise StoreError(f"store {self.uri}: is read-only")
            path = f"{root}/{name}"
            if fs.exists(path) and fs.info(path).get("size") == len(content):
                return
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            if "file" not in fs.protocol:
                fs.pipe_file(path, content)
                return
            part = f"{path}.{secrets.token_hex(4)}.part"  # whole or not there, whoever is killed
            fs.pipe_file(part, content)
            Path(part).replace(path)

        try:
            self._ask(f"{name} cannot be written", write)
        except FileNotFoundError as error:
            raise StoreError(f"store {self.uri}: {name} cannot be written: {error}; create it first") from None

    def kept(self, name: str) -> bytes:
        """What `keep` put there. Raises BundleError if it is missing, StoreError if the store does not answer."""

        def read(fs: Any, root: str) -> bytes:
            return bytes(fs.cat_file(f"{root}/{name}"))

        try:
            return self._ask(f"{name} cannot be read", read)
        except FileNotFoundError:
            raise BundleError(f"{name}: is missing in store {self.uri}") from None

    def names(self, folder: str) -> list[str]:
        """The names of what `keep` put into a folder below the root, sorted; none if there is no such folder.

        Raises StoreError if the store cannot be listed.
        """

        def listed(fs: Any, root: str) -> list[str]:
            return [str(path).rstrip("/").rpartition("/")[2] for path in fs.ls(f"{root}/{folder}", detail=False)]

        try:
            return sorted(self._ask(f"{folder} cannot be listed", listed))
        except FileNotFoundError:
            return []

    def digests(self) -> list[str]:
        """Digests of all bundles in the store, sorted. Raises StoreError if the store cannot be listed."""
        try:
            there = self._ask("cannot be listed", lambda fs, root: fs.ls(root, detail=False))
        except FileNotFoundError:
            return []
        names = {str(path).rstrip("/").rpartition("/")[2] for path in there}
        return sorted(name for name in names if _DIGEST.fullmatch(name))

    def cached(self) -> list[str]:
        """Digests of this worker's own copies, newest first."""
        if not self.cache.is_dir():
            return []
        found = [entry for entry in self.cache.iterdir() if _DIGEST.fullmatch(entry.name)]
        return [entry.name for entry in sorted(found, key=lambda entry: entry.stat().st_mtime, reverse=True)]

    def resolve(self, name: str) -> str:
        """The full digest of a bundle, in the store or the cache, whose digest begins with `name`.

        Raises BundleError if there is none, or more than one.
        """
        if _DIGEST.fullmatch(name):
            return name
        if len(name) < SHORTEST or not re.fullmatch(r"[0-9a-f]+", name):
            raise BundleError(
                f"bundle {name}: neither a folder nor a digest; expected at least {SHORTEST} of the digest's hex digits"
            )
        try:
            there = self._ask("cannot be listed", lambda fs, root: fs.ls(root, detail=False))
        except (FileNotFoundError, StoreError):
            there = []
        names = {str(path).rstrip("/").rpartition("/")[2] for path in there}
        found = sorted(d for d in names | set(self.cached()) if d.startswith(name) and _DIGEST.fullmatch(d))
        if len(found) != 1:
            told, fix = (str(len(found)), "give more digits") if found else ("no", "check them")
            raise BundleError(f"bundle {name}: {told} digests in store {self.uri} begin with these digits; {fix}")
        return found[0]


def _failed_request(error: FileNotFoundError) -> BaseException | None:
    """Why a file that is called missing could not be asked for; None if it is missing. Over HTTP, fsspec calls a file
    missing whatever the server answers, and whether it answers at all."""
    cause = error.__cause__
    is_of_http = isinstance(cause, TimeoutError | ConnectionError) or type(cause).__module__.startswith("aiohttp.")
    return cause if is_of_http and getattr(cause, "status", None) not in MISSING else None


def _quickened(bundle: Bundle, unfit: str | None) -> Bundle:
    """The bundle with the fast predictor, or with LightGBM's, and a warning why."""
    try:
        if unfit is None:
            return bundle.quickened()
    except UnfitError as error:
        unfit = str(error)
    log.warning("bundle %s: LightGBM predicts, as %s %s", bundle.digest[:12], FAST, unfit)
    return bundle


def files_in(folder: Path) -> tuple[bytes, bytes]:
    """Model and manifest that lie in a folder. Raises BundleError if one is missing."""
    parts = []
    for name in (MODEL, MANIFEST):
        try:
            parts.append((folder / name).read_bytes())
        except OSError as error:
            raise BundleError(f"bundle {folder}: {name}: {error.strerror}; make the bundle again") from None
    return parts[0], parts[1]


def proven(model: bytes, manifest: bytes) -> Bundle:
    """A bundle that nobody knows yet, once a child process has proven it. Raises BundleError."""
    digest = digest_of(model, manifest)
    prove(model, manifest, digest)
    return Bundle.read(model, manifest, digest)
