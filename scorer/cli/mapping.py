"""`scorer mapping try`: propose how records become transactions, and show what becomes of some."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml
from pydantic import ValidationError

from scorer.bundles.view_file import load_view
from scorer.errors import SettingsError, UserError
from scorer.pipeline.decode import Decoded, decode
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.proposal import propose
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute
from scorer.pipeline.wire import Wire
from scorer.process.answers import answer, json_option
from scorer.process.waiting import waiting
from scorer.schemas.schemas import schemas_of
from scorer.settings import ScorerSettings, in_file, load
from scorer.sources.keys import checks as key_checks
from scorer.sources.samples import Placed, looked_at, newest


@click.group()
def mapping() -> None:
    """Find out how your records become transactions."""


@mapping.command("try")
@click.option("--topic", help="Topic to read; default: that of the transactions.")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File to read instead of a topic.",
)
@click.option(
    "--records", "most", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many to read."
)
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Add the section to this settings file.")
@click.option("--propose", "anew", is_flag=True, help="Propose a mapping although the settings have one.")
@json_option
def try_(topic: str | None, path: Path | None, most: int, write: Path | None, anew: bool, as_json: bool) -> None:
    """Read a few records, propose the section `mapping`, and show what each record becomes.

    The section goes to standard output, everything else to standard error. Nothing is changed on the broker. If the
    settings have a mapping, that one is tried. Exits with 1 if no record becomes a transaction.
    """
    if topic is not None and path is not None:
        raise UserError("mapping try: give either --topic or --file")
    settings = load(ScorerSettings)
    if write is not None:
        _check_free(write, "mapping")
    attributes = load_view(settings.view).attributes if settings.view.exists() else ()
    if not settings.view.exists():
        click.echo(f"no feature view at {settings.view}: its attributes are not looked for (SCORER_VIEW)", err=True)
    layout, partitions, of_layout = settings.files, 0, list[str]()
    if path is None:
        with waiting("reading the topic"):
            records, partitions = asyncio.run(newest(settings, topic or settings.topics.transactions, most))
    else:
        records, layout, of_layout = looked_at(path, most, settings.files)
    schemas = schemas_of(settings.mapping, settings) if path is None else None
    with waiting("asking for the schemas"):
        wire = None if schemas is None else asyncio.run(schemas.known([one.value for _, one in records]))
    section, checks = _section(settings, _as_json(records, wire), attributes, anew, is_topic=path is None)
    checks = of_layout + checks
    try:
        names = FieldNames.model_validate(section)
    except ValidationError as error:  # a name of the source that no mapping can have
        told = error.errors(include_url=False, include_input=False)[0]
        raise UserError(f"mapping try: {'.'.join(map(str, told['loc']))}: {told['msg']}; rename the field") from None
    reading = Reading(settings.money, names, attributes, settings.card_number_fields, wire)
    decoded = decode(
        [one.value for _, one in records],
        reading,
        [one.origin.key for _, one in records],
        [one.origin.headers for _, one in records],
        np.array([one.origin.timestamp_ms for _, one in records], dtype=np.int64),
    )
    placed = [records[at][1] for at in decoded.positions.tolist()]
    keys = [(one.origin.key, one.partition) for one in placed if one.partition is not None]
    if keys:
        checks += key_checks(keys, decoded.events.cards, partitions, settings.partitioner)
    became = _told(records, decoded)
    for line in became:
        _say(line)
    n = len(decoded.events)
    click.echo(f"{n} of {len(records)} records become transactions", err=True)
    whole = {"mapping": section}
    if layout != settings.files:
        whole["files"] = layout.model_dump(mode="json", exclude_defaults=True)
    if n == len(records) and not section and "files" not in whole:
        click.echo("the records are read as they are: no mapping is needed", err=True)
    for check in checks:
        _say(f"check {check}")
    text = yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=100)
    if not as_json:
        click.echo(text, nl=False)
    if write is not None:
        _check_free(write, *whole)
        before = write.read_text(encoding="utf-8") if write.exists() else ""
        write.write_text(f"{before}\n{text}".lstrip("\n"), encoding="utf-8")
        click.echo(f"wrote the section to {write}; SCORER_SETTINGS={write} makes it count", err=True)
    if as_json:
        counts = {"records": len(records), "transactions": n, "told": became, "checks": checks}
        answer({**whole, **counts, "written": None if write is None else str(write)})
    if not n:
        raise SystemExit(1)


def _say(line: str) -> None:
    """A line for people. It may hold names that a stranger chose: nothing in it speaks to the terminal."""
    click.echo("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line), err=True)


def _section(
    settings: ScorerSettings, records: list[Placed], attributes: tuple[Attribute, ...], anew: bool, is_topic: bool
) -> tuple[dict[str, Any], list[str]]:
    """The section to try, and what to check of it."""
    encoding = settings.mapping.encoding
    if not (anew or settings.mapping == FieldNames.model_validate({"encoding": encoding})):
        click.echo("trying the mapping of the settings; --propose makes a new one", err=True)
        return settings.mapping.model_dump(mode="json", exclude_defaults=True), []
    found = propose([one for _, one in records], attributes, settings.money.currency, is_topic)
    kept = {} if encoding is None else {"encoding": encoding.model_dump(mode="json", exclude_defaults=True)}
    return kept | found.section, found.checks


def _as_json(records: list[Placed], wire: Wire | None) -> list[Placed]:
    """Records with their values as JSON, as far as they can be read."""
    if wire is None:
        return records
    return [(where, replace(one, value=one.value and (wire.text(one.value) or one.value))) for where, one in records]


def _check_free(path: Path, *sections: str) -> None:
    """Raise SettingsError if a file cannot take some sections."""
    there = in_file(str(path)) if path.exists() else {}
    taken = next((name for name in sections if name in there), None)
    if taken is not None:
        raise SettingsError(f"{path}: has the section {taken} already; remove it, or write to another file")
    if not path.parent.exists():
        raise SettingsError(f"{path}: no folder {path.parent}; name a file in one that exists")


def _told(records: list[Placed], decoded: Decoded) -> list[str]:
    """What each record becomes, one line each, in their order."""
    events = decoded.events
    lines = {refusal.position: f"refused: {refusal.reason}" for refusal in decoded.refusals}
    lines |= {at: f"passed over: {what}" for at, what in decoded.skipped.items()}
    times = np.datetime_as_string(events.occurred_ms.astype("datetime64[ms]"), unit="ms")
    for i, at in enumerate(decoded.positions.tolist()):
        missing = [name for name, column in events.attributes.items() if _is_missing(column[i])]
        without = f"; without {', '.join(missing)}" if missing else ""
        lines[at] = (
            f"transaction {events.ids[i]} at {times[i]}Z, card {events.cards[i]}, merchant {events.merchants[i]}, "
            f"amount {events.amount[i]:g}{without}"
        )
    return [f"{where}: {lines[at]}" for at, (where, _) in enumerate(records)]


def _is_missing(cell: Any) -> bool:
    return cell is None or cell != cell
