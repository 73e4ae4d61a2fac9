"""Runs the processes of `shadow up`: starts them in order, prefixes their log lines, and stops all of them cleanly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scorer.errors import UserError
from shadow.local.process import die_with_parent

#: Longest wait until all processes are ready.
READY_SECONDS = 180.0
#: A process that ran for this long is restarted after the shortest pause again.
STEADY_SECONDS = 30.0
#: Log lines to remember of each process, for an error message.
LAST_LINES = 15
#: Time that a process may take to stop: it finishes and commits what it has begun.
GRACE_SECONDS = 15.0


@dataclass(frozen=True)
class Program:
    """A process to run. ready_url: answers with 200 once it is ready. vital: if it ends, everything stops; a process
    that is not vital is restarted after a pause."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    ready_url: str | None = None
    vital: bool = False


@dataclass
class _Child:
    program: Program
    process: asyncio.subprocess.Process | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    restarts: int = 0


class Supervisor:
    """Runs programs until a vital one ends, `stop` is called, or SIGINT or SIGTERM arrives.

    log_file: takes the log lines instead of standard error.
    """

    def __init__(
        self, programs: Sequence[Program], grace_seconds: float = GRACE_SECONDS, log_file: Path | None = None
    ) -> None:
        self._children = [_Child(program) for program in programs]
        self._grace = grace_seconds
        self._width = max(len(program.name) for program in programs)
        self._log = log_file.open("a", encoding="utf-8") if log_file is not None else None
        self._stopping = asyncio.Event()
        self._failure: str | None = None
        self._watchers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Supervisor:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, self._stopping.set)
        try:
            for child in self._children:
                await self._start(child)
            await self._until_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def wait(self) -> None:
        """Wait until it is time to stop. Raises UserError if a vital program ended."""
        await self._stopping.wait()
        if self._failure is not None:
            raise UserError(self._failure)

    @property
    def pids(self) -> dict[str, int]:
        """Ids of the running processes, by name."""
        return {c.program.name: c.process.pid for c in self._children if c.process and c.process.returncode is None}

    async def _start(self, child: _Child) -> None:
        child.process = await asyncio.create_subprocess_exec(
            *child.program.argv,
            env={**os.environ, **child.program.env},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._watchers.append(asyncio.create_task(self._watch(child, child.process), name=child.program.name))

    async def _watch(self, child: _Child, process: asyncio.subprocess.Process) -> None:
        started = time.monotonic()
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        while line := await process.stdout.readline():
            self._say(child, line.decode(errors="replace").rstrip())
        code = await process.wait()
        if self._stopping.is_set():
            return
        if child.program.vital:
            self._failure = f"{child.program.name}: ended with code {code}; see its last log lines"
            self._stopping.set()
            return
        child.restarts = 0 if time.monotonic() - started > STEADY_SECONDS else child.restarts + 1
        pause = min(30.0, 0.5 * 2 ** min(child.restarts, 6))
        self._say(child, f"ended with code {code}; restarting in {pause:g} s")
        try:
            await asyncio.wait_for(self._stopping.wait(), pause)
        except TimeoutError:
            await self._start(child)

    def _say(self, child: _Child, text: str) -> None:
        child.lines.append(text)
        line = f"{child.program.name:<{self._width}} | {text}"
        print(line, file=self._log or sys.stderr, flush=True)

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        for child in self._children:
            url = child.program.ready_url
            while url is not None and not self._stopping.is_set():
                if await asyncio.to_thread(_is_ready, url):
                    break
                if time.monotonic() > deadline:
                    raise UserError(
                        f"{child.program.name}: not ready after {READY_SECONDS:g} s; its last log line: {_last(child)}"
                    )
                await asyncio.sleep(0.1)
        if self._failure is not None:
            failed = next(c for c in self._children if self._failure.startswith(f"{c.program.name}:"))
            raise UserError(f"{failed.program.name}: {_last(failed)}")

    async def stop(self) -> None:
        """Stop all programs, last first: SIGTERM, then SIGKILL after the grace period."""
        self._stopping.set()
        running = [c for c in reversed(self._children) if c.process is not None and c.process.returncode is None]
        for child in running:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + self._grace
        for child in running:
            if child.process is None:
                continue
            try:
                await asyncio.wait_for(child.process.wait(), max(0.1, deadline - time.monotonic()))
            except TimeoutError:
                self._say(child, f"killed, as it did not stop within {self._grace:g} s")
                _signal(child, signal.SIGKILL)
                await child.process.wait()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        if self._log is not None:
            self._log.close()
            self._log = None


def _signal(child: _Child, number: signal.Signals) -> None:
    if child.process is not None and child.process.returncode is None:
        try:
            child.process.send_signal(number)
        except ProcessLookupError:
            return


def _last(child: _Child) -> str:
    told = [line for line in child.lines if line.startswith("error: ")]
    return (told or list(child.lines) or ["it logged nothing"])[-1].removeprefix("error: ")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:  # noqa: S310 - loopback, http
            return bool(answer.status == 200)
    except OSError:
        return False
