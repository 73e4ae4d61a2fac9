"""`shadow up`: scorer, shadows and serve on one machine, on your Kafka and Redis or on embedded ones."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from shlex import quote
from typing import Any

import click
import orjson
from pydantic import BaseModel, SecretStr

from scorer.cli.deploy import fill
from scorer.deployments import CANDIDATE, CONTROL, LIVE, PREVIOUS
from scorer.errors import UserError
from scorer.ledger import read
from scorer.settings import CommonSettings, ScorerSettings, load
from scorer.topics import ensure_topics
from shadow import local
from shadow.settings import ShadowSettings
from shadow.supervise import Program, Supervisor

#: Group timing for the embedded broker, which holds every join for half a session.
EMBEDDED = {
    "REQUIRE_IDEMPOTENCE": "false",
    "SESSION_SECONDS": "2",
    "HEARTBEAT_SECONDS": "0.5",
}
#: Settings that belong to one process, or of which a shadow has a default of its own.
OWN = {"worker_id", *ShadowSettings.__annotations__}


@click.command()
@click.option("--live", help="Bundle for the live slot (digest, its first digits, or a folder).")
@click.option("--candidate", "candidates", multiple=True, metavar="[NAME=]BUNDLE", help="Repeatable; NAME: candidate.")
@click.option("--control", help="The seed twin of live, for the A/A floor.")
@click.option("--by", default=lambda: os.environ.get("USER", "shadow up"), help="Who fills the slots.")
@click.option("--reason", default="shadow up", show_default=True, help="Why; it stays on record.")
@click.option("--env-file", type=click.Path(path_type=Path), help="Write the settings for other terminals to a file.")
@click.option("--log-file", type=click.Path(path_type=Path), help="Write the logs to a file instead of the terminal.")
@click.option("--grace", type=float, default=15.0, show_default=True, help="Seconds that processes may take to stop.")
def up(
    live: str | None,
    candidates: tuple[str, ...],
    control: str | None,
    by: str,
    reason: str,
    env_file: Path | None,
    log_file: Path | None,
    grace: float,
) -> None:
    """Run everything until Ctrl-C: scorer, one shadow a slot, and serve.

    Kafka is the one of SCORER_KAFKA and Redis the one of SHADOW_REDIS; what is not set is embedded and keeps its data
    only while this runs. Slots that are filled already keep what they have unless named here.
    """
    wanted = {LIVE: live, **dict(_named(candidates)), CONTROL: control}
    with ExitStack() as servers:
        env = _servers(servers)
        os.environ.update(env)
        settings = load(ScorerSettings)
        env |= _shared(settings)
        os.environ.update(env)
        slots = asyncio.run(_fill(settings, wanted, by, reason))
        programs = list(_programs(slots, env))
        serve_url = str(programs[-1].ready_url).removesuffix("/readyz")
        if env_file is not None:
            told = {**_everywhere(settings), "UP_URL": serve_url}
            _write_private(env_file, "".join(f"export {name}={quote(value)}\n" for name, value in sorted(told.items())))
        try:
            asyncio.run(_supervise(programs, grace, log_file, serve_url, env))
        except KeyboardInterrupt:
            sys.exit(130)


def _named(candidates: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for text in candidates:
        name, _, bundle = text.rpartition("=")
        name = name or CANDIDATE
        if name in {*seen, LIVE, CONTROL, PREVIOUS}:
            raise UserError(f"--candidate {text}: slot {name} is taken; give another NAME=")
        seen.add(name)
        yield name, bundle


def _servers(servers: ExitStack) -> dict[str, str]:
    """Start what is not given; returns the addresses as settings."""
    env: dict[str, str] = {}
    kafka = os.environ.get("SCORER_KAFKA") or os.environ.get("SHADOW_KAFKA")
    in_file = any(os.environ.get(name) for name in ("SCORER_SETTINGS", "SHADOW_SETTINGS"))
    if kafka is None and not (in_file and _in_file("kafka")):
        kafka = servers.enter_context(local.broker()).address
        env |= {f"SCORER_{name}": value for name, value in EMBEDDED.items() if f"SCORER_{name}" not in os.environ}
    if kafka is not None:
        env |= {"SCORER_KAFKA": kafka, "SHADOW_KAFKA": kafka}
    if not os.environ.get("SHADOW_REDIS") and not (in_file and _in_file("redis")):
        env["SHADOW_REDIS"] = f"redis://{servers.enter_context(local.store()).address}/0"
    return env


def _in_file(name: str) -> bool:
    import yaml

    for variable in ("SCORER_SETTINGS", "SHADOW_SETTINGS"):
        path = os.environ.get(variable)
        if path and Path(path).is_file() and name in (yaml.safe_load(Path(path).read_text()) or {}):
            return True
    return False


def _shared(settings: ScorerSettings) -> dict[str, str]:
    """What scorer and shadow must agree on, as the shadow's settings; an explicit SHADOW_… wins."""
    env = {}
    for name in CommonSettings.model_fields:
        variable = f"SHADOW_{name.upper()}"
        value = getattr(settings, name)
        if name not in OWN and variable not in os.environ and value is not None:
            env[variable] = _text(value)
    env.setdefault("SHADOW_SCORER_GROUP", os.environ.get("SHADOW_SCORER_GROUP", settings.group))
    env["SHADOW_MINOR_DIGITS"] = str(settings.money.digits)
    return env


def _everywhere(settings: ScorerSettings) -> dict[str, str]:
    """The settings in force, for other terminals in whatever folder: paths are absolute."""
    told = {name: value for name, value in os.environ.items() if name.startswith(("SCORER_", "SHADOW_"))}
    shadow = load(ShadowSettings)
    told |= {"SCORER_VIEW": str(settings.view.absolute()), "SHADOW_RELEASE": str(shadow.release.absolute())}
    for prefix, of in (("SCORER_", settings), ("SHADOW_", shadow)):
        told[f"{prefix}CACHE"] = str(of.cache.absolute())
        told[f"{prefix}STORE"] = of.store if "://" in of.store else str(Path(of.store).absolute())
        if f"{prefix}SETTINGS" in told:
            told[f"{prefix}SETTINGS"] = str(Path(told[f"{prefix}SETTINGS"]).absolute())
    return told


def _write_private(path: Path, text: str) -> None:
    """For this user alone, as a password may be in it, and all at once, as others wait for it to be there."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


def _text(value: Any) -> str:
    if isinstance(value, BaseModel):
        return orjson.dumps(value.model_dump(mode="json")).decode()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value)


async def _fill(settings: ScorerSettings, wanted: dict[str, str | None], by: str, reason: str) -> list[str]:
    """Fill the slots that were named; returns every slot that needs a shadow, `previous` among them."""
    load(ShadowSettings)
    await ensure_topics(settings)
    for slot, bundle in wanted.items():
        if bundle is not None:
            state = await fill(settings, slot, bundle, None, None, by, reason)
            click.echo(f"slot {slot}: bundle {str(state.digest)[:12]} at threshold {state.threshold:g}", err=True)
    deployments = await read(settings)
    if deployments.slot(LIVE).is_empty:
        raise UserError("slot live: is empty; name a bundle with --live")
    names = {name for name, slot in deployments.slots.items() if not slot.is_empty} | {PREVIOUS, CANDIDATE}
    return sorted(names - {LIVE})


def _programs(slots: list[str], env: dict[str, str]) -> Iterator[Program]:
    bin_folder = Path(sys.executable).parent

    def program(name: str, command: str, *arguments: str, vital: bool = False) -> Program:
        port = local.free_port()
        argv = [str(bin_folder / command), *arguments, "--http-port", str(port)]
        return Program(name, argv, {**env, "PYTHONUNBUFFERED": "1"}, f"http://127.0.0.1:{port}/readyz", vital)

    own = f"{os.getpid()}"
    yield program("scorer", "scorer", "run", "--worker-id", f"scorer-{own}", vital=True)
    for slot in slots:
        yield program(slot, "shadow", "run", "--slot", slot, "--worker-id", f"shadow-{slot}-{own}")
    yield program("serve", "shadow", "serve")


async def _supervise(
    programs: list[Program], grace: float, log_file: Path | None, url: str, env: dict[str, str]
) -> None:
    async with Supervisor(programs, grace, log_file) as supervisor:
        click.echo(f"everything is up; {url}/api/docs", err=True)
        for name in ("SCORER_KAFKA", "SHADOW_KAFKA", "SHADOW_REDIS"):
            if name in env:
                click.echo(f"export {name}={env[name]}", err=True)
        await supervisor.wait()
