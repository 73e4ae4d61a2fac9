"""`shadow run`: the shadow of one slot, until told to stop."""

from __future__ import annotations

import asyncio
import re

import click

from scorer.cli.run import serve
from scorer.deployments import LIVE
from scorer.errors import UserError
from scorer.http import Health, HealthServer
from scorer.ledger import read
from scorer.settings import checked_timing, load
from shadow import criteria, metrics
from shadow.settings import ShadowSettings
from shadow.worker import Shadow


@click.command()
@click.option("--slot", required=True, help="candidate, control, previous or any other slot.")
@click.option("--http-port", type=int, help="Port of /metrics, /livez and /readyz (SHADOW_HTTP_PORT).")
@click.option("--worker-id", help="Name of this worker (SHADOW_WORKER_ID).")
def run(slot: str, http_port: int | None, worker_id: str | None) -> None:
    """Score every decision with the slot's candidate and compare, until stopped. It cannot touch live."""
    if slot == LIVE or not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", slot):
        raise UserError(f"--slot {slot}: expected the name of a slot other than live")
    settings = load(ShadowSettings, http_port=http_port, worker_id=worker_id)
    checked_timing(settings)
    release = criteria.load(settings.release)
    asyncio.run(read(settings))
    health = Health()
    server = HealthServer(settings.http_host, settings.http_port, metrics.REGISTRY, health)
    try:
        serve(Shadow(settings, slot, release, health).app, settings)
    finally:
        server.stop()
