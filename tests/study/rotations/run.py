"""`make release-study`: two years of releases, again and again, and the watch after each; writes build/release.json."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import orjson  # noqa: E402

from harness.places import ROOT  # noqa: E402
from study.published import publish  # noqa: E402
from study.rotations.office import two_years  # noqa: E402
from study.rotations.watched import upper, watch, within_a_week  # noqa: E402

REPORT = ROOT / "build" / "release.json"
#: Two years each; promotions of models that keep their limits, and of harmful ones.
HISTORIES, GOOD, BAD = 6, 1000, 210
WORKERS = 2


def study(share: float, seed: int) -> dict[str, Any]:
    """All of it. share: of the histories and promotions."""
    histories, good, bad = (max(1, round(n * share)) for n in (HISTORIES, GOOD, BAD))
    with ProcessPoolExecutor(WORKERS) as pool:
        tales = list(pool.map(two_years, range(seed, seed + histories)))
        alarms = list(pool.map(partial(watch, "good", seed=seed), range(good), chunksize=5))
        found = list(pool.map(partial(watch, "bad", seed=seed), range(bad), chunksize=5))
    counts: Counter[str] = Counter()
    for tale in tales:
        counts.update(tale.counts)
    false = sum(one.day is not None for one in alarms)
    return {
        "rotations": counts["rotations"],
        "harmful": counts["harmful"],
        "harmful_live": counts["harmful_live_automatic"],
        "harmful_live_by_people": counts["harmful_live_accepted"] + counts["harmful_live_edited"],
        "harmful_live_forced": counts["harmful_live_forced"],
        "automatic": counts["automatic"],
        "lost": counts["lost"],
        "alarms": counts["alarms"],
        "rolled_back": counts["rolled_back"],
        "replayed": sum(tale.replayed for tale in tales),
        "dossiers": sum(tale.dossiers for tale in tales),
        "disagreed": [line for tale in tales for line in tale.disagreed],
        "watch_false_alarm": false / len(alarms),
        "watch_false_alarm_at_most": upper(false, len(alarms)),
        "watch_power": within_a_week(found),
        "watch_power_by_harm": {
            str(harm): within_a_week([one for one in found if one.harm == harm])
            for harm in dict.fromkeys(o.harm for o in found)
        },
        "watched": {"good": len(alarms), "bad": len(found)},
        "counts": dict(sorted(counts.items())),
    }


def table(report: dict[str, Any]) -> str:
    """What came out, for docs/study.md."""
    at_most = report["watch_false_alarm_at_most"]
    rows = {
        f"rotations, {report['harmful']} of them harmful": report["rotations"],
        "promoted by automation; harmful ones": f"{report['automatic']}; {report['harmful_live']}",
        "harmful ones approved by people; forced": (
            f"{report['harmful_live_by_people']}; {report['harmful_live_forced']}"
        ),
        "times that automation was lost": report["lost"],
        "alarms of the watch; rolled back": f"{report['alarms']}; {report['rolled_back']}",
        "dossiers that give the same verdict again": f"{report['replayed']} of {report['dossiers']}",
        "false alarms in a fortnight": (
            f"{100 * report['watch_false_alarm']:.2f} %, at most {100 * at_most:.2f} % with 95 % confidence"
        ),
        "planted harm found within seven days": f"{100 * report['watch_power']:.1f} %",
    }
    return "\n".join(["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows.items())])


def failed(report: dict[str, Any]) -> list[str]:
    """The promises that were not kept."""
    promises = {
        "no harmful candidate goes live by automation": report["harmful_live"] == 0,
        "every dossier replays": report["replayed"] == report["dossiers"],
        "automation is on where the rules say so": not report["disagreed"],
        "false alarms of the watch are at most 1 %": report["watch_false_alarm"] <= 0.01,
        "the watch finds 95 % of planted harm in a week": report["watch_power"] >= 0.95,
    }
    return [name for name, is_kept in promises.items() if not is_kept]


def main() -> int:
    """Run the study; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--share", type=float, default=1.0, help="of the releases; a small one to try things out")
    parser.add_argument("--publish", action="store_true", help="write the table into docs/study.md")
    options = parser.parse_args()
    started = time.monotonic()
    report = study(options.share, options.seed)
    report["wall_s"] = round(time.monotonic() - started, 1)
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    print(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    if options.publish:
        publish(table(report), ROOT / "docs" / "study.md", "the releases")
    for name in failed(report):
        print(f"not kept: {name}", file=sys.stderr)
    return 1 if failed(report) else 0


if __name__ == "__main__":
    sys.exit(main())
