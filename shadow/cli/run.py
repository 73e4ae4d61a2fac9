"""`shadow run`: runs the shadows of slots until it is stopped."""

from __future__ import annotations

import asyncio
from collections import Counter

import click

from scorer.bundles.bundle import library
from scorer.deployments.ledger import read
from scorer.deployments.records import LIVE
from scorer.errors import UserError
from scorer.process.health import Health, HealthServer
from scorer.process.run import serve
from scorer.process.signing import SLOT
from scorer.settings import load
from scorer.streaming.timing import checked_timing
from shadow import metrics
from shadow.release.criteria_file import load_release
from shadow.settings import ShadowSettings
from shadow.worker.shadow import Shadow


@click.command()
@click.option(
    "--slot",
    "slots",
    type=SLOT,
    required=True,
    multiple=True,
    help="Slot to run: candidate, control, previous or any other but live. Given several times, one process reads for "
    "all of them.",
)
@click.option("--http-port", type=int, help="Port of /metrics, /livez and /readyz (setting SHADOW_HTTP_PORT).")
@click.option("--worker-id", help="Name of this worker (setting SHADOW_WORKER_ID).")
def run(slots: tuple[str, ...], http_port: int | None, worker_id: str | None) -> None:
    """Score every live decision with each slot's candidate and compare the two, until stopped.

    Live does not notice: a shadow only reads what live has published.
    """
    if LIVE in slots:
        raise UserError(f"--slot {LIVE}: has no shadow; name the slot of a candidate")
    if twice := [slot for slot, times in Counter(slots).items() if times > 1]:
        raise UserError(f"--slot {twice[0]}: is named twice; name each slot once")
    settings = load(ShadowSettings, http_port=http_port, worker_id=worker_id)
    checked_timing(settings)
    library()  # now, and not while it works
    release = load_release(settings.release)
    asyncio.run(_preflight(settings))
    health = Health()
    server = HealthServer(settings.http_host, settings.http_port, metrics.REGISTRY, health)
    try:
        serve(Shadow(settings, slots, release, health).app, settings)
    finally:
        server.stop()


async def _preflight(settings: ShadowSettings) -> None:
    """Find an unreachable broker or two currencies before the worker starts, while an error is still one line."""
    _ = (await read(settings)).currency
