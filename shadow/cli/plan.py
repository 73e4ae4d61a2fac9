"""`shadow plan`: how long a candidate would be in the shadow before the gate can decide, segment by segment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import orjson

from scorer.deployments.ledger import read
from scorer.errors import UserError
from scorer.process.screen import say, show, width
from scorer.process.waiting import waiting
from scorer.settings import load
from scorer.text_table import table
from shadow.gate.criteria import Release
from shadow.gate.planning import Delay, Forecast, Plan, Reviews, Traffic, planned
from shadow.gate.remedies import advice, remedies
from shadow.gate.shares import percent
from shadow.release import traffic as expected
from shadow.release.criteria_file import EXCUSES, excusing, load_release
from shadow.release.foreseen import Foreseen, foreseen
from shadow.release.streak import MUST_STOP
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling

#: Segments that a line names, at most.
NAMED = 4


@click.command()
@click.option(
    "--transactions",
    type=click.FloatRange(min=1),
    help="Transactions a day. Without it the plan takes the traffic that the A/A control has seen.",
)
@click.option(
    "--block-rate",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.005,
    show_default=True,
    help="Share of transactions that live blocks (with --transactions).",
)
@click.option(
    "--discordance",
    type=click.FloatRange(min=0),
    default=0.17,
    show_default=True,
    help="Disagreements of a seed twin with live, as a share of live's blocks (with --transactions).",
)
@click.option(
    "--share",
    "shares",
    multiple=True,
    metavar="SEGMENT=SHARE",
    help="Share of the traffic in a segment, such as country=FR=0.1 (with --transactions); repeatable. Other segments "
    "share the rest evenly.",
)
@click.option(
    "--reviews",
    type=click.FloatRange(min=0),
    help="Reviews a day. Without it: as many as people did lately, and none with --transactions.",
)
@click.option(
    "--review-days",
    type=click.FloatRange(min=0),
    help="Days from a transaction to its review. Without it: the median of recent reviews, else 1.",
)
@click.option(
    "--excess",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Disagreements of the candidate beyond those of a seed twin, as a share of live's blocks. The gate asks for "
    "reviews of these.",
)
@click.option("--days", type=click.IntRange(1, 365), default=28, show_default=True, help="Days to look ahead.")
@click.option("--runs", type=click.IntRange(10, 2000), default=200, show_default=True, help="Shadow runs to simulate.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulation.")
@click.option("--write", is_flag=True, help=f"Add segments that never settle to {EXCUSES} in release.yaml.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
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
    """Simulate the gate on the expected traffic, for a candidate that is as good as live.

    For each segment, says after how many days the gate can decide, and which segments never settle at this traffic.
    """
    settings = load(ShadowSettings)
    release = load_release(settings.release)
    delays: dict[str, Delay] = {}
    if transactions is not None:
        traffic = expected.stated(release, transactions, block_rate, discordance, dict(map(_share, shares)))
    elif shares:
        raise UserError("--share: needs --transactions; without it the plan takes the control's own traffic")
    else:
        with waiting("measuring the traffic"):
            traffic, delays = asyncio.run(_measured(settings, release))
    people = expected.reviews(delays, reviews, review_days, excess)
    with waiting(f"simulating {runs:,} shadow runs"):
        found = planned(traffic, release, days, runs, np.random.default_rng(seed), people)
        forecasts = found.forecasts
        lines = advice(forecasts, release)
        first = 1 if found.day is None else int(found.day)
        planted = foreseen(traffic, release, days, people, forecasts, first)
        told = remedies(traffic, release, days, np.random.default_rng(seed), people, forecasts)
    is_written = write and bool(lines)
    if is_written:
        _write(settings.release, release, lines)
    if as_json:
        click.echo(
            orjson.dumps(
                {
                    "horizon_days": days,
                    "reviews": asdict(people),
                    "label_delays": {source: asdict(delay) for source, delay in delays.items()},
                    "segments": [{**asdict(f), "settles": f.settles} for f in forecasts],
                    "promoted": {"share": found.share, "day": found.day, "settles": found.settles},
                    "challenge": None if planted is None else {"day": planted.day, **planted.challenge.to_json()},
                    "may_stay_insufficient": lines,
                    "remedies": [asdict(remedy) for remedy in told],
                    "written": is_written,
                }
            )
        )
    else:
        _print(found, days, people, delays)
        if release.require_lineage:
            say("Assumed: its manifest says how it was made, from a commit without further changes")
        say(_challenged(planted, days))
        for remedy in told:
            say(f"  {remedy.told}")
        _print_excuses(lines, is_written)


def _share(text: str) -> tuple[str, float]:
    name, _, number = text.rpartition("=")
    try:
        return name, float(number)
    except ValueError:
        raise UserError(f"--share {text}: expected SEGMENT=SHARE, such as country=FR=0.1") from None


async def _measured(settings: ShadowSettings, release: Release) -> tuple[Traffic, dict[str, Delay]]:
    deployments = await read(settings)
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            return await expected.measured(redis, deployments, release, settings)
        finally:
            await redis.aclose()


def _write(path: Path, release: Release, lines: Sequence[str]) -> None:
    text = excusing(path.read_text(encoding="utf-8"), (*release.may_stay_insufficient, *lines))
    path.write_text(text, encoding="utf-8")


def _print(found: Plan, horizon: int, people: Reviews, delays: dict[str, Delay]) -> None:
    forecasts = found.forecasts
    heads = ("segment", "transactions a day", "live's blocks a day", "reviews", "days to decide", "slowest criterion")
    rows = [
        (
            f.segment, f"{f.transactions:,.0f}", f"{f.blocks:,.1f}", f"{f.reviews:,.0f}", _range(f, horizon), f.slowest,
        )
        for f in forecasts
    ]  # fmt: skip
    show(table(heads, rows, width()))
    for line in _assumed(people, delays):
        say(line)
    never = [f.segment for f in forecasts if not f.settles]
    told = f"Every segment settles within {horizon} days"
    if never:
        told = f"Not decidable at this traffic: {', '.join(never)}"
    say(told)
    day = "" if found.day is None else f", on day {found.day:.0f} in the median"
    say(
        f"A candidate as good as live is promoted within {horizon} days in {percent(found.share, 0)} of runs{day}: "
        "all segments that have to settle must do so at once"
    )


def _challenged(planted: Foreseen | None, horizon: int) -> str:
    """Whether the evidence for the promotion could have failed, in one line."""
    if planted is None:
        return f"Planted harm: cannot be asked, as the expected traffic promotes nothing within {horizon} days"
    found = planted.challenge
    share = percent(found.stopped, 0)
    told = f"Planted harm of the limit's size would be stopped in {share} of cases on day {planted.day}"
    weak = sorted((share, name) for name, share in found.segments.items() if share < MUST_STOP)
    named = ", ".join(f"{name} ({percent(share, 0)})" for share, name in weak[:NAMED])
    more = f" and {len(weak) - NAMED} more" if len(weak) > NAMED else ""
    least = f"; least in {named}{more}" if weak else ""
    if found.stopped >= MUST_STOP:
        return f"{told}, so an accepted suggestion counts towards automation{least}"
    return f"{told}, less than the {percent(MUST_STOP, 0)} that automation asks for{least}"


def _assumed(people: Reviews, delays: dict[str, Delay]) -> Iterable[str]:
    beyond = f"with {percent(people.excess, 0)} of live's blocks more disagreements than the A/A control"
    yield f"Assumed: a candidate as good as live, {beyond if people.excess else 'no further from it than a seed twin'}"
    yield f"Assumed: {people.per_day:g} reviews a day, {people.delay:.1f} days after the transaction"
    for source, delay in delays.items():
        yield f"Measured: a {source} came {delay.median:.1f} days after the transaction (median of {delay.n})"


def _print_excuses(lines: Sequence[str], is_written: bool) -> None:
    if not lines:
        return
    if is_written:
        say(f"Added to {EXCUSES} in release.yaml:")
    else:
        say(f"To promote without knowing these, add them to {EXCUSES} in release.yaml, or repeat with --write:")
    for line in lines:
        click.echo(f'  - "{line}"')


def _range(f: Forecast, horizon: int) -> str:
    if not f.settles:
        return f"more than {horizon} ({percent(f.share, 0)} of runs settle)"
    low, middle, high = (f"{day:.0f}" if day is not None else f">{horizon}" for day in f.days)
    return f"{middle} ({low} to {high})"
