"""The demo as a newcomer runs it, beside another one that is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import orjson

from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from harness.stack import wait_for

REPORT = ROOT / "build" / "demo.json"


def start(log: Path, *argv: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        command = [sys.executable, str(ROOT / "deploy" / "local" / "demo.py"), *argv]
        return subprocess.Popen(
            command,
            cwd=log.parent,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # a shell that runs the tests in its background has them, and what they start, ignore SIGINT
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def left_of(demo: subprocess.Popen[bytes]) -> list[str]:
    """Command lines of processes that work in the folder of a demo."""
    folder, found = f"demo-{demo.pid}/", []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            where = f"{os.readlink(entry / 'cwd')}/"
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if folder in where:
            found.append(command)
    return found


def told_in_order(text: str) -> None:
    """Live is archived, the challenger is caught there and gets a slot, a rotation makes the candidate; then the shadow
    catches the challenger again, and the candidate is reviewed and approved."""
    steps = ("shadow archive run", "shadow backtest", "scorer deploy", "scorer rotate", "shadow gate --slot challenger",
             "shadow review next --slot candidate", "shadow approve")  # fmt: skip
    at = [text.index(f"$ {command}") for command in steps]
    assert at == sorted(at)
    _, tried, deployed, rotated, gated, reviewed, _ = at
    for begin, end in ((tried, deployed), (gated, reviewed)):
        verdicts = re.findall(r"^    reject: (country FR): ", text[begin:end], re.MULTILINE)
        assert verdicts == ["country FR"]
    (made,) = re.findall(r"^    slot candidate: bundle (\w+), with twin ", text[rotated:gated], re.MULTILINE)
    history = [line for line in text.splitlines() if f"rotation by demo: bundle {made}" in line]
    assert len(history) == 1, "the history of the candidate tells who made it"
    (told,) = re.findall(r"slot challenger: (\d+) decisions = .* duplicates \+ (\d+) skipped", text)
    assert 0 < int(told[1]) < int(told[0]), "it is not judged on what came before it had a slot"


def test_demo_tells_its_story_while_another_is_interrupted(tmp_path: Path) -> None:
    REPORT.unlink(missing_ok=True)
    log, other_log = tmp_path / "demo.log", tmp_path / "other.log"
    demo, other = start(log), start(other_log)
    wait_for("the other streams", lambda: "scorer replay" in other_log.read_text() or other.poll() is not None)
    assert other.poll() is None, other_log.read_text()[-2000:]
    assert len(left_of(other)) >= 6
    other.send_signal(signal.SIGINT)
    assert other.wait(PATIENCE_SECONDS) == 130
    assert not left_of(other)

    assert demo.wait(PATIENCE_SECONDS) == 0, log.read_text()[-3000:]
    assert not left_of(demo)
    told = orjson.loads(REPORT.read_bytes())
    assert told["transactions"] >= 60_000
    assert told["transactions"] == told["decisions"] + told["rejects"]
    assert told["comparisons"].keys() == {"candidate", "challenger", "control"}
    assert min(told["comparisons"].values()) >= 10_000
    assert told["rejected"] == {"slot": "challenger", "segment": "country=FR"}
    assert told["backtest"] == "reject"
    assert told["promoted"] == told["live_after"] == told["rotation"]["candidate"] != told["live_before"]
    text = log.read_text()
    told_in_order(text)
    assert len(re.findall(r"^    equal$", text, re.MULTILINE)) == 4
    assert not re.findall(r"^    NOT", text, re.MULTILINE)
    assert "Traceback" not in text + other_log.read_text()


def test_a_demo_that_fails_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    """A setting that is no setting: the first command fails."""
    broken = tmp_path / "deploy" / "local"
    broken.mkdir(parents=True)
    for part in (ROOT / "deploy" / "local").iterdir():
        (broken / part.name).write_bytes(part.read_bytes())
    (broken / "scorer.yaml").write_text("partitions: 0\n")
    command = [sys.executable, str(broken / "demo.py")]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 1
    assert b"error: scorer" in done.stderr
    assert not (tmp_path / "build" / "demo.json").exists()
