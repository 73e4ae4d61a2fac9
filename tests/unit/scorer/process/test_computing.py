"""A thread that computes uses time of the CPU, and one that hangs uses none."""

from __future__ import annotations

import threading
import time

from harness.patience import PATIENCE_SECONDS
from scorer.process.computing import Computing


def test_only_a_thread_that_computes_uses_time() -> None:
    pool = Computing("test")
    assert pool.cpu_ticks == 0

    def compute(seconds: float) -> None:
        ends = time.thread_time() + seconds
        while time.thread_time() < ends:
            pass

    pool.submit(compute, 0.1).result(PATIENCE_SECONDS)
    used = pool.cpu_ticks
    assert used > 0
    hanging = threading.Event()
    hung = pool.submit(hanging.wait)
    time.sleep(0.2)
    assert pool.cpu_ticks - used <= 1
    hanging.set()
    hung.result(PATIENCE_SECONDS)
    pool.shutdown()
    # the kernel ends a thread a moment after Python has joined it
    until = time.monotonic() + 10
    while pool.cpu_ticks and time.monotonic() < until:
        time.sleep(0.01)
    assert pool.cpu_ticks == 0, "its thread is gone"
