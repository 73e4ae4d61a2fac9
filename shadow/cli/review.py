"""`shadow review`: hands out cases for review, and records the answers."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import click
import orjson

from scorer.deployments.ledger import read
from scorer.deployments.records import CANDIDATE
from scorer.process.screen import say, show, width
from scorer.process.signing import SAID, SLOT
from scorer.process.waiting import waiting
from scorer.settings import load
from scorer.text_table import named, table
from shadow.gate.shares import percent
from shadow.intake import reviews
from shadow.intake.reviews import hand_out, open_queue
from shadow.labels.label import OPEN, LabelVerdict
from shadow.release.criteria_file import load_release
from shadow.release.named import require_slot
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling


@click.group()
def review() -> None:
    """Say who is right where the models differ: get the next case of an unbiased queue, and mark it."""


@review.command(name="next")
@click.option("--slot", type=SLOT, default=CANDIDATE, show_default=True, help="Slot of the candidate.")
@click.option(
    "--by", type=SAID, required=True, help="Your name. Nobody else gets your cases for SHADOW_REVIEW_MINUTES."
)
@click.option("--count", type=click.IntRange(1, 100), default=1, show_default=True, help="Cases to get.")
@click.option(
    "--show-models", is_flag=True, help="Show scores and which model blocks. Hidden by default, to keep you unbiased."
)
@click.option("--output", type=click.Choice(["text", "jsonl"]), default="text", show_default=True, help="Format.")
@click.option("--json", "as_json", is_flag=True, help="The same as --output jsonl.")
def next_(slot: str, by: str, count: int, show_models: bool, output: str, as_json: bool) -> None:
    """Get the next cases to review, and see how many reviews are still needed.

    The order is random but fixed. Mark every case you get, as `unsure` if you cannot tell: in a segment, answers count
    only up to the first case without one.
    """
    settings = load(ShadowSettings)
    with waiting("opening the queue"):
        cases, progress = asyncio.run(_next(settings, slot, by, count))
    output = "jsonl" if as_json else output
    for case in cases:
        if not show_models:
            del case["models"]
        if output == "jsonl":
            click.echo(orjson.dumps(case))
        else:
            _print(case)
    if output == "text":
        _print_progress(progress)


async def _next(
    settings: ShadowSettings, slot: str, by: str, count: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    release = load_release(settings.release)
    deployments = await read(settings)
    require_slot(deployments, slot)
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            queue = await open_queue(redis, deployments, slot, release, settings)
            return await hand_out(redis, deployments, queue, settings, by, count), queue.progress
        finally:
            await redis.aclose()


def _print(case: dict[str, Any]) -> None:
    told = {"for segment": case["segment"], "occurred at": case["occurred_at"], "amount": f"{case['amount']:,.2f}"}
    apart = ("transaction_id", "occurred_at", "amount")
    plain = {name: value for name, value in (case["transaction"] or {}).items() if name not in apart}
    rows = [("transaction", case["transaction_id"])]
    features = {name: value for name, value in (case["features"] or {}).items() if name not in {*plain, *apart}}
    for name, value in {**told, **plain, **features}.items():
        rows.append((name, "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)))
    for other in case["same_card"]:
        rows.append(("same card", f"{other['occurred_at']}  {other['amount']:,.2f}  {other['transaction_id']}"))
    if case["transaction"] is None:
        rows.append(("", "Its sample has expired; look the transaction up by its id"))
    if "models" in case:
        rows.append(("blocked by", case["models"]["blocked_by"]))
        for part in (case["models"].get("why") or [])[:5]:
            rows.append((f"why: {part['feature']}", f"{part['difference']:+.2f} log-odds"))
    show(named(rows, width()))
    click.echo()


def _print_progress(progress: dict[str, Any]) -> None:
    wanted = [part for part in progress["segments"] if part["settled"] < 1]
    if not wanted:
        say("No reviews needed")
        return
    rows = []
    for part in sorted(wanted, key=lambda part: float(part["settled"])):
        more = "cannot estimate yet" if part["more"] is None else f"about {part['more']:,}"
        rows.append((part["segment"], f"{part['reviewed']:,}", percent(part["settled"], 0), more))
    show(table(("segment", "reviewed", "settled", "reviews still needed"), rows, width()))
    say(f"run {progress['run']}: {progress['waiting']:,} cases wait for a review")


@review.command()
@click.argument("transaction")
@click.argument("verdict", type=click.Choice(list(get_args(LabelVerdict))))
@click.option("--slot", type=SLOT, default=CANDIDATE, show_default=True, help="Slot of the candidate.")
@click.option("--by", type=SAID, required=True, help="Your name, for the record.")
@click.option("--reason", type=SAID, help="Note, which colleagues see beside the transaction.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def mark(transaction: str, verdict: LabelVerdict, slot: str, by: str, reason: str | None, as_json: bool) -> None:
    """Mark a transaction as fraud, legit or unsure. Marking it again corrects your answer; open takes it back."""
    settings = load(ShadowSettings)

    async def go() -> None:
        require_slot(await read(settings), slot)
        redis = connect(settings.redis)
        try:
            await reviews.mark(redis, settings, slot, transaction, verdict, by, reason)
        finally:
            await redis.aclose()

    with telling(settings.redis), waiting("marking it"):
        asyncio.run(go())
    if as_json:
        click.echo(orjson.dumps({"transaction_id": transaction, "verdict": verdict, "by": by}))
    elif verdict == OPEN:
        click.echo(f"{transaction}: the answer of {by} is taken back")
    else:
        click.echo(f"{transaction}: marked as {verdict} by {by}")
