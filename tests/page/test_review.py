"""Reviewers at the queue, in real browsers on a real stream: a key marks a case, a colleague's case stays theirs."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from harness import models as shared
from harness.browser import Browser
from harness.explored import explored
from harness.stack import Stack, Worker, wait_for
from page.test_explorer import Analyst, Inline
from page.test_report import CONTRAST

pytestmark = pytest.mark.needs("browser")
TOKENS = {"ann": "token-of-ann", "ben": "token-of-ben", "vic": "token-of-vic"}
ROLES = {"ann": "reviewer", "ben": "reviewer", "vic": "viewer"}
PEOPLE = {
    name: {"token": hashlib.sha256(token.encode()).hexdigest(), "role": ROLES[name]} for name, token in TOKENS.items()
}
RELEASE = """schema: 1
segments:
  country: {field: country, values: [DE, FR]}
minimum_covered_hours: 24
overall: {minimum_transactions: 1000}
per_segment: {minimum_transactions: 200}
"""


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("reviewed")
    made = shared.make(folder)
    (folder / "release.yaml").write_text(RELEASE)
    env = {**made.env, "SHADOW_RELEASE": str(folder / "release.yaml")}
    with Stack(folder, env) as stack:
        running = explored(stack, made, SHADOW_PEOPLE=json.dumps(PEOPLE), SHADOW_READ_TOKEN="reads")
        running.token = "reads"
        wait_for("cases to review", lambda: waiting(running) > 5)
        yield running


def waiting(serve: Worker) -> int:
    return int(_ask(serve, "/api/review", "ann")["waiting"])


def _ask(serve: Worker, path: str, name: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{serve.port}{path}", headers={"authorization": f"Bearer {TOKENS[name]}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


class Reviewer(Analyst):
    """Somebody who has typed their token into the browser."""

    def __init__(self, browser: Browser, serve: Worker, name: str) -> None:
        super().__init__(browser, serve)
        self.name = name
        typed = base64.b64encode(f"any:{TOKENS[name]}".encode()).decode()
        browser.devtools("Network.enable")
        browser.devtools("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {typed}"})

    @property
    def case(self) -> str:
        """The transaction that is open."""
        found = self.browser.run("return document.querySelector('form.mark [name=transaction]')?.value ?? ''")
        return str(found)

    def go_by(self, key: str) -> None:
        """Press a key, and wait for the page that it leads to."""
        self.browser.run("window.isOld = true")
        self.press(key)
        self.until(
            f"the page after {key}",
            lambda: self.browser.run("return !window.isOld && document.readyState === 'complete'"),
        )

    def votes(self, transaction: str) -> list[Any]:
        path = f"/api/sample?transaction={quote(transaction)}"
        return [(vote["by"], vote["verdict"]) for vote in self.sample(path)["votes"]]

    def sample(self, path: str) -> Any:
        request = urllib.request.Request(self.base + path, headers={"authorization": "Bearer reads"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


@pytest.fixture(scope="module")
def ann(serve: Worker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewer]:
    with Browser(tmp_path_factory.mktemp("ann")) as browser:
        yield Reviewer(browser, serve, "ann")


@pytest.fixture(scope="module")
def ben(serve: Worker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewer]:
    with Browser(tmp_path_factory.mktemp("ben")) as browser:
        yield Reviewer(browser, serve, "ben")


def test_a_key_marks_the_case_and_the_next_comes_and_z_undoes_it(ann: Reviewer) -> None:
    ann.open("/review")
    first = ann.case
    assert first, ann.text()
    assert "Was this fraud?" in ann.text("h1")
    assert not ann.browser.run("return document.querySelector('details').open"), "what the models say is folded"
    shown = ann.text("main")
    assert "would block" not in shown, shown[:900]
    ann.go_by("f")
    second = ann.case
    assert second not in ("", first)
    assert ann.votes(first) == [("ann", "fraud")]
    assert "as fraud" in ann.text("form.undo")
    assert "ann\n1" in ann.text("aside"), "who reviewed how many today"
    ann.go_by("z")
    assert ann.case == first, "the case is open again"
    assert ann.votes(first) == []
    ann.go_by("l")
    assert ann.votes(first) == [("ann", "legit")]
    third = ann.case
    ann.go_by("u")
    assert ann.votes(third) == [("ann", "unsure")]
    assert ann.case not in ("", first, third)


def test_a_case_that_a_colleague_has_open_is_not_offered_and_not_shown(ann: Reviewer, ben: Reviewer) -> None:
    ann.open("/review")
    ben.open("/review")
    assert ann.case
    assert ben.case
    assert ben.case != ann.case
    ben.open(f"/review?case={quote(ann.case)}")
    assert ben.text("h1") == "ann has this case open"
    assert not ben.case
    ann.open("/review")
    mine = ann.case
    ann.open("/review")
    assert ann.case == mine, "hers stays hers"


def test_a_case_goes_to_a_colleague_with_a_note_and_the_list_says_what_became_of_it(
    ann: Reviewer, ben: Reviewer
) -> None:
    ann.open("/review")
    given = ann.case
    ann.browser.run("document.querySelector('[name=note]').value = 'asked <b>the bank</b>'; window.isOld = true")
    ann.browser.run("document.querySelector('button[value=note]').click()")
    ann.until("the note", lambda: "asked <b>the bank</b>" in ann.text("blockquote"))
    assert ann.case == given
    ann.browser.run(
        "document.querySelector('[name=to]').value = 'ben'; document.querySelector('[name=to]').form.submit()"
    )
    ann.until("the next case", lambda: ann.case not in ("", given))
    told = ann.sample(f"/api/sample?transaction={quote(given)}")
    assert told["assigned"]["to"] == "ben"
    assert told["notes"][0]["text"] == "asked <b>the bank</b>"
    ben.open(f"/explore/transaction?transaction={quote(given)}")
    assert "Assigned to ben by ann" in ben.text()
    assert "asked <b>the bank</b>" in ben.text("blockquote")
    ben.click("Mark this one and take the next")
    assert ben.case == given
    ben.go_by("f")
    ben.open("/review/done?name=ben&label=fraud")
    assert given in ben.text("table")
    ben.open("/review/done?name=ann&label=fraud")
    assert given not in ben.text()
    told = ann.sample(f"/api/sample?transaction={quote(given)}")
    assert told["assigned"] is None, "what is answered is assigned to nobody"


def test_a_viewer_reviews_nothing_and_hears_why(serve: Worker, ann: Reviewer) -> None:
    Reviewer(ann.browser, serve, "vic").open("/review")
    assert "vic is a viewer; this needs the role reviewer" in ann.text("body")
    Reviewer(ann.browser, serve, "ann")


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", ["/review", "/review/done", "/review?slot=control", "/review/done?name=nobody"])
def test_each_page_can_be_used_by_everybody(ann: Reviewer, path: str, width: int, dark: bool, tmp_path: Path) -> None:
    """No sideways scrolling, enough contrast, and nothing serious that axe finds."""
    ann.open(path, width, dark=dark)
    browser = ann.browser
    assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
    assert browser.run(CONTRAST.replace(".line,.bar", "none"))[0] >= 4.5
    assert Inline(browser.run("return document.documentElement.outerHTML")).found == []
    assert browser.serious_findings() == []
    assert browser.picture(tmp_path / "page.png").stat().st_size > 5_000
    browser.messages()
