"""`scorer run`: serve live decisions until told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys

import click
from faust import Worker

from scorer import metrics
from scorer.batches import BatchApp
from scorer.counting import Counting
from scorer.errors import UserError
from scorer.http import Health, HealthServer
from scorer.ledger import read
from scorer.live import LiveLoader
from scorer.logs import config
from scorer.settings import CommonSettings, ScorerSettings, checked_timing, load
from scorer.store import BundleStore
from scorer.topics import ensure_topics
from scorer.view import FeatureView
from scorer.worker import Scorer

#: How long a thread that computes may keep the one that writes waiting: with 5 ms, Python's own, a decision took a
#: third longer at half of saturation.
SWITCH_SECONDS = 0.0005
#: Parameters of glibc's `mallopt`.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def serve(app: BatchApp, settings: CommonSettings) -> None:
    """Run a worker until SIGTERM or SIGINT. Raises the UserError that stopped it; exits 1 for any other failure."""
    worker = Worker(app, loglevel="WARNING", logging_config=config(settings), redirect_stdouts=False, quiet=True)
    worker.spinner = None
    _collect_rarely()
    _keep_memory()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        worker.execute_from_commandline()
    except (SystemExit, Exception) as stopped:
        failure = app.failure or worker.crash_reason
        if isinstance(failure, UserError):
            raise failure from None
        if failure is not None:
            click.echo(f"error: the worker stopped: {type(failure).__name__}: {failure}", err=True)
            sys.exit(1)
        if not isinstance(stopped, SystemExit):
            raise


def _collect_rarely() -> None:
    """Let the cyclic collector be: batches hold no cycles, and it took 9 % of the time to walk what was imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


def _keep_memory() -> None:
    """Have glibc keep freed memory for the next batch: giving it back and faulting it in again took 2 to 3 %."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    for parameter, size in ((M_MMAP_THRESHOLD, 64 << 20), (M_TRIM_THRESHOLD, 128 << 20), (M_TOP_PAD, 16 << 20)):
        if mallopt is not None:
            mallopt(parameter, size)


@click.command()
@click.option("--http-port", type=int, help="Port of /metrics, /livez and /readyz (SCORER_HTTP_PORT).")
@click.option("--worker-id", help="Name of this worker (SCORER_WORKER_ID).")
def run(http_port: int | None, worker_id: str | None) -> None:
    """Decide transactions with the live model, until stopped. All settings: docs/settings.md."""
    settings = load(ScorerSettings, http_port=http_port, worker_id=worker_id)
    checked_timing(settings)
    view = FeatureView.load(settings.view)
    live = LiveLoader(BundleStore(settings.store, settings.cache), view)
    asyncio.run(_preflight(settings, live))
    health, counting = Health(), Counting()
    server = HealthServer(settings.http_host, settings.http_port, metrics.REGISTRY, health, counting.show)
    try:
        serve(Scorer(settings, view, live, health, counting).app, settings)
    finally:
        server.stop()


async def _preflight(settings: ScorerSettings, live: LiveLoader) -> None:
    """What can be wrong is told before the worker starts, while an error is still one line."""
    await ensure_topics(settings)
    await live.follow(await read(settings))
    live.require()
