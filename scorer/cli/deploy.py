"""`scorer deploy`: fill, empty or override a slot, with a name and a reason for the record."""

from __future__ import annotations

import asyncio
import sys
from typing import Protocol

import click

from scorer.deployments.arrival import arrived
from scorer.deployments.changes import Action
from scorer.deployments.deploy import Filled, asked, fill, told_of
from scorer.deployments.evidence import told_lost
from scorer.deployments.identity import own_identity
from scorer.deployments.records import CONTROL, LIVE
from scorer.errors import UserError
from scorer.people import NOT_VERIFIED, Who
from scorer.process.answers import answer, json_option
from scorer.process.signing import SAID, SLOT
from scorer.process.waiting import waiting
from scorer.settings import ScorerSettings, load


class Tell(Protocol):
    """Takes a line for people. err: it is not what they wanted."""

    def __call__(self, line: str, err: bool = False) -> None: ...


@click.command()
@click.argument("bundle", required=False)
@click.option("--slot", type=SLOT, default=LIVE, show_default=True, help="live, candidate, control, or any other name.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Decide at this threshold instead of the bundle's own.")
@click.option("--allow-all", "action", flag_value="allow_all", help="Kill switch: allow everything, ask no model.")
@click.option("--block-all", "action", flag_value="block_all", help="Kill switch: block everything, ask no model.")
@click.option("--resume", "action", flag_value="resume", help="Kill switch off: the live bundle decides again.")
@click.option("--empty", "action", flag_value="empty", help="Take the bundle out of the slot.")
@click.option(
    "--twin", help="The seed twin of BUNDLE (`scorer train --twin`): slot control gets it when BUNDLE becomes live."
)
@click.option("--by", type=SAID, help="Your name, for the record. [default: that of your signing key or token]")
@click.option("--reason", type=SAID, required=True, help="Why, for the record.")
@click.option(
    "--discard-evidence",
    "discard",
    is_flag=True,
    help="Begin a new run, even if that throws away what runs have gathered.",
)
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds to wait until every scorer decides by a change of live.",
)
@json_option
def deploy(
    bundle: str | None,
    slot: str,
    threshold: float | None,
    action: Action | None,
    twin: str | None,
    by: str | None,
    reason: str,
    discard: bool,
    wait: float,
    as_json: bool,
) -> None:
    """Put BUNDLE (a digest, its first digits, or a folder) into a slot, empty a slot, or turn the kill switch.

    A slot that is as wanted already is left unchanged. A change of live is done when every running scorer decides by
    it; exits with 1 and names those that do not. The kill switch stays as it is until it is turned.
    """
    if (bundle is None) == (action is None):
        raise UserError("deploy: give either a bundle, or one of --allow-all, --block-all, --resume, --empty")
    if twin is not None and (bundle is None or slot == CONTROL):
        raise UserError("--twin: is named with the bundle whose twin it is, in the slot of that bundle")
    if action not in (None, "empty") and slot != LIVE:
        raise UserError(f"--slot {slot}: the kill switch works on slot live only; leave out --slot")
    if action == "empty" and slot == LIVE:
        raise UserError("--slot live: cannot be emptied; deploy another bundle instead")
    settings = load(ScorerSettings)
    who = own_identity(settings, by, "releaser")
    is_turned = action in ("allow_all", "block_all", "resume")
    told: list[str] = []

    def tell(line: str, err: bool = False) -> None:
        told.append(line)
        click.echo(line, err=err or as_json)

    filled, late = asyncio.run(
        _deploy(settings, slot, bundle, threshold, action, is_turned, twin, who, reason, discard, wait, tell)
    )
    if as_json:
        answer({**filled.to_json(slot), "by": who.name, "verified": who.verified, "told": told, "late": late})
    sys.exit(1 if late else 0)


async def _deploy(
    settings: ScorerSettings,
    slot: str,
    bundle: str | None,
    threshold: float | None,
    action: Action | None,
    is_turned: bool,
    twin: str | None,
    who: Who,
    reason: str,
    discard: bool,
    wait: float,
    tell: Tell,
) -> tuple[Filled, dict[str, str]]:
    """What became of the slot, and what each scorer does that does not decide by it yet.

    is_turned: the action turns the kill switch; only then is asked what it has cost. tell: takes lines for people.
    """
    with waiting("filling the slot" if action is None else "changing the slot"):
        filled = await fill(settings, slot, bundle, threshold, action, who, reason, discard, anew=discard, twin=twin)
    for line in told_of(slot, filled, is_turned):
        tell(line)
    if who.verified is None:
        tell(f"by {who.name} ({NOT_VERIFIED})")
    if filled.waits is not None:
        return filled, {}
    if not filled.is_changed and slot != LIVE and filled.state.digest is not None:
        tell("its run goes on; to begin a new one, add --discard-evidence")
    late: dict[str, str] = {}
    if slot == LIVE:
        with waiting("waiting for the scorers"):
            reached = await arrived(settings, settings.group, filled.state.epoch, wait)
        late = dict(reached.late)
        tell(reached.told, err=bool(late))
    if is_turned and filled.ended:
        cost = told_lost(filled.ended, *await asked())
        if cost is not None:
            tell(cost)
    return filled, late
