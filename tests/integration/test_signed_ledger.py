"""With trusted keys, write access to the topic `deployments` is not enough to change what decides."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import orjson
import yaml

from harness.models import Models
from harness.signing import a_key, smuggle
from harness.stack import Stack, wait_for
from scorer.deployments.ledger import put
from scorer.deployments.records import Target, encode

WHY = ("--reason", "because")


def write(path: Path, told: dict[str, Any] | str) -> None:
    """Replace a file as a ConfigMap's is: at once."""
    new = path.with_suffix(".new")
    new.write_text(told if isinstance(told, str) else yaml.safe_dump(told))
    os.replace(new, path)


def test_only_what_a_trusted_key_has_signed_changes_live(stack: Stack, models: Models) -> None:
    (ann, of_ann), (bob, of_bob), (gate, of_gate) = (
        a_key(stack, "ann"),
        a_key(stack, "bob"),
        a_key(stack, "serve", "gate"),
    )
    assert Path(ann).stat().st_mode & 0o777 == 0o600
    before = stack.run("scorer", "key", "last").strip()
    keys = {"deployment": "test", "unsigned_until": before, "keys": {"ann": of_ann, "serve": of_gate}}
    path, ours = stack.folder / "worker.yaml", stack.folder / "ours.yaml"
    write(path, keys)
    write(ours, keys)
    scorer = stack.start("scorer", "run", env={"SCORER_TRUSTED_KEYS": str(path)})
    stack.until_ready()
    block = ("scorer", "deploy", "--block-all", *WHY)
    assert "--by: is missing" in stack.fails(*block)
    stack.env |= {f"{program}_TRUSTED_KEYS": str(ours) for program in ("SCORER", "SHADOW")}
    assert "as it is not signed" in stack.fails(*block, "--by", "ann")
    stack.env |= {"SCORER_SIGNING_KEY": ann, "SHADOW_SIGNING_KEY": ann}
    assert scorer.metric("scorer_live_epoch") == 1, "what was there before needs no signature"

    # somebody with write access, and no key
    smuggle(stack, models.candidate)
    wait_for("noticed", lambda: scorer.metric("scorer_refused_entries_total") == 1)
    assert "is refused: it is not signed" in scorer.log.read_text()
    assert scorer.metric("scorer_live_epoch") == 1
    (entry,) = stack.run("shadow", "history", "--json").splitlines()
    assert orjson.loads(entry)["signed_by"] is None

    # commands that would not count say so, and write nothing
    assert "a change needs the role releaser" in stack.fails(*block, SCORER_SIGNING_KEY=gate)
    assert "does not have its public key" in stack.fails(*block, SCORER_SIGNING_KEY=bob)
    assert "is that of ann; leave out --by" in stack.fails(*block, "--by", "bob")
    assert scorer.metric("scorer_refused_entries_total") == 1

    # the kill switch, signed
    assert "block_all" in stack.run(*block)
    assert scorer.metric("scorer_live_epoch") == 2
    assert "kill switch on by ann" in stack.run("shadow", "history")
    assert "(signed by ann)" in stack.run("shadow", "history")

    # an entry that is written over, as compaction would keep it
    last = stack.run("scorer", "key", "last").strip()
    asyncio.run(put(stack.settings(), {f"ledger/{last}": None}))
    wait_for("noticed", lambda: scorer.metric("scorer_refused_entries_total") == 2)
    asyncio.run(put(stack.settings(), {f"ledger/{last}": encode(Target())}))
    wait_for("noticed", lambda: scorer.metric("scorer_refused_entries_total") == 3)
    assert scorer.metric("scorer_override") == 1

    # a file that nobody can read leaves the keys before it; a new key counts as soon as its file is there
    write(path, "keys: {ann: nonsense}")
    wait_for("told", lambda: "the keys before it go on" in scorer.log.read_text())
    resume = ("scorer", "deploy", "--resume", *WHY)
    stack.run(*resume)
    assert scorer.metric("scorer_live_epoch") == 3
    ends = {**keys, "keys": {**keys["keys"], "ann": {**of_ann, "until": stack.run("scorer", "key", "last").strip()}}}
    ends["keys"]["bob"] = of_bob
    write(path, ends)
    write(ours, ends)
    time.sleep(1.5)  # a worker looks every second
    assert "the key of ann counts until" in stack.fails(*block)
    stack.env |= {"SCORER_SIGNING_KEY": bob}
    stack.run(*block)
    wait_for("by bob", lambda: scorer.metric("scorer_live_epoch") == 4)

    # after a restart it is what it was
    scorer.stop()
    again = stack.start("scorer", "run", env={"SCORER_TRUSTED_KEYS": str(path)})
    stack.until_ready()
    assert again.metric("scorer_live_epoch") == 4
    assert again.metric("scorer_override") == 1
    assert again.metric("scorer_refused_entries_total") == 0, "told when they came, and not at every start"
    assert again.log.read_text().count("is refused: ") == 3


def test_keys_that_cannot_be_used_stop_the_start_in_one_line(stack: Stack) -> None:
    key, public = a_key(stack, "ann")
    path = stack.folder / "trusted.yaml"
    run = ("scorer", "run", "--http-port", "0")
    env = {"SCORER_TRUSTED_KEYS": str(path)}
    assert "trusted.yaml: No such file" in stack.fails(*run, **env)
    write(path, {"keys": {"ann": {**public, "public": "AA=="}}})
    assert "keys.ann.public: " in stack.fails(*run, **env)
    write(path, {"keys": {"ann": public}, "unsigned_until": "00000001-00000000"})
    assert "entry 00000001-00000000 is not on topic deployments; `scorer key last`" in stack.fails(*run, **env)
    write(path, {"keys": {"ann": public}})
    assert "slot live: is empty" in stack.fails(*run, **env), "nobody has signed what was there"
    deploy = ("scorer", "deploy", "--block-all", *WHY)
    assert "needs trusted_keys" in stack.fails(*deploy, SCORER_SIGNING_KEY=key)
    assert "is no private Ed25519 key" in stack.fails(*deploy, **env, SCORER_SIGNING_KEY=str(path))
    assert "never written over" in stack.fails("scorer", "key", "new", "ann", "--out", key)
    assert "is no name of a file; add --out" in stack.fails("scorer", "key", "new", "ops/ann")
