"""`shadow plan`: how long a shadow will take to decide in each segment, before it is begun."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict

import click
import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from scorer.errors import UserError
from scorer.ledger import read
from scorer.settings import load
from shadow import criteria
from shadow.claims import Sums
from shadow.connection import connect, telling
from shadow.labels import REVIEW
from shadow.labelstore import LabelStore
from shadow.look import present_run
from shadow.planning import Delay, Forecast, Reviews, Traffic, advice, label_delays, traffic_of
from shadow.planning import plan as forecast
from shadow.readback import TallyReader
from shadow.settings import ShadowSettings


@click.command()
@click.option("--transactions", type=click.FloatRange(min=1), help="A day. Without it: what the control has seen.")
@click.option("--block-rate", type=click.FloatRange(0, 1, min_open=True), default=0.005, show_default=True)
@click.option("--discordance", type=click.FloatRange(min=0), default=0.17, show_default=True,
              help="Disagreements of a seed twin with live, as a share of live's blocks.")  # fmt: skip
@click.option("--share", "shares", multiple=True, metavar="SEGMENT=SHARE",
              help="Part of the traffic in a segment (country=FR=0.1); repeatable. The rest is even.")  # fmt: skip
@click.option(
    "--reviews",
    type=click.FloatRange(min=0),
    help="Reviews a day. Without it: as many as were done lately in the running slots, with --transactions none.",
)
@click.option(
    "--review-days",
    type=click.FloatRange(min=0),
    help="Days from a transaction to its review. Without it: as they took in the running slots, else 1.",
)
@click.option(
    "--excess",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Disagreements of the candidate beyond a seed twin's, as a share of live's blocks: who is right there "
    "is asked for.",
)
@click.option("--days", type=click.IntRange(1, 365), default=28, show_default=True, help="How far to look ahead.")
@click.option("--runs", type=click.IntRange(10, 2000), default=200, show_default=True, help="Simulated shadows.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--write", is_flag=True, help="Put what never settles into may_stay_insufficient of release.yaml.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def plan(
    transactions: float | None,
    block_rate: float,
    discordance: float,
    shares: tuple[str, ...],
    reviews: float | None,
    review_days: float | None,
    excess: float,
    days: int,
    runs: int,
    seed: int,
    write: bool,
    as_json: bool,
) -> None:
    """Simulate the gate's own rule on the traffic to be expected, for a candidate that is as good as live.

    Says for each segment after how many days it settles, and which will never settle at this traffic.
    """
    settings = load(ShadowSettings)
    release = criteria.load(settings.release)
    delays: dict[str, Delay] = {}
    if transactions is None:
        if shares:
            raise UserError("plan: --share needs --transactions; without it the control's own traffic is taken")
        traffic, delays = asyncio.run(_measured(settings, release))
    else:
        traffic = _given(release, transactions, block_rate, discordance, shares)
    lately = delays.get(REVIEW, Delay(0, 0.0, 1.0))
    people = Reviews(
        per_day=lately.per_day if reviews is None else reviews,
        delay=lately.median if review_days is None else review_days,
        excess=excess,
    )
    forecasts = forecast(traffic, release, days, runs, np.random.default_rng(seed), people)
    lines = advice(forecasts, release)
    if write and lines:
        text = settings.release.read_text(encoding="utf-8")
        settings.release.write_text(criteria.excusing(text, (*release.may_stay_insufficient, *lines)), encoding="utf-8")
    if as_json:
        segments = [{**asdict(f), "settles": f.settles} for f in forecasts]
        told = {
            "horizon_days": days,
            "reviews": asdict(people),
            "label_delays": {source: asdict(delay) for source, delay in delays.items()},
            "segments": segments,
            "may_stay_insufficient": lines,
            "written": write and bool(lines),
        }
        click.echo(orjson.dumps(told))
        return
    _print(forecasts, lines, days, people, delays, write)


def _given(
    release: criteria.Release, transactions: float, block_rate: float, discordance: float, shares: tuple[str, ...]
) -> Traffic:
    """Traffic from figures. What a division does not say is shared evenly among its other segments."""
    named: dict[str, float] = {}
    for text in shares:
        name, _, number = text.rpartition("=")
        try:
            named[name] = float(number)
        except ValueError:
            raise UserError(f"--share {text}: expected SEGMENT=SHARE, such as country=FR=0.1") from None
        if name not in release.segments.names or not 0 <= named[name] <= 1:
            raise UserError(f"--share {text}: expected a declared segment and a share of 0 to 1")
    parts = [1.0]
    for division, field in release.segments.root.items():
        names = [f"{division}={label}" for label in field.labels]
        told = sum(named.get(name, 0.0) for name in names)
        silent = [name for name in names if name not in named and not name.endswith("=other")]
        if told > 1 + 1e-9:
            raise UserError(f"--share: {division} adds up to {told:g}, more than 1")
        rest = (1 - told) / len(silent) if silent else 0.0
        parts += [named.get(name, rest if name in silent else 0.0) for name in names]
    volume = transactions * np.array(parts)
    return Traffic(volume, volume * block_rate, np.full(len(parts), discordance))


async def _measured(settings: ShadowSettings, release: criteria.Release) -> tuple[Traffic, dict[str, Delay]]:
    """What the control has seen, and how long labels took in all slots. Raises UserError if that is too little."""
    deployments = await read(settings)
    run = present_run(deployments, settings.control)
    if run is None:
        raise UserError(f"slot {settings.control}: is empty; give figures (--transactions), or fill it with a twin")
    names = release.segments.names
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            totals = await TallyReader(redis, settings.control, names, settings.prefix).totals(run)
            cases = [
                case
                for slot in sorted(deployments.slots)
                for info in await TallyReader(redis, slot, names, settings.prefix).runs()
                for case in await TallyReader(redis, slot, names, settings.prefix).cases(info.run)
            ]
            found = await LabelStore(redis, settings.prefix).of(s for case in cases for s in case.subjects)
        finally:
            await redis.aclose()
    sums = Sums.of(totals, names)
    if totals.hours < 24 or not sums.counts[0, 1:3].sum():
        raise UserError(
            f"slot {settings.control}: {totals.hours} hours and {int(sums.counts[0, 1:3].sum())} blocks "
            "are too little to plan by; give figures (--transactions)"
        )
    traffic = traffic_of(sums, totals.hours / 24, release.cap_minor(10.0**settings.minor_digits))
    return traffic, label_delays(cases, found)


def _print(
    forecasts: list[Forecast],
    lines: list[str],
    horizon: int,
    people: Reviews,
    delays: dict[str, Delay],
    is_written: bool,
) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    heads = ("segment", "transactions a day", "blocks a day", "reviews", "days to decide", "slowest criterion")
    table = Table(*heads, box=None)
    for f in forecasts:
        numbers = (f"{f.transactions:,.0f}", f"{f.blocks:,.1f}", f"{f.reviews:,.0f}")
        table.add_row(f.segment, *numbers, _range(f, horizon), f.slowest)
    console.print(table)
    told = f"{people.per_day:g} reviews a day, {people.delay:.1f} days after the transaction"
    console.print(f"a candidate as good as live, {people.excess:.0%} beyond the A/A floor; {told}", highlight=False)
    for source, delay in delays.items():
        console.print(f"{source}s took {delay.median:.1f} days, the median of {delay.n}", highlight=False)
    never = [f.segment for f in forecasts if not f.settles]
    told = f"never at this traffic: {', '.join(never)}" if never else f"every segment settles within {horizon} days"
    console.print(told, style="bold", highlight=False)
    if lines:
        written = "Written to release.yaml" if is_written else "For release.yaml, if these may stay insufficient"
        console.print(f"{written}:", highlight=False)
        for line in lines:
            console.print(f'  may_stay_insufficient: - "{line}"', highlight=False)


def _range(f: Forecast, horizon: int) -> str:
    if not f.settles:
        return f"more than {horizon} ({f.share:.0%} of runs settle)"
    low, middle, high = (f"{day:.0f}" if day is not None else f">{horizon}" for day in f.days)
    return f"{middle} ({low} to {high})"
