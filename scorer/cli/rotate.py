"""`scorer rotate`: the next candidate, made as the live model was on newer data, up to its slot."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
import orjson

from scorer.bundles.function_proof import prove_functions
from scorer.bundles.lock import alone
from scorer.bundles.store import BundleStore
from scorer.bundles.view_file import load_view
from scorer.cli.train import cores, duration, parameters_of, rounds_shown
from scorer.deployments.identity import own_identity
from scorer.people import NOT_VERIFIED
from scorer.process.signing import SAID
from scorer.settings import ScorerSettings, load
from scorer.sources.files import time_bound
from scorer.training.parameters import checked
from scorer.training.rotate import FOLDER, NotReproducedError, Planned, Rotate
from scorer.training.rotation import MOST_SEED, Asked, Ended, instant, told_long, told_time

#: Exit codes of a candidate that came out otherwise once more, and of one that the backtest rejects.
DIFFERS, REJECTED = 1, 4


@click.command()
@click.option(
    "--from-archive",
    "archive",
    metavar="ADDRESS",
    help="Archive of this deployment's decisions; default: the one that the live bundle was trained on.",
)
@click.option(
    "--as-of",
    help="Use what was known then (a date, or RFC 3339); default: the beginning of the archive's newest day.",
)
@click.option(
    "--every",
    type=click.IntRange(0, 366),
    default=14,
    show_default=True,
    metavar="DAYS",
    help="Without --as-of: do nothing before so many days after the last rotation.",
)
@click.option(
    "--label-delay", metavar="DURATION", help="How long labels take, such as 7d; default: as the live bundle has it."
)
@click.option(
    "--window",
    metavar="DURATION",
    help="Train on no older decisions than this, such as 90d; default: as the live bundle was, else on all.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="KEY=VALUE",
    help="A LightGBM parameter other than the live bundle's; repeatable.",
)
@click.option("--seed", type=click.IntRange(0, MOST_SEED), help="Seed of the training; default: the live bundle's.")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads to train with; the model does not depend on it.")
@click.option(
    "--no-backtest",
    "no_backtest",
    is_flag=True,
    help="Do not judge the candidate on archived decisions; the ledger says so.",
)
@click.option(
    "--discard-evidence",
    "discard",
    is_flag=True,
    help="Fill the slots even if that throws away what runs have gathered.",
)
@click.option(
    "--plan",
    "only_plan",
    is_flag=True,
    help="Say what is done and what is left to do, or why it is refused, and change nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
@click.option("--by", type=SAID, help="Your name, for the record. [default: that of your signing key or token]")
@click.option("--reason", type=SAID, help="Why, for the record; default: the day of the data.")
def rotate(
    archive: str | None,
    as_of: str | None,
    every: int,
    label_delay: str | None,
    window: str | None,
    params: tuple[str, ...],
    seed: int | None,
    threads: int | None,
    no_backtest: bool,
    discard: bool,
    only_plan: bool,
    as_json: bool,
    by: str | None,
    reason: str | None,
) -> None:
    """Train the next candidate as the live bundle was, on what was served since, and put it into slot candidate.

    Six steps: train, seed twin, make it once more, backtest, fill the slots, note on the ledger. After a kill the same
    command goes on where it was, and repeats nothing. Nothing becomes live: the gate judges the candidate from then on,
    and a person decides.

    Exits with 0 if it is done, or was; with 4 if the backtest rejects the candidate, and 1 if making it once more gives
    another digest: no slot is changed then; with 2 if it cannot be done.
    """
    asked = Asked(
        archive=archive,
        as_of=None if as_of is None else _moment(as_of),
        every=every,
        window=None if window is None else duration(window, "--window"),
        label_delay=None if label_delay is None else duration(label_delay, "--label-delay"),
        seed=seed,
        parameters=checked(parameters_of(params)),
    )
    settings = load(ScorerSettings)
    who = own_identity(settings, by or ("anybody" if only_plan and not _is_known(settings) else None), "releaser")
    store = BundleStore(settings.store, settings.cache, settings.store_seconds)
    tell, view = partial(click.echo, err=True), load_view(settings.view)
    prove_functions(view)
    job = Rotate(
        settings,
        view,
        store,
        asked,
        who,
        reason,
        threads or cores(),
        discard,
        not no_backtest,
        rounds_shown,
        tell,
    )
    if only_plan:
        planned = job.look()
        if isinstance(planned, Planned):
            job.require_learnable(planned)
        _told_plan(planned, as_json)
        return
    with alone(store, FOLDER, "rotation"):
        sys.exit(_rotated(job, as_json))


def _is_known(settings: ScorerSettings) -> bool:
    """Whether settings say who runs this."""
    return settings.signing_key is not None or settings.token is not None or bool(settings.people)


def _moment(text: str) -> datetime:
    return datetime.fromtimestamp(time_bound(text, "--as-of") / 1000, UTC)


def _rotated(job: Rotate, as_json: bool) -> int:
    """The exit code of a rotation that was carried out."""
    planned = job.look()
    if isinstance(planned, Ended):
        _told_plan(planned, as_json)
        is_rejected = planned.next_day is None and planned.entry.outcome == "rejected"
        return REJECTED if is_rejected else 0
    begun = planned.begun
    job.tell(f"rotation {begun.key} of live bundle {begun.parent[:12]}, as of {begun.day}")
    try:
        done, seq = job.go(planned)
    except NotReproducedError as error:
        for what in error.others:
            click.echo(f"differs: {what}", err=True)
        click.echo(
            f"bundle {error.digest[:12]} came out otherwise once more, so it is not deployed; mend what differs, or "
            "rotate as of a later day (--as-of)",
            err=True,
        )
        return DIFFERS
    found = done.found
    assert found.candidate is not None and found.twin is not None  # noqa: S101, PT018
    if as_json:
        state = "rejected" if found.is_rejected else "deployed"
        click.echo(orjson.dumps({**_json(done), "state": state, "entry": seq}))
        return REJECTED if found.is_rejected else 0
    if found.is_rejected and found.backtest is not None:
        click.echo(f"rejected by the backtest: {found.backtest.reason}; no slot is changed (ledger entry {seq})")
        return REJECTED
    told = f"slot candidate: bundle {found.candidate.digest[:12]}, with twin {found.twin.digest[:12]}"
    click.echo(f"{told} (ledger entries {found.change} and {seq})")
    if not done.has_control:
        click.echo(
            f"slot control: no twin of live is known, and the gate promotes nothing without one; make it with `scorer "
            f"train … --twin {begun.parent[:12]}`",
            err=True,
        )
    if job.who.verified is None:
        click.echo(f"by {job.who.name} ({NOT_VERIFIED})")
    return 0


def _told_plan(planned: Planned | Ended, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(_json(planned)))
        return
    if isinstance(planned, Ended):
        entry = planned.entry
        at = instant(entry.as_of)
        day = entry.as_of if at is None else told_time(at)
        how = "was rejected by the backtest" if entry.outcome == "rejected" else "was put into slot candidate"
        more = "" if planned.next_day is None else f"; the next is due on {planned.next_day}, or now with --as-of"
        click.echo(
            f"already done: the rotation as of {day} has ended, and its bundle {entry.candidate[:12]} {how} (ledger "
            f"entry {planned.seq}){more}"
        )
        return
    begun = planned.begun
    click.echo(f"rotation {begun.key} of live bundle {begun.parent[:12]}, as of {begun.day}, from {begun.archive}")
    for number, step in enumerate(planned.steps, 1):
        time = f" ({told_long(step.seconds)})" if step.state == "to do" and step.seconds is not None else ""
        click.echo(f"{number}. {step.name:<10} {step.state:<9} {step.what}{time}")


def _json(planned: Planned | Ended) -> dict[str, Any]:
    if isinstance(planned, Ended):
        entry = planned.entry
        return {
            "rotation": entry.rotation,
            "state": "done",
            "outcome": entry.outcome,
            "as_of": entry.as_of,
            "parent": entry.parent,
            "candidate": entry.candidate,
            "twin": entry.twin,
            "entry": planned.seq,
            "next": planned.next_day,
            "steps": [],
        }
    begun, found = planned.begun, planned.found
    return {
        "rotation": begun.key,
        "state": "to do",
        "as_of": begun.recipe.labels_known_by,
        "parent": begun.parent,
        "archive": begun.archive,
        "candidate": None if found.candidate is None else found.candidate.digest,
        "twin": None if found.twin is None else found.twin.digest,
        "backtest": None if found.backtest is None else found.backtest.model_dump(),
        "change": found.change,
        "steps": [step.to_json() for step in planned.steps],
    }
