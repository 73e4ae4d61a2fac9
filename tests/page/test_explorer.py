"""The explorer as an analyst uses it: in a real browser, on a real stream that two models decided differently."""

from __future__ import annotations

import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness import models as shared
from harness.browser import Browser
from harness.explored import NASTY, explored
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, Worker, status_of
from page.test_report import CONTRAST

pytestmark = pytest.mark.needs("browser")
WRITES = "writes"


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("explored")
    made = shared.make(folder)
    with Stack(folder, dict(made.env)) as stack:
        yield explored(stack, made, SHADOW_OPERATOR_TOKEN=WRITES)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


class Inline(HTMLParser):
    """What a strict policy would not run or apply."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if tag in ("style", "img", "iframe") or (tag == "script" and "src" not in names):
            self.found.append(tag)
        self.found += [name for name in names if name.startswith("on") or name == "style"]


class Analyst:
    """Somebody in front of a browser."""

    def __init__(self, browser: Browser, serve: Worker) -> None:
        self.browser, self.base = browser, f"http://127.0.0.1:{serve.port}"

    def open(self, path: str, width: int = 1440, **more: Any) -> None:
        self.browser.open(self.base + path, width, **more)

    def api(self, path: str) -> Any:
        with urllib.request.urlopen(self.base + path, timeout=30) as answer:
            return json.loads(answer.read())

    def text(self, selector: str = "#main") -> str:
        return str(self.browser.run(f"return document.querySelector({selector!r})?.innerText ?? ''"))

    def until(self, what: str, is_so: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := is_so()):
            assert time.monotonic() < deadline, f"{what}: {self.text()[:800]}"
            time.sleep(0.05)
        return found

    def click(self, text: str, within: str = "#main") -> None:
        """Click the link with this text, and wait for what it leads to."""
        before = self.browser.run("return location.href")
        found = self.browser.run(
            f"const a = [...document.querySelectorAll({within + ' a'!r})].find(e => e.innerText.split('\\n')[0].trim() "
            f"=== {text!r}); a?.click(); return Boolean(a)"
        )
        assert found, f"no link {text!r} in {self.text(within)[:600]}"
        self.until(
            f"the page behind {text}",
            lambda: self.browser.run(
                f"return location.href !== {before!r} && !document.querySelector('.htmx-request') && "
                "!document.querySelector('.htmx-swapping') && document.readyState === 'complete'"
            ),
        )

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            code = {"Enter": {"windowsVirtualKeyCode": 13, "text": "\r"}}.get(key, {"text": key})
            self.browser.devtools("Input.dispatchKeyEvent", type=kind, key=key, **code)

    def headline(self) -> int:
        """How many transactions the page says it is about."""
        found = re.search(r"([\d,]+) transactions?\b", self.text("h1"))
        assert found, self.text("h1")
        return int(found[1].replace(",", ""))


@pytest.fixture
def analyst(browser: Browser, serve: Worker) -> Analyst:
    return Analyst(browser, serve)


def test_how_often_they_differ_and_where_is_the_first_thing_to_see(analyst: Analyst) -> None:
    analyst.open("/explore?noise=show")
    counted = list(analyst.api("/api/tallies")["tallies"])
    truth = sum(day["live_only"] + day["candidate_only"] for day in counted)
    estimate = analyst.api("/api/samples?limit=1")["estimate"]
    assert estimate["low"] <= truth <= estimate["high"]
    assert abs(analyst.headline() - truth) <= max(3 * estimate["error"], 1)
    lines = analyst.text("#headline")
    assert "% of all" in lines
    assert "EUR" in lines, "in money, with its currency"
    live = sum(day["live_only"] for day in counted)
    assert f"live alone blocks {live:,}" in lines
    side = analyst.text("aside")
    assert "country" in side
    for country in ("DE", "FR"):
        assert re.search(rf"^{country}\s+\d", side, re.MULTILINE), side[:400]


def test_which_transactions_and_who_blocks_each(analyst: Analyst) -> None:
    analyst.open("/explore")
    rows = analyst.browser.run(
        "return [...document.querySelectorAll('#samples + table tbody tr')].map(r => r.innerText)"
    )
    told = analyst.api("/api/samples?sort=gap&limit=25&beyond_noise=true")["page"]
    assert len(rows) == len(told) > 10
    for row, sample in zip(rows, told, strict=True):
        assert sample["transaction_id"] in row
        assert {"live_only": "live alone", "candidate_only": "candidate alone"}[sample["outcome"]] in row
    analyst.click("Next page")
    second = analyst.browser.run("return [...document.querySelectorAll('a.open')].map(a => a.innerText)")
    assert not {one["transaction_id"] for one in told} & set(second)


@pytest.mark.parametrize("name", NASTY)
def test_a_slice_of_any_merchant_is_a_click_whatever_it_is_called(analyst: Analyst, name: str) -> None:
    """A name that looks like markup is shown as it is, runs nothing, and is counted as the API counts it."""
    where = urllib.parse.quote(f"merchant_id={name}", safe="")
    want = analyst.api(f"/api/samples?where={where}&limit=1")["samples"]
    assert want > 0
    analyst.open("/explore?noise=show&facet=merchant_id")
    analyst.browser.run("window.isTheSamePage = true")
    plain = "".join(one if one.isprintable() else " " for one in name).strip()
    analyst.click(plain, "aside")
    assert analyst.browser.run("return window.isTheSamePage"), "the page was loaded anew"
    assert "where=merchant_id" in analyst.browser.run("return location.search"), "the address does not say it"
    assert analyst.headline() == want
    assert plain in analyst.text(".chips")
    first = analyst.browser.run("return document.querySelector('a.open').href")
    analyst.browser.open(first, 1440)
    assert plain in analyst.text()
    assert analyst.browser.run("return document.querySelectorAll('#main script, #main img').length") == 0
    assert analyst.browser.messages() == []
    analyst.open("/explore?noise=show&where=" + where)
    analyst.click("Clear all")
    assert analyst.headline() > want


def test_a_slice_by_hour_amount_and_field_is_typed_in(analyst: Analyst) -> None:
    analyst.open("/explore?noise=show")
    analyst.browser.run(
        "document.querySelector('[name=where]').value = 'hour=14'; document.querySelector('[name=min_amount]').value ="
        " '20'; document.querySelector('#filters').requestSubmit()"
    )
    analyst.until("filtered", lambda: "hour=14" in analyst.text(".chips"))
    want = analyst.api("/api/samples?where=hour%3D14&min_amount=20&limit=1")["estimate"]["value"]
    assert abs(analyst.headline() - want) <= 0.5
    analyst.browser.run("history.back()")
    analyst.until("back again", lambda: "hour=14" not in analyst.text())


def test_what_drives_all_differences_is_said_and_narrows_down(analyst: Analyst) -> None:
    analyst.open("/explore")
    told = analyst.api("/api/drivers?beyond_noise=true")
    first = told["features"][0]
    name = first["feature"].replace("_", " ")
    table = analyst.text("#drivers + table")
    assert table.splitlines()[1].startswith(name)
    assert f"{first['share']:.0%}".replace("%", " %") in table
    analyst.click(name)
    assert f"mainly by {first['feature']}" in analyst.text(".chips")


def test_one_transaction_is_explained_in_words_with_its_values(analyst: Analyst) -> None:
    sample = analyst.api("/api/samples?limit=1&sort=gap&beyond_noise=true")["page"][0]
    analyst.open("/explore")
    analyst.press("j")
    assert analyst.browser.run("return document.activeElement.innerText") == sample["transaction_id"]
    analyst.press("Enter")
    analyst.until("the transaction", lambda: "Why the two models differ" in analyst.text())
    page = analyst.text()
    assert re.search(r"(Live allows it|Live blocks it), the candidate would", analyst.text("h1"))
    for model in ("live", "candidate"):
        assert f"{sample[model]['score']:.3f}" in page
        assert f"{sample[model]['threshold']:.3f}" in page
    for part in sample["why"][:3]:
        assert f"{part['feature'].replace('_', ' ')} is " in page
        assert f"{part['difference']:+.2f}" in page
    analyst.press("u")
    analyst.until("the list", lambda: "What drives" in analyst.text())


def test_noise_is_left_out_until_somebody_wants_it(analyst: Analyst) -> None:
    floor = analyst.api("/api/samples?limit=1")["noise"]["floor"]
    assert floor is not None
    assert floor > 0
    analyst.open("/explore?direction=live_only")
    assert "Left out as noise" in analyst.text("#headline")
    assert f"{floor:.3g}" in analyst.text("#headline")
    assert "A/A floor" in analyst.browser.run(
        "return [...document.querySelectorAll('svg text')].map(t => t.textContent)"
    )
    few = analyst.headline()
    analyst.click("shown")
    assert "noise=show" in analyst.browser.run("return location.search")
    hidden = analyst.api("/api/samples?limit=1&direction=live_only&beyond_noise=true")["noise"]["hidden"]["value"]
    assert abs(analyst.headline() - few - hidden) <= 1


def test_since_when_is_a_bar_a_day(analyst: Analyst) -> None:
    analyst.open("/explore?noise=show")
    days = [one for one in analyst.api("/api/tallies")["tallies"] if one["live_only"] + one["candidate_only"]]
    titles = analyst.browser.run(
        "return [...document.querySelectorAll('figure rect.fa title')].map(t => t.textContent)"
    )
    assert {title[:10] for title in titles} >= {day["start"][:10] for day in days}


def test_other_transactions_of_a_card_are_beside_it(analyst: Analyst) -> None:
    samples = analyst.api("/api/samples?limit=1000&agreements=true")["page"]
    cards: dict[str, list[str]] = {}
    for one in samples:
        cards.setdefault(one["card_id"], []).append(one["transaction_id"])
    first, second = next(ids for ids in cards.values() if len(ids) > 1)[:2]
    analyst.open(f"/explore/transaction?transaction={first}")
    assert f"{first} (this one)" in analyst.text()
    analyst.click(second)
    assert f"{second} (this one)" in analyst.text()


def test_what_a_colleague_said_is_there_and_can_be_filtered(analyst: Analyst) -> None:
    cases = analyst.api("/api/samples?label=waiting&limit=3&sort=gap")["page"]
    chosen = cases[0]["transaction_id"]
    body = json.dumps({"transaction_id": chosen, "verdict": "fraud", "by": "ann", "reason": "stolen"}).encode()
    headers = {"content-type": "application/json", "Authorization": f"Bearer {WRITES}"}
    request = urllib.request.Request(f"{analyst.base}/api/review/mark", body, headers)
    urllib.request.urlopen(request, timeout=60).close()
    analyst.open(f"/explore/transaction?transaction={chosen}")
    assert re.search(r"ann\s+fraud", analyst.text()), analyst.text()

    def is_known() -> bool:
        analyst.open("/explore?noise=show&label=fraud")
        return chosen in analyst.text()

    analyst.until("the label, at the gate's next look", is_known)


def test_another_threshold_is_a_question_and_an_answer(analyst: Analyst) -> None:
    analyst.open("/explore?segment=country%3DDE")
    analyst.browser.run(
        "const f = document.querySelector('#what-if + form'); f.threshold.value = '0.05'; f.requestSubmit()"
    )
    analyst.until("the answer", lambda: "With a threshold of 0.05" in analyst.text())
    told = analyst.api("/api/what-if?threshold=0.05&segment=country%3DDE")
    assert told["source"] == "histogram"
    assert f"{told['blocks']['value']:,.0f}" in analyst.text()
    assert "country=DE" in analyst.text(".chips"), "the filter is kept"
    analyst.open("/explore?segment=country%3DDE&where=hour%3D14&threshold=0.05")
    assert "Estimated from samples" in analyst.text()


def test_a_link_from_elsewhere_opens_those_very_samples(analyst: Analyst) -> None:
    """As a dashboard links to a point in time."""
    sample = analyst.api("/api/samples?limit=1&sort=time")["page"][0]
    moment = sample["scored_at"]
    analyst.open(f"/explore?noise=show&scored_since={urllib.parse.quote(moment)}")
    assert sample["transaction_id"] in analyst.text()
    later = analyst.api(f"/api/samples?limit=1&scored_since={urllib.parse.quote(moment)}")
    assert analyst.headline() == round(later["estimate"]["value"])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize(
    "path",
    [
        "/explore?threshold=0.05&segment=country%3DDE",
        "TRANSACTION",
        "/explore?min_amount=9e9",
        "/explore?where=nothing%3D1",
    ],
)
def test_pages_are_read_on_any_screen_by_anybody(
    analyst: Analyst, path: str, width: int, dark: bool, tmp_path: Path
) -> None:
    """No sideways scrolling, enough contrast, and nothing serious that axe finds."""
    if path == "TRANSACTION":
        sample = analyst.api("/api/samples?limit=1&sort=gap")["page"][0]["transaction_id"]
        path = f"/explore/transaction?transaction={sample}"
    analyst.open(path, width, dark=dark)
    browser = analyst.browser
    assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
    assert browser.run(CONTRAST.replace(".line,.bar", "none"))[0] >= 4.5
    assert (browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is not dark
    assert browser.serious_findings() == []
    assert browser.picture(tmp_path / "page.png").stat().st_size > 5_000
    browser.messages()


def test_on_paper_there_is_what_was_found_and_no_form(analyst: Analyst, tmp_path: Path) -> None:
    analyst.open("/explore", 720, dark=True, media="print")
    assert analyst.browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert analyst.browser.run("return getComputedStyle(document.querySelector('aside')).display") == "none"
    assert analyst.browser.paper(tmp_path / "page.pdf").stat().st_size > 10_000


def test_the_first_view_is_small_and_asks_nobody_else(analyst: Analyst) -> None:
    analyst.browser.devtools("Network.clearBrowserCache")
    analyst.open("/explore")
    sizes = analyst.browser.run(
        "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        ".map(e => [e.name, e.transferSize])"
    )
    assert all(name.startswith(analyst.base) for name, _ in sizes)
    assert sum(size for _, size in sizes) < 300_000, sizes
    assert len(sizes) >= 4


def test_without_a_script_every_link_leads_on(analyst: Analyst) -> None:
    with urllib.request.urlopen(analyst.base + "/explore", timeout=30) as answer:
        page = answer.read().decode()
        policy = answer.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert Inline(page).found == []
    targets = {one.replace("&amp;", "&") for one in re.findall(r'href="(/[^"]*)"', page)}
    assert len(targets) > 40
    for_reviewers = {target for target in targets if target.startswith("/review")}
    assert for_reviewers
    for target in sorted(targets):
        assert status_of(analyst.base + target) in ((401, 403) if target in for_reviewers else (200,)), target


def test_all_is_live_while_it_streams(analyst: Analyst) -> None:
    """The headline asks for itself again, and for nothing else."""
    analyst.open("/explore")
    told = analyst.browser.run(
        "const e = document.querySelector('#headline'); e.querySelector('p').innerText = 'old';"
        "const asked = e.getAttribute('hx-get');"
        "htmx.ajax('GET', asked, {source: e, target: e, select: '#headline', swap: 'outerHTML'});"
        "return [e.getAttribute('hx-trigger'), asked]"
    )
    assert told[0].startswith("every ")
    analyst.until("a fresh headline", lambda: "In money" in analyst.text("#headline"))
    assert analyst.browser.messages() == []
