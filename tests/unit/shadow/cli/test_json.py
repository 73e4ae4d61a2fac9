"""Every command answers a program: `--json`, one object on standard output, and all that people read beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
from click.testing import CliRunner

from harness.leaves import leaves
from harness.places import ROOT
from scorer.people import PersonRole

BIN = Path(sys.executable).parent
#: Commands without `--json`, and why.
WITHOUT = {
    "scorer run": "runs until it is stopped",
    "scorer risk": "runs until it is stopped; its topic has what it publishes",
    "shadow run": "runs until it is stopped",
    "shadow serve": "runs until it is stopped",
    "shadow up": "runs until it is stopped",
    "shadow archive run": "runs until it is stopped; `shadow archive status --json` says what it has archived",
    "scorer decisions": "prints JSON Lines in any case",
}
#: Those whose output has no end that is known before, or had another shape before: JSON Lines, or one array.
LINES = {"shadow disagreements", "shadow history", "shadow replay", "shadow review next"}
ARRAYS = {"scorer bundle list", "shadow automate", "shadow evidence"}
LEAVES = leaves()


def run(*argv: str, folder: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [str(BIN / argv[0]), *argv[1:]], cwd=folder, env={**os.environ, **env}, capture_output=True, timeout=120
    )


def test_the_walk_finds_commands_of_both_programs_and_of_groups() -> None:
    assert {"scorer bundle list", "scorer key new", "shadow gate", "shadow archive compact"} <= LEAVES.keys()
    assert WITHOUT.keys() | LINES | ARRAYS <= LEAVES.keys()


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_every_command_has_json_or_a_reason_why_not(name: str) -> None:
    found = [one for one in LEAVES[name].params if isinstance(one, click.Option) and "--json" in one.opts]
    if name in WITHOUT:
        assert not found, f"{name} has --json now: take it from the list"
        return
    (option,) = found
    assert option.is_flag
    assert option.name == "as_json"


def test_the_documentation_names_the_commands_that_print_no_single_object() -> None:
    told = (ROOT / "docs" / "operations.md").read_text().partition("## Commands and programs")[2].partition("\n## ")[0]
    for name in (*LINES, *ARRAYS, *WITHOUT):
        assert f"`{name}`" in told, name


def one_object(done: subprocess.CompletedProcess[bytes], code: int = 0) -> dict[str, Any]:
    """What a program reads of a command: one line of JSON, and no control characters anywhere."""
    assert done.returncode == code, done.stderr.decode()
    assert done.stdout.count(b"\n") == 1
    assert b"\x1b" not in done.stdout + done.stderr
    found = orjson.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_commands_that_need_no_server_print_one_object(tmp_path: Path) -> None:
    made = one_object(
        run("scorer", "simulate", "--out", "pay.csv", "--transactions", "1000", "--json", folder=tmp_path)
    )
    assert made["file"] == "pay.csv"
    assert made["transactions"] == len((tmp_path / "pay.csv").read_text().splitlines()) - 1
    assert made["from"] == "2026-01-01"
    key = one_object(run("scorer", "key", "new", "Zoë", "--out", "z.pem", "--json", folder=tmp_path))
    assert key["trusted_keys"]["keys"]["Zoë"]["role"] == key["role"] == "releaser"
    assert (tmp_path / key["private_key"]).exists()
    tried = one_object(run("scorer", "mapping", "try", "--file", "pay.csv", "--json", folder=tmp_path))
    assert tried["records"] == tried["transactions"] == 20
    assert tried["written"] is None
    person = one_object(run("shadow", "token", "张伟", "--role", "releaser", "--json", folder=tmp_path))
    assert person["people"]["张伟"]["role"] == "releaser"


def test_a_token_in_json_is_that_of_its_digest() -> None:
    role: PersonRole = "admin"
    told = orjson.loads(CliRunner().invoke(LEAVES["shadow token"], ["ann", "--role", role, "--json"]).stdout)
    from hashlib import sha256

    assert sha256(told["token"].encode()).hexdigest() == told["people"]["ann"]["token"]


@pytest.mark.slow
def test_what_fails_prints_nothing_and_one_line_of_error(tmp_path: Path) -> None:
    for argv in (
        ("scorer", "simulate", "--out", "pay.txt", "--transactions", "1000"),
        ("scorer", "train", "--json"),
        ("scorer", "bundle", "card", "abcd"),
        ("shadow", "notify"),
        ("shadow", "labels", "load", __file__),
    ):
        done = run(
            *dict.fromkeys((*argv, "--json")), folder=tmp_path, SHADOW_STORE=str(tmp_path), SCORER_STORE=str(tmp_path)
        )
        assert (done.returncode, done.stdout) == (2, b""), argv
        assert done.stderr.startswith(b"error: ")
        assert done.stderr.count(b"\n") == 1, done.stderr


@pytest.mark.slow
def test_output_that_cannot_be_written_is_one_line_and_exit_1(tmp_path: Path) -> None:
    for argv in (("token", "ann", "--json"), ("--help",), ("gate", "--help")):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [str(BIN / "shadow"), *argv], stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, timeout=120
            )
        assert done.returncode == 1
        assert done.stderr == (
            b"error: the output: cannot be written (No space left on device); make room, or write elsewhere\n"
        )


@pytest.mark.slow
def test_a_reader_that_has_gone_is_no_error_to_tell(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [str(BIN / "shadow"), "token", "ann", "--json"], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, timeout=120
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
