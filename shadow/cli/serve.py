"""`shadow serve`: runs the gate regularly, and serves health, metrics and the JSON API."""

from __future__ import annotations

import asyncio
import logging.config
import signal
import sys

import click
import uvicorn

from scorer.deployments.ledger import read
from scorer.process.logs import config
from scorer.settings import load
from shadow.release.criteria_file import load_release
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.web.app import build
from shadow.web.guard import LARGEST_HEADERS, LARGEST_QUERY


@click.command()
@click.option("--http-port", type=int, help="Port to serve on (setting SHADOW_HTTP_PORT).")
def serve(http_port: int | None) -> None:
    """Judge every candidate regularly, suggest those that are ready, and serve /metrics, /livez, /readyz and /api."""
    settings = load(ShadowSettings, http_port=http_port)
    release = load_release(settings.release)
    asyncio.run(read(settings))
    logging.config.dictConfig(config(settings))
    service = Serve(settings, release)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn shuts down, then raises it again
    try:
        uvicorn.run(
            build(service),
            host=settings.http_host,
            port=settings.http_port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # who asks is whoever is connected, whatever a header says
            h11_max_incomplete_event_size=LARGEST_QUERY + LARGEST_HEADERS,
        )
    finally:
        if service.failure is not None:
            click.echo(f"error: serve stopped: {service.failure}", err=True)
            sys.exit(1)
