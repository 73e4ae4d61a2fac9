"""Checks that the timeouts of a group member fit each other."""

from __future__ import annotations

from scorer.errors import SettingsError
from scorer.settings import CommonSettings
from scorer.streaming.pace import SLOWEST


def checked_timing(settings: CommonSettings) -> None:
    """Raises SettingsError if heartbeat, session, request and fetch times do not fit each other."""
    if settings.heartbeat_seconds > settings.session_seconds / 3 + 1e-9:
        raise SettingsError(
            f"setting heartbeat_seconds: {settings.heartbeat_seconds:g} s, expected at most a third of session_seconds "
            f"({settings.session_seconds:g} s); lower it"
        )
    if settings.request_seconds < settings.session_seconds:
        raise SettingsError(
            f"setting request_seconds: {settings.request_seconds:g} s, expected at least session_seconds "
            f"({settings.session_seconds:g} s); raise it"
        )
    if settings.request_seconds < SLOWEST * settings.fetch_wait_ms / 1000:
        raise SettingsError(
            f"setting fetch_wait_ms: {settings.fetch_wait_ms} ms, expected at most a quarter of request_seconds "
            f"({settings.request_seconds:g} s), since a fetch may wait four times as long; lower it"
        )
