"""Whoever waits at a terminal hears what for, and nothing of it remains; a pipe or log hears nothing."""

from __future__ import annotations

import io
import threading

import pytest

from harness.patience import PATIENCE_SECONDS
from scorer.process.waiting import waiting


class Screen(io.StringIO):
    """A terminal that notices when something is written."""

    def __init__(self, is_terminal: bool = True) -> None:
        super().__init__()
        self.is_terminal, self.noticed = is_terminal, threading.Event()

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> int:
        self.noticed.set()
        return super().write(text)


def test_what_takes_long_is_said_and_wiped_out() -> None:
    screen = Screen()
    with waiting("reading the tallies", screen, patience=0.0, pause=0.01):
        assert screen.noticed.wait(PATIENCE_SECONDS)
    assert screen.getvalue().startswith("\rreading the tallies, 0 s")
    assert screen.getvalue().endswith("\r\x1b[K"), "nothing remains"


def test_what_is_quick_is_not_said() -> None:
    screen = Screen()
    with waiting("reading the tallies", screen, patience=PATIENCE_SECONDS):
        pass
    assert screen.getvalue() == ""


def test_a_pipe_hears_nothing() -> None:
    pipe = Screen(is_terminal=False)
    with waiting("reading the tallies", pipe, patience=0.0, pause=0.001):
        assert not pipe.noticed.wait(0.05)
    assert pipe.getvalue() == ""


def test_an_error_passes_through_and_the_line_is_gone() -> None:
    screen = Screen()

    def fails() -> None:
        with waiting("reading", screen, patience=0.0, pause=0.001):
            assert screen.noticed.wait(PATIENCE_SECONDS)
            raise KeyError("x")

    with pytest.raises(KeyError):
        fails()
    assert screen.getvalue().endswith("\r\x1b[K")
