"""Takes the pictures of docs/explorer.md: its walk-through, with the story of `harness.story`, in Chromium.

    cd tests && python -m page.pictures [--out FOLDER] [NAME ...]

What the pages show is the same each time, but for the time at which the slots were filled.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from harness import story
from harness.browser import Browser
from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from harness.stack import Stack, Worker, get, wait_for
from harness.stated import Told, staged

FOLDER = ROOT / "docs" / "pictures"
#: Colours of a picture: pages have few, and the edges of letters need some. Pixels around what is shown.
COLOURS, MARGIN = 48, 10
#: Of what differs so many are not reviewed when the pictures are taken, the last ones.
LEFT = 40


@dataclass(frozen=True)
class Shot:
    """A picture. first, last: selectors of what is at its top and at its bottom; the page's top and bottom if missing.

    within: what it is as wide as.
    """

    name: str
    path: str
    first: str = "header"
    last: str = "#main"
    within: str = "body"
    width: int = 1200


_SLICE = "segment=country%3DFR&direction=candidate_only"
_ROW, _WHY = "#samples + table tbody tr:nth-child(4)", "main > h2:nth-of-type(2) + table + p"
#: In the order of the walk-through. `{transaction}` is the one whose scores are farthest apart.
SHOTS = (
    Shot("overview", "/", "#main article", "#main article ol", "#main article"),
    Shot("differences", "/explore", last="#drivers + table + p"),
    Shot("slice", f"/explore?since=2026-01-17T00:00:00Z&{_SLICE}", "#headline", _ROW, "#headline"),
    Shot("transaction", "/explore/transaction?transaction={transaction}", "h1", _WHY, "#main"),
    Shot("what-if", "/explore?threshold=0.6", "#what-if", "#what-if ~ p:last-of-type", "#headline"),
    Shot("compare", "/compare?slots=candidate,challenger", "h1", "#transactions + table tr:nth-child(4)", "#main"),
    Shot("review", "/review?slot=candidate"),
    Shot("phone", f"/explore?{_SLICE}", last="#drivers + table tr:nth-child(3)", width=390),
)


def make(out: Path, names: Sequence[str] = ()) -> list[Path]:
    """Take some pictures, or all, into a folder."""
    wanted = [shot for shot in SHOTS if not names or shot.name in names]
    out.mkdir(parents=True, exist_ok=True)
    rows = story.rows()
    farthest = max((row for row in rows if row.differs()), key=lambda row: abs(row.gap()))
    people = {"ann": {"token": hashlib.sha256(b"token-ann").hexdigest(), "role": "releaser"}}
    with tempfile.TemporaryDirectory() as name, Stack(Path(name), {}) as stack:
        staged(stack, rows, story.RELEASE, story.SLOTS)
        serve = stack.start("shadow", "serve", env={"SHADOW_PEOPLE": json.dumps(people), "SHADOW_READ_TOKEN": "reads"})
        _review(serve, [row for row in rows if row.differs()])
        with Browser(Path(name) / "browser") as browser:
            _sign_in(browser)
            return [_take(browser, serve, shot, out, farthest.id) for shot in wanted]


def _review(serve: Worker, differing: Sequence[Told]) -> None:
    """Answer what differs, but for the last ones, and wait until the gate has looked at it."""
    base, left = f"http://127.0.0.1:{serve.port}", {row.id for row in differing[-LEFT:]}
    for row in differing[:-LEFT]:
        body = {"transaction_id": row.id, "verdict": "fraud" if row.card.startswith("card-90") else "legit"}
        headers = {"content-type": "application/json", "authorization": "Bearer token-ann"}
        request = urllib.request.Request(f"{base}/api/review/mark", json.dumps(body).encode(), headers)
        urllib.request.urlopen(request, timeout=60).close()

    def waiting() -> set[str]:
        told = get(f"{base}/api/samples?label=waiting&limit=500", "reads")
        return {one["transaction_id"] for one in json.loads(told or b'{"page": []}')["page"]}

    wait_for("a look at the answers", lambda: (found := waiting()) and found <= left)


def _sign_in(browser: Browser) -> None:
    typed = base64.b64encode(b"any:token-ann").decode()
    browser.devtools("Network.enable")
    browser.devtools("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {typed}"})


def _take(browser: Browser, serve: Worker, shot: Shot, out: Path, transaction: str) -> Path:
    address = f"http://127.0.0.1:{serve.port}{shot.path.format(transaction=transaction)}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    part = None
    while part is None:
        assert time.monotonic() < deadline, f"{shot.name}: {shot.first} or {shot.last} does not come"
        browser.open(address, shot.width)
        part = browser.run(
            f"const [a, b, w] = {json.dumps([shot.first, shot.last, shot.within])}.map(s => document.querySelector(s)"
            "?.getBoundingClientRect()); if (!(a && b && w)) return null;"
            f"const top = Math.max(0, a.top + scrollY - {MARGIN}), left = Math.max(0, w.left - {MARGIN});"
            f"return [left, top, Math.min(innerWidth, w.right + {MARGIN}) - left, b.bottom + scrollY + 2 - top]"
        )
    path = browser.picture(out / f"{shot.name}.png", tuple(part))
    few = Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    return path


def main() -> None:
    """Take them and say how large they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(shot.name for shot in SHOTS)}; all if missing"
    )
    asked = parser.parse_args()
    for path in make(asked.out, asked.names):
        with Image.open(path) as picture:
            print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
