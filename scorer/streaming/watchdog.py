"""Ends a worker that stands still although records wait, so that its supervisor starts it anew.

Kafka clients and event loops have many places in which one lost wake-up makes a worker wait for ever, without an error
or a line in the log. The watchdog does not know these places. From a thread of its own it looks at what the worker has
finished, and asks the brokers with a client of its own what is left to do. Nobody is ended who has a reason to wait:

* no records wait for it, or only markers of transactions, which no worker ever gets;
* the brokers do not answer, be it the leader of one of its partitions or its group's coordinator;
* something else that it needs, such as Redis, does not answer;
* it computes, however long a batch takes;
* it waits for an answer that ends in an error by itself if it does not come, such as that to a write, and its event
  loops run;
* during a rebalance, its group has it wait.

The handler tells what the broker cannot (`Watched`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from scorer.kafka.probe import Probe
from scorer.settings import CommonSettings
from scorer.streaming.stacks import stacks
from scorer.streaming.stall import Stall

log = logging.getLogger(__name__)

#: How many looks a stall takes at least, and the longest time between two of them.
LOOKS, LONGEST_LOOK_SECONDS = 20, 1.0
#: How long a worker may stand still in a rebalance at least: it reads card states, or opens partitions in Redis.
REBALANCE_SECONDS = 30.0
#: How long a worker that stands still may take to stop in good order, and one that stops because of another error.
STOP_SECONDS, FAILED_SECONDS = 3.0, 30.0


class StalledError(Exception):
    """The worker stood still although records waited for it."""


class Watched(Protocol):
    """What the watchdog wants to know of a worker. It asks from a thread of its own."""

    settings: CommonSettings
    group: str
    hot_topic: str

    @property
    def loops(self) -> Sequence[asyncio.AbstractEventLoop]:
        """The worker's event loops."""

    @property
    def failure(self) -> BaseException | None:
        """The error that the worker is stopping for."""

    @property
    def is_rebalancing(self) -> bool:
        """Whether a rebalance has begun and is not through."""

    @property
    def finished(self) -> Mapping[int, int]:
        """By owned partition, the offset after the last finished record. Empty before partitions are assigned."""

    @property
    def patient_until(self) -> float:
        """Monotonic time until which there is a reason to wait."""

    def signs(self) -> Any:
        """What differs from the last answer if the worker got anything done, or what it needs is away."""

    def end(self, error: BaseException) -> None:
        """Begin to stop in good order."""


@dataclass
class Pulse:
    """Whether an event loop runs. silent_seconds: for how long it has not answered, 0 if it did."""

    silent_seconds: float = 0.0
    _is_answered: bool = True

    def feel(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        """Ask the loop for an answer, or wait on for the last one. seconds: since the last time."""
        self.silent_seconds = 0.0 if self._is_answered else self.silent_seconds + seconds
        if self._is_answered:
            self._is_answered = False
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._is_answered = True


class Watchdog:
    """Watches a worker. limit_seconds: how long it may stand still. end_process: ends it at once, with a code."""

    end_process: Callable[[int], Any] = staticmethod(os._exit)

    def __init__(self, worker: Watched, limit_seconds: float) -> None:
        self._worker, self._limit = worker, limit_seconds
        self._every = min(LONGEST_LOOK_SECONDS, limit_seconds / LOOKS)
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Watch until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer. Does not wait for the thread, which may be asking the brokers."""
        self._is_stopping.set()

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                asyncio.run(self._watch())
            except Exception:  # a fault of the watchdog's own must not end who decides transactions
                log.exception("the watchdog failed; it watches on")
                self._is_stopping.wait(self._limit)

    async def _watch(self) -> None:
        probe = Probe(self._worker.settings, self._worker.group, self._worker.hot_topic)
        try:
            await self._watch_by(probe)
        finally:
            await probe.close()

    async def _watch_by(self, probe: Probe) -> None:
        worker = self._worker
        stall = Stall(self._limit, self._every)
        pulses = [Pulse() for _ in worker.loops]
        looked, asked, failing = time.monotonic(), 0.0, 0.0
        while not self._is_stopping.is_set():
            await asyncio.sleep(self._every)
            now = time.monotonic()
            seconds, looked = min(now - looked, 2 * self._every), now
            if worker.failure is not None:
                failing += seconds
                if failing > FAILED_SECONDS:
                    told = stacks(worker.loops)
                    log.critical(
                        "the worker does not stop after %s; this is where it stands:\n%s", worker.failure, told
                    )
                    self._exit(worker.failure)
                continue
            for pulse, loop in zip(pulses, worker.loops, strict=True):
                pulse.feel(loop, seconds)
            is_rebalancing = worker.is_rebalancing
            stall.limit_seconds = max(self._limit, REBALANCE_SECONDS) if is_rebalancing else self._limit
            stall.look((worker.signs(), is_rebalancing), seconds)
            if not stall.is_due or now - asked < stall.limit_seconds / 6:
                continue
            finished = {} if is_rebalancing else worker.finished
            # A loop that hangs would not see the answer that it waits for.
            is_running = all(pulse.silent_seconds < self._limit / 2 for pulse in pulses)
            if (worker.patient_until > now and is_running) or not (is_rebalancing or finished):
                stall.excuse()
                continue
            asked, waiting = now, await probe.waiting(finished)
            if waiting is None or (finished and not waiting):
                stall.excuse()
            elif stall.is_over and not self._is_stopping.is_set():
                where = f"partitions {sorted(waiting)}" if waiting else "a rebalance"
                self._end(StalledError(f"{where}: nothing came for {stall.limit_seconds:g} s, though brokers answer"))

    def _end(self, error: StalledError) -> None:
        log.critical("the worker stands still: %s; this is where it stands:\n%s", error, stacks(self._worker.loops))
        self._worker.end(error)
        time.sleep(STOP_SECONDS)
        self._exit(error)

    def _exit(self, error: BaseException) -> None:
        print(f"error: the worker stopped: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        self.end_process(1)
