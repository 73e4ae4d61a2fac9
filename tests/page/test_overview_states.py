"""The overview in each of its states, in a real browser: made looks, so that every state is there at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.browser import Browser
from harness.changes import fold
from harness.overlooked import a_kept, a_look, a_serve, a_state, keeping, on_a_port, with_money
from harness.patience import PATIENCE_SECONDS
from harness.totals import a_run, part
from page.test_report import CONTRAST
from scorer.deployments.changes import switch
from shadow.comparison.outcome import Outcome
from shadow.serve.service import Serve

pytestmark = pytest.mark.needs("browser")
BAD = with_money(a_run(DE=part(60_000, 500, 1_500, 9_000)))
SLOTS = ("live", "candidate", "challenger", "control")


def judged() -> Serve:
    """One candidate rejected, one too young."""
    looks = {"candidate": a_look("candidate", BAD), "challenger": a_look("challenger", with_money(a_run(hours=10)))}
    return a_serve(a_state(*SLOTS), looks)


def empty() -> Serve:
    return a_serve(a_state("control"), {})


def thin() -> Serve:
    return a_serve(a_state(*SLOTS), {"candidate": a_look("candidate", replace(a_run(hours=0), segments={}))})


def away() -> Serve:
    """Redis is away, and the kill switch is on."""
    state = a_state(*SLOTS)
    fold(switch(state, "block_all", "bob", "serves nonsense", "2026-01-01T00:00:00Z"), start=state)
    return a_serve(state, {}, trouble="Error 111 connecting to redis.a-very-long-name.example:6379. Connection refused")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


def until(is_so: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := is_so()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("state", [judged, empty, thin, away])
def test_each_state_is_read_on_any_screen_by_anybody(
    browser: Browser, state: Callable[[], Serve], tmp_path: Path
) -> None:
    """No sideways scrolling, enough contrast, nothing serious that axe finds: wide and on a phone, light and dark."""
    with on_a_port(state()) as base:
        is_read_by_anybody(browser, base, tmp_path)


def is_read_by_anybody(browser: Browser, base: str, tmp_path: Path) -> None:
    for width, dark in ((1440, False), (390, True), (390, False), (1440, True)):
        browser.open(base, width, dark=dark)
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
        assert browser.run(CONTRAST.replace(".line,.bar", "none"))[0] >= 4.5
        paper = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") is not dark
        assert browser.picture(tmp_path / f"{width}-{dark}.png").stat().st_size > 5_000
    assert browser.serious_findings() == []
    assert browser.messages() == []


@pytest.mark.parametrize("slots", [SLOTS, SLOTS[:2]], ids=["two", "one"])
def test_two_candidates_side_by_side_are_too(
    browser: Browser, slots: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = {
        "candidate": [a_kept(n, Outcome.CANDIDATE_ONLY, 0.6 + n / 100, "<b>" * 20) for n in range(8)],
        "challenger": [a_kept(n, Outcome.BOTH_ALLOW, 0.1, "<b>" * 20) for n in range(3, 12)],
    }
    keeping(monkeypatch, kept)
    looks = {"candidate": a_look("candidate", BAD), "challenger": a_look("challenger", with_money(a_run()))}
    with on_a_port(a_serve(a_state(*slots), looks)) as base:
        is_read_by_anybody(browser, f"{base}/compare", tmp_path)
        told = browser.run("return document.querySelector('#main').innerText")
        assert ("side by side against live" in told) is (len(slots) > 2)


def ask_again(browser: Browser) -> None:
    """What the page does every ten seconds."""
    browser.run(
        "window.statuses = []; document.addEventListener('htmx:afterRequest', e => "
        "window.statuses.push(e.detail.xhr.status), {once: true}); const e = document.getElementById('live');"
        "htmx.ajax('GET', e.getAttribute('hx-get'), {source: e, target: e, select: '#live', swap: 'outerHTML'})"
    )


def test_while_nothing_changes_nothing_is_replaced_and_then_the_cards_come_anew(browser: Browser) -> None:
    """Without a new page, and with what is open and the focus as they were."""
    serve = judged()
    with on_a_port(serve) as base:
        browser.open(base, 1440)
        assert browser.run("return document.getElementById('live').getAttribute('hx-trigger')") == "every 10s"
        browser.run(
            "window.isTheSamePage = true; document.getElementById('by-segment-candidate').click();"
            "document.getElementById('segment-candidate-2').focus();"
            "document.querySelector('#live h1').innerText = 'untouched'"
        )
        ask_again(browser)
        assert until(lambda: browser.run("return window.statuses")) == [304]
        assert browser.run("return document.querySelector('#live h1').innerText") == "untouched"
        serve.looks["challenger"] = a_look("challenger", BAD)
        ask_again(browser)
        assert until(lambda: browser.run("return window.statuses")) == [200]
        until(lambda: "2 rejected" in browser.run("return document.querySelector('#live h1').innerText"))
        until(lambda: browser.run("return document.activeElement.id") == "segment-candidate-2")
        assert browser.run("return document.getElementById('segments-candidate').open")
        assert browser.run("return window.isTheSamePage")
        assert browser.messages() == []


def test_on_paper_the_cards_are_there_and_no_navigation(browser: Browser, tmp_path: Path) -> None:
    with on_a_port(judged()) as base:
        browser.open(base, 720, dark=True, media="print")
        assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert browser.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
        assert browser.paper(tmp_path / "page.pdf").stat().st_size > 10_000
