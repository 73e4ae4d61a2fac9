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

from scorer.deployments import CONTROL, Deployments
from scorer.errors import UserError
from scorer.ledger import read
from scorer.settings import load
from shadow import criteria
from shadow.claims import Sums
from shadow.connection import connect, telling
from shadow.look import present_run
from shadow.planning import Forecast, Traffic, advice
from shadow.planning import plan as forecast
from shadow.readback import TallyReader
from shadow.settings import ShadowSettings
from shadow.tally import CAP_PARTS, RunTotals


@click.command()
@click.option("--transactions", type=click.FloatRange(min=1), help="A day. Without it: what the control has seen.")
@click.option("--block-rate", type=click.FloatRange(0, 1, min_open=True), default=0.005, show_default=True)
@click.option("--discordance", type=click.FloatRange(min=0), default=0.17, show_default=True,
              help="Disagreements of a seed twin with live, as a share of live's blocks.")  # fmt: skip
@click.option("--share", "shares", multiple=True, metavar="SEGMENT=SHARE",
              help="Part of the traffic in a segment (country=FR=0.1); repeatable. The rest is even.")  # fmt: skip
@click.option("--days", type=click.IntRange(1, 365), default=28, show_default=True, help="How far to look ahead.")
@click.option("--runs", type=click.IntRange(10, 2000), default=200, show_default=True, help="Simulated shadows.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def plan(
    transactions: float | None,
    block_rate: float,
    discordance: float,
    shares: tuple[str, ...],
    days: int,
    runs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Simulate the gate's own rule on the traffic to be expected, for a candidate that is as good as live.

    Says for each segment after how many days it settles, and which will never settle at this traffic.
    """
    settings = load(ShadowSettings)
    release = criteria.load(settings.release)
    if transactions is None:
        if shares:
            raise UserError("plan: --share needs --transactions; without it the control's own traffic is taken")
        traffic = asyncio.run(_measured(settings, release))
    else:
        traffic = _given(release, transactions, block_rate, discordance, shares)
    forecasts = forecast(traffic, release, days, runs, np.random.default_rng(seed))
    lines = advice(forecasts, release)
    if as_json:
        segments = [{**asdict(f), "settles": f.settles} for f in forecasts]
        click.echo(orjson.dumps({"horizon_days": days, "segments": segments, "may_stay_insufficient": lines}))
        return
    _print(forecasts, lines, days)


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


async def _measured(settings: ShadowSettings, release: criteria.Release) -> Traffic:
    deployments = await read(settings)
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            totals = await _control(redis, deployments, settings, release)
        finally:
            await redis.aclose()
    return traffic_of(totals, release, release.cap_minor(10.0**settings.minor_digits))


async def _control(
    redis: object, deployments: Deployments, settings: ShadowSettings, release: criteria.Release
) -> RunTotals:
    run = present_run(deployments, settings.control)
    if run is None:
        raise UserError(f"slot {settings.control}: is empty; give figures (--transactions), or fill it with a twin")
    return await TallyReader(redis, settings.control, release.segments.names, settings.prefix).totals(run)


def traffic_of(control: RunTotals, release: criteria.Release, cap_minor: int) -> Traffic:
    """Traffic as the control's run has seen it. Raises UserError if that was less than a day or without a block."""
    if control.hours < 24 or not control.segments[release.segments.names[0]].counts[1:3].sum():
        raise UserError(
            f"slot {CONTROL}: {control.hours} hours are too little to plan by; give figures (--transactions)"
        )
    sums, days = Sums.of(control, release.segments.names), control.hours / 24
    blocks = sums.counts[..., 1] + sums.counts[..., 2]
    differ = sums.counts[..., 2:].sum(axis=-1)
    overall = float(differ[0] / blocks[0])
    own = np.divide(differ, blocks, out=np.full(blocks.shape, overall), where=blocks > 0)
    # what a segment shows is pulled towards all traffic where it is little
    discordance = (own * blocks + overall * 100) / (blocks + 100)
    n = max(1.0, float(sums.counts[0, 1:].sum()))
    amount = float(sums.capped[0].sum()) / n / cap_minor
    several = max(1.0, float(differ[0]))
    square = float(sums.squares[0].sum()) / several / CAP_PARTS**2 if differ[0] else amount
    return Traffic(
        sums.compared / days, blocks / days, discordance, float(sums.crowding[0]), amount, max(square, amount**2)
    )


def _print(forecasts: list[Forecast], lines: list[str], horizon: int) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table("segment", "transactions a day", "blocks a day", "days to decide", "slowest criterion", box=None)
    for f in forecasts:
        table.add_row(f.segment, f"{f.transactions:,.0f}", f"{f.blocks:,.1f}", _range(f, horizon), f.slowest)
    console.print(table)
    never = [f.segment for f in forecasts if not f.settles]
    told = f"never at this traffic: {', '.join(never)}" if never else f"every segment settles within {horizon} days"
    console.print(told, style="bold", highlight=False)
    if lines:
        console.print("For release.yaml, if these may stay insufficient:", highlight=False)
        for line in lines:
            console.print(f'  may_stay_insufficient: - "{line}"', highlight=False)


def _range(f: Forecast, horizon: int) -> str:
    if not f.settles:
        return f"more than {horizon} ({f.share:.0%} of runs settle)"
    low, middle, high = (f"{day:.0f}" if day is not None else f">{horizon}" for day in f.days)
    return f"{middle} ({low} to {high})"
