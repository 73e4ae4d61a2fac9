"""`shadow history`: who changed which slot, when and why, what stood against it, and for how long it stood."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from scorer.deployments.ledger import read
from scorer.errors import UserError
from scorer.process.screen import say
from scorer.process.signing import SLOT
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.release.history import chosen
from shadow.release.history import history as rows_of
from shadow.release.named import require_any_slot
from shadow.release.telling import DEEPER, in_force, lines
from shadow.release.wording import minute
from shadow.settings import ShadowSettings


class _Moment(click.ParamType):
    """A time: a day, or a time of day on it, in UTC unless it has an offset."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            time = datetime.fromisoformat(str(value).strip())
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (ValueError, OverflowError):
            option = param.opts[0] if param is not None else "time"
            told = "expected a day or a time, such as 2026-11-03T10:00; it is UTC unless it has an offset"
            raise UserError(f"{option} {str(value)[:40]!r}: is no time; {told}") from None


MOMENT = _Moment()


@click.command()
@click.option("--slot", type=SLOT, help="Only what is about this slot. Default: all.")
@click.option("--since", type=MOMENT, help="Only entries at or after this time, such as 2026-11-03T10:00 (UTC).")
@click.option("--until", type=MOMENT, help="Only entries before this time.")
@click.option("--at", type=MOMENT, help="Only what each slot held at this time, and who had put it there.")
@click.option("--brief", is_flag=True, help="One line for each entry.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: all that is known of each entry, one a line.")
def history(
    slot: str | None, since: datetime | None, until: datetime | None, at: datetime | None, brief: bool, as_json: bool
) -> None:
    """Show every change, suggestion and decision on the ledger, oldest first.

    Below each: what stood for and against it, and for how long each slot held what it was given. Forced releases and
    void entries are marked.
    """
    with waiting("reading the ledger"):
        deployments = asyncio.run(read(load(ShadowSettings)))
    if slot is not None:
        require_any_slot(deployments, slot)
    rows = chosen(rows_of(deployments), slot, since, until, at)
    if as_json:
        for row in rows:
            click.echo(orjson.dumps(row.to_json()))
        return
    for line in lines(rows) if at is None else in_force(rows, at, slot):
        if not (brief and line.startswith(DEEPER)):
            say(line, DEEPER * 2)
    if not rows:
        when = "" if at is None else f" at {minute(at.isoformat())}"
        click.echo(f"the ledger has nothing of this{when}", err=True)
