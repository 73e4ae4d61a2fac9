"""The overview's states: nothing, thin, rejected, ready, not judged, Redis away; who may read it; and how it is asked
for again."""

from __future__ import annotations

import hashlib
import html
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.changes import a_change, fold
from harness.overlooked import a_client, a_look, a_serve, a_state, with_money
from harness.totals import RELEASE, a_run, part
from scorer.deployments.changes import switch
from scorer.deployments.records import Comment, Suggestion, Target
from scorer.deployments.slots import Deployments
from scorer.people import Person
from shadow.gate.findings import Decision
from shadow.release.look import Look
from shadow.release.status import DataAge, WatchSeen, status
from shadow.web.differences import POLICY
from shadow.web.overview import _alarms

BAD = with_money(a_run(DE=part(60_000, 500, 1_500, 9_000)))
STATE = ("live", "candidate", "control")


def text_of(page: str) -> str:
    """What is to be read on a page."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def told(looks: dict[str, Look], *slots: str, **more: Any) -> str:
    answer = a_client(a_serve(a_state(*(slots or STATE)), looks, **more)).get("/")
    assert answer.status_code == 200
    return text_of(answer.text)


def ready() -> Look:
    seen = a_look("candidate", with_money(a_run(hours=48)))
    return replace(seen, judgement=replace(seen.judgement, decision=Decision.PROMOTE))


def suggest(state: Deployments, hours: float = 1) -> str:
    at = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="milliseconds")
    made = Suggestion(
        slot="candidate",
        target=Target(digest="b" * 64, threshold=0.5),
        expects={"live": 1, "candidate": 1},
        criteria=RELEASE.digest,
        evidence={},
        at=at,
    )
    fold(made, start=state)
    return state.ledger[-1].seq


def test_with_nothing_deployed_it_says_what_to_do_first() -> None:
    page = told({}, "control")
    assert "No candidate is beside live" in page
    assert "scorer deploy BUNDLE --slot live" in page
    assert "scorer deploy BUNDLE --slot candidate" in page
    assert "scorer deploy BUNDLE --slot live" not in told({}, "live")


def test_a_rejected_candidate_says_the_one_reason_money_and_what_to_do() -> None:
    page = told({"candidate": a_look("candidate", BAD)})
    assert "✗ rejected" in page
    assert "Rejected. Country DE: blocks 375.0 % more than live; limit 25.0 % more." in page
    assert "2.94 % (3,000)" in page
    assert "10.29 % (10,500)" in page
    assert "EUR 375,000 more than live" in page
    assert "They differ on 10,600 of 102,050 transactions (10.39 %)" in page
    assert "More than noise? Yes." in page
    assert "train or choose another candidate" in page
    assert "more_blocks" not in page


def test_by_segment_the_largest_share_comes_first_and_leads_to_its_differences() -> None:
    page = a_client(a_serve(a_state(*STATE), {"candidate": a_look("candidate", BAD)})).get("/").text
    rows = re.findall(r'id="segment-candidate-\d+" href="([^"]+)">([^<]+)<', page)
    assert [html.unescape(name) for _, name in rows] == ["country DE", "amount <500", "country FR"]
    assert html.unescape(rows[0][0]) == "/explore?slot=candidate&segment=country%3DDE&noise=show"


def test_a_thin_run_shows_its_clean_period_and_how_long_it_takes() -> None:
    page = told({"candidate": a_look("candidate", with_money(a_run(hours=10)))})
    assert "… on hold" in page
    assert "On hold. 0.4 of 1 clean days are done." in page
    assert "What holds it" in page
    assert "Wait about 0.6 days" in page


def test_a_run_without_anything_compared_shows_no_bars_and_no_nan() -> None:
    page = told({"candidate": a_look("candidate", replace(a_run(hours=0), segments={}))})
    assert "Nothing was compared yet" in page
    assert "nan" not in page.lower().split()
    assert "Blocked money" not in page


def test_a_ready_candidate_that_waits_is_approved_by_a_command_and_shows_what_was_said() -> None:
    state = a_state(*STATE)
    seq = suggest(state)
    fold(Comment(suggestion=seq, by="bob", text="looks <fine>", at="2026-01-01T00:00:00Z"), start=state)
    page = text_of(a_client(a_serve(state, {"candidate": ready()})).get("/").text)
    assert "1 candidate: 1 ready; 1 release waits for a person" in page
    assert "shadow approve --slot candidate --by … --reason …" in page
    assert "bob: looks <fine>" in page
    expired = a_state(*STATE)
    suggest(expired, hours=80)
    page = text_of(a_client(a_serve(expired, {"candidate": ready()})).get("/").text)
    assert "shadow approve" not in page
    assert "expired" in page


def test_what_was_deployed_after_the_last_look_is_not_judged_by_it() -> None:
    seen = a_look("candidate", replace(BAD, run=replace(BAD.run, candidate_epoch=7)))
    page = told({"candidate": seen})
    assert "Not judged yet" in page
    assert "Rejected" not in page


def test_when_redis_is_away_it_says_so_and_how_old_the_rest_is() -> None:
    page = told({"candidate": a_look("candidate", BAD)}, trouble="Redis is away")
    assert "The gate cannot judge: Redis is away" in page
    assert "of the last evaluation, at 20" in page
    assert "Rejected. Country DE" in page
    assert "verdicts and reviews cannot be seen: Redis is away" in page


def test_the_state_of_live_and_of_the_kill_switch_is_what_the_command_says() -> None:
    serve = a_serve(a_state(*STATE), {"candidate": a_look("candidate", BAD)})
    page = text_of(a_client(serve).get("/").text)
    assert "kill switch off" in page
    assert "live bundle aaaaaaaaaaaa at 0.5 since 2026-01-01" in page
    assert "no suggestion waits for a person" in page


def test_without_one_currency_money_is_not_told_as_if_it_had_one() -> None:
    state = a_state(*STATE)
    state.fold(b"view/w", b'{"schema": 1, "names": [], "definitions": {}, "currency": {"code": "USD", "digits": 2}}')
    page = text_of(a_client(a_serve(state, {"candidate": a_look("candidate", BAD)})).get("/").text)
    assert "Money cannot be told: feature views on topic deployments" in page
    assert "no currency known" in page
    assert "EUR 3" not in page


def test_what_has_not_changed_is_not_sent_and_the_page_asks_with_its_own_tag() -> None:
    serve = a_serve(a_state(*STATE), {"candidate": a_look("candidate", BAD)})
    client = a_client(serve)
    first = client.get("/")
    tag = first.headers["etag"]
    headers = html.unescape(re.findall(r"hx-headers='([^']+)'", first.text)[0])
    assert tag.replace('"', '\\"') in headers
    assert "@entity-tag@" not in first.text
    again = client.get("/", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    serve.looks["candidate"] = a_look("candidate", with_money(a_run(hours=10)))
    assert client.get("/", headers={"if-none-match": tag}).status_code == 200


def test_it_runs_no_script_of_its_own_and_a_304_replaces_nothing() -> None:
    answer = a_client(a_serve(a_state(*STATE), {"candidate": a_look("candidate", BAD)})).get("/")
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert '{"code":"304","swap":false}' in answer.text
    assert " style=" not in answer.text
    assert " onclick" not in answer.text


def test_a_viewer_may_read_it_and_somebody_without_a_token_may_not() -> None:
    people = {"bob": Person(token=hashlib.sha256(b"b").hexdigest(), role="viewer")}
    client = a_client(a_serve(a_state(*STATE), {"candidate": a_look("candidate", BAD)}, people=people))
    refused = client.get("/")
    assert refused.status_code == 401
    assert "Rejected" not in refused.text
    page = client.get("/", headers={"Authorization": "Bearer b"})
    assert page.status_code == 200
    assert "card_id" not in page.text


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", '"><img src=x>', "\u202eevil"])
def test_what_people_wrote_is_shown_and_runs_nothing(nasty: str) -> None:
    state = a_state(*STATE)
    seq = suggest(state)
    fold(Comment(suggestion=seq, by="bob", text=nasty, at="2026-01-01T00:00:00Z"), start=state)
    page = a_client(a_serve(state, {"candidate": ready()})).get("/").text
    assert nasty not in page
    assert "<img" not in page


def test_the_kill_switch_is_the_first_thing_to_see() -> None:
    state = a_state(*STATE)
    fold(switch(state, "block_all", "bob", "serves nonsense", "2026-01-01T00:00:00Z"), start=state)
    page = text_of(a_client(a_serve(state, {})).get("/").text)
    assert "The kill switch is on: every transaction is blocked, whatever the models say." in page
    assert page.index("The kill switch is on") < page.index("Not judged yet")
    assert "by bob" in page


def test_live_that_does_harm_is_said_before_all_else() -> None:
    at = datetime(2026, 1, 3, tzinfo=UTC)
    seen = WatchSeen(2.0, None, True, "live is worse than the model before it: more_blocks in all")
    (told_of,) = _alarms(replace(status(a_state(*STATE), DataAge(None, None), {}, {}, at), watch=seen))
    assert told_of.startswith("Live is worse than the model before it")
    assert "shadow rollback" in told_of


@pytest.mark.parametrize("name", ["data", "waiting", "reviews", "live-2"])
def test_a_slot_that_is_called_as_a_line_hides_none(name: str) -> None:
    state = a_state("live")
    fold(a_change({name: "b"}, {name: 0}), start=state)
    page = text_of(a_client(a_serve(state, {})).get("/").text)
    assert "no suggestion waits for a person" in page
    assert "age is not known" in page
    assert "No reviews needed" in page
    assert "Not judged yet" in page
