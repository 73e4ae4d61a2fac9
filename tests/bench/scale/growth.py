"""What 512 partitions cost beside 4, and a second scorer beside one, in turns: `python -m bench.scale.growth`.

The same backlog each time. One turn alone says little: a neighbour on the host doubles what a transaction costs.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.load import FILE
from bench.reckoning import Ratio, interval
from bench.scale import page, scorers
from bench.stage import BROKER_CORE, IN_MEMORY
from bench.workload import Workload, make

#: Partitions that are compared.
PARTITIONS = (4, 512)
#: Scorers of a group that are compared.
SCORERS = (1, 2)
TURNS = 5
TRANSACTIONS = 200_000


def measured(folder: Path, work: Workload, turns: int, told: Callable[[str], None]) -> dict[str, Ratio]:
    """The ratios of `page.ratios` over so many turns. told: gets a line about each run."""
    (folder / FILE).write_bytes(pickle.dumps(work))
    found: list[dict[str, float]] = []
    for _ in range(turns):
        backlogs = [scorers.apart(folder, n) for n in PARTITIONS]
        shared = [scorers.measure(folder, work, n) for n in SCORERS]
        for what, n, one in zip(
            ("partitions", "partitions", "scorers", "scorers"), PARTITIONS + SCORERS, backlogs + shared, strict=True
        ):
            told(f"{n} {what}: {one}")
        found.append(page.ratios(PARTITIONS, backlogs, shared))
    return {name: interval([turn[name] for turn in found]) for name in found[0]}


def main() -> None:
    """Measure, print each ratio with its interval."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        folder = Path(name)
        work = make(folder, TRANSACTIONS)
        os.sched_setaffinity(0, {BROKER_CORE})
        for ratio, one in measured(folder, work, TURNS, lambda line: print(line, flush=True)).items():
            print(f"{ratio}: {one.median:.3f} ({one.low:.3f} to {one.high:.3f})")


if __name__ == "__main__":
    main()
