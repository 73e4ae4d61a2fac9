"""Tells every destination what is new to it, once, and again later what it did not take."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from scorer.deployments.slots import Deployments
from scorer.errors import SettingsError
from shadow import metrics
from shadow.notify.destinations import Destination, destinations
from shadow.notify.messages import LEDGER, Message, Told, of_ledger, of_look, place
from shadow.notify.texts import TEST, Texts
from shadow.release.automatic import intention
from shadow.release.history import history
from shadow.release.look import Look
from shadow.settings import ShadowSettings
from shadow.store.told import marks, note

log = logging.getLogger(__name__)

#: Pause after a message that a destination did not take, doubled each time up to the second.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30.0, 3600.0


class Notifier:
    """Raises SettingsError for destinations or templates that cannot be used.

    What a destination was told is noted in Redis, so that a restart repeats nothing and leaves nothing out.
    """

    def __init__(self, settings: ShadowSettings, redis: Any) -> None:
        self._settings, self._redis = settings, redis
        self.destinations = destinations(settings)
        self._texts = Texts(settings.notify_templates)
        self._paused: dict[str, tuple[float, float]] = {}  # until when, and for how long

    async def tell(self, deployments: Deployments, looks: Iterable[Look]) -> None:
        """Tell what is new. Raises what Redis does."""
        if not self.destinations:
            return
        rows, seen, now = history(deployments), list(looks), datetime.now(UTC)
        for one in self.destinations:
            until, _ = self._paused.get(one.id, (0.0, 0.0))
            if time.monotonic() < until:
                continue
            told = Told(await marks(self._redis, self._settings.prefix, one.id))
            if place(rows, told) is None:
                last = rows[-1].seq if rows else ""
                await note(self._redis, self._settings.prefix, one.id, LEDGER, last)
            soon = partial(intention, deployments, settings=self._settings)
            messages = [
                *of_ledger(rows, told, soon),
                *(message for look in seen for message in of_look(look, told, now)),
            ]
            for message in messages:
                if not await self._send(one, message):
                    break

    async def _send(self, one: Destination, message: Message) -> bool:
        if message.event in self._settings.notify_events:
            try:
                title, body = self._texts.write(message.event, message.facts, self._settings.notify_link)
            except SettingsError as error:  # a template that asks for what this message does not have
                log.error("%s", error)
                return False
            if not await one.send(title, body):
                metrics.NOTIFICATIONS_FAILED.inc()
                _, pause = self._paused.get(one.id, (0.0, FIRST_PAUSE_SECONDS / 2))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                self._paused[one.id] = time.monotonic() + pause, pause
                log.warning("notify: %s did not take a message; again in %.0f s", one.name, pause)
                return False
            metrics.NOTIFICATIONS.labels(message.event).inc()
        self._paused.pop(one.id, None)
        await note(self._redis, self._settings.prefix, one.id, *message.mark)
        return True

    async def test(self) -> dict[str, bool]:
        """Send a message to every destination that says that it is a test; whether each took it, by its name."""
        title, body = self._texts.write(TEST, {}, self._settings.notify_link)
        return {one.name: await one.send(title, body) for one in self.destinations}
