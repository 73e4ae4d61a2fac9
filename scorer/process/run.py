"""Runs a worker process, with the garbage collector, thread switching and malloc tuned for it."""

from __future__ import annotations

import ctypes
import gc
import sys

import click
from faust import Worker

from scorer.errors import UserError
from scorer.process.logs import config
from scorer.settings import CommonSettings
from scorer.streaming.app import BatchApp

#: How long a computing thread may keep the writing one waiting. Python's 5 ms would delay decisions (docs/decisions).
SWITCH_SECONDS = 0.0005
#: Parameters of glibc's `mallopt`.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def serve(app: BatchApp, settings: CommonSettings) -> None:
    """Run a worker until SIGTERM or SIGINT. Raises the UserError that stopped it; exits with 1 on any other error."""
    worker = Worker(app, loglevel="WARNING", logging_config=config(settings), redirect_stdouts=False, quiet=True)
    worker.spinner = None
    _collect_rarely()
    _keep_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        worker.execute_from_commandline()
    except (SystemExit, Exception) as stopped:
        failure = app.failure or worker.crash_reason
        if isinstance(failure, UserError):
            raise failure from None
        if failure is not None:
            click.echo(f"error: the worker stopped: {type(failure).__name__}: {failure}", err=True)
            sys.exit(1)
        if not isinstance(stopped, SystemExit):
            raise


def _collect_rarely() -> None:
    """Make garbage collection rare. Batches hold no reference cycles, and each collection would walk all modules."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _keep_memory() -> None:
    """Have glibc keep freed memory for the next batch: to return it to the kernel and fault it in again takes time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # missing in musl
    for parameter, size in ((M_MMAP_THRESHOLD, 64 << 20), (M_TRIM_THRESHOLD, 128 << 20), (M_TOP_PAD, 16 << 20)):
        if mallopt is not None:
            mallopt(parameter, size)
