"""Promotions while scorers cannot load, are raced, or come and go; and a scorer that starts without the model store."""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import yaml

from faults.arena import Arena
from faults.ledger import fold
from faults.scenario import scenario
from faults.scenarios.processes import kill_and_start
from harness.patience import PATIENCE_SECONDS
from shadow.gate.criteria import parse

#: Small batches, so that a promotion has a backlog to fall into.
SLOW = {"SCORER_BATCH_RECORDS": "20"}


def _lax(arena: Arena) -> str:
    """The digest of criteria that whoever runs fulfils in the segments of the others, in force from now on."""
    declared = yaml.safe_load(Path(arena.models.env["SHADOW_RELEASE"]).read_text())
    changes = ("more_blocks", "fewer_blocks", "more_blocked_amount", "fewer_blocked_amount")
    widest = {f"maximum_{change}": 1000 for change in changes}
    lax = {"schema": 1, "segments": declared["segments"], "may_stay_insufficient": ["*"]}
    text = yaml.safe_dump(lax | {"overall": widest, "per_segment": widest})
    path = arena.folder / "lax.yaml"
    path.write_text(text)
    arena.stack.env["SHADOW_RELEASE"] = str(path)
    return parse(text).digest


def _suggest(arena: Arena, *slots: str) -> None:
    """Write what `shadow serve` writes when a clean period is full, under criteria that are then in force."""
    criteria = _lax(arena)
    history = fold(arena.wire.read("deployments")["deployments"][0])
    for slot in slots:
        (filling,) = history.fillings[slot].values()
        epoch = max(history.fillings["live"])
        body = {
            "schema": 1,
            "kind": "suggestion",
            "slot": slot,
            "target": {"digest": filling.digest, "threshold": filling.threshold, "override": None},
            "expects": {"live": epoch, slot: filling.epoch},
            "criteria": criteria,
            "evidence": {},
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        key = f"ledger/{len(history.changes) + 1:08d}-{secrets.token_hex(4)}"
        arena.wire.send("deployments", [(key.encode(), orjson.dumps(body))])


def _approvals(arena: Arena, slots: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    return [
        arena.stack.begin("shadow", "approve", "--slot", slot, "--by", f"person-{i}", "--reason", "test")
        for i, slot in enumerate(slots)
    ]


def _expect_live(arena: Arena, epoch: int) -> None:
    arena.send(2000)
    arena.until("decided", lambda: arena.behind_live() <= 0)
    if arena.last_epoch() != epoch:
        arena.problems.append(f"live decides at epoch {arena.last_epoch()}, not {epoch}")


@scenario(env=SLOW)
def promote_load_failure(arena: Arena) -> None:
    """One of three scorers cannot load the bundle: the promotion is refused and names it, and goes through later."""
    empty = arena.folder / "empty"
    _copy(Path(arena.stack.env["SCORER_STORE"]) / arena.models.live, empty / arena.models.live)
    for name in "ab":
        arena.scorer(CACHE=str(arena.folder / f"cache-{name}"))
    broken = arena.scorer(CACHE=str(arena.folder / "cache-c"), STORE=str(empty))
    arena.shadow()
    arena.ready()
    _suggest(arena, "candidate")
    told: list[str] = []

    def approve() -> None:
        (approval,) = _approvals(arena, ["candidate"])
        out, _ = approval.communicate(timeout=PATIENCE_SECONDS)
        told.append(f"{approval.returncode} {out.decode()}")

    with arena.pouring(400):
        arena.strike_at_once(approve, 2000)
    name = broken.alive.log.stem.split("-")[0]
    if not told[-1].startswith("2 ") or f"scorer-{name}" not in told[-1]:
        arena.problems.append(f"the promotion was not refused for scorer-{name}: {told[-1]}")
    _expect_live(arena, 1)
    _copy(Path(arena.stack.env["SCORER_STORE"]) / arena.models.candidate, empty / arena.models.candidate)
    approve()
    if not told[-1].startswith("0 "):
        arena.problems.append(f"the promotion was refused although everything is mended: {told[-1]}")
    _expect_live(arena, 2)


def _copy(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


@scenario(env=SLOW)
def promote_race(arena: Arena) -> None:
    """Two people approve two candidates at once: one of them wins, the other is told."""
    arena.scorer()
    arena.scorer()
    arena.shadow()
    arena.shadow("challenger", arena.models.control)
    arena.ready()
    _suggest(arena, "candidate", "challenger")
    codes: list[int] = []

    def race() -> None:
        approvals = _approvals(arena, ["candidate", "challenger"])
        codes.extend(approval.wait(PATIENCE_SECONDS) for approval in approvals)

    with arena.pouring(400):
        arena.strike_at_once(race, 2000)
    if sorted(codes) != [0, 2]:
        arena.problems.append(f"of two approvals at once one was to win: exit codes {codes}")
    _expect_live(arena, 2)
    history = fold(arena.wire.read("deployments")["deployments"][0])
    if sum(change["cause"] == "approve" for change in history.changes) != 1:
        arena.problems.append("not exactly one approval is on the ledger")


@scenario(env=SLOW)
def promote_during_rebalance(arena: Arena) -> None:
    """A scorer is killed and started anew while a promotion waits for it."""
    arena.scorer()
    second = arena.scorer()
    arena.shadow()
    arena.ready()
    _suggest(arena, "candidate")
    codes: list[int] = []

    def approve() -> None:
        approvals = _approvals(arena, ["candidate"])
        kill_and_start(second)
        codes.extend(approval.wait(PATIENCE_SECONDS) for approval in approvals)

    with arena.pouring(400):
        arena.strike_at_once(approve, 2000)
    if codes != [0]:
        arena.problems.append(f"the promotion ended with {codes}")
    arena.ready()
    _expect_live(arena, 2)


@scenario()
def model_store_away_at_start(arena: Arena) -> None:
    """A scorer starts while the store of bundles is away and live asks for one that it has no copy of: it decides with
    the newest that it has, and takes up the right one when the store is back."""
    store = arena.own_store()
    scorer = arena.scorer(CACHE=str(arena.folder / "copies"))
    arena.shadow(CACHE=str(arena.folder / "shadow-copies"))
    arena.ready()
    arena.send(2000)
    arena.until("decided", lambda: arena.behind_live() <= 0)

    def away() -> None:
        scorer.kill()
        elsewhere = {"SCORER_CACHE": str(arena.folder / "elsewhere")}
        arena.stack.deploy(arena.models.control, "live", discard=True, env=elsewhere)
        store.rename(arena.folder / "away")
        scorer.start()

    arena.strike(away, part=4000)
    arena.ready()
    arena.until("decided", lambda: arena.behind_live() <= 0)
    if arena.last_epoch() != 1:
        arena.problems.append(f"decided at epoch {arena.last_epoch()} without its bundle")
    if not scorer.alive.metric("scorer_model_behind"):
        arena.problems.append("no alert: scorer_model_behind is 0")
    (arena.folder / "away").rename(store)
    arena.until("the right model is taken up", lambda: not scorer.alive.metric("scorer_model_behind"))
    _expect_live(arena, 2)


@scenario(env=SLOW)
def approver_killed(arena: Arena) -> None:
    """Whoever approves is killed in the middle, again and again: of all approvals one counts."""
    arena.scorer()
    arena.scorer()
    arena.shadow()
    arena.ready()
    _suggest(arena, "candidate")
    codes: list[int] = []

    def approve() -> None:
        for _ in range(4):
            (approval,) = _approvals(arena, ["candidate"])
            time.sleep(arena.rng.uniform(0.5, 4.0))  # to load its code alone takes about a second
            approval.kill()
            approval.wait(PATIENCE_SECONDS)
        (last,) = _approvals(arena, ["candidate"])
        codes.append(last.wait(PATIENCE_SECONDS))

    with arena.pouring(400):
        arena.strike_at_once(approve, 2000)
    _expect_live(arena, 2)
    approvals = _counted(arena, "approve")
    if len(approvals) != 1:
        arena.problems.append(f"{len(approvals)} approvals count, not one; the last one ended with {codes}")


@scenario(env=SLOW)
def ledger_raced(arena: Arena) -> None:
    """An approval, a rejection and another bundle for the slot are appended at once: one settles the suggestion."""
    arena.scorer()
    arena.shadow()
    arena.ready()
    _suggest(arena, "candidate")
    signed = ("--by", "somebody", "--reason", "test")
    codes: dict[str, int] = {}

    def race() -> None:
        racers = {
            "approve": arena.stack.begin("shadow", "approve", *signed),
            "reject": arena.stack.begin("shadow", "reject", *signed),
            "deploy": arena.stack.begin(
                "scorer", "deploy", arena.models.control, "--slot", "candidate", "--discard-evidence", *signed
            ),
        }
        codes.update({name: racer.wait(PATIENCE_SECONDS) for name, racer in racers.items()})

    with arena.pouring(400):
        arena.strike_at_once(race, 2000)
    approved = len(_counted(arena, "approve"))
    _expect_live(arena, 1 + approved)
    bodies = [
        orjson.loads(r.value) for r in arena.wire.read("deployments")["deployments"][0] if r.key[:7] == b"ledger/"
    ]
    answers = sum(body["kind"] == "answer" for body in bodies)
    told = f"exit codes {codes}; {approved} approvals count, {answers} rejections are there"
    if (codes["approve"] == 0) != (approved == 1) or approved > 1 or (codes["approve"] == codes["reject"] == 0):
        arena.problems.append(f"who was told of success is not who had it: {told}")
    if codes["reject"] == 0 and not answers:
        arena.problems.append(f"a rejection is lost: {told}")


def _counted(arena: Arena, cause: str) -> list[dict[str, Any]]:
    """The changes of a cause that count."""
    history = fold(arena.wire.read("deployments")["deployments"][0])
    return [change for change in history.changes if change["cause"] == cause]
