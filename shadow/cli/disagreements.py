"""`shadow disagreements`: transactions that live and the candidate decide differently, where, and why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table

from scorer.bundles.store import BundleStore
from scorer.deployments.ledger import read
from scorer.deployments.records import CANDIDATE
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.process.answers import answer
from scorer.process.screen import say, show, width
from scorer.process.signing import SLOT
from scorer.process.waiting import waiting
from scorer.settings import load
from scorer.text_table import WIDE, is_wider, table
from shadow.comparison.query import Query
from shadow.comparison.sample import Sample
from shadow.comparison.totals import ALL, Run
from shadow.exploration.drivers import drivers
from shadow.exploration.facets import facets
from shadow.exploration.labelled import Labelled
from shadow.exploration.page import Sort, page
from shadow.exploration.question import Question
from shadow.exploration.rows import COLUMNS, csv_lines, row
from shadow.exploration.table import LABEL, LABELS, UnknownFieldError
from shadow.exploration.words import name_in_words, reason, verdict
from shadow.release.criteria_file import load_release
from shadow.release.telling import printable
from shadow.serve.desk import Desk, Opened, labelled, unknown
from shadow.serve.parquet import ParquetRows
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling
from shadow.store.labels import LabelStore
from shadow.store.reader import TallyReader
from shadow.store.samples import SampleReader
from shadow.worker.explain import Explainer

#: Values of a facet and drivers that are told; seconds between two looks of --follow.
VALUES, DRIVERS, FOLLOW_SECONDS = 10, 10, 2.0
#: Columns that segments and why need beside the rest of a row.
BESIDE = 50
#: Rows of a file that are in memory at once.
TOGETHER = 500


@dataclass(frozen=True)
class Asked:
    """What one call asks for. run: as text, None for the slot's current one."""

    slot: str
    run: str | None
    question: Question
    sort: Sort
    ascending: bool
    limit: int
    after: int
    is_json: bool
    beyond_noise: bool


@click.command()
@click.option("--slot", type=SLOT, default=CANDIDATE, show_default=True, help="Slot of the candidate.")
@click.option("--run", help="Run, such as L1-C1. Default: the slot's current run.")
@click.option("--direction", type=click.Choice(["live_only", "candidate_only"]), help="The only model that blocks.")
@click.option("--agreements", is_flag=True, help="Include samples on which both agree.")
@click.option("--segment", multiple=True, help="Segment, such as country=FR or amount=20-50. Repeatable.")
@click.option("--where", multiple=True, help="field=value, such as merchant_id=m-17 or hour=13. Repeatable.")
@click.option("--top-feature", help="The feature that makes the largest difference.")
@click.option("--label", type=click.Choice(LABELS), help="What reviews say.")
@click.option("--min-amount", type=float, help="Least amount, in the reporting currency.")
@click.option("--max-amount", type=float, help="Largest amount, in the reporting currency.")
@click.option("--min-gap", type=float, help="Least gap: the candidate's score minus live's.")
@click.option("--max-gap", type=float, help="Largest gap.")
@click.option("--min-size", type=float, help="Least size of the gap, whatever its sign.")
@click.option("--beyond-noise", is_flag=True, help="Leave out gaps that the A/A control's scores have, too.")
@click.option("--since", help="Transactions that occurred at or after this time (RFC 3339).")
@click.option("--until", help="Transactions that occurred before this time.")
@click.option("--scored-since", help="Transactions that live scored at or after this time.")
@click.option("--scored-until", help="Transactions that live scored before this time.")
@click.option("--card", help="Transactions of this card token.")
@click.option("--transaction", help="The transaction with this id.")
@click.option(
    "--sort",
    type=click.Choice(["time", "amount", "gap"]),
    default="time",
    show_default=True,
    help="Sort by time, amount or size of the gap, largest first.",
)
@click.option("--ascending", is_flag=True, help="Smallest first.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Samples to show.")
@click.option("--after", type=click.IntRange(0), default=0, help="Samples to skip, for the next page.")
@click.option("--facets", "fields", multiple=True, help="Where they are, by this field: merchant_id, hour. Repeatable.")
@click.option("--drivers", "what_drives", is_flag=True, help="Which features drive all of these differences.")
@click.option("--explain", metavar="ID", help="Why the models differ on this transaction, in words.")
@click.option("--follow", is_flag=True, help="Go on with samples as they come, as JSON Lines, until Ctrl-C.")
@click.option(
    "--export",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all that match into a file: .csv, .jsonl or .parquet.",
)
@click.option("--output", type=click.Choice(["table", "jsonl"]), default="table", show_default=True, help="Format.")
@click.option("--json", "as_json", is_flag=True, help="The same as --output jsonl.")
def disagreements(
    slot: str,
    run: str | None,
    output: str,
    as_json: bool,
    sort: Sort,
    ascending: bool,
    limit: int,
    after: int,
    fields: tuple[str, ...],
    what_drives: bool,
    explain: str | None,
    follow: bool,
    file: Path | None,
    beyond_noise: bool,
    **filters: Any,
) -> None:
    """Show where and why live and the candidate decide differently, by samples, as estimates of the whole stream."""
    settings = load(ShadowSettings)
    chosen = [
        name
        for name, is_on in (
            ("--facets", bool(fields)),
            ("--drivers", what_drives),
            ("--explain", explain is not None),
            ("--follow", follow),
            ("--export", file is not None),
        )
        if is_on
    ]
    if len(chosen) > 1:
        raise UserError(f"{chosen[0]} and {chosen[1]}: each has an output of its own; give one of them")
    try:
        question = Question(**{name: list(v) if isinstance(v, tuple) else v for name, v in filters.items()})
        if run is not None:
            Run.parse(run)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][0]).replace("_", "-") if first["loc"] else "min-amount"
        given = f" {first['input']}" if first["loc"] and isinstance(first["input"], str | int | float) else ""
        raise UserError(f"--{option}{given}: {first['msg'].removeprefix('Value error, ')}") from None
    except ValueError as error:
        raise UserError(f"--run: {error}") from None
    asked = Asked(slot, run, question, sort, ascending, limit, after, as_json or output == "jsonl", beyond_noise)
    if explain is not None:
        work = _explained(settings, asked, explain)
    elif follow:
        work = _followed(settings, asked)
    elif file is not None:
        if file.suffix not in (".csv", ".jsonl", ".parquet"):
            raise UserError(f"--export {file}: ends with none of .csv, .jsonl and .parquet; name the file so")
        work = _exported(settings, asked, file)
    elif fields:
        work = _counted(settings, asked, fields)
    elif what_drives:
        work = _driven(settings, asked)
    else:
        work = _shown(settings, asked, _lines if asked.is_json else _table)
    asyncio.run(work)


@dataclass(frozen=True)
class Open:
    """What the command works on."""

    settings: ShadowSettings
    asked: Asked
    deployments: Deployments
    desk: Desk
    redis: Any
    explainer: Explainer
    needs_labels: bool

    async def look(self) -> Opened:
        """The samples that are asked for, as of now."""
        with waiting("reading the samples"):
            return await self._look()

    async def _look(self) -> Opened:
        run = await self.desk.chosen(self.deployments, self.asked.slot, self.asked.run)
        return await self.desk.open(
            self.deployments,
            self.asked.slot,
            str(run),
            self.asked.question,
            await self._known(run) if self.needs_labels else Labelled(),
            load_release(self.settings.release).segments.names,
            self.asked.beyond_noise,
            at_once=False,
        )

    async def _known(self, run: Run) -> Labelled:
        cases = await TallyReader(self.redis, self.asked.slot, (), self.settings.prefix).cases(run)
        known = await LabelStore(self.redis, self.settings.prefix).known(cases)
        return labelled(cases, known)


@asynccontextmanager
async def _opened(settings: ShadowSettings, asked: Asked, needs_labels: bool = False) -> AsyncIterator[Open]:
    deployments = await read(settings)
    explainer = Explainer(BundleStore(settings.store, settings.cache, settings.store_seconds))
    explainer.views = deployments.views
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            desk = Desk(redis, settings.prefix, settings.control)
            needs_labels = needs_labels or asked.question.label is not None
            yield Open(settings, asked, deployments, desk, redis, explainer, needs_labels)
        finally:
            await redis.aclose()


#: Tells samples, how many match in all, and minor units in one unit of money.
Telling = Callable[[AsyncIterator[Sample], Opened, float], Awaitable[None]]


async def _shown(settings: ShadowSettings, asked: Asked, tell: Telling) -> None:
    """Tell the samples of a page, each explained, as they are read."""
    async with _opened(settings, asked) as work:
        found = await work.look()
        rows = page(
            found.table, found.rows, asked.question, asked.sort, asked.ascending, asked.after + asked.limit, None
        ).rows[asked.after :]
        samples = (work.explainer.explained(sample) async for sample in work.desk.samples(found, rows))
        await tell(samples, found, work.deployments.minor_per_unit)


async def _counted(settings: ShadowSettings, asked: Asked, fields: tuple[str, ...]) -> None:
    """Tell where the samples are."""
    async with _opened(settings, asked, LABEL in fields) as work:
        found, unit = await work.look(), work.deployments.minor_per_unit
        try:
            told = facets(found.table, found.masks, fields, VALUES)
        except UnknownFieldError as error:
            raise unknown(error) from None
        if asked.is_json:
            for one in told:
                click.echo(orjson.dumps(one.to_json(unit)))
            return
        for one in told:
            rows = [
                (
                    "(missing)" if value.name is None else printable(value.name) or "(empty)",
                    f"{value.count.value:,.0f}",
                    f"{value.count.low:,.0f} to {value.count.high:,.0f}",
                    f"{value.money / unit:,.0f}",
                    f"{value.count.samples:,}",
                )
                for value in one.values
            ]
            show(table((one.field, "about", "95 %", "amount", "samples"), rows, width()))
            if one.more:
                say(f"and {one.more:,} more values, with {one.rest:,} samples")
        _sum_up(found)


async def _driven(settings: ShadowSettings, asked: Asked) -> None:
    """Tell which features drive the differences."""
    async with _opened(settings, asked) as work:
        found = await work.look()
        told = drivers(found.table, found.rows, DRIVERS)
        if asked.is_json:
            click.echo(orjson.dumps(told.to_json()))
            return
        rows = [
            (name_in_words(one.feature), f"{one.share:.0%}", f"{one.mean:+.2f}", f"{one.first:.0%}")
            for one in told.features
        ]
        show(table(("feature", "share", "on average", "largest in"), rows, width()))
        say(f"from {told.explained:,} samples with an explanation, of {told.samples:,}; averages are in log-odds")
        _sum_up(found)


async def _explained(settings: ShadowSettings, asked: Asked, transaction: str) -> None:
    """Tell why the models differ on a transaction."""
    async with _opened(settings, asked) as work:
        run = await work.desk.chosen(work.deployments, asked.slot, asked.run)
        reader = SampleReader(work.redis, asked.slot, settings.prefix)
        query = Query(transaction=transaction, agreements=True, limit=1)
        there, _ = await reader.page(run, query, work.deployments.minor_per_unit)
        if not there:
            raise UserError(
                f"transaction {printable(transaction)}: run {run} of slot {asked.slot} has no sample of it; samples "
                f"are kept for {settings.sample_days} days, and not of every transaction"
            )
        sample = work.explainer.explained(there[0])
        if asked.is_json:
            click.echo(orjson.dumps(sample.to_json()))
            return
        say(verdict(sample))
        for part in sample.why or ():
            say(f"  {reason(part, sample.transaction)} ({part.difference:+.2f})")
        if not sample.why:
            say("  why is unknown: a bundle is no longer in the store")


async def _followed(settings: ShadowSettings, asked: Asked) -> None:
    """Print samples as they come. What was there before is left out."""
    async with _opened(settings, asked) as work:
        found = await work.look()
        seen: set[tuple[int, int]] = set(_places(found))
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            found = await work.look()
            places = _places(found)
            new = [row for row, place in zip(found.rows.tolist(), places, strict=True) if place not in seen]
            seen = set(places)
            async for sample in work.desk.samples(found, np.array(new, dtype=np.int64)):
                click.echo(orjson.dumps(sample.to_json()))


def _places(found: Opened) -> list[tuple[int, int]]:
    partitions = found.table.partitions[found.rows].tolist()
    return list(zip(partitions, found.table.entries["offset"][found.rows].tolist(), strict=True))


async def _exported(settings: ShadowSettings, asked: Asked, file: Path) -> None:
    """Write all samples that match into a file."""
    async with _opened(settings, asked, True) as work:
        found, unit = await work.look(), work.deployments.minor_per_unit
        rows = page(
            found.table, found.rows, asked.question, asked.sort, asked.ascending, len(found.rows) or 1, None
        ).rows
        states = dict(zip(found.table.entries["hash"].tolist(), found.table.labels.tolist(), strict=True))
        written = 0
        try:
            with file.open("wb") as out:
                writer = ParquetRows(out) if file.suffix == ".parquet" else None
                if file.suffix == ".csv":
                    out.write(csv_lines(()).encode())
                for start in range(0, max(1, len(rows)), TOGETHER):
                    some = [
                        row(sample, unit, LABELS[states.get(sample.hash, 0)], with_card=True)
                        async for sample in work.desk.samples(found, rows[start : start + TOGETHER])
                    ]
                    written += len(some)
                    if writer is not None:
                        writer.write(some)
                    elif file.suffix == ".csv":
                        out.write(csv_lines(some, with_head=False).encode())
                    else:
                        out.writelines(orjson.dumps({name: one[name] for name in COLUMNS}) + b"\n" for one in some)
                if writer is not None:
                    writer.close()
        except OSError as error:
            raise UserError(f"--export {file}: {error.strerror}") from None
        click.echo(
            f"{file}: {written:,} samples, which stand for about {found.count.value:,.0f} transactions", err=True
        )
        if asked.is_json:
            answer({"file": str(file), "samples": written, "transactions": found.count.to_json()})


async def _lines(samples: AsyncIterator[Sample], found: Opened, minor_per_unit: float) -> None:
    async for sample in samples:
        click.echo(orjson.dumps(sample.to_json()))


async def _table(samples: AsyncIterator[Sample], found: Opened, minor_per_unit: float) -> None:
    heads = ("occurred at", "transaction", "amount", "outcome", "live", "candidate")
    rows: list[tuple[list[str], str, str]] = []
    async for sample in samples:
        why = ", ".join(f"{part.feature} {part.difference:+.2f}" for part in (sample.why or ())[:3])
        live = sample.live.score
        cells = [
            sample.occurred_at,
            printable(sample.transaction_id),
            f"{sample.amount_minor / minor_per_unit:,.2f}",
            f"{sample.outcome.key} (released)" if sample.released else sample.outcome.key,
            "" if live is None else f"{live:.3f}",
            f"{sample.candidate.score:.3f}",
        ]
        segments = printable(" ".join(segment for segment in sample.segments if segment != ALL))
        rows.append((cells, segments, why or "unknown: a bundle is no longer in the store"))
    columns = width()
    if columns is None:  # a pipe gets each sample whole, on one line
        show(table((*heads, "segments", "why"), [(*cells, segments, why) for cells, segments, why in rows], None))
    elif columns < WIDE or is_wider(heads, [cells for cells, _, _ in rows], columns - BESIDE):
        short = [[cells[0][:19].replace("T", " "), *cells[1:]] for cells, _, _ in rows]
        below = [f"{why} ({segments})" if segments else why for _, segments, why in rows]
        show(table(heads, short, columns, below))
    else:
        wide = Table(*heads, *(Column(head, overflow="fold") for head in ("segments", "why")), box=None)
        for cells, segments, why in rows:
            wide.add_row(*cells, segments, why)
        Console(width=columns).print(wide, markup=False, emoji=False)
    say(f"{len(rows):,} of {len(found.rows):,} matching samples")
    _sum_up(found)


def _sum_up(found: Opened) -> None:
    """What the samples stand for."""
    count = found.count
    say(f"they stand for about {count.value:,.0f} transactions (95 %: {count.low:,.0f} to {count.high:,.0f})")
    if found.hidden is not None and found.floor is not None:
        say(f"left out as noise: about {found.hidden.value:,.0f}, with gaps of at most {found.floor:.3g}")
