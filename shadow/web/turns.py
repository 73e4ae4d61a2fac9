"""Requests that read much take turns, so that many at once need no more memory than a few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import HTTPException

#: Requests that read much at the same time, and how long one more may wait.
AT_ONCE, PATIENCE_SECONDS = 4, 10.0


class Turns:
    """A dependency that lets AT_ONCE requests work, and answers 503 to one that waited for too long."""

    def __init__(self, at_once: int = AT_ONCE, seconds: float = PATIENCE_SECONDS) -> None:
        self._free, self._seconds = asyncio.Semaphore(at_once), seconds

    async def __call__(self) -> AsyncIterator[None]:
        """Hold a turn until the answer has been sent."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise HTTPException(
                503, "too many requests at once; ask again", {"Retry-After": f"{self._seconds:.0f}"}
            ) from None
        try:
            yield
        finally:
            self._free.release()
