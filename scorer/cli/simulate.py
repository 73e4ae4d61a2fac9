"""`scorer simulate`: simulate a history of labelled payments."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import click

from scorer.process.answers import answer, json_option, teller
from scorer.process.waiting import waiting
from scorer.sources.files import write_table
from scorer.sources.simulate import simulate as make
from scorer.sources.source import LABEL


@click.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write: .parquet, .csv or .jsonl.",
)
@click.option(
    "--transactions",
    type=click.IntRange(1000),
    default=100_000,
    show_default=True,
    help="Number of transactions, approximately.",
)
@click.option("--cards", type=click.IntRange(10), default=6000, show_default=True, help="Number of cards.")
@click.option("--merchants", type=click.IntRange(10), default=800, show_default=True, help="Number of merchants.")
@click.option(
    "--from",
    "first",
    type=click.DateTime(["%Y-%m-%d"]),
    default="2026-01-01",
    show_default=True,
    help="First day.",
)
@click.option("--days", type=click.IntRange(1), default=60, show_default=True, help="Number of days.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same file.")
@json_option
def simulate(
    out: Path, transactions: int, cards: int, merchants: int, first: datetime, days: int, seed: int, as_json: bool
) -> None:
    """Write simulated card payments to a file, with three patterns of fraud and labels that become known later."""
    start: date = first.date()
    with waiting(f"simulating {transactions:,} transactions"):
        columns = make(transactions, cards, merchants, start, days, seed)
        write_table(out, columns)
    n, frauds = len(columns[LABEL]), int(columns[LABEL].sum())
    teller(as_json)(f"wrote {n} transactions, {frauds} of them fraud ({frauds / n:.2%}), to {out}")
    if as_json:
        answer({"file": str(out), "transactions": n, "frauds": frauds, "from": start, "days": days, "seed": seed})
