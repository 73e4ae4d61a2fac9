"""`make dashboards-preview`: the product under load, a real Prometheus, and pictures of the dashboards.

Run in `tests/` as `python -m deploy.grafana.preview`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from deploy.alerts.stage import RELEASE, Stage
from deploy.grafana.draw import draw
from deploy.grafana.shown import BOARDS
from harness import models
from harness.places import ROOT

PICTURES = ROOT / "build" / "dashboards"


def play(stage: Stage, seconds: float) -> tuple[float, float]:
    """Live with a candidate and a control under load; returns from when to when there is something to see."""
    (stage.folder / "preview.yaml").write_text(RELEASE.format(least=2000, errors=0.001, shift=0.25))
    stage.stack.deploy(stage.models.candidate, "candidate")
    stage.scorer()
    stage.scorer("second scorer")
    stage.shadow("candidate")
    stage.shadow("control")
    stage.serve(SHADOW_RELEASE=str(stage.folder / "preview.yaml"))
    stage.label_share = 0.01
    start = time.time()
    time.sleep(seconds / 2)
    stage.bad_share = 0.01
    time.sleep(seconds / 2)
    return start, time.time()


def main() -> None:
    """Draw all three."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seconds", type=float, default=100.0, help="how long the product runs before the pictures")
    given.add_argument("--to", type=Path, default=PICTURES, help="folder of the pictures")
    asked = given.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = models.make(Path(folder))
        with Stage(Path(folder), made, rate=400) as stage:
            start, end = play(stage, asked.seconds)
            for board in BOARDS:
                to = asked.to / f"{board}.png"
                draw(stage.monitor, board, start, end, to, segment="all|country=.*" if board == "release" else ".*")
                print(to)


if __name__ == "__main__":
    main()
