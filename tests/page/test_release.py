"""The pages of a release as people with roles use them: in a real browser, on a real ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness import models as shared
from harness.browser import Browser
from harness.desk import BAD, GOOD, Desk
from harness.stack import Stack, Worker, get, wait_for
from page.test_explorer import Analyst, Inline
from page.test_report import CONTRAST

pytestmark = pytest.mark.needs("browser")
ROLES = {"ann": "releaser", "vera": "viewer"}


class Person(Analyst):
    """Somebody who signs in with their token when the browser asks for it."""

    def __init__(self, browser: Browser, serve: Worker, name: str) -> None:
        super().__init__(browser, serve)
        self.name = name

    def open(self, path: str, width: int = 1440, **more: Any) -> None:
        known = self.base.replace("//", f"//{self.name}:token-{self.name}@")
        self.browser.open(known + path, width, **more)

    def press_button(self, label: str, leads_to: str) -> None:
        """Press the first button with this label, and wait until the page says something."""
        found = self.browser.run(
            "document.querySelectorAll('details').forEach(e => { e.open = true });"
            f"const b = [...document.querySelectorAll('#main button')].find(e => e.innerText.trim() === {label!r});"
            "b?.click(); return Boolean(b)"
        )
        assert found, self.text()[:900]
        self.until(leads_to, lambda: leads_to in self.text())

    @property
    def buttons(self) -> list[str]:
        found: list[str] = self.browser.run(
            "return [...document.querySelectorAll('#main button')].map(e => e.innerText)"
        )
        return found


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("released")
    made = shared.make(folder)
    with Stack(folder, dict(made.env)) as stack:
        stack.deploy(made.live, "live")
        desk = Desk(stack, made)
        for slot, outcomes in (("challenger", GOOD), ("worse", BAD)):
            stack.deploy(made.live, slot)
            desk.count(slot, outcomes)
        people = {
            name: {"token": hashlib.sha256(f"token-{name}".encode()).hexdigest(), "role": role}
            for name, role in ROLES.items()
        }
        stack.env["SHADOW_PEOPLE"] = json.dumps(people)
        yield desk


@pytest.fixture(scope="module")
def serve(desk: Desk) -> Worker:
    serve = desk.stack.start("shadow", "serve")
    serve.token = "token-ann"

    def are_there() -> bool:
        told = get(f"http://127.0.0.1:{serve.port}/api/suggestions", serve.token)
        return len(orjson.loads(told or b"[]")) == 2

    wait_for("both suggestions", are_there)
    return serve


@pytest.fixture(scope="module")
def people(serve: Worker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Person]]:
    with Browser(tmp_path_factory.mktemp("ann")) as first, Browser(tmp_path_factory.mktemp("vera")) as second:
        yield {"ann": Person(first, serve, "ann"), "vera": Person(second, serve, "vera")}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("path", ["/release", "/release?slot=worse", "CONFIRM", "/settings"])
def test_pages_are_read_on_any_screen_by_anybody(
    people: dict[str, Person], path: str, width: int, dark: bool, tmp_path: Path
) -> None:
    """No sideways scrolling, enough contrast, no script or style within, and nothing serious that axe finds."""
    ann = people["ann"]
    browser = ann.browser
    if path == "CONFIRM":
        ann.open("/release", width, dark=dark)
        ann.press_button("Accept at this threshold…", "What will change")
    else:
        ann.open(path, width, dark=dark)
    assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [width, width]
    assert browser.run(CONTRAST.replace(".line,.bar", "none"))[0] >= 4.5
    assert Inline(browser.run("return document.documentElement.outerHTML")).found == []
    assert browser.serious_findings() == []
    assert browser.picture(tmp_path / "page.png").stat().st_size > 5_000
    browser.messages()


def test_what_fails_is_in_sight_on_a_phone_and_says_why_once(people: dict[str, Person]) -> None:
    ann = people["ann"]
    ann.open("/release?slot=worse", 390)
    place = ann.browser.run(
        "const c = document.querySelector('.heat td.fail').getBoundingClientRect(); return [c.left, c.right]"
    )
    assert place[0] >= 0
    assert place[1] <= 390
    reasons = ann.browser.run("return [...document.querySelectorAll('ul.why li')].map(e => e.textContent)")
    assert any(one.startswith("✗ More blocks in all fails: Blocks") for one in reasons), reasons
    assert len(set(reasons)) == len(reasons)
    ann.browser.run("document.querySelector('.heat td.fail a').click()")
    assert ann.browser.run("return document.querySelector('li:target').innerText").startswith("✗")
    assert "the candidate blocks" in ann.text("figure figcaption")


def test_a_viewer_sees_all_of_it_and_no_button(people: dict[str, Person]) -> None:
    vera = people["vera"]
    vera.open("/release")
    assert "2 suggestions wait for a person" in vera.text("h1")
    assert vera.buttons == []
    assert "vera is a viewer; this needs the role releaser" in vera.text()
    seq = orjson.loads(get(f"{vera.base}/api/suggestions", "token-ann") or b"")[0]["seq"]
    vera.open(f"/release/decide?action=reject&suggestion={seq}")
    assert vera.buttons == []
    vera.browser.run(
        "const f = document.createElement('form'); f.method = 'post'; f.action = '/release/decide';"
        f"for (const [n, v] of [['action', 'reject'], ['suggestion', {seq!r}], ['reason', 'made by hand']])"
        "{ const i = document.createElement('input'); i.name = n; i.value = v; f.append(i) }"
        "document.body.append(f); f.submit()"
    )
    vera.until(
        "a refusal", lambda: "You may not see this" in vera.text("body") or "needs the role" in vera.text("body")
    )
    vera.browser.messages()


def test_a_releaser_comments_rejects_accepts_and_goes_back(people: dict[str, Person], desk: Desk) -> None:
    ann = people["ann"]
    ann.open("/release")
    ann.browser.run("document.querySelector('[name=text]').value = 'odd in <FR>'")
    ann.press_button("Write it", "Your comment is on record")
    assert "odd in <FR>" in ann.text()

    # a reason that says nothing is refused, and nothing is lost
    (challenger,) = [n for n, text in enumerate(_sections(ann)) if "slot challenger" in text]
    _press(ann, challenger, "Reject…", "Reject this suggestion?")
    ann.browser.run("document.querySelector('[name=reason]').value = '…'")
    ann.press_button("Reject", "Not done: reason: says nothing")
    ann.browser.run("document.querySelector('[name=reason]').value = 'not before the holidays'")
    ann.press_button("Reject", "Done: the suggestion is rejected")
    assert "rejected by ann" in ann.text()
    assert desk.ledger("answer")[0]["verified"] == "token"

    ann.open("/release", 390)
    ann.press_button("Accept…", "What will change")
    ann.browser.run("document.querySelector('[name=reason]').value = 'fewer insults'")
    ann.press_button("Accept", "Done: the candidate is live")
    entry = ann.browser.run("return document.querySelector('p.entry').innerText")
    assert "approve by ann: live bundle" in entry
    assert "reason: fewer insults" in entry
    assert desk.live()["digest"] == desk.models.candidate

    ann.press_button("Put the model before back…", "Put the model before back?")
    ann.browser.run("document.querySelector('[name=reason]').value = 'complaints'")
    ann.press_button("Put it back", "Done: the model before is live again")
    assert desk.live()["digest"] == desk.models.live
    changes = [one for one in desk.ledger("change") if one["cause"] in ("approve", "rollback")]
    assert [(one["cause"], one["by"], one["verified"]) for one in changes] == [
        ("approve", "ann", "token"),
        ("rollback", "ann", "token"),
    ]
    ann.browser.messages()


def _sections(who: Person) -> list[str]:
    found: list[str] = who.browser.run("return [...document.querySelectorAll('section.box h2')].map(e => e.innerText)")
    return found


def _press(who: Person, section: int, label: str, leads_to: str) -> None:
    who.browser.run(
        f"[...document.querySelectorAll('section.box')[{section}].querySelectorAll('button')]"
        f".find(e => e.innerText.trim() === {label!r}).click()"
    )
    who.until(leads_to, lambda: leads_to in who.text())
