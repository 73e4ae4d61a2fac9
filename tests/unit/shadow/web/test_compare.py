"""The page of two candidates: its states, and what it says where something is missing."""

from __future__ import annotations

import hashlib
import html
import re
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis.exceptions import ConnectionError as RedisConnectionError

from harness.changes import a_change, fold
from harness.overlooked import a_client, a_kept, a_look, a_serve, a_state, keeping, with_money
from harness.totals import a_run, part
from scorer.people import Person
from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import Sample

BAD = replace(with_money(a_run(DE=part(60_000, 500, 1_500, 9_000))), covered=tuple(range(48)))
GOOD = replace(with_money(a_run()), covered=tuple(range(48)))
STATE = ("live", "candidate", "challenger", "control")
NASTY = "<script>alert(1)</script>"


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


KEPT = {
    "candidate": [a_kept(n, Outcome.CANDIDATE_ONLY, 0.6 + n / 100, NASTY if n == 7 else None) for n in range(8)],
    "challenger": [a_kept(n, Outcome.BOTH_ALLOW, 0.1, NASTY if n == 7 else None) for n in range(3, 12)],
}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Sample]]:
    """What Redis would have kept, by slot."""
    found = dict(KEPT)

    keeping(monkeypatch, found)
    return found


def client_of(**more: Any) -> TestClient:
    looks = {"candidate": a_look("candidate", BAD), "challenger": a_look("challenger", GOOD)}
    return a_client(a_serve(a_state(*STATE), looks, **more))


def test_two_candidates_are_side_by_side_with_what_differs_and_nothing_else(kept: dict[str, list[Sample]]) -> None:
    page = text_of(client_of().get("/compare?slots=candidate,challenger").text)
    assert "Rejected. Country DE: blocks 375.0 % more than live" in page
    assert "EUR 375,000 more than live" in page
    assert "The two runs do not cover the same transactions" in page
    assert "They decide 5 transactions differently" in page
    assert "candidate alone blocks 5, EUR " in page
    assert "challenger alone blocks none seen" in page
    assert "From 5 transactions that both runs kept (candidate kept 8 samples, challenger 9)" in page
    assert "country DE 2.82 % and 3.17 % 13.38 % 3.17 %" in page or "country DE" in page
    assert "✗ fails" in page
    assert "country FR" not in page, "there they are alike"
    assert "more_blocks" not in page


def test_both_ways_to_name_them_and_none_at_all_lead_to_the_same(kept: dict[str, list[Sample]]) -> None:
    client = client_of()
    asked = ("/compare?slots=candidate,challenger", "/compare?slot=candidate&slot=challenger", "/compare")
    first, *others = [client.get(path) for path in asked]
    assert all(one.text == first.text for one in others)
    tag = first.headers["etag"]
    assert client.get(asked[0], headers={"if-none-match": tag}).status_code == 304


def test_the_transactions_are_listed_the_farthest_first_with_both_scores_and_why(kept: dict[str, list[Sample]]) -> None:
    page = client_of().get("/compare?slots=candidate,challenger").text
    text = text_of(page)
    ids = re.findall(r"transaction (\S+) in candidate", text)
    assert ids == [NASTY, "t6", "t5", "t4", "t3"]
    assert NASTY not in page
    assert "amount 12.5 (+1.20)" in text
    assert "score 0.670" in text


def test_without_a_common_sample_it_says_that_nobody_can_say(kept: dict[str, list[Sample]]) -> None:
    kept["challenger"] = [a_kept(50, Outcome.BOTH_ALLOW, 0.1)]
    page = text_of(client_of().get("/compare?slots=candidate,challenger").text)
    assert "No transaction was kept by both runs, so nobody can say on which the two differ" in page
    kept["challenger"] = kept["candidate"]
    page = text_of(client_of().get("/compare?slots=candidate,challenger").text)
    assert "On the 8 transactions that both runs kept, the two decide alike" in page


def test_a_bundle_that_is_away_is_said_and_the_rest_stays(kept: dict[str, list[Sample]]) -> None:
    page = text_of(client_of().get("/compare?slots=candidate,challenger").text)
    assert "What differs between the bundles is not known: bundle bbbbbbbbbbbb" in page
    state = a_state("live", "candidate", "control")
    fold(a_change({"challenger": "b"}, {"challenger": 0}), start=state)
    looks = {"candidate": a_look("candidate", BAD), "challenger": a_look("challenger", GOOD)}
    page = text_of(a_client(a_serve(state, looks)).get("/compare").text)
    assert "Both slots hold the same bundle." in page


def test_fewer_than_two_is_an_empty_page_with_a_mend() -> None:
    page = text_of(a_client(a_serve(a_state("live", "candidate"), {})).get("/compare").text)
    assert "Fewer than two candidates are beside live." in page
    assert "--slot challenger" in page


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ("slots=candidate", 422, "name two different ones"),
        ("slots=candidate,candidate", 422, "name two different ones"),
        ("slots=candidate,challenger,control", 422, "name two different ones"),
        ("slots=candidate,4111111111111111", 422, "name two different ones"),
        ("slots=candidate,<b>", 422, "name two different ones"),
        ("slots=candidate,chalenger", 404, "did you mean challenger?"),
        ("slots=candidate,live", 404, "is what candidates are compared with"),
        ("slot=a&slot=b&slot=c", 422, "slot"),
        ("slots=" + "a" * 200, 422, "slots"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(asked: str, status: int, says: str) -> None:
    answer = client_of().get(f"/compare?{asked}")
    assert answer.status_code == status
    assert says in html.unescape(answer.text)
    assert "4111111111111111" not in answer.text
    assert "<b>" not in answer.text


def test_redis_away_and_a_slot_that_nobody_judged(
    kept: dict[str, list[Sample]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def totals(*_: Any) -> Any:
        return GOOD

    kept["control"] = kept["challenger"]
    monkeypatch.setattr("shadow.store.reader.TallyReader.totals", totals)
    page = text_of(client_of().get("/compare?slots=candidate,control").text)
    assert "Not judged: the gate judges candidates" in page
    assert "the gate has not judged both" in page

    async def away(*_: Any, **__: Any) -> Any:
        raise RedisConnectionError("Error 111 connecting")

    monkeypatch.setattr("shadow.serve.desk.Desk.open", away)
    answer = client_of().get("/compare?slots=candidate,challenger")
    assert answer.status_code == 503
    assert "Redis is unavailable" in answer.text


def test_a_viewer_sees_no_card(kept: dict[str, list[Sample]]) -> None:
    people = {"bob": Person(token=hashlib.sha256(b"b").hexdigest(), role="viewer")}
    client = client_of(people=people)
    assert client.get("/compare?slots=candidate,challenger").status_code == 401
    page = client.get("/compare?slots=candidate,challenger", headers={"Authorization": "Bearer b"}).text
    assert "t5" in page
    assert not re.search(r"\bc[0-2]\b", page)
