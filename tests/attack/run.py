"""`make attack`: every attack once, a table, build/attack.json. Exits 1 unless every count of a fault is 0."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import orjson

from attack import api, bundles, files, records, stores, topics
from attack.counts import Counts
from conftest import PARTS
from harness.places import ROOT

OUT = ROOT / "build" / "attack.json"
COLUMNS = ("target", "tried", "crashes", "hangs", "wrong")
#: Inputs of each target in a whole attack. Of `topics` for each topic, of `requests` for each operation of the API.
WHOLE = {
    "records": 2_000_000, "bundles": 5_000, "stores": 400, "texts": 30_000, "commands": 400, "topics": 20_000,
    "requests": 60,
}  # fmt: skip
#: Rounds of waves on the topics in a whole attack.
ROUNDS = 3
#: Processes that attack at a time; the workers and servers of the stage come beside one of them.
PROCESSES = 2
TARGETS = ("records", "bundles", "stores", "texts", "commands", "topics")
Work = tuple[str, Callable[..., Counts | list[Counts]], tuple[object, ...]]


def works(share: float, seed: int, names: set[str]) -> Iterator[Work]:
    """The pieces of work, those first that take longest."""
    n = {name: max(1, int(whole * share)) for name, whole in WHOLE.items()}
    if "topics" in names:
        has_api = api.PROGRAM.exists()
        if not has_api:
            print("API: schemathesis is not installed (make .venv/.attack); left out", flush=True)
        waves = max(40, n["topics"]), max(1, round(ROUNDS * share)), n["requests"] if has_api else 0
        yield "topics", topics.attack, (seed, *waves, _say)
    if "stores" in names:
        yield "stores", stores.attack, (seed, n["stores"])
    if "bundles" in names:
        for part, count in _parts(n["bundles"], 1000):
            yield f"bundles {part + 1}", bundles.attack, (seed * 100 + part, count)
    if "commands" in names:
        for part, count in _parts(n["commands"], 300):
            yield f"commands {part + 1}", files.commands, (seed * 100 + part, count)
    if "texts" in names:
        yield "texts", files.texts, (seed, n["texts"])
    if "records" in names:
        for at, (source, of, count) in enumerate(records.pieces(share, WHOLE["records"], seed)):
            yield f"{source} {at + 1}", records.piece, (source, of, count)


def _parts(n: int, most: int) -> list[tuple[int, int]]:
    """Pieces of at most so many: their numbers and sizes."""
    return [(at, min(most, n - at * most)) for at in range(-(-n // most))]


def _say(text: str) -> None:
    """Progress of the stage, from the process that it is in."""
    print(f"    {text}", flush=True)


def _silenced() -> None:
    logging.disable(logging.CRITICAL)  # what fails on purpose is logged


def played(share: float, seed: int, names: set[str], say: Callable[[str], None]) -> list[Counts]:
    """Attack; the counts of every target."""
    totals: dict[str, Counts] = {}
    everything = list(works(share, seed, names))
    began, done = time.monotonic(), 0
    pool = ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn"), initializer=_silenced)
    with pool:
        running: dict[Future[Counts | list[Counts]], str] = {
            pool.submit(attack, *given): name for name, attack, given in everything
        }
        for future in as_completed(running):
            done += 1
            name = running[future]
            try:
                found = future.result()
            except BrokenProcessPool:
                found = Counts(name, tried=1, crashes=1, told=["crash: the attacking process was killed"])
            except Exception as error:
                found = Counts(name, tried=1, crashes=1, told=[f"crash: the attack itself: {error!r}"])
            for one in found if isinstance(found, list) else [found]:
                totals.setdefault(one.target, Counts(one.target)).add(one)
                for told in one.told:  # now, as a whole attack takes long and may be stopped
                    say(f"    {one.target}: {told}")
            faults = sum(one.crashes + one.hangs + one.wrong for one in totals.values())
            tried = sum(one.tried for one in totals.values())
            say(f"{done}/{len(everything)} {name}: {tried:,} tried, {faults} faults, {time.monotonic() - began:.0f} s")
    return sorted(totals.values(), key=lambda one: one.target)


def table(found: list[Counts]) -> str:
    """Counts in columns."""
    cells = [list(COLUMNS), *([str(one.row()[name]) for name in COLUMNS] for one in found)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


def main() -> None:
    """Parse the arguments and attack."""
    parser = argparse.ArgumentParser(description=__doc__)
    told = f"of {', '.join(TARGETS)}; their rows replace those of an earlier run (default: all)"
    parser.add_argument("names", nargs="*", help=told)
    parser.add_argument("--share", type=float, default=1.0, help="share of the inputs of a whole attack")
    parser.add_argument("--seed", type=int, default=1, help="seed of what is generated")
    parser.add_argument("--out", type=Path, default=OUT, help="where the counts go")
    args = parser.parse_args()
    names = set(args.names or TARGETS)
    unknown = sorted(names - set(TARGETS))
    if unknown or not 0 < args.share <= 100:
        parser.error(f"no target {unknown[0]}" if unknown else "--share: expected a number above 0")
    missing = [reason for part, (is_here, reason) in PARTS.items() if part == "kafka" and not is_here()]
    if "topics" in names and missing:
        print(f"topics and API: {missing[0]}; name other targets", file=sys.stderr)
        sys.exit(2)
    found = played(args.share, args.seed, names, lambda text: print(text, flush=True))
    for one in found:
        kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(one.seen.items(), key=lambda kind: -kind[1]))
        print(f"\n{one.target}: {kinds}" if kinds else f"\n{one.target}")
        for told in one.told:
            print(f"    {told}")
    args.out.parent.mkdir(exist_ok=True)
    rows = (
        {row["target"]: row for row in orjson.loads(args.out.read_bytes())} if args.names and args.out.is_file() else {}
    )
    rows |= {one.target: one.row() for one in found}
    args.out.write_bytes(orjson.dumps([rows[name] for name in sorted(rows)], option=orjson.OPT_INDENT_2))
    print(f"\n{table(found)}")
    sys.exit(not all(one.is_clean for one in found))


if __name__ == "__main__":
    main()
