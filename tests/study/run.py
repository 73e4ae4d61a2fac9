"""`make study`: what the gate makes of releases whose truth is known, and of harm in many shapes; writes
build/study.json."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import orjson  # noqa: E402

from harness.places import HANDBOOK, ROOT  # noqa: E402
from study.edge import edge  # noqa: E402
from study.model import HARMFUL, KINDS  # noqa: E402
from study.plot import draw  # noqa: E402
from study.published import publish, table, table_of_shapes  # noqa: E402
from study.shapes.catalogue import SHAPES  # noqa: E402
from study.shapes.shaped import shapes, told  # noqa: E402
from study.shapes.shaped import totals as totals_of_shapes  # noqa: E402
from study.simulated import RULES, is_right, release_of  # noqa: E402
from study.timing import timing  # noqa: E402
from study.verdicts import Outcome, summary  # noqa: E402

REPORT = ROOT / "build" / "study.json"
#: Releases of each kind.
RELEASES = {
    "same": 350,
    "better": 350,
    "worse_overall": 220,
    "worse_in_one_segment": 330,
    "miscalibrated": 220,
    "dead_in_one_segment": 250,
    "drifted_input": 140,
    "unsupported_harm": 140,
}
WORKERS = 2
#: Releases of each kind at the edge of the plan's support.
EDGE_RELEASES = 100


def simulate(pool: Executor, share: float, seed: int) -> dict[str, dict[str, Any]]:
    """All kinds through all rules: by rule and kind."""
    found: dict[tuple[str, str], list[tuple[Outcome, bool | None]]] = defaultdict(list)
    for kind in KINDS:
        n = max(1, round(RELEASES[kind] * share))
        started = time.monotonic()
        for truth, outcomes in pool.map(partial(release_of, kind, seed=seed), range(n), chunksize=5):
            for rule, outcome in outcomes.items():
                found[rule, kind].append((outcome, is_right(truth, outcome)))
        told = summary(found["gate", kind])
        print(f"{kind:22} {told}  {time.monotonic() - started:.0f} s", flush=True)
    return {rule: {kind: summary(found[rule, kind]) for kind in KINDS} for rule in RULES}


def real(source: Path, share: float, seed: int) -> dict[str, Any]:
    """The part on real data, in a process of its own. A small share takes one pair of windows and small models."""
    from study.real import study

    small = {} if share >= 1 else {"pairs": 1, "rounds": 50}
    return study(source, ROOT / "build" / "study", seed, **small)


def totals(kinds: dict[str, Any]) -> dict[str, float]:
    """The figures that are promised, as shares."""

    def share(what: str, *names: str) -> float:
        return float(sum(kinds[name][what] for name in names) / sum(kinds[name]["n"] for name in names))

    return {
        "harmful_promoted": share("promote", *HARMFUL),
        "right_segment": share("right_segment", "worse_in_one_segment", "dead_in_one_segment"),
        "better_promoted": share("promote", "better"),
        "same_promoted": share("promote", "same"),
        "false_rejections": share("reject", "same", "better"),
        "unsupported_named": share("right_segment", "unsupported_harm"),
    }


def main() -> int:
    """Run the study; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--share", type=float, default=1.0, help="of the releases; a small one to try things out")
    parser.add_argument("--publish", action="store_true", help="write picture and table into docs/")
    options = parser.parse_args()
    started = time.monotonic()
    with ProcessPoolExecutor(WORKERS) as pool:
        on_real = None
        if (
            HANDBOOK.is_file()
        ):  # first, as it takes longest: one worker has it, the other begins with the simulated ones
            on_real = pool.submit(real, HANDBOOK, options.share, options.seed)
        rules = simulate(pool, options.share, options.seed)
        at_edge = edge(pool, max(1, round(EDGE_RELEASES * options.share)), options.seed)
        found = shapes(pool, options.share, options.seed)
        of_real = on_real.result() if on_real is not None else {"left_out": f"there is no {HANDBOOK}; see DATA="}
    if on_real is None:
        print(f"real data: left out, there is no {HANDBOOK}; name a folder with DATA=")
    of_shapes = {name: told(SHAPES[name], releases) for name, releases in found.items()}
    report: dict[str, Any] = {
        "kinds": rules["gate"],
        "shapes": of_shapes,
        "shape_targets": totals_of_shapes(of_shapes),
        "baselines": {rule: rules[rule] for rule in RULES if rule != "gate"},
        "targets": totals(rules["gate"]),
        "baseline_targets": {rule: totals(rules[rule]) for rule in RULES if rule != "gate"},
        **timing(),
        "seed": options.seed,
        "edge": at_edge,
        "real": of_real,
    }
    report["wall_s"] = round(time.monotonic() - started, 1)
    print(orjson.dumps(report["targets"], option=orjson.OPT_INDENT_2).decode())
    print(orjson.dumps(report["shape_targets"], option=orjson.OPT_INDENT_2).decode())
    print(orjson.dumps(report["baseline_targets"], option=orjson.OPT_INDENT_2).decode())
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    if options.publish:
        draw(report, ROOT / "docs" / "study.svg")
        publish(table_of_shapes(of_shapes), ROOT / "docs" / "study.md", "the shapes")
        if on_real is not None:
            publish(table(of_real), ROOT / "docs" / "study.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
