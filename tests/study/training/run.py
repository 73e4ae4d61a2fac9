"""`make train-study`: what a training is worth on public data, and what it takes; writes build/train.json.

Each part is a process of its own: the protocol, the features, `scorer train` and `scorer reproduce` on the whole file,
and a backtest of 300,000 decisions.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from harness.places import HANDBOOK, ROOT
from harness.stack import BIN

REPORT = ROOT / "build" / "train.json"
DOCS = ROOT / "docs" / "study.md"
MARK = "`make train-study`"
MEASURES = ("auc_roc", "average_precision", "card_precision_at_100")
#: Decisions of the backtest.
DECISIONS = 300_000


@dataclass(frozen=True)
class Done:
    """A process that has ended. peak_mb: of its memory, or of the largest of those it waited for."""

    code: int
    out: str
    seconds: float
    peak_mb: float


def run(argv: list[str], env: dict[str, str] | None = None, cwd: Path | None = None) -> Done:
    """Run a process to its end. What it says to people is shown."""
    with tempfile.TemporaryFile() as out:
        started = time.monotonic()
        process = subprocess.Popen(argv, stdout=out, env={**os.environ, **(env or {})}, cwd=cwd)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        out.seek(0)
        return Done(process.returncode, out.read().decode(), seconds, used.ru_maxrss / 1024)


def module(name: str, *argv: str) -> Any:
    """What a module of the tests prints, as JSON. Raises RuntimeError if it fails."""
    done = run([sys.executable, "-m", name, *argv], cwd=ROOT / "tests")
    if done.code:
        raise RuntimeError(f"{name} has failed ({done.code})")
    return orjson.loads(done.out)


def commands(path: Path, folder: Path, threads: int) -> dict[str, Any]:
    """`scorer train` on the whole file, and `scorer reproduce` of what came of it with another number of threads."""
    from study.training.places import settings

    env = settings(folder)
    made = run([str(BIN / "scorer"), "train", str(path), "--threads", str(threads)], env)
    if made.code:
        raise RuntimeError(f"scorer train has failed ({made.code})")
    digest = made.out.strip()
    again = run([str(BIN / "scorer"), "reproduce", digest, str(path), "--threads", str(threads + 1)], env)
    return {
        "train_s": round(made.seconds, 1),
        "peak_mb": round(made.peak_mb),
        "reproduced": again.code == 0 and again.out.strip() == f"the same: {digest}",
    }


def study(source: Path, folder: Path, decisions: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The report, and the figures of the week that learnt from everything before it."""
    path = folder / "handbook.parquet"
    done = run([sys.executable, "-m", "study.training.places", str(source), str(path)], cwd=ROOT / "tests")
    if done.code:
        raise RuntimeError(f"{source}: cannot be prepared ({done.code})")
    protocol = module("study.training.protocol", str(path))
    weeks = protocol["weeks"]
    for week in weeks:
        print(week, flush=True)
    report = {
        "protocol": {name: sum(week[name] for week in weeks) / len(weeks) for name in MEASURES},
        "weeks": weeks,
        "rows_per_s": round(module("study.training.speed", str(path))["rows_per_s"]),
        **commands(path, folder, len(os.sched_getaffinity(0))),
        "backtest_s": round(module("bench.backtest", "--decisions", str(decisions))["command_seconds"], 1),
    }
    return report, protocol["all_earlier"]


def table(report: dict[str, Any], all_earlier: dict[str, Any]) -> str:
    """The report as a table of docs/study.md."""
    titles = ("AUC", "average precision", "card precision@100")
    lines = [f"| trained on the week from | {' | '.join(titles)} |", "|---|---:|---:|---:|"]
    rows = [(week["from"], week) for week in report["weeks"]]
    rows += [("**mean**", report["protocol"]), (f"all up to the week of {all_earlier['from']}", all_earlier)]
    lines += [f"| {name} | {' | '.join(f'{of[measure]:.3f}' for measure in MEASURES)} |" for name, of in rows]
    same = "the same digest" if report["reproduced"] else "another digest"
    lines += [
        "",
        f"Features of the whole file: {report['rows_per_s']:,} rows a second on one core. `scorer train` on all of it: "
        f"{report['train_s']:g} s,",
        f"{report['peak_mb']:,} MB at most; `scorer reproduce` with one thread more: {same}. A backtest of "
        f"{DECISIONS:,} decisions: {report['backtest_s']:g} s.",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the study; returns the exit code."""
    from study.published import publish

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--publish", action="store_true", help="write the table into docs/study.md")
    options = parser.parse_args()
    if not HANDBOOK.is_file():
        print(f"there is no {HANDBOOK}; name a folder with it by DATA=", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        report, all_earlier = study(HANDBOOK, Path(name), DECISIONS)
    print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    if options.publish:
        publish(table(report, all_earlier), DOCS, MARK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
