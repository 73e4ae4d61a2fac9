"""A token says who asks: nobody reviews in another's name, and nobody without a token."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from click.testing import CliRunner
from fastapi import HTTPException, Request
from pydantic import SecretStr, ValidationError

from scorer.people import Person, Who
from shadow.cli import cli
from shadow.settings import ShadowSettings
from shadow.web.auth import operator_of, reader_of, signed

ANN, BOB = "token-of-ann-é", "token-of-bob"


def person(token: str, role: Any) -> Person:
    return Person(token=hashlib.sha256(token.encode()).hexdigest(), role=role)


ANN_HERSELF = Who("ann", "ann", "reviewer", "token")
PEOPLE = {"ann": person(ANN, "reviewer"), "bob": person(BOB, "viewer")}


def asking(authorization: str | None) -> Request:
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    return Request({"type": "http", "headers": headers, "path": "/", "method": "GET"})


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"any:{password}".encode()).decode()


def status_of(depends: Any, authorization: str | None) -> int:
    try:
        depends(asking(authorization))
    except HTTPException as error:
        return error.status_code
    return 200


@pytest.mark.parametrize(
    ("authorization", "reads", "writes"),
    [
        (f"Bearer {ANN}", 200, 200),
        (f"Bearer {BOB}", 200, 403),
        (basic(ANN), 200, 401),  # a browser sends it along, from whatever page
        (basic(BOB), 200, 401),
        (None, 401, 401),
        ("Bearer ", 401, 401),
        ("Bearer guessed", 401, 401),
        (f"Bearer {PEOPLE['ann'].token}", 401, 401),  # what is in the settings opens nothing
        (f"Bearer {ANN} ", 401, 401),
        (f"bearer {ANN}", 401, 401),
        ("Basic !", 401, 401),
    ],
)
def test_who_may_do_what(authorization: str | None, reads: int, writes: int) -> None:
    settings = ShadowSettings(people=PEOPLE)
    assert status_of(reader_of(settings), authorization) == reads
    assert status_of(operator_of(settings), authorization) == writes


def test_tokens_that_are_nobodys_go_on_beside_those_of_people() -> None:
    settings = ShadowSettings(people=PEOPLE, read_token=SecretStr("reads"), operator_token=SecretStr("writes"))
    assert status_of(reader_of(settings), "Bearer reads") == 200
    assert status_of(operator_of(settings), "Bearer reads") == 401
    assert operator_of(settings)(asking("Bearer writes")) is None
    assert operator_of(settings)(asking(f"Bearer {ANN}")) == ANN_HERSELF


def test_nobody_may_write_where_there_are_viewers_only() -> None:
    settings = ShadowSettings(people={"bob": PEOPLE["bob"]})
    assert status_of(operator_of(settings), None) == 403
    assert status_of(operator_of(settings), "Bearer x") == 403


def test_a_review_bears_the_name_of_its_token() -> None:
    assert signed(ANN_HERSELF, None) == signed(ANN_HERSELF, "ann") == "ann"
    assert signed(None, "carl") == "carl"
    for who, by, status in ((ANN_HERSELF, "bob", 403), (None, None, 422)):
        with pytest.raises(HTTPException) as refused:
            signed(who, by)
        assert refused.value.status_code == status


def test_a_token_is_made_and_known_by_its_hash_only() -> None:
    done = CliRunner().invoke(cli, ["token", "ann", "--role", "reviewer"])
    assert done.exit_code == 0
    token = done.stderr.splitlines()[0].rpartition(": ")[2]
    assert len(token) >= 40
    assert token not in done.stdout
    settings = ShadowSettings(people=json.loads(done.stdout))
    assert operator_of(settings)(asking(f"Bearer {token}")) == ANN_HERSELF


@pytest.mark.parametrize(
    "people",
    [
        {"ann": {"token": "x", "role": "viewer"}},
        {"ann": {"token": "A" * 64, "role": "viewer"}},
        {"ann": {"token": "a" * 64, "role": "owner"}},
        {"ann": {"token": "a" * 64, "role": "gate"}},
        {"José": PEOPLE["ann"], "josé ": PEOPLE["bob"]},
        {"": {"token": "a" * 64, "role": "viewer"}},
        {"ann": PEOPLE["ann"], "eve": PEOPLE["ann"]},
    ],
)
def test_people_that_make_no_sense_are_refused(people: Any) -> None:
    with pytest.raises(ValidationError):
        ShadowSettings(people=people)
