"""What cards cost a scorer, without a broker: memory, the work to take them over, and to drop them again.

cd tests && PYTHONPATH=.. ../.venv/bin/python -m bench.cards 100000 1000000
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from scorer.pipeline.card_row import LAYOUT, ROW, SPAN_DAYS
from scorer.pipeline.card_states import CardStates

#: Records of a fetch at a take-over.
CHUNK = 20_000


def resident() -> int:
    """Memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(n: int) -> str:
    """A row of the table: n cards that are taken over and then dropped as idle."""
    before, states, loading = resident(), CardStates(), 0.0
    for first in range(0, n, CHUNK):
        k = min(CHUNK, n - first)
        rows = np.zeros(k, dtype=ROW)
        rows["layout"], rows["offset"] = LAYOUT, np.arange(first, first + k)
        rows["heads"] = np.arange(k)[:, None] % SPAN_DAYS
        keys = [f"card-{i:011}".encode() for i in range(first, first + k)]
        values = [row.tobytes() for row in rows]
        began = time.thread_time()
        states.load(keys, values)
        loading += time.thread_time() - began
        del rows, keys, values
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    held, told = resident() - before, states.memory_bytes
    states.clock.day += 10 * SPAN_DAYS
    began, dropped = time.thread_time(), 0
    while dropped < n:
        dropped += len(states.sweep(1000, n))
    sweeping = time.thread_time() - began
    cells = n, held / n, told / n, peak / n, loading, loading / n * 1e6, sweeping / n * 1e6
    return "| {:,} | {:.0f} | {:.0f} | {:.0f} | {:.1f} | {:.1f} | {:.1f} |".format(*cells)


def drop_us(n: int) -> float:
    """CPU microseconds to drop one of n idle cards, in a process of its own."""
    argv = [sys.executable, "-m", "bench.cards", "--one", str(n)]
    row = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(row.rstrip(" |\n").rpartition("|")[2])


def main() -> None:
    """A table, each row from a process of its own."""
    if len(sys.argv) == 3 and sys.argv[1] == "--one":
        print(measure(int(sys.argv[2])))
        return
    print("| cards | bytes a card | as the metric says | peak | take-over, s of CPU | us a card | to drop one, us |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for n in sys.argv[1:]:
        subprocess.run([sys.executable, "-m", "bench.cards", "--one", n], check=True)


if __name__ == "__main__":
    main()
