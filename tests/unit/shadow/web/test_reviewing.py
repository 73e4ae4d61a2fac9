"""Who may mark cases on a page, and from where: a password that browsers send along opens nothing to other sites."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from harness.card_numbers import digits_of
from scorer.people import Person
from shadow.gate.criteria import parse
from shadow.labels.queue import Need
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.web.app import build
from shadow.web.cases import settles

ROLES: dict[str, Any] = {"ann": "reviewer", "vic": "viewer"}
PEOPLE = {
    name: Person(token=hashlib.sha256(f"token-of-{name}".encode()).hexdigest(), role=role)
    for name, role in ROLES.items()
}
OURS = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
MARK = {"transaction": "t-1", "verdict": "fraud"}


def client_of(**changes: Any) -> TestClient:
    # nobody listens there: what is let in so far finds Redis away
    settings = ShadowSettings(redis="redis://127.0.0.1:1/0", **changes)
    return TestClient(build(Serve(settings, parse("schema: 1"))), base_url="http://localhost", follow_redirects=False)


def typed(token: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"any:{token}".encode()).decode()}


ANN, VIC = typed("token-of-ann"), typed("token-of-vic")
BROWSER = {"accept": "text/html"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (ANN | OURS, 503),
        (ANN | {"origin": "http://localhost"}, 503),
        (ANN | {"sec-fetch-site": "same-origin"}, 503),
        ({"authorization": "Bearer token-of-ann"}, 503),
        (ANN, 403),  # a browser would say from where it comes
        (ANN | OURS | {"origin": "https://evil.example"}, 403),
        (ANN | {"origin": "null"}, 403),
        (ANN | OURS | {"origin": "null"}, 503),  # which no page can make a browser say of another site
        (ANN | {"origin": "null", "sec-fetch-site": "cross-site"}, 403),
        (ANN | {"origin": "http://localhost", "sec-fetch-site": "cross-site"}, 403),
        (ANN | {"origin": "http://localhost", "sec-fetch-site": "same-site"}, 403),
        (ANN | {"origin": "http://localhost:8080"}, 403),
        (VIC | OURS, 403),
        (OURS, 401),
        (typed("guessed") | OURS, 401),
    ],
)
@pytest.mark.parametrize("form", [("/review/mark", MARK), ("/review/assign", {"transaction": "t-1", "to": "ann"})])
def test_what_is_marked_comes_from_our_own_pages_and_from_a_reviewer(
    form: tuple[str, dict[str, str]], headers: dict[str, str], status: int
) -> None:
    answer = client_of(people=PEOPLE).post(form[0], data=form[1], headers=headers)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(("headers", "status"), [(ANN, 404), (VIC, 403), ({}, 401)])
def test_the_queue_is_shown_to_reviewers_and_others_hear_why_not(headers: dict[str, str], status: int) -> None:
    answer = client_of(people=PEOPLE).get("/review", headers=headers | BROWSER)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert ("www-authenticate" in answer.headers) is (status == 401), "a browser asks its user"


def test_nobody_reviews_where_nobody_may_write() -> None:
    answer = client_of().get("/review", headers=BROWSER)
    assert answer.status_code == 403
    assert "SHADOW_OPERATOR_TOKEN" in answer.text


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (MARK, 422),  # no name, with a token that is nobody's
        (MARK | {"by": "ann", "verdict": "guilty"}, 422),
        (MARK | {"by": "ann", "note": "x" * 501}, 422),
        (MARK | {"by": "ann", "slot": "a:b"}, 422),
        (MARK | {"by": "ann\n"}, 422),
        (MARK | {"by": "\u202eann"}, 422),
        (MARK | {"by": "4111 1111 1111 1111"}, 422),
        (MARK | {"by": "ann", "note": "card 4111-1111-1111-1111"}, 422),
        (MARK | {"by": "ann", "extra": "1"}, 422),
        (MARK | {"by": "ann"}, 503),
    ],
)
def test_a_form_is_refused_by_the_field_at_fault(said: dict[str, str], status: int) -> None:
    client = client_of(operator_token=SecretStr("writes"))
    answer = client.post("/review/mark", data=said, headers=typed("writes") | OURS)
    assert answer.status_code == status, answer.text
    assert "4111111111111111" not in digits_of(answer.text)


def test_nobody_marks_in_anothers_name() -> None:
    answer = client_of(people=PEOPLE).post("/review/mark", data=MARK | {"by": "ben"}, headers=ANN | OURS)
    assert answer.status_code == 403
    assert "the token is that of ann" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body", [b"%ff=%fe&transaction=t", b"\xff\xfe", b"&".join(b"a=%d" % n for n in range(50)), b""]
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    client = client_of(people=PEOPLE)
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/review/mark", content=body, headers=ANN | OURS | kind).status_code == 422
    json_ = {"content-type": "application/json"}
    assert client.post("/review/mark", content=b"{}", headers=ANN | OURS | json_).status_code == 415


@pytest.mark.parametrize(
    ("asked", "status"),
    [("day=2026-02-30", 422), ("day=soon", 422), ("label=guilty", 422), ("skip=-1", 422), ("", 404)],
)
def test_the_list_is_asked_for_by_name_answer_and_day(asked: str, status: int) -> None:
    assert client_of(people=PEOPLE).get(f"/review/done?{asked}", headers=ANN).status_code == status


@given(st.lists(st.builds(Need, st.just("c=DE"), st.just(0), st.floats(0, 1), st.none() | st.integers(0, 10**6))))
def test_one_sentence_says_how_many_more_settle_it(needs: list[Need]) -> None:
    told = settles(needs)
    wanted = [need for need in needs if need.settled < 1]
    if not wanted:
        assert told == "No reviews needed: the gate asks for none."
    else:
        first = min(wanted, key=lambda need: need.settled)
        assert ("Too few reviews" in told) == (first.more is None)
        assert first.more is None or f"About {first.more:,} more" in told
