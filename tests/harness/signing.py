"""Keys for a stack, so that only signed changes of its slots count."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import yaml

from harness.stack import Stack
from scorer.deployments.ledger import append
from scorer.deployments.records import Change, Target
from scorer.deployments.slots import Deployments


def a_key(stack: Stack, name: str, role: str = "releaser") -> tuple[str, dict[str, Any]]:
    """A new private key's file, and what has it trusted."""
    path = stack.folder / f"{name}.pem"
    told = stack.run("scorer", "key", "new", name, "--role", role, "--out", str(path))
    return str(path), yaml.safe_load(told[told.index("keys:") :])["keys"][name]


def signing(stack: Stack, **roles: str) -> dict[str, str]:
    """Have the stack heed what is on its ledger already, and signed changes from then on. Returns the files of new keys
    by name."""
    made = {name: a_key(stack, name, role) for name, role in roles.items()}
    keys = {name: public for name, (_, public) in made.items()}
    trusted: Path = stack.folder / "trusted.yaml"
    trusted.write_text(yaml.safe_dump({"keys": keys, "unsigned_until": stack.run("scorer", "key", "last").strip()}))
    stack.env |= {f"{program}_TRUSTED_KEYS": str(trusted) for program in ("SCORER", "SHADOW")}
    return {name: file for name, (file, _) in made.items()}


def smuggle(stack: Stack, digest: str) -> None:
    """Write a change of live as somebody does who may write to the topic, and has no key."""

    def build(present: Deployments) -> Change:
        expects = {"live": present.slot("live").epoch}
        target = Target(digest=digest, threshold=0.5)
        return Change(slots={"live": target}, expects=expects, by="ann", reason="x", cause="deploy", at="2026-01-01")

    asyncio.run(append(stack.settings(), build))
