"""Where messages go: addresses of chats, mail and webhooks, as Apprise reads them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from scorer.errors import SettingsError
from shadow.settings import ShadowSettings

log = logging.getLogger(__name__)

#: Longest wait for a destination to take a message.
SECONDS = 30.0


@dataclass(frozen=True)
class Destination:
    """name: its address without secrets. id: of its marks, as the address itself is secret."""

    name: str
    id: str
    service: Any

    async def send(self, title: str, body: str) -> bool:
        """Whether it took a message, within `SECONDS`."""
        try:
            sent = asyncio.to_thread(self.service.notify, body=body, title=title)
            return bool(await asyncio.wait_for(sent, SECONDS))
        except Exception as error:  # of a hundred services, each with its own ways to fail
            log.warning("notify: %s: %s", self.name, type(error).__name__)
            return False


def destinations(settings: ShadowSettings) -> list[Destination]:
    """All of the settings; none if nobody is to be told. Raises SettingsError for an address that means nothing."""
    text = "" if settings.notify is None else settings.notify.get_secret_value()
    if not text.split():
        return []
    try:
        from apprise import Apprise
    except ImportError:
        raise SettingsError(
            "setting notify: apprise is not installed; run pip install 'shadow-scorer[notify]'"
        ) from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it logs addresses, and so passwords
    found = []
    for number, address in enumerate(text.split(), 1):
        service = Apprise.instantiate(address)
        if service is None:  # the address may hold a password, so it is not repeated
            raise SettingsError(f"setting notify: address {number} means nothing to Apprise; see its list of services")
        own = hashlib.sha256(address.encode()).hexdigest()[:16]
        found.append(Destination(str(service.url(privacy=True)).split("?")[0], own, service))
    if len({one.id for one in found}) < len(found):
        raise SettingsError("setting notify: an address is there twice")
    return found
