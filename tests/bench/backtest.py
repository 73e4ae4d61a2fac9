"""How long a backtest takes: archived decisions of a month, with 40 features and models of real size, on one core.

    cd tests && python -m bench.backtest [--decisions N] [--control]

Prints what `shadow backtest --json` says of its time, and the CPU seconds of the command and its store.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson

from bench.floor import decisions
from bench.shadow_floor import RELEASE, views
from bench.workload import START_MS, make
from harness.stack import BIN
from scorer.pipeline.instants import DAY_MS, stamps
from shadow.archive.rows import KINDS
from shadow.archive.tables import Archive, Chunk

DAYS = 30
#: Records of a partition in a commit, as the archiver makes them.
COMMIT = 25_000


def archive(folder: Path, n: int) -> tuple[str, str]:
    """An archive of n decisions in a folder, and the bundles of candidate and control."""
    work = make(folder, n)
    made = decisions(folder, work, 4_000)
    place = Archive(str(folder / "archive"), {})
    tables = {kind.table: (kind, place.table(kind, kind.role)) for kind in KINDS}
    parts = []
    for records in made:
        times = stamps(START_MS + np.linspace(0, DAYS * DAY_MS, len(records), endpoint=False).astype(np.int64))
        values = []
        for (_, value), at in zip(records, times, strict=True):
            row = orjson.loads(value or b"")
            row["transaction"]["occurred_at"] = row["scored_at"] = at
            values.append(orjson.dumps(row))
        parts.append(values)
    kind, table = tables["decisions"]
    for start in range(0, max(map(len, parts)), COMMIT):
        chunks = []
        for partition, values in enumerate(parts):
            some = values[start : start + COMMIT]
            told = [
                SimpleNamespace(offset=start + at, value=value, timestamp=START_MS) for at, value in enumerate(some)
            ]
            chunks.append(Chunk(partition, start, start + len(some), kind.build(partition, told, ())))
        table.append(chunks)
        table.refresh()
    kind, table = tables["deployments"]
    of_views = [
        SimpleNamespace(
            offset=at, key=f"view/{name}".encode(), value=view.model_dump_json().encode(), timestamp=START_MS
        )
        for at, (name, view) in enumerate(views().items())
    ]
    table.append([Chunk(0, 0, len(of_views), kind.build(0, of_views, ()))])
    return work.candidate, work.digest


def main() -> None:
    """Make an archive, and run the command on one core."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--decisions", type=int, default=300_000)
    asked.add_argument("--control", action="store_true", help="with an A/A control, which is scored, too")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        candidate, control = archive(folder, options.decisions)
        (folder / "release.yaml").write_text(RELEASE)
        env = os.environ | {
            "SHADOW_ARCHIVE": str(folder / "archive"),
            "SHADOW_STORE": str(folder / "bundles"),
            "SHADOW_CACHE": str(folder / "cache"),
            "SHADOW_RELEASE": str(folder / "release.yaml"),
            "OMP_NUM_THREADS": "1",
        }
        argv = [str(BIN / "shadow"), "backtest", "--candidate", candidate, "--json"]
        argv += ["--control", control] if options.control else []
        core = min(os.sched_getaffinity(0))
        started = time.perf_counter()
        done = subprocess.run(
            argv,
            env=env,
            cwd=folder,
            stdout=subprocess.PIPE,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, [core]),
        )
        spent = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode in (0, 3, 4), done.returncode
        told = orjson.loads(done.stdout)
        assert told["decisions"] == options.decisions
        out = {name: told[name] for name in ("verdict", "decisions", "seconds", "scoring_seconds")}
        out |= {"command_seconds": spent, "cpu_seconds": used.ru_utime + used.ru_stime}
        print(orjson.dumps(out, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
