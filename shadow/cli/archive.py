"""`shadow archive`: keeps the topics as Delta tables, for training, audits and other tools."""

from __future__ import annotations

import asyncio
import importlib
import logging.config
import signal
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from scorer.errors import UserError
from scorer.process.answers import answer, json_option, teller
from scorer.process.health import Health, HealthServer
from scorer.process.logs import config
from scorer.process.screen import say
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow import metrics
from shadow.settings import ShadowSettings
from shadow.worker.niceness import stand_back

#: Erasures that `status` lists at most, the last ones; `--json` has all.
ERASED_LISTED = 20


@click.group()
def archive() -> None:
    """Keep decisions, dead letters, labels and the ledger as Delta tables, for as long as you say."""


def tables_module() -> Any:
    """The module of the tables; not imported before it is needed, as it starts threads."""
    return importlib.import_module("shadow.archive.tables")


@archive.command()
@click.option("--http-port", type=int, help="Port of /metrics, /livez and /readyz (setting SHADOW_HTTP_PORT).")
@click.option("--worker-id", help="Name of this worker (setting SHADOW_WORKER_ID).")
@click.option("--once", is_flag=True, help="Archive what there is by now, and end.")
def run(http_port: int | None, worker_id: str | None, once: bool) -> None:
    """Archive every record once, until stopped.

    Several may run: they share the partitions. Nothing that live or a shadow does depends on it.
    """
    settings = load(ShadowSettings, http_port=http_port, worker_id=worker_id)
    tables_module()
    logging.config.dictConfig(config(settings))
    stand_back(settings.niceness)
    asyncio.run(_run(settings, once))


async def _run(settings: ShadowSettings, once: bool) -> None:
    from shadow.archive.archiver import Archiver

    health = Health()
    archiver = Archiver(settings, health, once)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, archiver.stopping.set)
    server = HealthServer(
        settings.http_host, settings.http_port, metrics.ARCHIVE_REGISTRY, health, refresh=archiver.refresh
    )
    beating = asyncio.create_task(health.beat(), name="beat")
    try:
        await archiver.run()
    finally:
        beating.cancel()
        server.stop()
    if once:
        click.echo(f"archived all there is into {settings.archive}")


def opened(settings: ShadowSettings) -> dict[str, Any]:
    """The tables that exist, by topic. Raises UserError if the place cannot be read, or there are none."""
    tables = tables_module()
    options = {name: secret.get_secret_value() for name, secret in settings.archive_options.items()}
    place = tables.Archive(settings.archive, options)
    try:
        found = {
            topic: place.existing(kind, topic)
            for kind in tables.every_kind()
            for topic in (getattr(settings.topics, kind.role),)
        }
    except tables.UNREADABLE as error:
        raise UserError(f"archive {place.uri}: cannot be read ({tables.in_a_line(error)})") from None
    there = {topic: table for topic, table in found.items() if table is not None}
    if not there:
        raise UserError(f"archive {place.uri}: has no tables; start `shadow archive run`, or correct SHADOW_ARCHIVE")
    return there


@archive.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def status(as_json: bool) -> None:
    """Show each table's rows, files and days, what retention took before that, and which erasures are done."""
    settings = load(ShadowSettings)
    with waiting("reading the tables"):
        found = opened(settings)
    options = {name: secret.get_secret_value() for name, secret in settings.archive_options.items()}
    place = tables_module().Archive(settings.archive, options)
    gaps, erased = place.existing_gaps(), place.existing_erased()
    told = {}
    for topic, table in found.items():
        files, size = table.files
        days = table.days()
        told[topic] = {"rows": table.rows, "files": files, "bytes": size, "days": [*days[:1], *days[-1:]]}
    if as_json:
        click.echo(orjson.dumps({"archive": settings.archive, "tables": told, "gaps": gaps, "erasures": erased}))
        return
    for topic, one in told.items():
        days = f", days {one['days'][0]} to {one['days'][-1]}" if one["days"] else ""
        say(f"{topic}: {one['rows']:,} rows in {one['files']:,} files, {one['bytes'] / 1e6:,.1f} MB{days}")
    for gap in gaps:
        say(
            f"{gap['topic']}, partition {gap['partition']}: offsets {gap['first']} to {gap['after'] - 1} are LOST: "
            f"retention deleted them before they were archived (found {gap['found_at']:%Y-%m-%d %H:%M})"
        )
    for one in erased[-ERASED_LISTED:]:
        rows = ", ".join(f"{one[name] or 0:,} {name}" for name in ("decisions", "rejected", "labels"))
        asked, done = (f"{one[name]:%Y-%m-%d %H:%M}" for name in ("asked_at", "erased_at"))
        click.echo(f"request {one['request']} of {asked}: card erased {done} ({rows})")


@archive.command()
@json_option
def compact(as_json: bool) -> None:
    """Drop days that are too old (setting `archive_days`), write small files together, delete what they replace.

    Run it once a day. The archive is written and read meanwhile.
    """
    settings = load(ShadowSettings)
    tables, told = tables_module(), dict[str, dict[str, int]]()
    for topic, table in opened(settings).items():
        try:
            dropped = 0
            with waiting(f"writing small files of {topic} together"):
                if settings.archive_days is not None:
                    dropped = table.drop_before(tables.oldest_day(settings.archive_days, datetime.now(UTC).date()))
                merged, deleted = table.compact(settings.archive_keep_hours)
        except tables.UNREADABLE as error:
            raise UserError(
                f"archive: the table of {topic} could not be compacted ({tables.in_a_line(error)}); run "
                "it again, which is safe"
            ) from None
        told[topic] = {"dropped_days": dropped, "merged_files": merged, "deleted_files": deleted}
        teller(as_json)(f"{topic}: dropped {dropped:,} days, merged {merged:,} files, deleted {deleted:,} old ones")
    if as_json:
        answer({"archive": settings.archive, "tables": told})
