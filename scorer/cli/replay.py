"""`scorer replay`: send a file of transactions, or dead letters that are in order now, to Kafka."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click
import orjson

from scorer.errors import UserError
from scorer.events import Reading
from scorer.replay import Letter, dead_letters, send_all, send_repaired
from scorer.settings import ScorerSettings, load
from scorer.topics import ensure_topics
from scorer.view import FeatureView


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--rejected", is_flag=True, help="Send the dead letters again that today's settings accept.")
@click.option("--dry-run", is_flag=True, help="With --rejected: only say what would be sent.")
@click.option(
    "--export", type=click.Path(dir_okay=False, path_type=Path), help="With --rejected: write them to a file."
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Records a second; default: all at once.")
@click.option("--from", "since", help="Only transactions from this time on (RFC 3339 or a date).")
@click.option("--to", "until", help="Only transactions before this time.")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Pass over so many first.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many transactions.")
def replay(
    file: Path | None,
    rejected: bool,
    dry_run: bool,
    export: Path | None,
    rate: float | None,
    since: str | None,
    until: str | None,
    skip: int,
    limit: int | None,
) -> None:
    """Stream FILE (Parquet, CSV, JSON Lines) to the transactions topic, in order of time.

    Its fields are named by the setting `mapping`; its label and what the mapping drops are not sent.

    With --rejected: dead letters that are in order under today's settings (a rate added, a field mapped) are sent
    again and marked as sent; the others are listed with their reason. To mend values by hand, --export them, edit, and
    replay the file.
    """
    if (file is None) != rejected:
        raise UserError("replay: give either a file or --rejected")
    settings = load(ScorerSettings)
    if file is None:
        _rejected(settings, dry_run, export)
        return
    from scorer.files import read_transactions

    asyncio.run(ensure_topics(settings))
    chunks = [
        (chunk.keys, chunk.values)
        for chunk in read_transactions(file, settings.mapping, since=since, until=until, skip=skip, limit=limit)
    ]
    total = sum(len(keys) for keys, _ in chunks)
    began = time.monotonic()
    with click.progressbar(length=total, label=f"replay {file.name}", show_pos=True, file=sys.stderr) as bar:
        sent = asyncio.run(send_all(settings, chunks, rate, bar.update))
    seconds = time.monotonic() - began
    click.echo(f"sent {sent} transactions in {seconds:.1f} s")


def _rejected(settings: ScorerSettings, dry_run: bool, export: Path | None) -> None:
    letters = asyncio.run(dead_letters(settings))
    if export is not None:
        with export.open("wb") as out:
            for letter in letters:
                out.write((letter.value or b"").replace(b"\n", b" ") + b"\n")
        click.echo(f"wrote {len(letters)} dead letters to {export}")
        return
    reading = Reading(settings.money, settings.mapping, FeatureView.load(settings.view).attributes)
    if dry_run:
        for letter in letters:
            click.echo(_line(letter))
        return
    refused = asyncio.run(send_repaired(settings, letters, reading))
    for letter in refused:
        click.echo(_line(letter), err=True)
    click.echo(f"sent {len(letters) - len(refused)} again, {len(refused)} are still refused")


def _line(letter: Letter) -> str:
    told = {"partition": letter.partition, "offset": letter.offset, "field": letter.field, "reason": letter.reason}
    return orjson.dumps(told).decode()
