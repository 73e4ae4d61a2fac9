"""`shadow up`: runs the scorer, all shadows and `shadow serve` on one machine."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from shlex import quote

import click

from scorer.bundles.manifest import digest_of
from scorer.bundles.store import SHORTEST, files_in
from scorer.deployments.deploy import fill, told_of
from scorer.deployments.evidence import Gathered
from scorer.deployments.ledger import read
from scorer.deployments.records import CANDIDATE, CONTROL, LIVE, PREVIOUS, SLOT_NAME
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.kafka.topics import ensure_topics
from scorer.process.signing import SAID
from scorer.settings import ScorerSettings, load
from shadow.local.environment import everywhere, servers_for, shared
from shadow.local.process import free_port
from shadow.local.supervisor import Program, Supervisor
from shadow.release.evidence import gathered
from shadow.settings import ShadowSettings

#: Signs what is filled without anybody's name: a start is no decision of a person.
NOBODY = "shadow up (nobody was asked)"


@click.command()
@click.option("--live", help="Bundle for slot live: its digest, the digest's first digits, or a folder.")
@click.option(
    "--candidate",
    "candidates",
    multiple=True,
    metavar="[NAME=]BUNDLE",
    help="Bundle for slot NAME (default: candidate); repeatable.",
)
@click.option("--control", help="Bundle for slot control: a seed twin of live, for the A/A floor.")
@click.option("--by", type=SAID, default=NOBODY, show_default=True, help="Your name, for the record.")
@click.option(
    "--reason", type=SAID, default="shadow up", show_default=True, help="Reason for filling the slots, for the record."
)
@click.option(
    "--discard-evidence", "discard", is_flag=True, help="Fill slots even if that throws away what runs have gathered."
)
@click.option("--env-file", type=click.Path(path_type=Path), help="File to write the settings to, for other terminals.")
@click.option("--log-file", type=click.Path(path_type=Path), help="File to write the logs to, instead of the terminal.")
@click.option("--grace", type=float, default=15.0, show_default=True, help="Seconds that a process may take to stop.")
def up(
    live: str | None,
    candidates: tuple[str, ...],
    control: str | None,
    by: str,
    reason: str,
    discard: bool,
    env_file: Path | None,
    log_file: Path | None,
    grace: float,
) -> None:
    """Run a scorer, one process with the shadows of all slots, and `shadow serve`, until Ctrl-C.

    Uses the Kafka of SCORER_KAFKA and the Redis of SHADOW_REDIS. If one is not set, starts an embedded one, which
    loses its data at the end. Slots that are not named here, or hold that bundle already, keep what they hold.
    """
    wanted = {LIVE: live, **dict(_named(candidates)), CONTROL: control}
    with ExitStack() as servers:
        given = {"Kafka": any(os.environ.get(name) for name in ("SCORER_KAFKA", "SHADOW_KAFKA"))}
        given["Redis"] = bool(os.environ.get("SHADOW_REDIS"))
        env = servers_for(servers)
        embedded = frozenset(
            name
            for name, variable in (("Kafka", "SCORER_KAFKA"), ("Redis", "SHADOW_REDIS"))
            if variable in env and not given[name]
        )
        os.environ.update(env)
        settings = load(ScorerSettings)
        env |= shared(settings)
        os.environ.update(env)
        slots = asyncio.run(_fill(settings, wanted, by, reason, discard))
        programs = list(_programs(slots, env))
        serve_url = str(programs[-1].ready_url).removesuffix("/readyz")
        if env_file is not None:
            told = {**everywhere(settings), "UP_URL": serve_url}
            _write_private(env_file, "".join(f"export {name}={quote(value)}\n" for name, value in sorted(told.items())))
        code = 0
        try:
            asyncio.run(_supervise(programs, grace, log_file, serve_url, env))
        except KeyboardInterrupt:
            code = 130
        for line in left_behind(settings, embedded):
            click.echo(line, err=True)
        if code:
            sys.exit(code)


def left_behind(settings: ScorerSettings, embedded: frozenset[str]) -> Iterator[str]:
    """What is gone once everything has stopped, and what stays. embedded: the servers that ended with it."""
    yield "stopped: the scorer, the shadows, and `shadow serve` with its pages"
    topics, tallies = "transactions, decisions, labels and what is in each slot", "tallies, samples and verdicts"
    for name, what, variable in (("Kafka", topics, "SCORER_KAFKA"), ("Redis", tallies, "SHADOW_REDIS")):
        if name in embedded:
            yield f"gone with the embedded {name}: {what}; set {variable} to a server of your own to keep them"
        else:
            yield f"kept in your {name}: {what}"
    yield f"kept in {settings.store}: every bundle"


def _named(candidates: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for text in candidates:
        name, _, bundle = text.rpartition("=")
        name = name or CANDIDATE
        if not re.fullmatch(SLOT_NAME, name):
            raise UserError(
                f"--candidate {text}: slot {name!r}: expected up to 31 lower-case letters, digits and dashes, "
                "beginning with a letter"
            )
        if name in {*seen, LIVE, CONTROL, PREVIOUS}:
            raise UserError(f"--candidate {text}: slot {name} is taken; name another slot: NAME={bundle}")
        seen.add(name)
        yield name, bundle


def _write_private(path: Path, text: str) -> None:
    """Write a file that only this user may read, since it may hold a password. It appears complete: others wait for
    it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


async def _fill(
    settings: ScorerSettings, wanted: dict[str, str | None], by: str, reason: str, discard: bool
) -> list[str]:
    """Fill the slots that were named. Returns the slots to run a shadow for, with `previous`, for a promotion."""
    shadow_settings = load(ShadowSettings)
    await ensure_topics(settings)

    async def ask() -> list[Gathered]:
        return await gathered(shadow_settings, await read(settings))

    if wanted[LIVE] is not None and not discard:
        _require_same(await read(settings), str(wanted[LIVE]))
    for slot, bundle in wanted.items():
        if bundle is not None:
            filled = await fill(settings, slot, bundle, None, None, by, reason, discard, ask)
            for line in told_of(slot, filled):
                click.echo(line, err=True)
    deployments = await read(settings)
    if deployments.slot(LIVE).is_empty:
        raise UserError("slot live: is empty; name a bundle with --live")
    names = {name for name, slot in deployments.slots.items() if not slot.is_empty} | {PREVIOUS, CANDIDATE}
    return sorted(names - {LIVE})


def _require_same(deployments: Deployments, bundle: str) -> None:
    """Refuse to start by replacing another model that is live: somebody has decided that it is.

    bundle: a digest, its first digits, or a folder.
    """
    live = deployments.slot(LIVE).digest
    if live is None or live == (digest_of(*files_in(Path(bundle))) if Path(bundle).is_dir() else bundle):
        return
    if not Path(bundle).is_dir() and len(bundle) >= SHORTEST and live.startswith(bundle):
        return
    raise UserError(
        f"--live {bundle}: slot live holds bundle {live[:12]}; leave out --live to go on with it, put another one live "
        "with `scorer deploy`, or add --discard-evidence"
    )


def _programs(slots: list[str], env: dict[str, str]) -> Iterator[Program]:
    bin_folder = Path(sys.executable).parent

    def program(name: str, command: str, *arguments: str, vital: bool = False) -> Program:
        port = free_port()
        argv = [str(bin_folder / command), *arguments, "--http-port", str(port)]
        return Program(name, argv, {**env, "PYTHONUNBUFFERED": "1"}, f"http://127.0.0.1:{port}/readyz", vital)

    own = f"{os.getpid()}"
    yield program("scorer", "scorer", "run", "--worker-id", f"scorer-{own}", vital=True)
    named = chain.from_iterable(("--slot", slot) for slot in slots)
    yield program("shadows", "shadow", "run", *named, "--worker-id", f"shadow-{own}")
    yield program("serve", "shadow", "serve")


async def _supervise(
    programs: list[Program], grace: float, log_file: Path | None, url: str, env: dict[str, str]
) -> None:
    async with Supervisor(programs, grace, log_file) as supervisor:
        click.echo(f"everything is up; API: {url}/api/docs", err=True)
        for name in ("SCORER_KAFKA", "SHADOW_KAFKA", "SHADOW_REDIS"):
            if name in env:
                click.echo(f"export {name}={env[name]}", err=True)
        await supervisor.wait()
