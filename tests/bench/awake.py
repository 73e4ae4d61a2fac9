"""Keeps cores from sleeping while latency is measured, as cyclictest does: a virtual core that sleeps takes long to
wake, and by how much is its host's affair."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.stage import BROKER_CORE, WORKER_CORE
from shadow.local.process import die_with_parent

#: Linux's request for a longest wake-up latency, int32 microseconds; it holds while the file is open.
REQUEST = Path("/dev/cpu_dma_latency")
#: What puts idle cores to sleep by such requests. Where it is `none` or missing, as in many virtual machines, an idle
#: core is handed back to its host at once, whatever is requested.
DRIVER = Path("/sys/devices/system/cpu/cpuidle/current_driver")


@contextmanager
def awake() -> Iterator[bool]:
    """Within it neither core of the bench sleeps; yields whether Linux grants that (root only).

    Where Linux has no say in it, a process on each core never rests, and runs only where nobody else wants to
    (SCHED_IDLE). A shadow of the bench has that policy, too, and one that was started beside these never came to run.
    """
    try:
        request = REQUEST.open("wb", buffering=0)
    except OSError:
        yield False
        return
    with request, ExitStack() as restless:
        request.write(struct.pack("i", 0))
        if not _has_driver():
            for core in (BROKER_CORE, WORKER_CORE):
                restless.enter_context(_busy(core))
        yield True


def _has_driver() -> bool:
    try:
        return DRIVER.read_text().strip() != "none"
    except OSError:
        return False


@contextmanager
def _busy(core: int) -> Iterator[None]:
    def prepare() -> None:
        os.sched_setaffinity(0, {core})
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        die_with_parent()

    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=prepare)
    try:
        yield
    finally:
        process.kill()
        process.wait()
