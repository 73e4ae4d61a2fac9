"""The report as people see it: in a real browser, wide and on a phone, in light and dark, and on paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.browser import Browser
from page.report import a_report
from shadow.report.page import html

pytestmark = pytest.mark.needs("browser")

#: Contrast of a colour on another, as WCAG 2.2 defines it: 4.5 is enough for text, 3 for what is drawn.
CONTRAST = """
const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126*r + 0.7152*g + 0.0722*b };
const paper = e => { for (; e; e = e.parentElement) {
    const c = getComputedStyle(e).backgroundColor; if (!/^rgba.*, 0\\)$/.test(c)) return c }
    return 'rgb(255, 255, 255)' };
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05) };
const texts = [...document.querySelectorAll('h1,h2,h3,p,td,th,figcaption,summary,small')].filter(e => e.innerText);
const lines = [...document.querySelectorAll('.line,.bar')];
return [Math.min(...texts.map(e => ratio(getComputedStyle(e).color, paper(e)))),
        Math.min(...lines.map(e => ratio(getComputedStyle(e).stroke, paper(e.parentElement.parentElement))))];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html(a_report()), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_it_is_read_without_scrolling_sideways_and_with_contrast(
    browser: Browser, page: Path, width: int, dark: bool, tmp_path: Path
) -> None:
    browser.open(page.as_uri(), width, dark=dark)
    assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
    text, drawn = browser.run(CONTRAST)
    assert text >= 4.5
    assert drawn >= 3
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is not dark
    smallest = browser.run(
        "return Math.min(...[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height))"
    )
    assert smallest >= 9, "text of a chart, in pixels"
    assert browser.messages() == []
    assert browser.picture(tmp_path / "report.png").stat().st_size > 20_000


def test_the_verdict_is_the_first_line_and_every_part_is_there(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri(), 1440)
    told = browser.run("return document.body.innerText.split('\\n')[0]")
    assert told.startswith("Rejected. Country DE: blocks 195.5 % more than live")
    ids = browser.run("return [...document.querySelectorAll('h2')].map(e => e.id)")
    assert ids == [
        "fails",
        "open",
        "criteria",
        "outcomes",
        "floor",
        "evidence",
        "scores",
        "matched",
        "drift",
        "labels",
        "samples",
    ]
    assert browser.run("return document.querySelectorAll('#samples ~ .scroll tbody tr').length") == 10
    failing = "return [...document.querySelectorAll('td.fail')].every(e => e.innerText.includes('\u2717'))"
    assert browser.run(failing), "colour alone says it"
    assert browser.run("return document.querySelectorAll('td.fail').length") > 0
    assert browser.run("return document.scripts.length") == 0


def test_nothing_outside_of_the_file_is_asked_for(page: Path, browser: Browser) -> None:
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=|url\(|@import|https?://", text)
    browser.open(page.as_uri(), 1440)
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


def test_on_paper_nothing_is_cut_and_what_is_folded_is_open(browser: Browser, page: Path, tmp_path: Path) -> None:
    browser.open(page.as_uri(), 720, dark=True, media="print")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    cut = "return [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert browser.run(cut) == 0
    paper = browser.paper(tmp_path / "report.pdf")
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", paper, "-"], capture_output=True, check=True).stdout.decode()
        assert "amount other" in text
        assert "excused" in text, "folded on the screen"


def test_a_cell_says_why_when_it_is_selected_by_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri(), 1440)
    why = browser.run(
        "const b = document.querySelector('td.fail button'); b.focus(); b.click();"
        "return [document.activeElement === b, document.querySelector('[popover]:popover-open')?.innerText]"
    )
    assert why[0]
    assert why[1].startswith("fails: Blocks ")


def test_on_a_phone_what_fails_and_the_failing_cells_are_in_sight(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri(), 390)
    right = browser.run(
        "return [...document.querySelectorAll('td.fail')].map(e => { const r = e.getBoundingClientRect();"
        " return [r.left, r.right, r.height] })"
    )
    assert right
    for left, end, height in right:
        assert 0 <= left < end <= 390
        assert height > 0
    first = browser.run("return document.getElementById('fails').getBoundingClientRect().top")
    assert first < 1000, "below the first screen"
