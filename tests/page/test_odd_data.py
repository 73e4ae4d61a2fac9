"""The pages with data unlike the examples': other attributes, no currency, one segment, thousands of merchants, texts
that look like markup or run from right to left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from harness.browser import Browser
from harness.stack import Stack
from harness.stated import Told, staged
from page.test_explorer import Analyst

pytestmark = pytest.mark.needs("browser")
RELEASE = "schema: 1\nsegments:\n  amount: {field: amount, bands: [50]}\nminimum_covered_hours: 24\n"
MARKUP = '<script>alert("x")</script>'
ARABIC = "\u202eمتجر الأمل\u202c"
#: A feature and an attribute that nobody foresaw.
ODD = "Größe <b> des % Kor=bs"


def rows(differing: int) -> list[Told]:
    """Three days of a shop without countries and channels, each transaction of another merchant."""
    rng, found = np.random.default_rng(5), []
    for n in range(3_000):
        is_apart = n % 50 == 7 and n // 50 < differing
        live = round(float(rng.uniform(0.01, 0.4)), 4)
        at = np.datetime64("2026-03-27T00:00:00", "s") + np.timedelta64(86 * n, "s")
        merchant = {7: MARKUP, 57: ARABIC}.get(n, f"shop-{n}")
        fields = {"merchant_id": merchant, ODD: "nein" if n % 3 else "ja", "note": "x" * 280 if n == 107 else None}
        why = [(ODD, 1.0, 0.1, 1.6), ("amount", float(n), 0.2, 0.1)]
        scores = {"live": live, "candidate": 0.9 if is_apart else live, "control": live}
        id_ = f"{MARKUP if n == 7 else 'id'}-{n}"
        found.append(Told(id_, f"k{n % 40}", f"{at}Z", 1.5 + n % 90, fields, scores, {"candidate": why}))
    return found


PAGES = (
    "/",
    "/explore?noise=show",
    "/explore?noise=show&facet=merchant_id",
    "/compare",
    "/release",
    "/report?slot=candidate",
    "/settings",
)
STREAMS = {"sixty": rows(60), "one": rows(1), "none": rows(0)}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.mark.parametrize("name", STREAMS)
def test_every_page_can_be_read_and_says_nothing_wrong(browser: Browser, name: str, tmp_path: Path) -> None:
    """On a phone, too: nothing runs that was in the data, and what was not blocked or has no currency is said."""
    differ = [row for row in STREAMS[name] if row.differs()]
    browser.leave()  # the page of the stream before
    with Stack(tmp_path, {}) as stack:
        staged(stack, STREAMS[name], RELEASE, ("candidate", "control"), currency=None)
        someone = Analyst(browser, stack.start("shadow", "serve"))
        slices = [f"/explore?noise=show&where={quote(f'merchant_id={one}')}" for one in (MARKUP, ARABIC)]
        single = [f"/explore/transaction?transaction={quote(row.id)}" for row in differ[:1]]
        for path in (*PAGES, *slices[: len(differ)], *single):
            someone.open(path, 390)
            assert browser.run("return document.documentElement.scrollWidth") == 390, path
            assert browser.run("return document.querySelectorAll('#main script, main script').length") == 0, path
            assert browser.messages() == [], path
            told = someone.text("body")
            assert "None" not in told, path
            assert "nan" not in told.split(), path
        someone.open("/explore?noise=show")
        if not differ:
            assert someone.text("h1") == "No difference so far"
            assert "Both models decided alike." in someone.text("main")
            return
        assert someone.headline() == len(differ)
        money = f"{sum(row.minor for row in differ) / 100:,.0f}"
        assert f"In money {money} (no currency known)." in someone.text("#headline")
        assert "No A/A control that differs from live is there" in someone.text("#headline")
        someone.open(slices[0])
        assert someone.headline() == 1
        assert MARKUP in someone.text(".chips")
