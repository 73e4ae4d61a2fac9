"""`make faults`: plays every scenario once, prints a table, writes build/faults.json, exits 1 if any promise broke."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

import faults.scenarios  # noqa: F401 - fills ALL
from conftest import PARTS
from faults.arena import Arena
from faults.checker import Verdict, check
from faults.scenario import ALL, Scenario
from faults.workload import prepared
from harness.kafka import Kafka, tail
from harness.models import Models
from harness.places import ROOT
from harness.stores import RedisServer, debian_redis

OUT = ROOT / "build" / "faults.json"
COLUMNS = ("scenario", "transactions", "faults", "lost", "duplicated", "miscounted", "conflicts", "live_stall_s")
#: Broker append times, so that neither a jumped clock nor a late sender blurs the stall.
BROKER = {"log.message.timestamp.type": "LogAppendTime"}


def play(scene: Scenario, models: Models, seed: int, folder: Path) -> tuple[Arena, Verdict]:
    """Play one scenario and look at what it left behind."""
    kafka = Kafka(folder / "kafka", scene.brokers, dict(BROKER))
    store = RedisServer(folder / "redis", str(debian_redis()), appendonly=scene.appendonly)
    arena = Arena(folder, models, kafka, store, seed, scene.clock, scene.env, allows_extras=scene.allows_extras)
    with arena:
        try:
            scene.play(arena)
            arena.finish()
        except Exception as error:
            arena.problems.append(f"did not come to its end: {type(error).__name__}: {error}")
            traceback.print_exc()
        verdict = check(arena)
        if not arena.faults:
            verdict.miscounted += 1
            verdict.tell("no fault struck")
    return arena, verdict


def missing(names: Sequence[str]) -> list[str]:
    """What has to be installed for these scenarios."""
    wanted = {"kafka", "redis"} | {part for name in names for part in ALL[name].needs}
    return [reason for part, (is_here, reason) in PARTS.items() if part in wanted and not is_here()]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows under their names, in columns."""
    cells = [list(COLUMNS), *([str(row[name]) for name in COLUMNS] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def main() -> None:
    """Parse the arguments and play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="scenarios; their rows replace those of an earlier run (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the moments at which faults strike")
    parser.add_argument("--list", action="store_true", help="name every scenario and what it does")
    parser.add_argument("--keep", type=Path, help="keep logs and data of the servers and workers below this folder")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{name}: {scene.told}" for name, scene in ALL.items()))
        return
    unknown = [name for name in args.names if name not in ALL]
    if unknown:
        parser.error(f"no scenario {unknown[0]}; see --list")
    names = args.names or list(ALL)
    absent = missing(names)
    if absent:
        print("cannot play:\n  " + "\n  ".join(absent), file=sys.stderr)
        sys.exit(2)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # brokers that are away are what this is about
    models = prepared()
    rows: dict[str, dict[str, Any]] = {}
    if args.names and OUT.is_file():
        rows = {row["scenario"]: row for row in orjson.loads(OUT.read_bytes())}
    is_clean = True
    for name in names:
        print(f"{name} (seed {args.seed}): {ALL[name].told}", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
            folder = (args.keep or Path(temporary)) / name
            folder.mkdir(parents=True)
            arena, verdict = play(ALL[name], models, args.seed, folder)
            for told in [*arena.notes, *verdict.told]:
                print(f"    {told}")
            if not verdict.is_clean:
                is_clean = False
                for log in sorted(folder.glob("*.log"))[-6:]:
                    print(f"--- {log.name}\n{tail(log, 1200)}")
        found = {field: getattr(verdict, field) for field in COLUMNS if hasattr(verdict, field)}
        rows[name] = {"scenario": name, "faults": arena.faults, **found}
        rows[name] = {column: rows[name][column] for column in COLUMNS}
        if verdict.dropped:
            print(f"    {verdict.dropped} cards were dropped")
        extras = f", {verdict.extras} decisions beside the first" if verdict.extras else ""
        print(
            f"    {'clean' if verdict.is_clean else 'BROKEN'} in {time.monotonic() - began:.0f} s{extras}", flush=True
        )
        OUT.parent.mkdir(exist_ok=True)
        ordered = [rows[name] for name in ALL if name in rows]
        OUT.write_bytes(orjson.dumps(ordered, option=orjson.OPT_INDENT_2))
    print(table([rows[name] for name in names]))
    sys.exit(not is_clean)


if __name__ == "__main__":
    main()
