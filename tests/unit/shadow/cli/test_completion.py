"""Completion in a shell: names come without loading what they name, options from the command itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from scorer.cli import cli as scorer
from scorer.settings import ScorerSettings
from shadow.cli import COMMANDS, cli
from shadow.cli.up import left_behind


def completed(group: object, words: list[str], begun: str) -> list[str]:
    found = ShellComplete(group, {}, "shadow", "_SHADOW_COMPLETE").get_completions(words, begun)  # type: ignore[arg-type]
    return [one.value for one in found]


def test_commands_and_options_are_completed() -> None:
    assert completed(cli, [], "") == list(COMMANDS)
    assert completed(cli, [], "ga") == ["gate"]
    assert completed(cli, ["gate"], "--br") == ["--brief"]
    assert completed(cli, ["review"], "m") == ["mark"]
    assert completed(cli, ["review", "mark", "t-1"], "f") == ["fraud"]
    assert completed(scorer, ["bundle"], "c") == ["card", "create"]


@pytest.mark.slow
def test_names_are_completed_without_loading_any_command() -> None:
    code = (
        "import sys; from shadow.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'shadow.cli.gate', 'redis', 'fastapi', 'numpy'} & set(sys.modules)))"
    )
    env = {**os.environ, "_SHADOW_COMPLETE": "bash_complete", "COMP_WORDS": "shadow g", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["plain,gate", "[]"], done.stderr


def test_what_is_gone_and_what_stays_is_said_when_all_has_stopped() -> None:
    settings = ScorerSettings(store="file:///srv/bundles")
    gone = "\n".join(left_behind(settings, frozenset({"Kafka", "Redis"})))
    assert gone.count("gone with the embedded") == 2
    assert "SCORER_KAFKA" in gone
    assert "kept in file:///srv/bundles: every bundle" in gone
    kept = "\n".join(left_behind(settings, frozenset()))
    assert "gone" not in kept
    assert kept.count("kept in your") == 2
