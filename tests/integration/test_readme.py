"""Every command of the README is run as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import orjson
import pyarrow.parquet as parquet

from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from harness.stack import BIN, get, wait_for
from scorer import cli as scorer_cli
from shadow import cli as shadow_cli

README = (ROOT / "README.md").read_text()
#: Codes that say something else than "done"; `reject` comes after `approve` here, so nothing is left to reject, and
#: nobody is named yet whom `notify` could tell. After the rollback a suggestion may wait, or evidence, so that
#: `rotate` says what has to be decided first.
EXPECTED = {"shadow gate": {0, 3, 4}, "shadow backtest": {0, 3, 4}, "shadow reject": {2}, "shadow notify": {2},
            "scorer rotate": {0, 2}}  # fmt: skip
RELEASE = "schema: 1\nsegments:\n  country: {field: country, values: [DE, ES, FR, GB]}\nminimum_covered_hours: 24\n"


def blocks() -> list[str]:
    return re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line.strip() for block in blocks() for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def has_compared(url: str, sent: int) -> bool:
    """The candidate's shadow has read every decision, and compared those since its slot was filled."""
    runs, progress = (orjson.loads(get(f"{url}/api/{page}?slot=candidate") or b"[]") for page in ("runs", "progress"))
    return sum(part["next"] for part in progress) >= sent and sum(run["compared"] for run in runs) > sent / 2


def a_case(env: dict[str, str], folder: Path) -> str:
    """The id of a transaction that live and the candidate decide differently."""
    argv = ["shadow", "disagreements", "--slot", "candidate", "--limit", "1", "--output", "jsonl"]
    told = subprocess.run(argv, env=env, cwd=folder, capture_output=True, check=True).stdout
    return str(orjson.loads(told)["transaction_id"])


def test_every_make_target_of_the_readme_is_there() -> None:
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    targets = set(re.findall(r"^  make (\w+)", helped, re.MULTILINE))
    named = set(re.findall(r"make (\w+)", " ".join(re.findall(r"`([^`]*)`", README) + blocks())))
    assert {"demo", "test", "setup"} <= named <= targets


def test_a_newcomer_gets_through_the_readme() -> None:
    assert len(README.splitlines()) <= 120


def test_every_command_does_what_it_says(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy" / "local", tmp_path / "deploy" / "local")
    (tmp_path / "release.yaml").write_text(RELEASE + "may_stay_insufficient: ['*']\n")
    (tmp_path / "chargebacks.csv").write_text("transaction_id,verdict,at\nt-1,fraud,2026-02-01T12:00:00Z\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SCORER_", "SHADOW_"))}
    env |= {"PATH": f"{BIN}:{os.environ['PATH']}", "SHADOW_RELEASE": "release.yaml"}
    trained = iter(("LIVE", "TWIN", "CANDIDATE", "HEIR"))
    stands_for = {"CARD": "card-1"}
    up: subprocess.Popen[bytes] | None = None
    ran: set[str] = set()

    def run(argv: list[str]) -> None:
        done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
        name = " ".join(argv[:2])
        assert done.returncode in EXPECTED.get(name, {0}), f"{shlex.join(argv)}\n{done.stdout!r}\n{done.stderr!r}"
        ran.add(name)
        if argv[1] == "train":
            stands_for[next(trained)] = done.stdout.decode().split()[-1]

    try:
        for argv in commands():
            argv = [stands_for.get(part, part) for part in argv]
            if argv[0] == "make":
                continue
            if argv[0] == "export":
                env |= dict(part.split("=", 1) for part in argv[1:])
            elif argv[0] == ".":
                if argv[1] == "./up.env":
                    told = (tmp_path / "up.env").read_text().splitlines()
                    env |= {n: v.strip("'") for n, v in (line.removeprefix("export ").split("=", 1) for line in told)}
                else:
                    assert argv[1] == ".venv/bin/activate"
            elif argv[:2] == ["shadow", "up"]:
                with (tmp_path / "up.log").open("wb") as log:
                    up = subprocess.Popen(argv, env=env, cwd=tmp_path, stdout=log, stderr=log)
                wait_for("up", lambda: "everything is up" in (tmp_path / "up.log").read_text())
            else:
                if argv[:3] == ["scorer", "bundle", "create"]:
                    store = tmp_path / "build" / "bundles" / stands_for["LIVE"]
                    shutil.copy(store / "model.txt", tmp_path / "model.txt")
                if argv[:3] == ["shadow", "review", "mark"]:
                    argv[3] = a_case(env, tmp_path)
                if argv[:2] == ["shadow", "comment"]:
                    page = f"{env['UP_URL']}/api/suggestions"
                    (made,) = wait_for("suggestion", lambda page=page: orjson.loads(get(page) or b"[]"))
                    argv[2] = made["seq"]
                run(argv)
                if argv == ["scorer", "replay", "history.parquet"]:  # what comes after judges all of it
                    sent = parquet.read_metadata(tmp_path / "history.parquet").num_rows
                    wait_for("comparisons", partial(has_compared, env["UP_URL"], sent))
    finally:
        if up is not None:
            up.send_signal(signal.SIGINT)
            assert up.wait(PATIENCE_SECONDS) in (0, 130)
    every = {f"scorer {name}" for name in scorer_cli.COMMANDS} | {f"shadow {name}" for name in shadow_cli.COMMANDS}
    every.remove("scorer risk")  # for a view with merchant risk: see test_risk.py
    assert ran == every - {"scorer run", "shadow run", "shadow serve", "shadow up"}, "these four ran as `shadow up`"
