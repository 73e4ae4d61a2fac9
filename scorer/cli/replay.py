"""`scorer replay`: send a file of transactions, or dead letters that are valid now, to Kafka."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
import orjson

from scorer.bundles.view_file import load_view
from scorer.errors import UserError
from scorer.kafka.topics import ensure_topics
from scorer.pipeline.transaction import Reading
from scorer.process.answers import answer, json_option, teller
from scorer.process.waiting import interrupting, waiting
from scorer.schemas.schemas import schemas_of
from scorer.settings import Partitioner, ScorerSettings, load
from scorer.sources.replay import Letter, dead_letters, send_all, send_repaired


@click.command()
@click.argument("files", metavar="[FILE...]", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--rejected", is_flag=True, help="Send again the dead letters that today's settings accept.")
@click.option("--dry-run", is_flag=True, help="With --rejected: list the dead letters and send nothing.")
@click.option(
    "--export",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With --rejected: write the dead letters to this file and send nothing.",
)
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Transactions per second; default: as fast as possible."
)
@click.option("--from", "since", help="Send only transactions from this time on (RFC 3339 or a date).")
@click.option("--to", "until", help="Send only transactions before this time.")
@click.option(
    "--skip", type=click.IntRange(min=0), default=0, help="Leave out this many transactions at the beginning."
)
@click.option("--limit", type=click.IntRange(min=1), help="Send at most this many transactions.")
@click.option(
    "--partitioner",
    type=click.Choice(get_args(Partitioner)),
    help="How the other senders find the partition of a card (SCORER_PARTITIONER).",
)
@json_option
def replay(
    files: tuple[Path, ...],
    rejected: bool,
    dry_run: bool,
    export: Path | None,
    rate: float | None,
    since: str | None,
    until: str | None,
    skip: int,
    limit: int | None,
    partitioner: Partitioner | None,
    as_json: bool,
) -> None:
    """Send FILEs to the transactions topic, in order of time.

    A history that warms up velocity must reach each card's partition: give the --partitioner of your own senders,
    `crc32` for kcat and other clients on librdkafka.

    FILEs are Parquet, CSV or JSON, or folders of them; docs/files.md says how they may be written. The setting
    `mapping` says how their fields are named. Their label, and fields that the mapping drops, are not sent.

    With --rejected: send again the dead letters that today's settings accept, for example after a rate was added or a
    field was mapped, and mark them as sent. The others are listed with their reason; so are those in which a card
    number is masked, which are never sent again as they are. To correct values by hand, write the dead letters to a
    file with --export, edit it, and replay it.
    """
    if bool(files) == rejected:
        raise UserError("replay: give either a file or --rejected")
    settings = load(ScorerSettings, partitioner=partitioner)
    if not files:
        _rejected(settings, dry_run, export, as_json)
        return
    from scorer.sources.files import read_transactions
    from scorer.sources.source import Source

    attributes = load_view(settings.view).attributes if settings.view.exists() else ()
    source = Source(settings.mapping, settings.files, attributes, settings.token_bytes)
    tell = partial(click.echo, err=True)
    with waiting(f"reading {files[0].name}"):
        asyncio.run(ensure_topics(settings))
        found = read_transactions(files, source, since, until, skip, limit, interrupting(tell))
        chunks = [(chunk.keys, chunk.values) for chunk in found]
    total = sum(len(keys) for keys, _ in chunks)
    began = time.monotonic()
    with click.progressbar(length=total, label=f"replay {files[0].name}", show_pos=True, file=sys.stderr) as bar:
        sent = asyncio.run(send_all(settings, chunks, rate, bar.update))
    seconds = time.monotonic() - began
    teller(as_json)(f"sent {sent} transactions in {seconds:.1f} s")
    if as_json:
        answer({"sent": sent, "seconds": round(seconds, 3)})


def _rejected(settings: ScorerSettings, dry_run: bool, export: Path | None, as_json: bool) -> None:
    tell = teller(as_json)
    with waiting("reading the dead letters"):
        letters = asyncio.run(dead_letters(settings))
    if export is not None:
        with export.open("wb") as out:
            for letter in letters:
                out.write((letter.value or b"").replace(b"\n", b" ") + b"\n")
        masked = sum(letter.is_masked for letter in letters)
        told = f"; in {masked} of them a card number is masked: put a token in its place" if masked else ""
        tell(f"wrote {len(letters)} dead letters to {export}{told}")
        if as_json:
            answer({"file": str(export), "written": len(letters), "masked": masked})
        return
    attributes = load_view(settings.view).attributes
    reading = Reading(settings.money, settings.mapping, attributes, settings.card_number_fields)
    if dry_run:
        if as_json:
            answer({"dead_letters": [_told(letter) for letter in letters]})
            return
        for letter in letters:
            click.echo(_line(letter))
        return
    schemas = schemas_of(settings.mapping, settings)
    if schemas is not None:
        with waiting("asking for the schemas"):
            reading = replace(reading, wire=asyncio.run(schemas.known([letter.value for letter in letters])))
    with waiting(f"sending {len(letters):,} dead letters again"):
        refused = asyncio.run(send_repaired(settings, letters, reading))
    for letter in refused:
        click.echo(_line(letter), err=True)
    tell(f"sent {len(letters) - len(refused)} again, {len(refused)} are still refused")
    if as_json:
        answer({"sent": len(letters) - len(refused), "refused": [_told(letter) for letter in refused]})


def _line(letter: Letter) -> str:
    return orjson.dumps(_told(letter)).decode()


def _told(letter: Letter) -> dict[str, Any]:
    return {"partition": letter.partition, "offset": letter.offset, "field": letter.field, "reason": letter.reason}
