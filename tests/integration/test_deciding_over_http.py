"""Decisions over HTTP, by a real `shadow serve` on a real broker: the rules of the command line, and one outcome."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.error import HTTPError

import orjson
import pytest

from harness.desk import BAD, Desk
from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, Worker, get, wait_for

TOKENS = {name: f"token-of-{name}-{'x' * 20}" for name in ("ann", "bob", "dora", "vera")}
ROLES = {"ann": "releaser", "bob": "releaser", "dora": "reviewer", "vera": "viewer"}
Ask = Callable[..., tuple[int, Any]]


class Office:
    """A desk with `shadow serve`, of which people with tokens ask something."""

    def __init__(self, stack: Stack, models: Models) -> None:
        self.desk, self.stack = Desk(stack, models), stack
        people = {n: {"token": hashlib.sha256(t.encode()).hexdigest(), "role": ROLES[n]} for n, t in TOKENS.items()}
        stack.env |= {"SHADOW_PEOPLE": json.dumps(people), "SHADOW_READ_TOKEN": "reads"}
        self.serve = self.desk.serve()

    def suggestion(self) -> str:
        """The ledger key of the suggestion that waits, once there is one."""

        def seqs() -> list[str]:
            return [one["seq"] for one in orjson.loads(get(self.address("/api/suggestions"), "reads") or b"[]")]

        return str(wait_for("a suggestion", seqs)[-1])

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.serve.port}{path}"

    def post(self, path: str, body: Any, by: str | None = "ann", **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer. by: whose token is sent."""
        sent = {"content-type": "application/json"} | ({"authorization": f"Bearer {TOKENS[by]}"} if by else {})
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address(path), data, sent | named)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, orjson.loads(answer.read())
        except HTTPError as error:
            return error.code, orjson.loads(error.read())

    def approve(self, by: str | None = "ann", **more: Any) -> tuple[int, Any]:
        return self.post("/api/suggestions/approve", {"reason": "clean", **more}, by)

    def changes(self) -> list[dict[str, Any]]:
        """What has changed live so far, without the first filling, and without what is void as it came second."""
        made = sorted(self.desk.ledger("change") + self.desk.ledger("forced"), key=lambda one: str(one["seq"])[:8])
        of_live = [one for one in made if "live" in one["slots"] and one["expects"]["live"]]
        return list({one["expects"]["live"]: one for one in reversed(of_live)}.values())[::-1]


@pytest.fixture
def office(stack: Stack, models: Models) -> Office:
    return Office(stack, models)


def test_a_releaser_approves_and_everybody_sees_who_and_why(office: Office) -> None:
    seq = office.suggestion()
    basic = base64.b64encode(f"any:{TOKENS['ann']}".encode()).decode()
    assert office.approve(None)[0] == 401
    assert office.post("/api/suggestions/approve", {"reason": "x y"}, None, authorization=f"Basic {basic}")[0] == 401
    for who in ("dora", "vera"):
        status, told = office.approve(who)
        assert (status, told["detail"]) == (403, f"{who} is a {ROLES[who]}; this needs the role releaser")
    assert office.approve(by="ann", suggestion="nonsense")[0] == 422
    for reason, why in ((" \t…", "says nothing"), ("card 4111 1111 1111 1111", "holds a card number")):
        status, told = office.approve(reason=reason)
        assert (status, why in told["detail"]) == (422, True), told
        assert "4111" not in str(told)
    plain = orjson.dumps({"reason": "from a form of another site"})
    assert office.post("/api/suggestions/approve", plain, "ann", content_type="text/plain")[0] == 422
    status, told = office.approve(suggestion="00000001-00000000")
    assert (status, f"{seq} waits now" in told["detail"]) == (409, True), told
    assert office.desk.ledger("prepare") == [], "nothing was begun"

    status, done = office.approve(suggestion=seq)
    assert (status, done["state"], done["by"], done["verified"]) == (200, "released", "ann", "token"), done
    assert done["live"]["digest"] == office.desk.models.candidate
    assert done["late"] == {}
    assert office.desk.live()["digest"] == office.desk.models.candidate
    told = office.stack.run("shadow", "history")
    assert "approve by ann: live bundle" in told
    assert "reason: clean" in told

    # whose answer was lost on the way gets it again, and everybody else hears who was first
    status, again = office.approve(suggestion=seq)
    assert (status, again["repeated"], again["entry"]) == (200, True, done["entry"])
    status, told = office.approve("bob", suggestion=seq)
    assert (status, "ann approved this candidate at 2" in told["detail"]) == (409, True), told
    assert len(office.changes()) == 1

    # and back: of two at once one does it, and the other is told who
    with ThreadPoolExecutor(2) as pool:
        body = {"reason": "complaints", "live_epoch": done["live"]["epoch"]}
        both = list(pool.map(lambda by: (by, *office.post("/api/rollback", body, by)), ("ann", "bob")))
    (first,) = [by for by, status, _ in both if status == 200]
    ((second, _, told),) = [one for one in both if one[1] != 200]
    assert f"{first} put the model before it back at 2" in told["detail"], (second, told)
    assert len(office.changes()) == 2
    assert office.desk.live()["digest"] == office.desk.models.live
    by_command = office.stack.fails("shadow", "rollback", "--reason", "x y", SHADOW_TOKEN=TOKENS["bob"])
    assert f"{first} put the model before it back at 2" in by_command


def test_what_was_suggested_is_judged_again_and_a_rejection_is_final(office: Office) -> None:
    seq = office.suggestion()
    office.stack.env["SHADOW_TOKEN"] = TOKENS["ann"]
    status, told = office.post("/api/suggestions/reject", {"reason": "holidays", "suggestion": seq}, "bob")
    assert (status, told["state"], told["by"]) == (200, "rejected", "bob")
    status, told = office.approve()
    assert (status, "bob rejected this candidate at 2" in told["detail"]) == (409, True), told
    status, told = office.post("/api/suggestions/reject", {"reason": "me too", "suggestion": seq}, "ann")
    assert (status, "bob rejected this candidate" in told["detail"]) == (409, True), told
    assert office.post("/api/suggestions/reject", {"reason": "no", "suggestion": seq}, "bob")[1]["repeated"]
    assert len(office.desk.ledger("answer")) == 1
    assert office.post("/api/suggestions/reject", {"reason": "no", "slot": "nowhere"}, "bob")[0] == 404
    office.desk.count("candidate", BAD)
    status, told = office.approve()
    assert status == 409
    assert office.changes() == []
    office.stack.store.stop()
    status, told = office.approve()
    assert (status, "redis " in told["detail"]) == (503, True), told


def test_two_approvals_at_once_have_one_outcome(office: Office) -> None:
    seq = office.suggestion()
    with ThreadPoolExecutor(3) as pool:
        told = list(pool.map(lambda by: (by, *office.approve(by, suggestion=seq)), ("ann", "bob", "ann")))
    winners = {by for by, status, _ in told if status == 200}
    assert len(winners) == 1, told
    (change,) = office.changes()
    assert {change["by"]} == winners
    for _, status, answer in told:
        assert status in (200, 409)
        assert status == 200 or f"{change['by']} approved this candidate" in answer["detail"], told


def test_an_edited_threshold_is_a_forced_release_and_takes_two(office: Office) -> None:
    office.serve.stop()
    office.stack.env["SHADOW_FOUR_EYES"] = "true"
    office.serve = office.desk.serve()
    seq = office.suggestion()
    status, told = office.approve(suggestion=seq, threshold=0.4)
    assert (status, "was not judged" in told["detail"]) == (409, True), told
    asked: dict[str, Any] = {"suggestion": seq, "threshold": 0.4, "force": True}
    status, first = office.approve(**asked)
    assert (status, first["state"], office.changes()) == (202, "waits", []), first
    status, again = office.approve(**asked)
    assert (status, again["repeated"], again["entry"]) == (202, True, first["entry"]), "nobody completes their own"
    assert office.desk.live()["epoch"] == 1
    status, done = office.approve("bob", **asked)
    assert (status, done["state"], done["live"]["threshold"]) == (200, "released", 0.4), done
    (forced,) = office.desk.ledger("forced")
    assert (forced["first"]["by"], forced["by"], forced["verdict"]["decision"]) == ("ann", "bob", "promote")


def test_serve_killed_in_mid_approval_leaves_nothing_half_done(office: Office) -> None:
    seq = office.suggestion()
    office.desk.scorer.pause()  # it does not answer the request to prepare
    try:
        asking = threading.Thread(target=unanswered, args=(office, seq))
        asking.start()
        wait_for("asked", lambda: office.desk.ledger("prepare"))
        assert get(office.address("/livez")) == b"ok\n", "pages are answered while scorers are waited for"
        assert get(office.address("/api/status"), "reads") is not None
        office.serve.kill()
        asking.join(PATIENCE_SECONDS)
    finally:
        office.desk.scorer.resume()
    assert office.changes() == []
    office.serve = office.desk.serve()
    assert office.suggestion() == seq, "it waits as before"
    status, done = office.approve("bob", suggestion=seq)
    assert (status, done["state"]) == (200, "released"), done
    assert [one["by"] for one in office.changes()] == ["bob"]


def test_an_approval_is_carried_out_when_the_client_goes_away(office: Office) -> None:
    seq = office.suggestion()
    office.desk.scorer.pause()
    try:
        body = orjson.dumps({"reason": "clean", "suggestion": seq})
        head = f"POST /api/suggestions/approve HTTP/1.1\r\nHost: 127.0.0.1:{office.serve.port}\r\n"
        head += f"Authorization: Bearer {TOKENS['ann']}\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", office.serve.port)) as away:
            away.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_for("asked", lambda: office.desk.ledger("prepare"))
    finally:
        office.desk.scorer.resume()
    (change,) = wait_for("carried out", office.changes)
    assert change["by"] == "ann"
    status, told = office.approve(suggestion=seq)
    assert (status, told["state"], len(office.changes())) == (200, "released", 1), told


def test_a_request_of_another_site_decides_nothing(office: Office) -> None:
    """A browser sends the password along, whoever's page has asked for it."""
    seq = office.suggestion()
    basic = "Basic " + base64.b64encode(f"any:{TOKENS['ann']}".encode()).decode()
    ours = f"http://127.0.0.1:{office.serve.port}"
    form = f"action=reject&suggestion={seq}&reason=by+a+trap".encode()
    for headers in (
        {},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ours, "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "none"},
        {"origin": f"http://127.0.0.1:{office.serve.port + 1}"},
    ):
        given = {"authorization": basic, "content_type": "application/x-www-form-urlencoded", **headers}
        status, _ = office.post("/release/decide", form, None, **given)
        assert status == 403, headers
    assert office.desk.ledger("answer") == []
    assert suggestions_wait(office.serve) == [seq]


def unanswered(office: Office, seq: str) -> None:
    with pytest.raises(OSError, match=r"reset|closed|refused|broken|Remote"):
        office.approve(suggestion=seq)


def suggestions_wait(serve: Worker) -> list[str]:
    return [one["seq"] for one in orjson.loads(get(f"http://127.0.0.1:{serve.port}/api/suggestions", "reads") or b"")]
