"""The explorer's addresses with nothing behind them: what is refused, who sees what, and what its pages may load."""

from __future__ import annotations

import hashlib
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError
from starlette.datastructures import QueryParams

from harness.places import ROOT
from harness.samples import a_sample
from scorer.people import Person
from shadow.comparison.totals import Run
from shadow.exploration.rows import COLUMNS, csv_lines, row
from shadow.gate.criteria import parse
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.web.app import build
from shadow.web.problems import MEDIA
from shadow.web.reading import Reader, shown
from shadow.web.static_files import DIGESTS, NAMES, static
from shadow.web.view import View

BROWSER = {"accept": "text/html,application/xhtml+xml"}
PATHS = ("/api/samples", "/api/facets", "/api/drivers", "/api/export", "/api/what-if", "/api/tallies", "/api/sample")


def client_of(**changes: Any) -> TestClient:
    return TestClient(build(Serve(ShadowSettings(**changes), parse("schema: 1"))), base_url="http://localhost")


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_of()


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/api/samples", 404, "slot candidate"),
        ("/api/samples?slot=nobody", 404, "slot nobody"),
        ("/api/samples?slot=live", 404, "slot live"),
        ("/api/samples?segmnet=all", 422, "segmnet"),
        ("/api/samples?limit=1001", 422, "limit"),
        ("/api/samples?where=merchant", 422, "where"),
        ("/api/samples?min_amount=2&max_amount=1", 422, "nothing lies between"),
        ("/api/samples?min_gap=nan", 422, "min_gap"),
        ("/api/samples?since=noon", 422, "since"),
        ("/api/samples?label=maybe", 422, "label"),
        ("/api/samples?run=L1", 422, "run"),
        ("/api/facets?top=0", 422, "top"),
        ("/api/facets?" + "&".join(["field=a"] * 21), 422, "field"),
        ("/api/what-if", 422, "threshold"),
        ("/api/what-if?threshold=1.5", 422, "threshold"),
        ("/api/export?format=xlsx", 422, "format"),
        ("/api/export?limit=100001", 422, "limit"),
        ("/api/tallies?by=week", 422, "by"),
        ("/api/sample", 422, "transaction"),
        ("/api/sample?transaction=t1", 404, "slot candidate"),
        ("/api/nothing", 404, "Not Found"),
        ("/static/abc/explorer.css", 404, "no such file"),
        ("/static/" + DIGESTS["explorer.css"][:12] + "/..%2Fapp.py", 404, ""),
    ],
)
def test_a_refusal_is_a_problem_document_that_names_what_is_wrong(
    client: TestClient, path: str, status: int, told: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == MEDIA
    problem = answer.json()
    assert (problem["status"], problem["type"]) == (status, "about:blank")
    assert problem["title"]
    assert told in problem["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/explore", 404),
        ("/explore?slot=nobody", 404),
        ("/explore?min_amount=x", 422),
        ("/explore?where=nothing", 422),
        ("/explore/transaction", 422),
        ("/nowhere", 404),
    ],
)
def test_a_person_gets_a_page_that_says_what_is_wrong(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>" in answer.text
    assert "Traceback" not in answer.text
    assert client.get(path).headers["content-type"] == MEDIA, "not a browser"


def test_a_refusal_repeats_no_markup_and_no_card_number(client: TestClient) -> None:
    nasty = {"slot": "candidate", "<script>alert(1)</script>": "x", "4111111111111111": "y"}
    for path in ("/explore", "/api/samples"):
        answer = client.get(path, params=nasty, headers=BROWSER)
        assert answer.status_code == 422
        assert "<script>alert" not in answer.text or answer.headers["content-type"] == MEDIA
        assert "4111111111111111" not in answer.text


def test_redis_away_is_said_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of()

    async def away(*_: Any, **__: Any) -> Any:
        raise RedisConnectionError("Error 111 connecting to 127.0.0.1:6379")

    monkeypatch.setattr("shadow.serve.desk.Desk.open", away)
    answer = client.get("/api/samples")
    assert (answer.status_code, answer.headers["content-type"]) == (503, MEDIA)
    assert "Redis is unavailable" in answer.json()["detail"]
    page = client.get("/explore", headers=BROWSER)
    assert page.status_code == 503
    assert "Not available right now" in page.text


def test_a_viewer_sees_no_card_and_may_not_ask_for_one() -> None:
    def person(token: str, role: Any) -> Person:
        return Person(token=hashlib.sha256(token.encode()).hexdigest(), role=role)

    client = client_of(people={"bob": person("b", "viewer"), "ann": person("a", "reviewer")})
    for path in (*PATHS[:4], "/explore", "/api/disagreements"):
        for token, status in (("b", 403), ("a", 404)):
            answer = client.get(f"{path}?card=c1", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == status, path
        assert client.get(path).status_code == 401
    sample = a_sample(1, transaction={"merchant_id": "m"})
    told = shown(sample, Reader("viewer"))
    assert "c1" not in str(told)
    assert (told["card_id"], told["transaction"]["merchant_id"]) == (None, "m")
    assert shown(sample, Reader("reviewer"))["card_id"] == shown(sample, Reader(None))["card_id"] == "c1"
    assert "c1" not in str(row(sample, 100.0, "none", with_card=False))


def test_no_field_of_a_row_is_a_formula_to_a_spreadsheet() -> None:
    for nasty in ("=1+1", "+1", "-1", "@x", "\tx"):
        told = row(a_sample(1, transaction={"transaction_id": nasty, "card_id": nasty}), 100.0, "none", with_card=True)
        cells = csv_lines([told], with_head=False)
        assert cells.startswith((f"'{nasty}", f"\"'{nasty}"))
        assert set(told) == set(COLUMNS)


@pytest.mark.parametrize("name", NAMES)
def test_static_files_are_kept_by_browsers_and_change_their_address_with_their_content(
    client: TestClient, name: str
) -> None:
    answer = client.get(static(name))
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert hashlib.sha256(answer.content).hexdigest() == DIGESTS[name]
    guarded = client_of(read_token=SecretStr("x"))
    assert guarded.get(static(name)).status_code == 401


def test_the_library_is_the_one_that_its_readme_names() -> None:
    """Its SHA-256, so that no other one gets in unseen."""
    folder = ROOT / "shadow" / "web" / "static"
    assert DIGESTS["htmx.min.js"] == HTMX
    assert "2.0.11" in (folder / "README.md").read_text()
    assert b'version:"2.0.11"' in (folder / "htmx.min.js").read_bytes()
    assert "Zero-Clause BSD" in (folder / "htmx.LICENSE").read_text()


HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"


STATES = st.fixed_dictionaries(
    {},
    optional={
        "segment": st.lists(st.text(min_size=1, max_size=8), max_size=3),
        "where": st.lists(st.tuples(st.text("ab=%&<", min_size=1), st.text(max_size=5)), max_size=3),
        "direction": st.sampled_from(["live_only", "candidate_only"]),
        "noise": st.sampled_from(["hide", "show"]),
        "unit": st.sampled_from(["count", "percent"]),
        "min_amount": st.floats(0, 10),
        "ascending": st.booleans(),
        "top_feature": st.text(min_size=1, max_size=8),
    },
)


@given(STATES)
def test_every_state_of_the_page_is_in_its_address(state: dict[str, Any]) -> None:
    from shadow.exploration.question import as_condition

    if "where" in state:
        state["where"] = [as_condition(name, value) for name, value in state["where"]]
    view = View(**state).model_copy(update={"beyond_noise": state.get("noise", "hide") == "hide"})
    again = View.of(QueryParams(parse_qsl(urlsplit(view.address()).query, keep_blank_values=True)))
    assert again == view
    for _, without in view.chips():
        assert View.of(QueryParams(parse_qsl(urlsplit(without).query))).address() != view.address()
    bare = View.of(QueryParams(parse_qsl(urlsplit(view.clear).query)))
    assert not bare.chips()


def test_documents_have_an_example_of_every_answer(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    for path in PATHS:
        told = document["paths"][path]["get"]
        assert told["description"], path
        assert MEDIA in told["responses"]["422"]["content"], path
        if path != "/api/export":
            assert told["responses"]["200"]["content"]["application/json"]["example"], path
    names = [one["name"] for one in document["paths"]["/api/samples"]["get"]["parameters"]]
    assert {"segment", "where", "top_feature", "label", "cursor", "card", "beyond_noise"} <= set(names)
    assert re.fullmatch(r"L\d+-C\d+", str(Run(1, 2)))


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({}, 240),
        ({"since": "1970-01-09T00:00:00Z"}, 48),
        ({"until": "1970-01-01T00:30:00Z"}, 1),
        ({"since": "1970-01-02T00:30:00Z", "until": "1970-01-03T00:00:00Z"}, 24),
        ({"segment": ["country=FR"], "where": ["merchant_id=m"]}, 240),
        ({"where": ["hour=13"]}, 0),
        ({"where": ["weekday=Monday"]}, 0),
        ({"scored_since": "1970-01-09T00:00:00Z"}, 0),
    ],
)
def test_money_is_told_for_the_span_that_is_asked_for(asked: dict[str, Any], left: int) -> None:
    assert View(**asked).hours_meant(range(240)) == left
