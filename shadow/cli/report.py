"""`shadow report`: a page on a slot's current run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from scorer.bundles.store import BundleStore
from scorer.deployments.ledger import read
from scorer.deployments.records import CANDIDATE
from scorer.errors import UserError
from scorer.process.answers import answer, json_option, teller
from scorer.process.signing import SLOT
from scorer.process.waiting import waiting
from scorer.settings import load
from shadow.release.criteria_file import load_release
from shadow.release.named import require_slot
from shadow.report.document import Report
from shadow.report.gather import gather
from shadow.report.markdown import markdown
from shadow.report.page import html
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling
from shadow.worker.explain import Explainer


@click.command()
@click.option("--slot", type=SLOT, default=CANDIDATE, show_default=True, help="Slot of the candidate.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("report.html"), show_default=True,
    help="File of the page; it needs no other file and no network.",
)  # fmt: skip
@click.option(
    "--markdown", "summary", type=click.Path(dir_okay=False, path_type=Path), help="File of a summary in Markdown, too."
)
@json_option
def report(slot: str, out: Path, summary: Path | None, as_json: bool) -> None:
    """Write a page on the slot's current run: verdict, criteria by segment, evidence, scores, labels, samples."""
    settings = load(ShadowSettings)
    with waiting("gathering the report"):
        found = asyncio.run(_gather(settings, slot))
    for path, text in ((out, html(found)), (summary, markdown(found))):
        if path is not None:
            try:
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise UserError(f"{path}: cannot be written ({error.strerror}); name another file") from None
    tell = teller(as_json)
    tell(found.headline)
    tell(f"wrote {out}" + (f" and {summary}" if summary else ""))
    if as_json:
        told = {"slot": slot, "criteria": found.criteria, "headline": found.headline, **found.judgement.to_json()}
        answer({**told, "page": str(out), "summary": None if summary is None else str(summary)})


async def _gather(settings: ShadowSettings, slot: str) -> Report:
    release = load_release(settings.release)
    deployments = await read(settings)
    require_slot(deployments, slot)
    explainer = Explainer(BundleStore(settings.store, settings.cache, settings.store_seconds))
    explainer.views = deployments.views
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            return await gather(redis, deployments, slot, release, settings, explainer.explained)
        finally:
            await redis.aclose()
