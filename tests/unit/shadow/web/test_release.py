"""Decisions and pages of a release over HTTP: who may, from where, and what is told where nothing can be done."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from harness.ledgers import a_ledger
from harness.patience import PATIENCE_SECONDS
from page.report import NASTY, RELEASE, a_report
from scorer.deployments.records import Answer, Approval, Comment, Suggestion, Target
from scorer.deployments.slots import Deployments, LedgerLine
from scorer.errors import UserError
from scorer.people import Person, Who
from shadow.gate.criteria import Criterion, parse
from shadow.gate.findings import Finding, Verdict
from shadow.release.criteria_words import in_words
from shadow.release.deciding import Settled, Wish, done_before
from shadow.serve.decider import AT_ONCE, Decider, TooManyError, UnderWayError
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.web.app import build
from shadow.web.heat import heat, state_of
from shadow.web.over_time import over_days

NAMES = {"ann": "releaser", "bea": "releaser", "dora": "reviewer", "vera": "viewer"}
PEOPLE: dict[str, Person] = {
    name: Person(token=hashlib.sha256(f"token-{name}".encode()).hexdigest(), role=role) for name, role in NAMES.items()
}
SEQ = "00000005-a1b2c3d4"
NOW = "2999-01-01T00:00:00+00:00"  # so that it does not expire
BODY = {"reason": "clean", "suggestion": SEQ}


def suggestion(**more: Any) -> Suggestion:
    fields: dict[str, Any] = {
        "slot": "candidate",
        "target": Target(digest="c" * 64, threshold=0.5),
        "expects": {"live": 1, "candidate": 1},
        "criteria": "c",
        "evidence": {"compared": 1234, "judgement": {"reason": "promote: 28 criteria pass", "findings": []}},
        "dossier": "d" * 64,
        "made_by": NASTY,
        "at": NOW,
    } | more
    return Suggestion(**fields)


def served(deployments: Deployments | None = None, **changes: Any) -> TestClient:
    """A server that is not started: its ledger is what a test says."""
    serve = Serve(ShadowSettings(**changes), parse("schema: 1"))
    serve._follower.deployments = a_ledger(suggestion()) if deployments is None else deployments
    serve.trouble = None
    return TestClient(build(serve), base_url="http://localhost", follow_redirects=False)


def basic(name: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"any:token-{name}".encode()).decode()}


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer token-{name}"}


POSTS = (
    ("/api/suggestions/approve", BODY),
    ("/api/suggestions/reject", BODY),
    ("/api/rollback", {"reason": "clean", "live_epoch": 1}),
)


@pytest.mark.parametrize(("path", "body"), POSTS)
def test_only_a_releaser_by_a_verified_name_decides(path: str, body: dict[str, Any]) -> None:
    alone = served()
    refused = alone.post(path, json=body)
    assert (refused.status_code, "shadow token" in refused.json()["detail"]) == (403, True)
    tools = served(operator_token="writes", read_token="reads")
    for token in ("writes", "reads"):
        told = tools.post(path, json=body, headers={"authorization": f"Bearer {token}"})
        assert told.status_code == 403, "what marks reviews does not decide of releases"
    many = served(people=PEOPLE, operator_token="writes")
    for headers, status in (
        ({}, 401),
        ({"authorization": "Bearer writes"}, 401),
        ({"authorization": "Bearer guessed"}, 401),
        (basic("ann"), 401),
        (basic("ann") | {"sec-fetch-site": "same-origin", "origin": "http://localhost"}, 401),
        (bearer("vera"), 403),
        (bearer("dora"), 403),
    ):
        assert many.post(path, json=body, headers=headers).status_code == status, headers
    assert many.post(path, json=body | {"by": "dora"}, headers=bearer("ann")).status_code == 403


@pytest.mark.parametrize(("path", "body"), POSTS)
@pytest.mark.parametrize(
    "more",
    [
        {"reason": ""},
        {"reason": "\u200b …"},
        {"reason": "x" * 1001},
        {"reason": "see 4111-1111-1111-1111"},
        {"slot": "Candidate"},
        {"slot": "live\n"},
        {"suggestion": "5"},
        {"live_epoch": -1},
        {"threshold": 1.5},
        {"force": "yes"},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    path: str, body: dict[str, Any], more: dict[str, Any]
) -> None:
    told = served(people=PEOPLE).post(path, json=body | more, headers=bearer("ann"))
    assert told.status_code == 422
    assert "4111" not in told.text


def test_where_changes_are_signed_the_command_is_named(tmp_path: Path) -> None:
    client = served(people=PEOPLE, trusted_keys=tmp_path / "trusted.yaml")
    for path, body in POSTS:
        told = client.post(path, json=body, headers=bearer("ann"))
        assert told.status_code == 409
        assert "with your signing_key" in told.json()["detail"]
        assert f"`shadow {path.rpartition('/')[2]} --slot candidate --reason …`" in told.json()["detail"]
    said = {"suggestion": SEQ, "text": "odd"}
    told = client.post("/api/suggestions/comment", json=said, headers=bearer("dora"))
    assert (told.status_code, "shadow comment" in told.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({"origin": "http://localhost"}, True),
        ({"origin": "http://localhost", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": "null", "sec-fetch-site": "same-origin"}, True),
        ({}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://localhost.evil.example"}, False),
        ({"origin": "http://localhost:81"}, False),
        ({"origin": "http://evil.example", "sec-fetch-site": "same-origin"}, False),
        ({"origin": "http://localhost", "sec-fetch-site": "cross-site"}, False),
        ({"origin": "http://localhost", "sec-fetch-site": "same-site"}, False),
        ({"sec-fetch-site": "none"}, False),
    ],
    ids=str,
)
def test_a_form_is_taken_from_our_own_pages_only(headers: dict[str, str], is_taken: bool) -> None:
    """With the token that the browser sends along by itself. What is taken is refused for its blank reason here."""
    client = served(people=PEOPLE)
    form = {"action": "reject", "suggestion": SEQ, "reason": "…"}
    told = client.post("/release/decide", data=form, headers=basic("ann") | headers)
    assert told.status_code == (422 if is_taken else 403), told.text
    comment = client.post("/release/comment", data={"suggestion": SEQ, "text": "…"}, headers=basic("ann") | headers)
    assert comment.status_code == (422 if is_taken else 403)
    as_text = client.post(
        "/release/decide", content="action=reject", headers=bearer("ann") | {"content-type": "text/plain"}
    )
    assert as_text.status_code == 422
    assert client.post("/release/decide", data=form, headers=basic("dora") | headers).status_code == 403


def test_a_form_names_what_was_seen() -> None:
    client = served(people=PEOPLE)
    for form in (
        {"action": "approve"},
        {"action": "rollback", "suggestion": SEQ},
        {"action": "reject"},
        {"action": "x"},
    ):
        told = client.post("/release/decide", data=form | {"reason": "clean"}, headers=bearer("ann"))
        assert told.status_code == 422, form


def test_a_refused_form_keeps_the_reason_and_repeats_no_card_number() -> None:
    client = served(people=PEOPLE)
    headers = basic("ann") | {"origin": "http://localhost", "accept": "text/html"}
    form = {"action": "reject", "suggestion": SEQ, "reason": "stolen 4111 1111 1111 1111 <b>"}
    told = client.post("/release/decide", data=form, headers=headers)
    assert told.status_code == 422
    assert "Not done: reason: holds a card number" in told.text
    assert "stolen" in told.text
    assert "<b>" not in told.text.partition("<form")[2]
    assert "4111 1111 1111" not in told.text
    assert told.headers["referrer-policy"] == "same-origin", "or else a browser would not say where a form is from"
    assert "frame-ancestors 'none'" in told.headers["content-security-policy"]
    assert "form-action 'self'" in told.headers["content-security-policy"]


def page(client: TestClient, path: str, name: str | None = None, status: int = 200) -> str:
    headers = {"accept": "text/html"} | (basic(name) if name else {})
    told = client.get(path, headers=headers)
    assert told.status_code == status, told.text[:2000]
    assert "traceback" not in told.text.lower()
    return str(told.text)


def test_buttons_are_there_for_who_may_and_a_sentence_for_who_may_not() -> None:
    client = served(people=PEOPLE)
    ann, dora, vera = (page(client, "/release", name) for name in ("ann", "dora", "vera"))
    for text in ("Accept…", "Reject…", "Accept at this threshold…", "Put the model before back…"):
        assert text in ann
        assert text not in dora + vera
    assert "Write it" in ann
    assert "Write it" in dora
    assert "Write it" not in vera
    assert "dora is a reviewer; this needs the role releaser" in dora
    assert "shadow replay dddddddddddd" in vera
    assert "1,234 transactions were compared" in vera
    assert NASTY not in ann
    assert "&lt;script&gt;" in ann, "who has trained it is shown as it is written"
    assert "Accept…" not in page(served(), "/release")
    assert "Names are not verified here" in page(served(), "/release")


def test_what_is_excused_is_said_in_one_line_for_each_segment() -> None:
    one: dict[str, Any] = {"verdict": "insufficient", "segment": "amount=>=500", "reason": "No decisions yet"}
    findings = [
        one | {"criterion": "insults", "excused": True},
        one | {"criterion": "coverage", "excused": True},
        one | {"criterion": "lost_fraud", "segment": "all", "excused": False},
        one | {"criterion": "transactions", "verdict": "pass"},
    ]
    evidence = {"judgement": {"reason": "promote: 28 criteria pass", "findings": findings}}
    whole = page(served(a_ledger(suggestion(evidence=evidence)), people=PEOPLE), "/release", "vera")
    told = whole.partition("Past releases")[0]
    assert told.count("No decisions yet") == 2
    assert "amount=&gt;=500: 2 checks lack evidence, which is excused (No decisions yet)" in told
    assert "Lost fraud in all: No decisions yet" in told
    assert "<li>28 criteria pass</li>" in told


def test_a_confirmation_says_what_will_change_and_changes_nothing() -> None:
    client = served(people=PEOPLE, four_eyes=True)
    query = f"?action=approve&suggestion={SEQ}"
    told = page(client, "/release/decide" + query, "ann")
    for text in ("bundle cccccccccccc at threshold 0.5", "The run is judged again", "signed ann", "second releaser"):
        assert text in told
    edited = page(client, f"/release/decide{query}&threshold=0.4", "ann")
    for text in ("Threshold 0.4 was not judged, 0.5 was", "A second releaser has to approve this", "Accept at 0.4"):
        assert text in edited
    assert "forced release" not in page(client, f"/release/decide{query}&threshold=0.5", "ann")
    assert "is settled, or something else was changed" in page(
        client, "/release/decide?action=approve&suggestion=00000001-00000000", "ann"
    )
    assert "is settled" in page(client, "/release/decide?action=rollback&live_epoch=7", "ann")
    assert "<form" not in page(client, "/release/decide" + query, "vera").partition("<main")[2]
    page(client, "/release/decide?action=approve", "ann", 422)


def test_what_waits_for_a_second_person_is_said_first() -> None:
    first = Approval(
        slots={"live": Target(digest="c" * 64, threshold=0.4), "candidate": None},
        expects={"live": 1, "candidate": 1},
        cause="approve",
        why=("it is a forced release",),
        by="ann",
        reason="r",
        at=NOW,
    )
    said = Comment(suggestion=SEQ, text="odd in <FR>", by="dora", at=NOW)
    client = served(a_ledger(suggestion(), said, first), people=PEOPLE)
    told = page(client, "/release", "ann")
    assert "An approval waits for a second person" in told
    assert "Your own approval counts once" in told
    assert "Approve it as the second person" not in told
    assert "Your own approval" not in page(client, "/release", "dora")
    assert "Approve it as the second person" not in page(client, "/release", "dora")
    second = page(client, "/release", "bea")
    form = second.partition("Approve it as the second person")[0].rpartition("<form")[2]
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    assert fields == {"action": "approve", "slot": "candidate", "suggestion": SEQ, "threshold": "0.4"}
    assert "Accept at 0.4" in page(client, f"/release/decide?{urlencode(fields)}", "bea")
    assert "odd in &lt;FR&gt;" in told


def test_empty_and_unknown_states_are_pages() -> None:
    empty = page(served(Deployments()), "/release")
    assert "Nothing waits for a person" in empty
    assert "No model is live" in empty
    assert "No slot holds a candidate" in empty
    assert "Nothing has been decided yet" in empty
    assert "holds no candidate" in page(served(), "/release?slot=nowhere", status=404)
    page(served(people=PEOPLE), "/release", status=401)
    page(served(people=PEOPLE), "/settings", status=401)


def test_settings_say_what_holds_and_nothing_secret() -> None:
    secret: dict[str, Any] = {
        "read_token": "secret-reads",
        "operator_token": "secret-writes",
        "people": PEOPLE,
        "four_eyes": True,
    }
    client = served(**secret, groups={"fraud-team": "reviewer"})
    ann, vera = page(client, "/settings", "ann"), page(client, "/settings", "vera")
    for text in ("wo people approve", "It may block at most 10.0 % more or fewer blocks than live", "(14 days)"):
        assert text in ann
        assert text in vera
    assert "dora" in ann
    assert "fraud-team" in ann
    assert "dora" not in vera
    assert "fraud-team" not in vera
    assert "1 with role reviewer" in vera
    for hidden in ("secret-", "token-", *(one.token for one in PEOPLE.values())):
        assert hidden not in ann + vera
    assert "names are not verified" in page(served(), "/settings")


def test_every_limit_of_the_criteria_is_in_a_sentence() -> None:
    """Another value of any field that decides makes another text."""
    base = parse("schema: 1\nsegments: {country: {field: country, values: [DE]}}\n")
    told = str(in_words(base))
    for name in type(base.overall).model_fields:
        overall = base.overall.model_copy(update={name: 0.0123 if "minimum_tr" not in name else 7})
        assert str(in_words(base.model_copy(update={"overall": overall}))) != told, name
    for name, value in {
        "minimum_covered_hours": 25, "tolerated_error_rate": 0.01, "promote_error": 0.1, "reject_error": 0.1,
        "recent_days": 9, "better_factor": 2.0, "maximum_other_share": 0.5, "amount_cap": 9.0,
        "may_stay_insufficient": ("insults: *",), "require_lineage": True,
    }.items():  # fmt: skip
        assert str(in_words(base.model_copy(update={name: value}))) != told, name


# --- the table and the chart ---


def test_what_fails_is_in_the_first_cell_and_each_reason_is_said_once() -> None:
    findings = a_report().judgement.findings
    found = heat(findings, RELEASE.segments.names)
    states = [[cell and cell["state"] for cell in row["cells"]] for row in found["rows"]]
    assert states[0][0] == "fail"
    assert sum(len([one for one in row if one]) for row in states) == len(findings)
    against = [one for one in findings if state_of(one) in ("fail", "lacking")]
    told = [*found["fails"], *found["lacking"]]
    assert len(told) == len(against)
    assert found["fails"]
    assert {one["state"] for one in found["fails"]} == {"fail"}
    links = [cell["why"] for row in found["rows"] for cell in row["cells"] if cell and cell["why"]]
    assert sorted(links) == sorted(one["id"] for one in told)
    assert sum(n for *_, n in found["counts"]) == len(findings)


def test_an_excused_finding_stands_against_nothing() -> None:
    finding = Finding(Criterion.INSULTS, "all", None, None, 0.1, Verdict.INSUFFICIENT, "too few", excused=True)
    found = heat([finding], ["all"])
    assert (found["fails"], found["lacking"]) == ([], [])
    assert found["rows"][0]["cells"][0]["state"] == "excused"


def test_the_chart_has_all_days_so_far_and_each_day_beside_its_limits() -> None:
    def day(at: int, both: int, live: int, candidate: int) -> dict[str, Any]:
        return {
            "start": f"2026-01-0{at}T00:00:00+00:00",
            "both_block": both,
            "live_only": live,
            "candidate_only": candidate,
        }

    assert over_days([], 0.1, 0.1) is None
    assert over_days([day(1, 0, 0, 5)], 0.1, 0.1) is None, "of nothing there is no share"
    found = over_days([day(1, 90, 10, 10), day(2, 90, 10, 30), day(3, 0, 0, 0)], 0.1, 0.1)
    assert found is not None
    assert "10.0 % more than live: 220 and 200" in found["told"]
    assert len(found["dots"]) == 2
    assert found["limits"][0][0] < found["zero"] < found["limits"][1][0]
    assert found["end"][1] == found["limits"][0][0], "exactly at its limit"


# --- carrying out ---

ANN = Who("ann", "ann", "releaser", "token")
WISH = Wish("approve", "clean", suggestion=SEQ)


def deciding(work: Any, seconds: float = 30.0) -> Decider:
    return Decider(ShadowSettings(promote_seconds=seconds), work)


def test_one_wish_is_carried_out_once_and_to_its_end() -> None:
    began: list[Wish] = []
    let_go = asyncio.Event()

    async def story() -> None:
        loop = asyncio.get_running_loop()

        async def work(settings: ShadowSettings, wish: Wish, who: Who) -> Settled:
            began.append(wish)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(let_go.wait(), loop))
            line = LedgerLine(SEQ, Answer(suggestion=SEQ, answer="rejected", by="ann", reason="r", at=NOW))
            return Settled("rejected", line, Deployments(), ())

        decider = deciding(work)
        gone, stays = (asyncio.create_task(decider.decide(WISH, ANN)) for _ in range(2))
        while not began:
            await asyncio.sleep(0.01)
        gone.cancel()
        for n in range(AT_ONCE - 1):
            asyncio.create_task(decider.decide(replace(WISH, reason=f"r{n}"), ANN))  # noqa: RUF006
        await asyncio.sleep(0.05)
        with pytest.raises(TooManyError):
            await decider.decide(replace(WISH, reason="one more"), ANN)
        let_go.set()
        assert (await asyncio.wait_for(stays, PATIENCE_SECONDS)).state == "rejected"
        await asyncio.wait_for(decider.stop(), PATIENCE_SECONDS)

    asyncio.run(story())
    assert began.count(WISH) == 1


def test_who_waits_is_told_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shadow.serve.decider.BESIDE_SECONDS", 0.05)

    async def story() -> None:
        ended: list[bool] = []

        async def work(settings: ShadowSettings, wish: Wish, who: Who) -> Settled:
            await asyncio.sleep(0.4)
            ended.append(True)
            raise UserError("no")

        decider = deciding(work, 0.02)
        with pytest.raises(UnderWayError, match="still under way"):
            await decider.decide(WISH, ANN)
        while not ended:
            await asyncio.sleep(0.01)

    asyncio.run(story())


def test_only_the_same_person_by_a_verified_name_has_done_it_before() -> None:
    answer = Answer(suggestion=SEQ, answer="rejected", by="ann", reason="r", at=NOW, verified="token")
    present = a_ledger(suggestion(), answer)
    wish = Wish("reject", "again", suggestion=SEQ)
    assert done_before(present, wish, ANN) is not None
    assert done_before(present, wish, Who("bob", "bob", "releaser", "token")) is None
    assert done_before(present, wish, Who.called("ann")) is None, "anybody may say so"
    assert done_before(present, replace(wish, suggestion=None), ANN) is None
    assert done_before(present, replace(wish, action="approve"), ANN) is None
