"""One at a time: a lock beside the store of bundles, which the death of whoever holds it frees."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scorer.bundles.store import BundleStore
from scorer.errors import UserError


@contextmanager
def alone(store: BundleStore, folder: str, what: str) -> Iterator[None]:
    """Hold the lock in a folder of the store, or of this machine's copies if the store is no folder.

    what: what is done under it. Raises UserError if somebody else holds it, or it cannot be made.
    """
    local = store.uri.removeprefix("file://")
    root = store.cache if "://" in local else Path(local)
    path = root / folder / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+")
    except OSError as error:
        raise UserError(f"{path}: cannot be made ({error.strerror}); mend that, or set SCORER_STORE") from None
    with opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            opened.seek(0)
            holder = opened.read(20).strip()
            by = f" (process {holder})" if holder.isdigit() else ""
            raise UserError(f"{path}: another {what} runs here{by}; wait for its end") from None
        with suppress(OSError):  # on a full disk the lock holds without a name
            opened.truncate(0)
            opened.write(f"{os.getpid()}\n")
            opened.flush()
        yield
