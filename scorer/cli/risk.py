"""`scorer risk`: publish snapshots of merchant risk."""

from __future__ import annotations

import asyncio
import logging.config
import signal

import click

from scorer import metrics
from scorer.bundles.view_file import load_view
from scorer.errors import SettingsError
from scorer.pipeline.risk_view import Risk
from scorer.process.health import Health, HealthServer
from scorer.process.logs import config
from scorer.risk.maker import RiskMaker
from scorer.settings import ScorerSettings, load


@click.command()
@click.option("--http-port", type=int, help="Port of /metrics, /livez and /readyz (SCORER_HTTP_PORT).")
@click.option("--worker-id", help="Name of this worker (SCORER_WORKER_ID).")
@click.option("--once", is_flag=True, help="Publish what is due by now, and end.")
def risk(http_port: int | None, worker_id: str | None, once: bool) -> None:
    """Publish what was paid at each merchant, and how much of it was fraud, until stopped.

    For feature views with `risk`; every scorer looks its transactions' merchants up in the newest snapshot.
    """
    settings = load(ScorerSettings, http_port=http_port, worker_id=worker_id)
    view = load_view(settings.view)
    if view.risk is None:
        raise SettingsError(f"feature view {settings.view}: has no merchant risk; add `risk: {{}}` to it")
    logging.config.dictConfig(config(settings))
    asyncio.run(_run(settings, view.risk, once))


async def _run(settings: ScorerSettings, of: Risk, once: bool) -> None:
    health = Health()
    maker = RiskMaker(settings, of, health, once)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, maker.stopping.set)
    server = HealthServer(settings.http_host, settings.http_port, metrics.RISK_REGISTRY, health)
    beating = asyncio.create_task(health.beat(), name="beat")
    try:
        await maker.run()
    finally:
        beating.cancel()
        server.stop()
