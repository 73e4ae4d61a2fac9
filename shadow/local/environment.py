"""The environment of the processes that `shadow up` starts: servers, shared settings, and settings for terminals."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, SecretStr

from scorer.settings import CommonSettings, ScorerSettings, in_file, load
from shadow.local import embedded
from shadow.settings import ShadowSettings

#: Settings for the embedded broker: it has no idempotent producers, and holds every join for half a session.
EMBEDDED = {
    "REQUIRE_IDEMPOTENCE": "false",
    "SESSION_SECONDS": "2",
    "HEARTBEAT_SECONDS": "0.5",
}


#: Settings not to copy from the scorer: they belong to one process, or the shadow has its own default.
OWN = {"worker_id", *ShadowSettings.__annotations__}


def servers_for(servers: ExitStack) -> dict[str, str]:
    """Start embedded servers for Kafka and Redis if no setting names them. Returns settings with the addresses.

    servers: stops them when it closes.
    """
    env: dict[str, str] = {}
    kafka = os.environ.get("SCORER_KAFKA") or os.environ.get("SHADOW_KAFKA")
    has_file = any(os.environ.get(name) for name in ("SCORER_SETTINGS", "SHADOW_SETTINGS"))
    if kafka is None and not (has_file and _is_in_file("kafka")):
        kafka = servers.enter_context(embedded.broker()).address
        env |= {f"SCORER_{name}": value for name, value in EMBEDDED.items() if f"SCORER_{name}" not in os.environ}
    if kafka is not None:
        env |= {"SCORER_KAFKA": kafka, "SHADOW_KAFKA": kafka}
    if not os.environ.get("SHADOW_REDIS") and not (has_file and _is_in_file("redis")):
        env["SHADOW_REDIS"] = f"redis://{servers.enter_context(embedded.store()).address}/0"
    return env


def _is_in_file(name: str) -> bool:
    for variable in ("SCORER_SETTINGS", "SHADOW_SETTINGS"):
        path = os.environ.get(variable)
        if path and Path(path).is_file() and name in in_file(path):
            return True
    return False


def shared(settings: ScorerSettings) -> dict[str, str]:
    """The scorer's values of settings that both programs share, as variables of the shadow. Variables that are set
    already are left out."""
    env = {}
    for name in CommonSettings.model_fields:
        variable = f"SHADOW_{name.upper()}"
        value = getattr(settings, name)
        if name not in OWN and variable not in os.environ and value is not None:
            env[variable] = as_text(value)
    env.setdefault("SHADOW_SCORER_GROUP", os.environ.get("SHADOW_SCORER_GROUP", settings.group))
    return env


def everywhere(settings: ScorerSettings) -> dict[str, str]:
    """All settings in force, for terminals in any folder: paths are absolute."""
    told = {name: value for name, value in os.environ.items() if name.startswith(("SCORER_", "SHADOW_"))}
    shadow = load(ShadowSettings)
    told |= {"SCORER_VIEW": str(settings.view.absolute()), "SHADOW_RELEASE": str(shadow.release.absolute())}
    for prefix, of in (("SCORER_", settings), ("SHADOW_", shadow)):
        told[f"{prefix}CACHE"] = str(of.cache.absolute())
        told[f"{prefix}STORE"] = of.store if "://" in of.store else str(Path(of.store).absolute())
        if f"{prefix}SETTINGS" in told:
            told[f"{prefix}SETTINGS"] = str(Path(told[f"{prefix}SETTINGS"]).absolute())
    return told


def as_text(value: Any) -> str:
    """A setting as its environment variable has it."""
    if isinstance(value, BaseModel):
        return orjson.dumps(value.model_dump(mode="json")).decode()
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value)
