"""What each destination of messages has been told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shadow.store import keys


async def marks(redis: Any, prefix: str, destination: str) -> Mapping[str, str]:
    """What is noted of a destination, by name."""
    found = await redis.hgetall(keys.told(prefix, destination))
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()}


async def note(redis: Any, prefix: str, destination: str, name: str, value: str) -> None:
    """Note that a destination has been told something."""
    await redis.hset(keys.told(prefix, destination), name, value)
