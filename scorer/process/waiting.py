"""Says on a terminal what a command is at, once that takes longer than people wait without wondering."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

#: Nothing is said before this.
PATIENCE_SECONDS = 2.0


@contextmanager
def waiting(
    what: str, to: TextIO | None = None, patience: float = PATIENCE_SECONDS, pause: float = 1.0
) -> Iterator[None]:
    """Say what is being done, and for how long already; nothing remains of it. Where no terminal is, nothing is said.

    what: such as `reading the tallies`. to: standard error if missing. What else prints meanwhile is `interrupting`.
    """
    out = sys.stderr if to is None else to
    if not out.isatty():
        yield
        return
    done = threading.Event()
    teller = threading.Thread(target=_tell, args=(what, out, done, patience, pause), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def interrupting(tell: Callable[[str], object]) -> Callable[[str], None]:
    """A `tell` for lines while something is waited for: each replaces what is said of that."""

    def say(line: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
        tell(line)

    return say


def _tell(what: str, out: TextIO, done: threading.Event, patience: float, pause: float) -> None:
    begun = time.monotonic()
    if done.wait(patience):
        return
    while True:
        out.write(f"\r{what}, {time.monotonic() - begun:.0f} s\x1b[K")
        out.flush()
        if done.wait(pause):
            break
    out.write("\r\x1b[K")
    out.flush()
