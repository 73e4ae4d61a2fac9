"""Serves `/metrics`, `/livez` and `/readyz` of a worker from a thread of its own."""

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
from scorer.process.hosts import Hosts, address_of

#: A worker counts as dead once its event loop has not run for this long.
STUCK_SECONDS = 30.0
BEAT_SECONDS = 1.0


class Health:
    """A worker's health. not_ready: why it is not ready, None if it is."""

    def __init__(self) -> None:
        self._beaten = time.monotonic()
        self.not_ready: str | None = "starting"

    async def beat(self) -> None:
        """Show every second that the event loop runs. Run this as a task of its own: waiting for Kafka is not stuck."""
        while True:
            self._beaten = time.monotonic()
            await asyncio.sleep(BEAT_SECONDS)

    @property
    def stuck_seconds(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._beaten


class _Server(ThreadingHTTPServer):
    """An HTTP server that logs no error when a client hangs up."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class HealthServer:
    """Serves from its creation until `stop`. Raises SettingsError if it cannot listen on the address.

    On a loopback address it answers only to the names of this machine, so that no page in a browser can read it.
    port: 0 picks a free one, which the attribute `port` tells. refresh: called before each scrape, to update metrics.
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

        bound = address_of(host)
        is_local = host == "localhost" or (bound is not None and bound.is_loopback)
        hosts = Hosts(())

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = pages.get(self.path.partition("?")[0])
                asked = self.headers.get("Host")  # which every browser sends
                if is_local and asked is not None and not hosts.allow(asked, self.connection.getsockname()[0]):
                    page = _foreign
                status, body, kind = page() if page else (404, b"not found\n", "text/plain")
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Content-Type-Options", "nosniff")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Logs nothing: probes come every few seconds."""

        try:
            self._server = _Server((host, port), Pages)
        except OSError as error:
            raise SettingsError(
                f"http {host}:{port}: {error.strerror}; choose another http_port or http_host"
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def _told(trouble: str | None) -> tuple[int, bytes, str]:
    return (200, b"ok\n", "text/plain") if trouble is None else (503, f"{trouble}\n".encode(), "text/plain")


def _foreign() -> tuple[int, bytes, str]:
    return 400, b"the Host header is not a name of this machine; ask 127.0.0.1 or localhost\n", "text/plain"
