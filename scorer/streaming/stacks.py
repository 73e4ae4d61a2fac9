"""Where every thread and every asyncio task of this process stands, for the log of a worker that stands still."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any


def stacks(loops: Iterable[asyncio.AbstractEventLoop]) -> str:
    """The stacks of all threads, and of the tasks of these event loops, the place where each stands last.

    They name files, lines and functions, never values: no card gets into a log by them.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    told = [
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame)).rstrip()}"
        for ident, frame in sys._current_frames().items()
    ]
    told += [f"task {task.get_name()}:\n{_told(task)}" for loop in loops for task in _tasks(loop)]
    return "\n".join(told)


def _tasks(loop: asyncio.AbstractEventLoop) -> list[asyncio.Task[Any]]:
    """Tasks that are not done. Called from another thread, so the set may change while it is copied."""
    for _ in range(10):
        try:
            return sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        except RuntimeError:
            continue
    return []


def _told(task: asyncio.Task[Any]) -> str:
    """A task's own `get_stack` shows the outermost coroutine alone."""
    lines = [f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {name}' for frame, name in _frames(task)]
    return "\n".join(lines or ["  not begun, or in C code"])


def _frames(task: asyncio.Task[Any]) -> Iterator[tuple[FrameType, str]]:
    """Frames of the coroutines that await each other, outermost first, with their names."""
    awaited: Any = task.get_coro()
    while awaited is not None:
        for kind in ("cr", "gi", "ag"):
            if hasattr(awaited, f"{kind}_frame"):
                frame = getattr(awaited, f"{kind}_frame")
                if frame is not None:
                    yield frame, frame.f_code.co_qualname
                awaited = getattr(awaited, f"{kind}_yieldfrom" if kind == "gi" else f"{kind}_await")
                break
        else:  # what `await` made of an object or of a step of an async generator names neither, but refers to it
            inner = gc.get_referents(awaited)
            awaited = next((one for one in inner if inspect.iscoroutine(one) or inspect.isasyncgen(one)), None)
