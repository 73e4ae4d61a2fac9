"""`scorer run`: decide live transactions until stopped."""

from __future__ import annotations

import asyncio

import click

from scorer import metrics
from scorer.bundles.bundle import library
from scorer.bundles.function_proof import prove_functions
from scorer.bundles.store import BundleStore
from scorer.bundles.view_file import load_view
from scorer.deployments.ledger import read
from scorer.deployments.views import published_view
from scorer.kafka.topics import ensure_topics
from scorer.pipeline.features import load_functions
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView
from scorer.process.health import Health, HealthServer
from scorer.process.run import serve
from scorer.schemas.decisions import registry_of, require_room, schema_id
from scorer.schemas.schemas import Schemas, schemas_of
from scorer.settings import ScorerSettings, load
from scorer.streaming.timing import checked_timing
from scorer.worker.counting import Counting
from scorer.worker.exploration import exploration_of
from scorer.worker.live import LiveLoader
from scorer.worker.scorer import Scorer


@click.command()
@click.option("--http-port", type=int, help="Port of /metrics, /livez and /readyz (SCORER_HTTP_PORT).")
@click.option("--worker-id", help="Name of this worker (SCORER_WORKER_ID).")
def run(http_port: int | None, worker_id: str | None) -> None:
    """Decide transactions with the live model until stopped.

    All settings: docs/settings.md.
    """
    settings = load(ScorerSettings, http_port=http_port, worker_id=worker_id)
    checked_timing(settings)
    library()  # now, and not while it works
    view = load_view(settings.view)
    prove_functions(view)
    load_functions(view)
    schemas = schemas_of(settings.mapping, settings)
    reading = Reading(
        settings.money,
        settings.mapping,
        view.attributes,
        settings.card_number_fields,
        None if schemas is None else schemas.wire,
    )
    reading.check_formats()
    registry_of(settings)
    require_room(settings, view)
    exploration = exploration_of(settings)
    bundles = BundleStore(settings.store, settings.cache, settings.store_seconds, settings.predictor)
    live = LiveLoader(bundles, view)
    decision_schema = asyncio.run(_preflight(settings, view, live, schemas))
    health, counting = Health(), Counting(settings.money.reporting.minor_per_unit)
    server = HealthServer(settings.http_host, settings.http_port, metrics.REGISTRY, health, counting.show)
    try:
        worker = Scorer(settings, view, reading, live, health, counting, schemas, decision_schema, exploration)
        serve(worker.app, settings)
    finally:
        server.stop()


async def _preflight(
    settings: ScorerSettings, view: FeatureView, live: LiveLoader, schemas: Schemas | None
) -> int | None:
    """Check registry, broker, topics, currency and live model before the worker starts, while an error is still one
    line; returns the id of the schema of decisions, None for JSON."""
    if schemas is not None:
        await schemas.check()
    decision_schema = await schema_id(settings, view.risk is not None)
    await ensure_topics(settings)
    deployments = await read(settings)
    published_view(view, settings.money.reporting, deployments)
    live.note(deployments)
    await live.load()
    live.require()
    return decision_schema
