"""The shapes alone: `python -m study.shapes --share 0.1 swap_all_8 other_10`; prints what the gate made of them."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import orjson

from study.shapes.catalogue import SHAPES
from study.shapes.shaped import shapes, told, totals


def main() -> int:
    """Run some shapes; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *SHAPES], help="shapes; all if left out")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--why", action="store_true", help="tell of every release that is on the wrong side")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.workers) as pool:
        found = shapes(pool, options.share, options.seed, options.names or tuple(SHAPES))
    if options.why:
        for name, releases in found.items():
            wrong = "promote" if SHAPES[name].harmful else "reject"
            counted = Counter(
                (one.about, one.broken, one.outcome.verdict) for one in releases if one.outcome.verdict == wrong
            )
            for (about, broken, verdict), n in counted.items():
                print(f"{name}: {verdict} {n}; {about}; {broken}")
    rows = {name: told(SHAPES[name], releases) for name, releases in found.items()}
    print(orjson.dumps(totals(rows), option=orjson.OPT_INDENT_2).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
