"""Every table that a command prints, on a real run with the longest names: whole in a pipe, and readable at 80 and
60 columns."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.models import Models
from harness.stack import BIN, Stack, wait_for, write_lines
from scorer.text_table import columns_of

SLOT = "challenger-with-long-name-of-31"
SEGMENT = "merchant_group_of_forty_characters"
RELEASE = f"""schema: 1
segments:
  {SEGMENT}: {{field: country, values: [DE, FR, "[red]张伟[/]"]}}
minimum_covered_hours: 24
"""
SIGNED = (
    "--by",
    "Zoë 张伟",
    "--reason",
    "a long reason, as people give them, with all that has to be said for the record",
)
WIDTHS = (80, 60)
N = 3000


def rows(models: Models) -> Iterator[dict[str, Any]]:
    """The stream, as merchants with the longest ids send it."""
    for n, line in enumerate(models.stream.read_text().splitlines()[:N]):
        row = orjson.loads(line)
        country = "[red]张伟[/]" if n % 50 == 0 else row.get("country", "DE")
        yield {**row, "country": country, "merchant_id": f"[b]{row['merchant_id']}".ljust(64, "m")}


@pytest.fixture(scope="module")
def stack(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("tables")
    (folder / "release.yaml").write_text(RELEASE)
    env = {**models.env, "SHADOW_RELEASE": str(folder / "release.yaml"), "SHADOW_ARCHIVE": str(folder / "archive")}
    with Stack(folder, env) as stack:
        stack.deploy(models.live, "live")
        stack.run("scorer", "deploy", models.candidate, "--slot", SLOT, *SIGNED)
        stack.deploy(models.control, "control")
        stack.start("scorer", "run", ready=False)
        for slot in (SLOT, "control"):
            stack.start("shadow", "run", "--slot", slot, ready=False)
        stack.until_ready()
        stack.run("scorer", "replay", str(write_lines(folder / "s.jsonl", list(rows(models)))))
        stack.until_settled(N)
        for slot in (SLOT, "control"):
            wait_for(
                f"{slot} is done",
                lambda slot=slot: stack._command(("shadow", "verify", "--slot", slot), {}).returncode == 0,
            )
        for worker in stack.workers:
            worker.stop()
        sample = stack.run("shadow", "disagreements", "--slot", SLOT, "--json", "--limit", "1")
        transaction = orjson.loads(sample)["transaction_id"]
        stack.run("shadow", "review", "mark", transaction, "fraud", "--slot", SLOT, "--by", "a" * 60)
        stack.env["TRANSACTION"] = transaction
        stack.run("shadow", "archive", "run", "--once", "--http-port", "0")
        yield stack


def commands(stack: Stack, models: Models) -> dict[str, list[str]]:
    """What is run, by a name for people. What takes long or depends on the moment is small."""
    one = stack.env["TRANSACTION"]
    slot = ["--slot", SLOT]
    plan = ["--transactions", "30000", "--runs", "10", "--days", "2"]
    return {
        "gate": ["shadow", "gate", *slot],
        "brief": ["shadow", "gate", "--brief", *slot],
        "status": ["shadow", "status"],
        "history": ["shadow", "history"],
        "at": ["shadow", "history", "--at", "2100-01-01"],
        "evidence": ["shadow", "evidence"],
        "verify": ["shadow", "verify", *slot],
        "automate": ["shadow", "automate"],
        "plan": ["shadow", "plan", *plan],
        "samples": ["shadow", "disagreements", *slot],
        "facets": ["shadow", "disagreements", *slot, "--facets", "merchant_id", "--facets", f"segment.{SEGMENT}"],
        "drivers": ["shadow", "disagreements", *slot, "--drivers"],
        "explain": ["shadow", "disagreements", *slot, "--explain", one],
        "next": ["shadow", "review", "next", *slot, "--by", "bob", "--count", "2", "--show-models"],
        "labels": ["shadow", "labels", "show", one],
        "archive": ["shadow", "archive", "status"],
        "levels": ["shadow", "levels", *slot, "--label-delay", "0", "--as-of", "2027-01-01"],
        "backtest": ["shadow", "backtest", "--candidate", models.candidate],
        "bundles": ["scorer", "bundle", "list"],
        "bundle": ["scorer", "bundle", "show", models.candidate],
        "diff": ["scorer", "bundle", "diff", models.live, models.candidate],
    }


NAMES = tuple(commands(Stack(Path(), {"TRANSACTION": ""}), Models({}, "", "", "", Path(), Path())))
#: Of these, figures depend on the moment.
MOMENTARY = {"status", "history", "at", "backtest"}
FIGURE = re.compile(r"\d[\d.,]*")


def printed(stack: Stack, argv: list[str], columns: int | None) -> list[str]:
    env = {} if columns is None else {"COLUMNS": str(columns)}
    done = stack._command(argv, env)
    assert done.returncode in (0, 3, 4), done.stderr.decode()
    return done.stdout.decode().splitlines()


def is_one_word(line: str) -> bool:
    """A word, or a command that is to be copied, which the terminal breaks by itself; perhaps behind its name."""
    said = line.strip()
    return " " not in re.sub(r"`[^`]*`", "command", said)


@pytest.mark.parametrize("name", NAMES)
def test_every_table_fits_a_narrow_terminal_without_losing_a_figure(stack: Stack, models: Models, name: str) -> None:
    argv = commands(stack, models)[name]
    piped = printed(stack, argv, None)
    assert piped
    assert all(line.isprintable() for line in piped), "nothing speaks to a terminal"
    for columns in WIDTHS:
        narrow = printed(stack, argv, columns)
        assert all(line.isprintable() for line in narrow)
        for line in narrow:
            is_command = name == "brief" and line.startswith("next: ")
            assert columns_of(line) <= columns or is_one_word(line) or is_command, f"{columns}: {line}"
        assert "…" not in "".join(narrow).replace("--by …", "").replace("--reason …", "") or name in (
            "brief",
            "bundles",
        )
        if name not in {*MOMENTARY, "brief"}:
            assert figures(narrow) == figures(piped)


def figures(lines: list[str]) -> set[str]:
    """Numbers, without thousandths of seconds, which narrow tables leave out."""
    short = [re.sub(r"(\d\d:\d\d:\d\d)\.\d+Z", r"\1", line) for line in lines]
    return {one.rstrip(".,") for line in short for one in FIGURE.findall(line)}


def test_a_real_terminal_is_as_wide_as_it_says_and_no_color_is_heard(stack: Stack, models: Models) -> None:
    argv = commands(stack, models)["gate"]
    plain = on_terminal(stack, argv, 60, {"NO_COLOR": "1"})
    assert "\x1b[3" not in plain
    assert all(
        columns_of(line) <= 60 or is_one_word(line) for line in re.sub(r"\x1b\[[0-9;]*[mK]", "", plain).splitlines()
    )


def on_terminal(stack: Stack, argv: list[str], columns: int, env: dict[str, str]) -> str:
    """What a command writes to a terminal of its own."""
    import fcntl
    import struct
    import termios

    main, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    outer = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [str(BIN / argv[0]), *argv[1:]],
        env={**outer, **stack.env, "TERM": "xterm", **env},
        cwd=stack.folder,
        stdin=subprocess.DEVNULL,
        stdout=end,
        stderr=subprocess.DEVNULL,
    )
    os.close(end)
    told = bytearray()
    try:
        while part := os.read(main, 65536):
            told += part
    except OSError:  # the other end is closed
        pass
    os.close(main)
    assert process.wait() in (0, 3, 4)
    return told.decode().replace("\r\n", "\n")
