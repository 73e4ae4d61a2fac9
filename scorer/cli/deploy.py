"""`scorer deploy`: fill, empty and override slots, with a name and a reason on record."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import click

from scorer.bundle import Bundle
from scorer.deployments import LIVE, PREVIOUS, Change, Deployments, Override, Slot, Target
from scorer.errors import UserError
from scorer.ledger import append
from scorer.settings import ScorerSettings, load
from scorer.store import BundleStore
from scorer.topics import ensure_topics
from scorer.view import FeatureView

_SLOT = re.compile(r"[a-z][a-z0-9-]{0,30}")


def now() -> str:
    """The present time as the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@click.command()
@click.argument("bundle", required=False)
@click.option("--slot", default=LIVE, show_default=True, help="live, candidate, control or any other name.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Decide at this threshold instead of the bundle's own.")
@click.option("--allow-all", "action", flag_value="allow_all", help="Kill switch: allow everything, ask no model.")
@click.option("--block-all", "action", flag_value="block_all", help="Kill switch: block everything, ask no model.")
@click.option("--resume", "action", flag_value="resume", help="Kill switch off: the live bundle decides again.")
@click.option("--empty", "action", flag_value="empty", help="Take the bundle out of the slot.")
@click.option("--by", required=True, help="Who does it.")
@click.option("--reason", required=True, help="Why; it stays on record.")
def deploy(bundle: str | None, slot: str, threshold: float | None, action: str | None, by: str, reason: str) -> None:
    """Put BUNDLE (a digest, its first digits, or a folder) into a slot."""
    if (bundle is None) == (action is None):
        raise UserError("deploy: give either a bundle, or one of --allow-all, --block-all, --resume, --empty")
    if not _SLOT.fullmatch(slot):
        raise UserError(f"--slot {slot}: expected small letters, digits and dashes, at most 31, a letter first")
    if action not in (None, "empty") and slot != LIVE:
        raise UserError(f"--slot {slot}: the kill switch is for live only")
    if action == "empty" and slot == LIVE:
        raise UserError("--slot live: cannot be emptied; deploy another bundle, or use the kill switch")
    settings = load(ScorerSettings)
    state = asyncio.run(fill(settings, slot, bundle, threshold, action, by, reason))
    told = state.override or (
        f"bundle {state.digest[:12]} at threshold {state.threshold:g}" if state.digest else "empty"
    )
    click.echo(f"slot {slot}: {told}, epoch {state.epoch}")


async def fill(
    settings: ScorerSettings,
    slot: str,
    bundle: str | None,
    threshold: float | None,
    action: str | None,
    by: str,
    reason: str,
) -> Slot:
    """Change a slot; returns its state after. Creates the topics where they are missing. Raises UserError."""
    chosen = _bundle(settings, bundle) if bundle is not None else None

    def build(deployments: Deployments) -> Change:
        return _change(deployments, slot, chosen, threshold, action, by, reason)

    await ensure_topics(settings)
    _, after = await append(settings, build)
    return after.slot(slot)


def _bundle(settings: ScorerSettings, name: str) -> Bundle:
    """The bundle of a digest or a folder, in the store and fit for the feature view."""
    store = BundleStore(settings.store, settings.cache)
    if Path(name).is_dir():
        bundle = Bundle.load(Path(name))
        store.put(bundle)
    else:
        bundle = store.fetch(store.resolve(name))
    bundle.columns(FeatureView.load(settings.view))
    bundle.warm()
    return bundle


def _change(
    deployments: Deployments,
    slot: str,
    bundle: Bundle | None,
    threshold: float | None,
    action: str | None,
    by: str,
    reason: str,
) -> Change:
    before = deployments.slot(slot)
    target: Target | None
    cause = "deploy"
    if bundle is not None:
        target = Target(digest=bundle.digest, threshold=bundle.threshold if threshold is None else threshold)
    elif action == "empty":
        target = None
    else:
        override: Override | None = None
        if action == "allow_all":
            override = "allow_all"
        elif action == "block_all":
            override = "block_all"
        elif before.override is None:
            raise UserError("--resume: the kill switch is not on")
        target = Target(digest=before.digest, threshold=before.threshold, override=override)
        cause = "override"
    slots: dict[str, Target | None] = {slot: target}
    if slot == LIVE and bundle is not None and before.digest not in (None, bundle.digest):
        slots[PREVIOUS] = Target(digest=before.digest, threshold=before.threshold)
    return Change.model_validate(
        {
            "slots": slots,
            "expects": {name: deployments.slot(name).epoch for name in slots},
            "by": by,
            "reason": reason,
            "cause": cause,
            "at": now(),
        }
    )
