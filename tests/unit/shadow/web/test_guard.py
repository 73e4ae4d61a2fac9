"""What `shadow serve` refuses before anything looks at it, who may read what, and what its answers tell browsers."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr, ValidationError

from shadow.gate.criteria import parse
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.web.app import build
from shadow.web.guard import LARGEST_BODY, LARGEST_QUERY, Guard
from shadow.web.turns import Turns

OPEN = ("/livez", "/readyz")
PAGES = ("/api/docs", "/history")
#: With scripts of our own, and nobody else's.
LIVE = ("/", "/compare")
READ = (
    *(*PAGES, "/report", "/metrics", "/api/openapi.json", "/api/slots", "/api/ledger", "/api/suggestions"),
    *("/api/status", "/api/history"),
)
TOKEN = "pass:wörd"


def client_of(host: str = "localhost", **changes: Any) -> TestClient:
    return TestClient(build(Serve(ShadowSettings(**changes), parse("schema: 1"))), base_url=f"http://{host}")


@pytest.fixture(scope="module")
def client() -> TestClient:
    return client_of(operator_token=SecretStr("writes"))


@pytest.mark.parametrize("path", [*OPEN, *READ, "/nowhere"])
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:9101", "10.1.2.3", ""])
def test_a_foreign_name_is_refused_on_every_page(client: TestClient, path: str, host: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 400
    assert "SHADOW_HTTP_NAMES" in answer.json()["detail"]
    assert host not in answer.text or not host, "what a stranger sent is not repeated"


def test_a_name_that_was_given_is_answered(client: TestClient) -> None:
    assert client.get("/api/slots", headers={"Host": "serve.scoring.svc"}).status_code == 400
    behind = client_of(http_names="serve, *.svc", http_host="shadow.example.com")
    for host in ("serve", "serve.scoring.svc:80", "shadow.example.com", "127.0.0.1:9101"):
        assert behind.get("/api/slots", headers={"Host": host}).status_code == 200
    assert behind.get("/api/slots", headers={"Host": "evil.example"}).status_code == 400


def test_two_host_headers_are_refused() -> None:
    async def ask() -> int:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        hosts = [(b"host", b"localhost"), (b"host", b"evil.example")]
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": hosts}
        await Guard(lambda *_: asyncio.sleep(0), ())(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(ask()) == 400


@pytest.mark.parametrize("bad", ["http://a", "a:80", "*", "a b", "*.*.svc", "a/b", "a..b"])
def test_what_is_no_name_is_no_setting(bad: str) -> None:
    with pytest.raises(ValidationError, match="no name of a host"):
        ShadowSettings(http_names=(bad,))


@pytest.mark.parametrize("path", [*OPEN, *READ, "/nowhere", "/api/disagreements?since=noon"])
def test_every_answer_tells_browsers_to_be_careful(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "script-src" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", LIVE)
def test_a_page_that_asks_for_itself_again_runs_nobody_elses_script(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
    assert answer.headers["cache-control"] == "no-store"
    found = Links(answer.text)
    assert not found.tags & {"style", "img", "iframe", "object"}
    for target in found.targets:
        assert target.startswith(("/", "#")), target
        if target.startswith("/"):
            assert client.get(target).status_code in (200, 404), target
    for refused in (
        client.get(path, headers={"Host": "evil.example"}),
        client_of(read_token=SecretStr(TOKEN)).get(path),
    ):
        assert refused.status_code in (400, 401)


@pytest.mark.parametrize("path", READ)
def test_with_a_read_token_all_but_health_needs_it(path: str) -> None:
    guarded = client_of(read_token=SecretStr(TOKEN))
    typed = base64.b64encode(f"any:{TOKEN}".encode()).decode()
    wrong = [
        {},
        {"Authorization": "Bearer guessed"},
        {"Authorization": f"bearer{TOKEN}".encode()},
        {"Authorization": "Basic " + base64.b64encode(b"any:guessed").decode()},
        {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode() + "=="},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic"},
    ]
    for headers in wrong:
        answer = guarded.get(path, headers=headers)
        assert answer.status_code == 401, headers
        assert answer.headers["www-authenticate"].startswith("Basic ")
    for given in (f"Bearer {TOKEN}".encode(), f"Basic {typed}".encode(), f"basic {typed}".encode()):
        assert guarded.get(path, headers={"Authorization": given}).status_code in (200, 404)
    for health in OPEN:
        assert guarded.get(health).status_code in (200, 503)


def test_a_read_token_opens_nothing_that_writes() -> None:
    both = client_of(read_token=SecretStr("reads"), operator_token=SecretStr("writes"))
    for given in ("Bearer reads", "Basic " + base64.b64encode(b"x:writes").decode()):
        assert both.post("/api/review/next", json={"by": "a"}, headers={"Authorization": given}).status_code == 401


def test_an_empty_token_is_no_token() -> None:
    for name in ("read_token", "operator_token"):
        with pytest.raises(ValidationError):
            ShadowSettings(**{name: SecretStr("")})


class Links(HTMLParser):
    """What a page loads, leads to, and runs."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"], attrs
        self.targets |= {value or "" for name, value in attrs if name in ("href", "src", "action")}


@pytest.mark.parametrize("path", PAGES)
def test_a_page_needs_nothing_from_elsewhere_and_its_links_lead_somewhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    found = Links(answer.text)
    assert not found.tags & {"script", "link", "img", "iframe", "object", "form"}
    for target in found.targets:
        assert target.startswith(("/", "#")), target
        if target.startswith("/"):
            assert client.get(target).status_code in (200, 503), target
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style is not None
    import hashlib

    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["content-security-policy"], "the browser would not use its style"


@pytest.mark.parametrize(
    "path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/api/docs/oauth2-redirect"]
)
def test_no_page_of_the_framework_is_left(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_every_operation_has_a_name_of_its_own_and_is_on_the_page(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    told = [one for methods in document["paths"].values() for one in methods.values()]
    names = [one["operationId"] for one in told]
    assert len(set(names)) == len(names)
    assert all(one.get("description") for one in told if "/api/" in str(one)), "what it is for"
    page = client.get("/api/docs").text
    for one in told:
        for parameter in one.get("parameters", ()):
            assert f"<code>{parameter['name']}</code>" in page
    for name in names:
        assert f'id="{name}"' in page


def test_what_is_too_large_is_refused_with_the_limit(client: TestClient) -> None:
    writes = {"Authorization": "Bearer writes"}
    large = client.post("/api/review/mark", content=b" " * (LARGEST_BODY + 1), headers=writes)
    assert (large.status_code, f"{LARGEST_BODY:,}" in large.json()["detail"]) == (413, True)

    def parts() -> Iterator[bytes]:
        for _ in range(LARGEST_BODY // 1000 + 2):
            yield b" " * 1000

    in_parts = client.post("/api/review/mark", content=parts(), headers=writes)
    assert in_parts.status_code == 413
    assert client.post("/api/review/mark", content=b" " * 60_000, headers=writes).status_code == 422
    long = client.get("/api/slots", params={"x": "y" * LARGEST_QUERY})
    assert (long.status_code, f"{LARGEST_QUERY:,}" in long.json()["detail"]) == (414, True)


def test_many_large_requests_take_turns_and_none_waits_for_ever() -> None:
    async def story() -> None:
        turns = Turns(at_once=2, seconds=0.2)
        held = [turns() for _ in range(2)]
        for turn in held:
            await anext(turn)
        waiting = turns()
        with pytest.raises(Exception, match="too many requests") as told:
            await anext(waiting)
        assert getattr(told.value, "status_code", None) == 503
        with pytest.raises(StopAsyncIteration):
            await anext(held[0])
        await anext(turns())

    asyncio.run(story())


def test_a_method_that_is_not_allowed_is_told_with_those_that_are(client: TestClient) -> None:
    for path, methods in (
        ("/api/gate/ready", "GET, POST"),
        ("/api/slots", "GET"),
        ("/api/review/mark", "POST"),
        ("/", "GET"),
    ):
        answer = client.put(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, methods)


def test_a_switch_in_a_body_is_true_or_false(client: TestClient) -> None:
    for value in (0, 1, "true", None, []):
        body = {"by": "ann", "show_models": value}
        answer = client.post("/api/review/next", json=body, headers={"Authorization": "Bearer writes"})
        assert answer.status_code == 422, value
