"""Background tasks of a process, none of which may end unnoticed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from scorer.errors import UserError

log = logging.getLogger(__name__)


class TaskEndedError(Exception):
    """A task that should run as long as its process has ended."""


class Tasks:
    """Owns the background tasks of a process; each of them should run until `stop`.

    on_end: awaited once, with why, if a task ends before: a UserError as it is, else a TaskEndedError that names the
    task. It should stop the process: what a task did is not done any more.
    """

    def __init__(self, on_end: Callable[[Exception], Awaitable[None]]) -> None:
        self._on_end = on_end
        self._running: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Task[None] | None = None
        self._is_stopping = False

    def start(self, work: Coroutine[Any, Any, None], name: str, may_end: bool = False) -> asyncio.Task[None]:
        """Run work in the background. may_end: it may return, though not raise."""
        task = asyncio.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, may_end))
        return task

    async def stop(self) -> None:
        """Cancel all tasks, and wait for them."""
        self._is_stopping = True
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None], may_end: bool) -> None:
        self._running.discard(task)
        if self._is_stopping:
            return
        error = None if task.cancelled() else task.exception()
        if error is None and may_end and not task.cancelled():
            return
        if isinstance(error, UserError):
            why: Exception = error
        else:
            how = "was cancelled" if task.cancelled() else "returned" if error is None else repr(error)
            why = TaskEndedError(f"task {task.get_name()} ended: {how}")
            log.error("%s", why, exc_info=error)
        if self._ending is None:
            self._ending = asyncio.create_task(self._tell(why), name="ending")

    async def _tell(self, why: Exception) -> None:
        await self._on_end(why)
