"""`shadow serve`: health, metrics, the JSON API and the gate's regular looks."""

from __future__ import annotations

import asyncio
import logging.config
import signal
import sys

import click
import uvicorn

from scorer.ledger import read
from scorer.logs import config
from scorer.settings import load
from shadow import criteria
from shadow.api import build
from shadow.serving import Serve
from shadow.settings import ShadowSettings


@click.command()
@click.option("--http-port", type=int, help="Port (SHADOW_HTTP_PORT).")
def serve(http_port: int | None) -> None:
    """Serve /metrics, /livez, /readyz and /api, run the gate, and suggest what is ready."""
    settings = load(ShadowSettings, http_port=http_port)
    release = criteria.load(settings.release)
    asyncio.run(read(settings))
    logging.config.dictConfig(config(settings))
    app = build(Serve(settings, release))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn stops in good order, then sends it once more
    uvicorn.run(app, host=settings.http_host, port=settings.http_port, log_config=None, access_log=False)
