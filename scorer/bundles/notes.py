"""What this worker knows of a bundle from before, beside its copy: proven, deadly, and what may predict."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from scorer.bundles import predictor
from scorer.errors import BundleError

#: A bundle is given up after so many processes have died while they parsed it. One may have been killed by chance.
DEATHS = 2


class Notes:
    """Notes on one bundle, in the folder of the copies. A folder that cannot be written keeps none.

    Notes are for one version of LightGBM: another may read what this one cannot, and the other way round. What may
    predict is for one version of all that was compared.
    """

    def __init__(self, cache: Path, digest: str) -> None:
        self._digest, self._folder = digest, cache
        self._proven, self._deadly = cache / f"{digest}.proven", cache / f"{digest}.deadly"
        self._predictor = cache / f"{digest}.predictor"
        self._parser = f"lightgbm {version('lightgbm')}"

    @property
    def is_proven(self) -> bool:
        """Whether a child process has parsed and questioned it."""
        return _text(self._proven) == self._parser

    @property
    def is_compared(self) -> bool:
        """Whether a child process has compared the fast predictor with LightGBM."""
        return self._compared() is not None

    @property
    def unfit(self) -> str | None:
        """Why the fast predictor may not serve; None if it may, or nobody has compared it."""
        return self._compared() or None

    def _compared(self) -> str | None:
        of, _, why = (_text(self._predictor) or "").partition("\n")
        return why if of and of == predictor.versions() else None

    def compare(self, unfit: str | None) -> None:
        """Note what came of the comparison."""
        self._write(self._predictor, f"{predictor.versions()}\n{unfit or ''}")

    def check(self) -> None:
        """Raises BundleError if the bundle has killed who parsed it."""
        text = _text(self._deadly)
        if text is not None and text.startswith(f"{self._parser}\n"):
            raise BundleError(
                f"bundle {self._digest[:12]}: is not tried again, it has killed a process before "
                f"({text.partition(chr(10))[2]}); train it again, or remove {self._deadly}"
            )

    def prove(self) -> None:
        """Note that it is proven."""
        self._write(self._proven, self._parser)

    def give_up(self, reason: str) -> None:
        """Note that it kills."""
        self._write(self._deadly, f"{self._parser}\n{reason}")

    @contextmanager
    def parsing(self) -> Iterator[None]:
        """Around parsing it in this process: if the process dies meanwhile, the next one knows.

        The lock of a dead process is free, so what it left behind is told from another process that parses right now.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            trying = (self._folder / f"{self._digest}.trying").open("a+")
        except OSError:
            yield
            return
        with trying:
            try:
                fcntl.flock(trying, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield  # somebody else parses it at this moment
                return
            trying.seek(0)
            deaths = len(trying.read())
            if deaths >= DEATHS:
                self.give_up(f"{deaths} processes died while they parsed it")
                self.check()
            trying.write("x")
            trying.flush()
            try:
                yield
            finally:
                with suppress(OSError):
                    os.truncate(trying.name, 0)

    def _write(self, path: Path, text: str) -> None:
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_text(text)
            draft.replace(path)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):  # it may be damaged
        return None
