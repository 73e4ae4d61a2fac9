"""Tokens are fetched when the old ones are nearly over, and nobody is told what is in them."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorer.errors import SettingsError
from scorer.kafka import bearer
from scorer.kafka.bearer import FromEndpoint, FromFunction, InFile, Token, TokenError, Tokens, checked
from scorer.kafka.connection import connection
from scorer.settings import load
from scorer.streaming.credentials import credentials
from shadow.settings import ShadowSettings

SECRET = "s3cret &+%"


def jwt(**claims: Any) -> str:
    """A JWT that nobody signed."""
    parts = [json.dumps({"alg": "none"}), json.dumps(claims)]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts) + "."


@contextmanager
def endpoint(*answers: tuple[int, Any]) -> Iterator[tuple[str, list[Any]]]:
    """An endpoint that gives answers in turn, the last one again and again, and what it was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked.append((self.headers["Authorization"], parse_qs(body)))
            status, answer = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        do_GET = do_POST  # noqa: N815 - http.server's name

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/token", asked
        server.shutdown()


# --- when ---


@given(st.floats(1, 1e6), st.lists(st.floats(0, 1e5), min_size=1, max_size=30))
def test_every_token_that_is_given_out_is_good_and_none_is_fetched_early(lasts: float, waits: list[float]) -> None:
    now, fetched = [1e9], list[float]()

    def source() -> Token:
        fetched.append(now[0])
        return Token(str(len(fetched)), now[0] + lasts)

    kept = Tokens(source, lambda: now[0])
    for wait in waits:
        before = len(fetched)
        text = kept.now()
        assert now[0] < fetched[int(text) - 1] + lasts, "an old token"
        if before and len(fetched) > before:
            assert now[0] >= fetched[-2] + 0.79 * lasts, "fetched early"
        now[0] += wait


def test_the_old_token_serves_while_no_new_one_comes_and_not_longer(caplog: pytest.LogCaptureFixture) -> None:
    now, is_away, asked = [0.0], [False], [0]

    def source() -> Token:
        asked[0] += 1
        if is_away[0]:
            raise TokenError("the endpoint is away")
        return Token(f"t{now[0]:g}", now[0] + 100)

    kept = Tokens(source, lambda: now[0])
    assert kept.now() == "t0"
    is_away[0], now[0] = True, 85
    with caplog.at_level(logging.WARNING):
        assert [kept.now() for _ in range(5)] == ["t0"] * 5
    assert asked[0] == 2, "not at every connection"
    assert caplog.messages == ["no new token, going on with the present one: the endpoint is away"]
    now[0] = 100
    with pytest.raises(TokenError, match="away"):
        kept.now()
    is_away[0] = False
    assert kept.now() == "t100"


def test_many_threads_wait_for_one_fetch() -> None:
    fetched: list[int] = []

    def source() -> Token:
        fetched.append(1)
        time.sleep(0.02)
        return Token("one", time.time() + 100)

    kept = Tokens(source)
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _: kept.now(), range(20))) == {"one"}
    assert len(fetched) == 1


def test_what_expires_unknown_is_read_each_time_and_a_jwt_says_it_itself(tmp_path: Path) -> None:
    path = tmp_path / "token"
    kept = Tokens(InFile(path), lambda: 1000.0)
    path.write_text("one\n")
    assert kept.now() == "one"
    path.write_text("two")
    assert kept.now() == "two"
    path.write_text(jwt(exp=2000))
    first = kept.now()
    path.write_text(jwt(exp=3000))
    assert kept.now() == first
    old = Tokens(InFile(path), lambda: 3000.5)
    with pytest.raises(TokenError, match="has expired"):
        old.now()


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "a\nb", "a\x01auth=x", "ü", "x" * 70_000, b"\xff\xfe", None, 7],
)
def test_what_cannot_be_a_token_is_refused_unseen(text: Any) -> None:
    with pytest.raises(TokenError) as error:
        checked(text, "place")
    assert str(error.value) == "place: holds no token; expected one text without blanks"


@given(st.text(alphabet="abc.=-_{}0123456789", max_size=60))
def test_a_token_that_is_no_jwt_has_no_known_end(text: str) -> None:
    try:
        assert checked(text, "place").expires_s is None
    except TokenError:
        assert not text


# --- endpoint ---


def test_an_endpoint_is_asked_as_the_standard_has_it() -> None:
    with endpoint((200, {"access_token": "abc", "expires_in": 60, "token_type": "Bearer"})) as (url, asked):
        source = FromEndpoint(url, "an id:", SECRET, (("audience", "kafka"), ("scope", "a b")))
        token = source()
        assert token.text == "abc"
        assert token.expires_s is not None
    ((login, form),) = asked
    assert base64.b64decode(login.removeprefix("Basic ")).decode() == "an+id%3A:s3cret+%26%2B%25"
    assert form == {"grant_type": ["client_credentials"], "audience": ["kafka"], "scope": ["a b"]}


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (
            401,
            {"error": "invalid_client", "error_description": SECRET},
            r"answers 401 \(invalid_client\); correct kafka_u",
        ),
        (400, b"<html>", "answers 400; correct kafka_user"),
        (302, b"", "answers 302"),
        (200, b"<html>", "answers no JSON"),
        (200, [], "answers no object"),
        (200, {"token": "abc"}, "holds no token"),
        (200, {"access_token": "a\u0001b"}, "holds no token"),
    ],
)
def test_an_endpoint_that_refuses_is_told_in_one_line_without_the_secret(status: int, answer: Any, told: str) -> None:
    with endpoint((status, answer)) as (url, asked):
        with pytest.raises(TokenError, match=told) as error:
            FromEndpoint(url, "id", SECRET, ())()
        assert len(asked) == 1, "followed elsewhere, with the secret"
    line = str(error.value)
    assert line.startswith(f"kafka_token_url {url}: ")
    assert "\n" not in line
    assert SECRET not in line
    assert SECRET not in repr(FromEndpoint(url, "id", SECRET, ()))


def test_an_endpoint_that_is_away_is_told() -> None:
    with endpoint((200, {})) as (url, _):
        pass
    with pytest.raises(TokenError, match="cannot be reached"):
        FromEndpoint(url, "id", SECRET, ())()


# --- function ---


def test_a_function_gives_a_token_and_its_end() -> None:
    signed = FromFunction("m:f", lambda region: (f"for-{region}", 1_700_000_000_000), (("region", "eu"),))
    assert signed() == Token("for-eu", 1_700_000_000.0)
    assert FromFunction("m:f", lambda: b"plain", ())() == Token("plain")


@pytest.mark.parametrize("returned", [(), ("a",), ("a", "b"), ("a", 1, 2), None, 7, ("a b", 1)])
def test_a_function_that_returns_something_else_is_told(returned: Any) -> None:
    with pytest.raises(TokenError, match="kafka_token_function m:f: "):
        FromFunction("m:f", lambda: returned, ())()


def test_a_function_that_raises_does_not_tell_its_secret() -> None:
    def broken() -> str:
        raise ValueError(SECRET)

    with pytest.raises(TokenError) as error:
        FromFunction("m:f", broken, ())()
    assert str(error.value) == "kafka_token_function m:f: raised ValueError; look at its documentation"


# --- settings ---

BEARER = {"kafka_security": "sasl_ssl", "kafka_mechanism": "OAUTHBEARER"}
URL = "https://id.example.com/token"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (BEARER, "kafka_mechanism: with OAUTHBEARER, no token; set one of SHADOW_KAFKA_TOKEN_FILE, SHADOW_K"),
        ({**BEARER, "kafka_token_file": "t", "kafka_token_url": URL}, "kafka_token_file and kafka_token_url are set"),
        ({**BEARER, "kafka_token_url": URL}, "kafka_password: is missing with sasl_ssl; set SHADOW_KAFKA_PASSWORD"),
        (
            {**BEARER, "kafka_token_url": "http://id.example.com"},
            "kafka_token_url: Value error, is not https://…; set S",
        ),
        ({**BEARER, "kafka_token_url": "https://a:b@id.example.com"}, "kafka_token_url: Value error, has a user in it"),
        ({**BEARER, "kafka_token_file": "t", "kafka_user": "ann"}, "kafka_user: has no effect with kafka_token_file"),
        ({**BEARER, "kafka_token_file": "t", "kafka_token_fields": {"a": "b"}}, "kafka_token_fields: has no effect"),
        (
            {"kafka_security": "sasl_ssl", "kafka_token_file": "t"},
            "kafka_token_file: has no effect without OAUTHBEARER",
        ),
        (
            {"kafka_security": "ssl", "kafka_mechanism": "OAUTHBEARER", "kafka_token_url": URL},
            "no effect without OAUTH",
        ),
        (
            {**BEARER, "kafka_token_function": "nothing"},
            "kafka_token_function: nothing is not module:function; install",
        ),
        ({**BEARER, "kafka_token_function": "no.such:thing"}, "cannot be imported (No module named 'no')"),
        ({**BEARER, "kafka_token_function": "json:nothing"}, "cannot be imported (module 'json' has no attribute"),
        ({**BEARER, "kafka_token_function": "sys:path"}, "is no function"),
    ],
)
def test_a_token_that_is_half_set_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        connection(load(ShadowSettings, **given))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_all_clients_of_a_process_share_a_token(tmp_path: Path) -> None:
    chosen = {**BEARER, "kafka_token_url": URL, "kafka_user": "id", "kafka_password": SECRET}
    one, other = (connection(load(ShadowSettings, **chosen)) for _ in range(2))
    assert one["sasl_mechanism"] == "OAUTHBEARER"
    assert one["sasl_oauth_token_provider"] is other["sasl_oauth_token_provider"]
    assert credentials(load(ShadowSettings, **chosen)).oauth_cb is one["sasl_oauth_token_provider"]
    changed = connection(load(ShadowSettings, **{**chosen, "kafka_password": "another"}))
    assert changed["sasl_oauth_token_provider"] is not one["sasl_oauth_token_provider"]
    assert "sasl_plain_password" not in one
    assert SECRET not in repr(one)
    file = connection(load(ShadowSettings, **BEARER, kafka_token_file=tmp_path / "t"))
    assert isinstance(file["sasl_oauth_token_provider"], Tokens)
    assert bearer.REFRESH_AT < 1
