"""`shadow report`: what the gate saw of a run, to be looked at."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from scorer.deployments import CANDIDATE
from scorer.errors import UserError
from scorer.ledger import read
from scorer.settings import load
from scorer.store import BundleStore
from shadow import criteria
from shadow.connection import connect, telling
from shadow.explain import Explainer
from shadow.report import Report, markdown
from shadow.reporting import gather
from shadow.reportpage import html
from shadow.settings import ShadowSettings


@click.command()
@click.option("--slot", default=CANDIDATE, show_default=True, help="The candidate's slot.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("report.html"), show_default=True,
    help="The page: one file, nothing outside of it.",
)  # fmt: skip
@click.option("--markdown", "summary", type=click.Path(dir_okay=False, path_type=Path), help="A summary, too.")
def report(slot: str, out: Path, summary: Path | None) -> None:
    """Write a page on the slot's present run: verdict, criteria by segment, evidence, scores, labels, samples."""
    settings = load(ShadowSettings)
    found = asyncio.run(_gather(settings, slot))
    for path, text in ((out, html(found)), (summary, markdown(found))):
        if path is not None:
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None
    click.echo(found.judgement.reason)
    click.echo(f"wrote {out}" + (f" and {summary}" if summary else ""))


async def _gather(settings: ShadowSettings, slot: str) -> Report:
    release = criteria.load(settings.release)
    deployments = await read(settings)
    explainer = Explainer(BundleStore(settings.store, settings.cache))
    explainer.views = deployments.views
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            return await gather(redis, deployments, slot, release, settings, explainer)
        finally:
            await redis.aclose()
