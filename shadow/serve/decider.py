"""Carries out what people decide over HTTP: to its end, whoever waits for the answer, and each wish once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from scorer.errors import UserError
from scorer.people import Who
from shadow.release.deciding import Settled, Wish, decide
from shadow.settings import ShadowSettings

log = logging.getLogger(__name__)

#: Wishes at the same time, at most; and the time that Kafka, Redis and the gate need beside the waits for the scorers.
AT_ONCE, BESIDE_SECONDS = 8, 30.0

Work = Callable[[ShadowSettings, Wish, Who], Awaitable[Settled]]


class TooManyError(UserError):
    """More people decide than is sensible."""


class UnderWayError(UserError):
    """It takes longer than somebody may wait; the ledger will say what came of it."""


class Decider:
    """Each wish is worked off in a thread with an event loop of its own, so that no page waits for a verdict.

    Nothing of it is kept but on the ledger, where one entry does all of it: whenever this process ends, a decision is
    there whole, or not at all. work: what does it, `decide` but in tests.
    """

    def __init__(self, settings: ShadowSettings, work: Work = decide) -> None:
        self._settings, self._work = settings, work
        self._running: dict[tuple[Wish, str], asyncio.Task[Settled]] = {}

    @property
    def seconds(self) -> float:
        """The longest wait for an answer."""
        return 2 * self._settings.promote_seconds + BESIDE_SECONDS

    async def decide(self, wish: Wish, who: Who) -> Settled:
        """What came of it. Who asks twice while it is under way gets one answer. Raises UserError."""
        key = wish, who.person
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= AT_ONCE:
                raise TooManyError(f"{AT_ONCE} decisions are under way; ask again when one is done")
            task = asyncio.create_task(asyncio.to_thread(self._in_thread, wish, who))
            self._running[key] = task
            task.add_done_callback(lambda ended: self._ended(key, ended))
        # which ends nothing when the client goes away
        done, _ = await asyncio.wait({task}, timeout=self.seconds)
        if not done:
            raise UnderWayError(f"not done after {self.seconds:g} s, and still under way; the history will say")
        return task.result()

    def _in_thread(self, wish: Wish, who: Who) -> Settled:
        async def work() -> Settled:
            return await self._work(self._settings, wish, who)

        return asyncio.run(work())

    def _ended(self, key: tuple[Wish, str], task: asyncio.Task[Settled]) -> None:
        del self._running[key]
        wish, person = key
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            settled = task.result()
            log.info("%s of slot %s by %s: %s (ledger entry %s)", wish.action, wish.slot, person, settled.state,
                     settled.line.seq)  # fmt: skip
        elif isinstance(error, UserError):
            log.info("%s of slot %s by %s is refused: %s", wish.action, wish.slot, person, error)
        else:
            log.error("%s of slot %s by %s failed", wish.action, wish.slot, person, exc_info=error)

    async def stop(self) -> None:
        """Wait for what is under way."""
        if self._running:
            await asyncio.wait(set(self._running.values()), timeout=self.seconds)
