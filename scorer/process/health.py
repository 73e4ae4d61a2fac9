"""`/metrics`, `/livez` and `/readyz` of a worker, served from a thread of their own."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from scorer.errors import SettingsError

#: A worker whose event loop has not turned for so long is no longer alive.
STUCK_SECONDS = 30.0
BEAT_SECONDS = 1.0


class Health:
    """What a worker says of itself."""

    def __init__(self) -> None:
        self._beaten = time.monotonic()
        self.not_ready: str | None = "starting"

    async def beat(self) -> None:
        """A task of its own, for as long as the event loop turns: whoever waits for Kafka or Redis is not stuck."""
        while True:
            self._beaten = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    @property
    def stuck_seconds(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._beaten


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up: a scraper that waits no longer is no fault of this process."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class HealthServer:
    """Serves until `stop`. Raises SettingsError if the address is taken.

    refresh: brings the metrics up to date before they are told.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        health: Health,
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        def scraped() -> tuple[int, bytes, str]:
            refresh()
            return 200, generate_latest(registry), CONTENT_TYPE_LATEST

        pages: dict[str, Callable[[], tuple[int, bytes, str]]] = {
            "/metrics": scraped,
            "/livez": lambda: _told(None if health.stuck_seconds < STUCK_SECONDS else "the event loop is stuck"),
            "/readyz": lambda: _told(health.not_ready),
        }

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path.partition("?")[0])
                status, body, kind = page() if page else (404, b"not found\n", "text/plain")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Probes are not logged."""

        try:
            self._server = _Server((host, port), Pages)
        except OSError as error:
            raise SettingsError(f"http {host}:{port}: {error.strerror}; choose another port") from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _told(trouble: str | None) -> tuple[int, bytes, str]:
    return (200, b"ok\n", "text/plain") if trouble is None else (503, f"{trouble}\n".encode(), "text/plain")
