"""The overview and the comparison of two candidates as an analyst uses them: in a real browser, on a real stream that
live and two candidates decided differently."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from harness import models as shared
from harness.browser import Browser
from harness.explored import explored
from harness.stack import Stack, Worker, status_of
from page.test_explorer import Analyst, Inline
from page.test_report import CONTRAST
from shadow.release.sentences import place

pytestmark = pytest.mark.needs("browser")
PAGES = ("/", "/compare?slots=candidate,challenger")


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("overlooked")
    made = shared.make(folder)
    with Stack(folder, dict(made.env)) as stack:
        yield explored(stack, made, challenger=0.02, SHADOW_GATE_SECONDS="2")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture
def analyst(browser: Browser, serve: Worker) -> Analyst:
    found = Analyst(browser, serve)

    def is_judged() -> bool:
        try:
            return all(found.api(f"/api/gate/verdict?slot={slot}") for slot in ("candidate", "challenger"))
        except urllib.error.HTTPError:
            return False

    found.until("both judged", is_judged)
    found.until("all compared", lambda: blocks(found, "candidate")[0] == blocks(found, "challenger")[0] > 0)
    return found


def card(analyst: Analyst, slot: str) -> str:
    return str(analyst.browser.run(f"return document.getElementById('card-{slot}').closest('article').innerText"))


def blocks(analyst: Analyst, slot: str) -> tuple[int, int, int, int]:
    """Transactions, blocks of live, live alone, the candidate alone, as they were counted exactly."""
    days = analyst.api(f"/api/tallies?slot={slot}")["tallies"]
    names = ("both_allow", "both_block", "live_only", "candidate_only")
    allow, both, live, candidate = (sum(day[name] for day in days) for name in names)
    return allow + both + live + candidate, both + live, live, candidate


def test_how_often_they_differ_overall_and_by_segment_is_on_each_card(analyst: Analyst) -> None:
    for slot in ("candidate", "challenger"):
        whole, _, live, candidate = blocks(analyst, slot)

        def is_told(slot: str = slot, whole: int = whole) -> str:
            analyst.open("/")
            told = card(analyst, slot)
            return told if f"of {whole:,} transactions" in told else ""

        told = analyst.until("all of them, at the gate's next look", is_told)
        assert f"They differ on {live + candidate:,} of {whole:,} transactions" in told
        assert f"live alone blocks {live:,}, the candidate alone {candidate:,}" in told
    analyst.browser.run("document.getElementById('by-segment-candidate').click()")
    table = analyst.text("#segments-candidate")
    address, name = analyst.browser.run(
        "const a = document.getElementById('segment-candidate-1'); return [a.getAttribute('href'), a.innerText]"
    )
    (segment,) = parse_qs(urlsplit(address).query)["segment"]
    assert name == place(segment)
    days = analyst.api(f"/api/tallies?slot=candidate&segment={quote(segment)}")["tallies"]
    only = sum(one["live_only"] + one["candidate_only"] for one in days)
    assert re.search(rf"{re.escape(name)}\s+[\d.]+ % \({only:,}\)", table), table
    analyst.browser.run("document.getElementById('segment-candidate-1').click()")
    analyst.until("the differences of the segment", lambda: segment in analyst.text(".chips"))


def test_the_verdict_is_a_sentence_with_bars_money_and_the_next_step(analyst: Analyst) -> None:
    analyst.open("/")
    for slot in ("candidate", "challenger"):
        told, (whole, by_live, live, candidate) = card(analyst, slot), blocks(analyst, slot)
        assert re.search(r"(Rejected|On hold|Ready to release)[.:]", told), told
        assert f"{100 * by_live / whole:.2f} % ({by_live:,})" in told
        by_candidate = by_live - live + candidate
        assert f"{100 * by_candidate / whole:.2f} % ({by_candidate:,})" in told
        assert re.search(
            r"the candidate blocks (EUR [\d,]+ (more|less) than|as much money as) live: EUR [\d,]+", told
        ), "in money, with its currency"
        assert re.search(r"(a week|in \d+ hours)", told, re.IGNORECASE)
        assert "What to do next" in told
        assert "Clean period" in told
    assert not re.search(r"\b[a-z]+_[a-z]+\b", analyst.text("#live h1, .verdict")), "an identifier"


def test_more_than_noise_and_good_or_bad_are_answered_by_the_gates_own_findings(analyst: Analyst) -> None:
    analyst.open("/")
    found = analyst.api("/api/gate?slot=challenger")["findings"]
    excess = next(f for f in found if f["criterion"] == "excess_disagreement" and f["segment"] == "all")
    told = card(analyst, "challenger")
    assert "More than noise?" in told
    assert re.sub(r"\s+", " ", excess["reason"]) in re.sub(r"\s+", " ", told)
    assert "Good or bad?" in told
    good = told.split("Good or bad?")[1].split("Clean period")[0]
    assert re.search(r"(fraud|alone blocks|review)", good), good


def test_what_is_open_and_where_the_focus_is_stays_when_the_cards_come_anew(analyst: Analyst) -> None:
    analyst.open("/")
    analyst.browser.run(
        "document.getElementById('by-segment-candidate').click(); window.isTheSamePage = true;"
        "document.getElementById('segment-candidate-2').focus(); document.querySelector('#live h1').innerText = 'old';"
        "const e = document.getElementById('live'); e.removeAttribute('hx-headers');"
        "htmx.ajax('GET', e.getAttribute('hx-get'), {source: e, target: e, select: '#live', swap: 'outerHTML'})"
    )
    analyst.until("fresh cards", lambda: "2 candidates" in analyst.text("#live h1"))
    analyst.until("the focus", lambda: analyst.browser.run("return document.activeElement.id") == "segment-candidate-2")
    assert analyst.browser.run("return document.getElementById('segments-candidate').open")
    assert analyst.browser.run("return window.isTheSamePage")
    assert analyst.browser.messages() == []


def test_while_nothing_changes_nothing_is_replaced(analyst: Analyst) -> None:
    """The page asks with its tag, and an answer 304 leaves it as it is."""

    def tag() -> str:
        with urllib.request.urlopen(analyst.base + "/", timeout=30) as answer:
            return str(answer.headers["etag"])

    def is_quiet() -> bool:
        analyst.open("/")
        return tag() in str(
            analyst.browser.run(
                "return JSON.parse(document.getElementById('live').getAttribute('hx-headers'))['If-None-Match']"
            )
        )

    analyst.until("a page with the newest tag", is_quiet)
    analyst.browser.run(
        "document.querySelector('#live h1').innerText = 'untouched'; window.statuses = [];"
        "document.addEventListener('htmx:afterRequest', e => window.statuses.push(e.detail.xhr.status));"
        "const e = document.getElementById('live'); htmx.trigger(e, 'ask');"
        "htmx.ajax('GET', '/', {source: e, target: e, select: '#live', swap: 'outerHTML',"
        " headers: JSON.parse(e.getAttribute('hx-headers'))})"
    )
    (status, *_) = analyst.until("an answer", lambda: analyst.browser.run("return window.statuses"))
    if status == 304:  # else a look has come in between
        assert analyst.text("#live h1") == "untouched"
    assert analyst.browser.run("return document.getElementById('live').getAttribute('hx-trigger')") == "every 10s"


def test_two_candidates_are_side_by_side_and_only_what_differs_is_shown(analyst: Analyst) -> None:
    analyst.open("/")
    analyst.click("Compare the candidates with each other")
    page = analyst.text()
    assert "candidate and challenger, side by side against live" in page
    assert re.search(r"cover the same ([\d,]+ event hours|transactions)", page), page[:400]
    assert "Both slots hold the same bundle; only the threshold differs." in page
    assert "threshold in the slot" in page
    ours, theirs = blocks(analyst, "candidate"), blocks(analyst, "challenger")
    for whole, by_live, live, candidate in (ours, theirs):
        assert f"{100 * (by_live - live + candidate) / whole:.2f} %" in analyst.text("#rates + table")


def test_the_transactions_on_which_the_two_disagree_are_those_between_their_thresholds(analyst: Analyst) -> None:
    """Both hold one bundle, so each score is the same, and only the threshold tells them apart."""
    analyst.open("/compare?slots=candidate,challenger")
    rows = analyst.browser.run(
        "return [...document.querySelectorAll('#transactions + table tbody tr')].map(r => r.innerText)"
    )
    assert rows, analyst.text()[:1500]
    slots = analyst.api("/api/slots")
    low, high = sorted(slots[name]["threshold"] for name in ("candidate", "challenger"))
    for row in rows:
        score = [float(one) for one in re.findall(r"score ([\d.]+)", row)]
        assert score[0] == score[1]
        assert low - 0.001 <= score[0] <= high + 0.001
        assert row.count("▶ blocks") == 1
    ours, theirs = blocks(analyst, "candidate"), blocks(analyst, "challenger")
    if ours[0] == theirs[0]:
        counted = abs((ours[1] - ours[2] + ours[3]) - (theirs[1] - theirs[2] + theirs[3]))
        told = analyst.text("#differ").replace(",", "")
        ends = re.search(r"\((\d+) to (\d+)\)", told) or re.search(
            r"They decide (\d+)() transactions differently", told
        )
        assert ends is not None, told
        low_end, high_end = int(ends[1]), int(ends[2] or ends[1])  # one number where all of it is exact
        assert low_end * 0.7 <= counted <= high_end * 1.3


def test_another_pair_is_chosen_by_a_form_without_a_script(analyst: Analyst) -> None:
    analyst.open("/compare?slots=candidate,challenger")
    analyst.browser.run(
        "const f = document.querySelector('form.pick'); f.elements[1].value = 'control'; f.requestSubmit()"
    )
    analyst.until("the other pair", lambda: "candidate and control, side by side" in analyst.text())
    assert "slot=candidate&slot=control" in analyst.browser.run("return location.search")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("path", [*PAGES, "/compare?slots=candidate,nobody"])
def test_pages_are_read_on_any_screen_by_anybody(
    analyst: Analyst, path: str, width: int, dark: bool, tmp_path: Path
) -> None:
    """No sideways scrolling, enough contrast, and nothing serious that axe finds."""
    analyst.open(path, width, dark=dark)
    browser = analyst.browser
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
    assert browser.run(CONTRAST.replace(".line,.bar", "none"))[0] >= 4.5
    assert (browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is not dark
    if path.endswith("nobody"):
        browser.messages()
        return
    assert browser.serious_findings() == []
    assert browser.picture(tmp_path / "page.png").stat().st_size > 5_000
    browser.messages()


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_small_quick_and_complete_without_a_script(analyst: Analyst, path: str) -> None:
    started = time.monotonic()
    with urllib.request.urlopen(analyst.base + path, timeout=30) as answer:
        page = answer.read().decode()
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert time.monotonic() - started < 30
    assert len(page) < 100_000
    assert Inline(page).found == []
    for target in sorted({one.replace("&amp;", "&") for one in re.findall(r'href="(/[^"]*)"', page)}):
        is_for_reviewers = target.startswith("/review")
        assert status_of(analyst.base + target) in ((401, 403) if is_for_reviewers else (200,)), target


def test_on_paper_there_is_what_was_found_and_no_form(analyst: Analyst, tmp_path: Path) -> None:
    analyst.open(PAGES[1], 720, dark=True, media="print")
    assert analyst.browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert analyst.browser.run("return getComputedStyle(document.querySelector('form.pick')).display") == "none"
    assert analyst.browser.paper(tmp_path / "page.pdf").stat().st_size > 10_000
