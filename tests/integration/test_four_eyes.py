"""Two people on a real broker: whoever comes first or second, one outcome, and all of it on the ledger."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.signing import signing
from harness.stack import Stack, wait_for
from integration.test_deciding import Desk
from scorer.deployments.changes import deployment
from scorer.deployments.deploy import now
from scorer.deployments.key_files import signer, trusted_keys
from scorer.deployments.ledger import append, put, read
from scorer.deployments.records import Approval, Target
from scorer.settings import ScorerSettings

WHY = ("--reason", "because")
TOKENS = {name: f"token-of-{name}-{'x' * 20}" for name in ("ann", "bob", "carl", "dora")}
ROLES = {"ann": "releaser", "bob": "releaser", "carl": "admin", "dora": "reviewer"}


@pytest.fixture
def desk(stack: Stack, models: Models) -> Desk:
    return Desk(stack, models)


def with_people(desk: Desk) -> None:
    """Have the commands of the desk know people by their tokens, and ask for two of them."""
    people = {n: {"token": hashlib.sha256(t.encode()).hexdigest(), "role": ROLES[n]} for n, t in TOKENS.items()}
    for program in ("SCORER", "SHADOW"):
        desk.stack.env |= {f"{program}_PEOPLE": json.dumps(people), f"{program}_FOUR_EYES": "true"}


def at_once(desk: Desk, env: str, values: list[str], *argv: str) -> list[tuple[int, str]]:
    """Run a command of several people at the same time; exit code and what it says, by person."""
    running: list[subprocess.Popen[bytes]] = []
    for value in values:
        desk.stack.env |= {f"{program}_{env}": value for program in ("SCORER", "SHADOW")}
        running.append(desk.stack.begin(*argv))
    told = [one.communicate(timeout=PATIENCE_SECONDS)[0].decode() for one in running]
    return [(one.returncode, text) for one, text in zip(running, told, strict=True)]


def test_two_people_by_their_tokens(desk: Desk) -> None:
    stack = desk.stack
    approve, force = ("shadow", "approve", *WHY), ("shadow", "approve", "--force", *WHY)
    assert "name not verified" in stack.run("shadow", "history")
    with_people(desk)
    assert "setting people says who may decide" in stack.fails(*approve, "--by", "ann")
    assert "is nobody's" in stack.fails(*approve, SHADOW_TOKEN="guessed")
    assert "is that of ann" in stack.fails(*approve, "--by", "bob", SHADOW_TOKEN=TOKENS["ann"])
    assert "dora is a reviewer; this needs the role releaser" in stack.fails(*force, SHADOW_TOKEN=TOKENS["dora"])
    assert "needs the role releaser" in stack.fails(
        "scorer", "deploy", "--block-all", *WHY, SCORER_TOKEN=TOKENS["dora"]
    )

    # comments on a suggestion that waits
    seq = desk.suggest()
    comment = ("shadow", "comment", seq)
    stack.env |= {"SHADOW_TOKEN": TOKENS["dora"]}
    stack.run(*comment, "looks odd in FR")
    assert "holds a card number" in stack.fails(*comment, "see 4111 1111 1111 1111")
    assert "at most 1,000" in stack.fails(*comment, "word " * 300)
    assert "none that waits has this ledger key" in stack.fails("shadow", "comment", "00000099-00000000", "x")
    assert f"comment by dora on {seq}: looks odd in FR" in stack.run("shadow", "history")
    assert "1 comment, the last by dora: looks odd in FR" in stack.run("shadow", "status")

    # two first approvals of one change, made from the same state
    made = [
        Approval(slots={"live": Target(digest=desk.models.control, threshold=0.5)}, expects={"live": 1}, cause="deploy",
                 by=by, reason="x", verified="token", at=now())
        for by in ("ann", "bob")
    ]  # fmt: skip
    outcomes = asyncio.run(both(desk, made))
    assert sorted(type(one).__name__ for one in outcomes) == ["StaleChangeError", "tuple"], outcomes
    assert [one["by"] for one in desk.ledger("approval")] in (["ann", "bob"], ["bob", "ann"]), "both are on the ledger"
    assert stack.run("shadow", "history").count("(void: another entry came first)") == 1

    # a first approval changes nothing, and nobody completes their own
    stack.env |= {"SHADOW_TOKEN": TOKENS["ann"]}
    assert "nothing is changed yet" in stack.run(*force)
    assert "ann has approved this already" in stack.fails(*force)
    assert "ann has approved, a second person has to" in stack.run("shadow", "status")
    assert desk.live()["digest"] == desk.models.live
    (*_, first) = desk.ledger("approval")
    assert first["why"] == ["it is a forced release"]

    # two second approvals at once
    told = at_once(desk, "TOKEN", [TOKENS["bob"], TOKENS["carl"]], *force)
    assert sorted(code for code, _ in told) == [0, 2], told
    done = next(one for one in desk.ledger("forced") if one["expects"]["live"] == 1)
    assert (done["first"], done["verified"]) == ({"approval": first["seq"], "by": "ann"}, "token")
    assert done["by"] in ("bob", "carl")
    assert (desk.live()["digest"], desk.live()["epoch"]) == (desk.models.candidate, 2)
    assert f"FORCED by ann and {done['by']}:" in stack.run("shadow", "history")


async def both(desk: Desk, made: list[Approval]) -> list[Any]:
    settings = desk.stack.settings()
    return await asyncio.gather(*(append(settings, lambda _, one=one: one) for one in made), return_exceptions=True)  # type: ignore[misc]


def test_with_signed_changes_the_scorers_hold_it(desk: Desk) -> None:
    stack = desk.stack
    keys = signing(stack, ann="releaser", bob="releaser", serve="gate")
    path = Path(stack.env["SCORER_TRUSTED_KEYS"])
    trusted = yaml.safe_load(path.read_text())
    trusted |= {"four_eyes": True, "four_eyes_after": trusted["unsigned_until"]}
    path.write_text(yaml.safe_dump(trusted))
    desk.scorer.stop()
    scorer = stack.start("scorer", "run")
    stack.until_ready()
    stack.env |= {f"{program}_SIGNING_KEY": keys["ann"] for program in ("SCORER", "SHADOW")}
    deploy = ("scorer", "deploy", desk.models.candidate, "--discard-evidence", *WHY)
    assert "as the first of two" in stack.run(*deploy)
    assert scorer.metric("scorer_live_epoch") == 1

    # a program that writes what it likes, with ann's key
    asyncio.run(written_with(keys["ann"], path, desk))
    wait_for("refused", lambda: scorer.metric("scorer_refused_entries_total") == 1)
    assert "is refused: it needs the approval of two people" in scorer.log.read_text()
    assert scorer.metric("scorer_live_epoch") == 1

    # the kill switch takes one
    stack.run("scorer", "deploy", "--block-all", *WHY)
    wait_for("the kill switch", lambda: scorer.metric("scorer_live_epoch") == 2)
    stack.run("scorer", "deploy", "--resume", *WHY)
    assert "as the first of two" in stack.run(*deploy), "the first approval died when live changed"
    assert "ann has approved this already" in stack.fails(*deploy)
    stack.env |= {f"{program}_SIGNING_KEY": keys["bob"] for program in ("SCORER", "SHADOW")}
    stack.run(*deploy)
    wait_for("the release", lambda: scorer.metric("scorer_live_epoch") == 4)
    (*_, done) = desk.ledger("change")
    assert (done["first"]["by"], done["by"]) == ("ann", "bob")
    assert "deploy by ann and bob: live bundle" in stack.run("shadow", "history")
    assert scorer.metric("scorer_refused_entries_total") == 1


async def written_with(key: str, trusted: Path, desk: Desk) -> None:
    """Put another bundle live as somebody does who has a key, and no need of our commands."""
    settings = ScorerSettings(kafka=desk.stack.broker.address, trusted_keys=trusted, signing_key=Path(key))
    present = await read(settings)
    change = deployment(present, "live", desk.models.control, 0.5, "ann", "x", now())
    signs = signer(settings, trusted_keys(settings))
    assert signs is not None
    seq = present.next_seq("00000000")
    await put(settings, {f"ledger/{seq}": signs.signed(seq, change)})
