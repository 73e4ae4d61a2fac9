"""Schemas from a registry that is there, away, slow or odd. The registry here is a stand-in that misbehaves on purpose;
`tests/integration/test_formats.py` has a real one."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from scorer.errors import LibraryError, SettingsError, UserError
from scorer.pipeline import avro
from scorer.pipeline.encoding import Encoding
from scorer.pipeline.wire import ONLY
from scorer.schemas import compiling, schemas
from scorer.schemas.registry import LONGEST_ANSWER
from scorer.schemas.schemas import MOST_ASKED, MOST_MISSED, Schemas
from scorer.settings import ScorerSettings, load

GOOD = json.dumps({"type": "record", "name": "T", "fields": [{"name": "id", "type": "string"}]})
SETTINGS = load(ScorerSettings)


class Registry:
    """answers: by path, status and body. asked: the paths, in order. headers: of the last request."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}
        self.is_away, self.slow_seconds = False, 0.0
        self.address = ""

    def has(self, number: int, text: str = GOOD, **more: Any) -> None:
        self.answers[f"/schemas/ids/{number}"] = 200, {"schema": text, **more}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        self.headers = dict(request.headers)
        await asyncio.sleep(self.slow_seconds)
        if self.is_away:
            return web.Response(status=503)
        status, body = self.answers.get(request.raw_path, (404, {"error_code": 40403, "message": "Schema not found"}))
        return web.Response(status=status, body=body if isinstance(body, bytes) else json.dumps(body).encode())


@asynccontextmanager
async def a_registry() -> AsyncIterator[Registry]:
    registry = Registry()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    registry.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield registry
    finally:
        await runner.cleanup()


def values(*ids: int) -> list[bytes | None]:
    return [b"\0" + number.to_bytes(4, "big") + b"\x02a" for number in ids]


def attempt(work: Callable[[Registry, Schemas], Awaitable[None]], wait: float = 0.0, **given: Any) -> None:
    async def go() -> None:
        async with a_registry() as registry:
            encoding = Encoding(kind="avro", registry=registry.address, wait_seconds=wait)
            one = Schemas(encoding, SETTINGS.model_copy(update=given))
            try:
                await work(registry, one)
            finally:
                await one.close()

    asyncio.run(go())


def told(one: Schemas, number: int) -> str:
    (refusal,) = one.wire.parse(values(number))[2]
    return refusal.reason


def test_a_schema_is_asked_for_once_and_one_that_is_missing_again_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schemas, "MISSING_SECONDS", 0.2)

    async def work(registry: Registry, one: Schemas) -> None:
        registry.has(7)
        for _ in range(3):
            await one.ready(values(7, 8, 7))
        assert Counter(registry.asked) == {"/schemas/ids/7": 1, "/schemas/ids/8": 1}
        assert one.wire.parse(values(7))[1] == {0: {"id": "a"}}
        assert told(one, 8) == "schema: the registry has no schema 8"
        registry.has(8)
        await asyncio.sleep(0.3)
        await one.ready(values(8))
        assert one.wire.parse(values(8))[1] == {0: {"id": "a"}}

    attempt(work)


def test_known_schemas_go_on_while_the_registry_is_away_and_others_wait_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "AGAIN_SECONDS", 0.05)

    async def work(registry: Registry, one: Schemas) -> None:
        registry.has(7)
        registry.has(8)
        await one.ready(values(7))
        registry.is_away = True
        began = time.monotonic()
        await one.ready(values(7))
        assert time.monotonic() - began < 0.2
        await one.ready(values(8, 7))
        assert 0.4 < time.monotonic() - began < 3
        assert "8 is not known, and the registry is away (503" in told(one, 8)
        began = time.monotonic()
        for number in range(100, 110):
            await one.ready(values(number, 7, 8))
            assert "the registry is away" in told(one, number)
        assert time.monotonic() - began < 0.4, "the wait is not for each of them"
        assert one.wire.parse(values(7))[1] == {0: {"id": "a"}}
        registry.is_away = False
        await asyncio.sleep(0.3)
        await one.ready(values(8))
        assert one.wire.parse(values(8))[1] == {0: {"id": "a"}}

    attempt(work, wait=0.5)


def test_a_registry_that_comes_back_within_the_wait_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "AGAIN_SECONDS", 0.05)

    async def work(registry: Registry, one: Schemas) -> None:
        registry.has(7)
        registry.is_away = True
        asyncio.get_running_loop().call_later(0.5, setattr, registry, "is_away", False)
        beats = asked = 0
        waiting = asyncio.create_task(one.ready(values(7)))
        while not waiting.done():
            await asyncio.sleep(0.01)
            beats, asked = beats + 1, one.asked
        assert beats > 20, "the event loop runs on"
        assert asked > 3, "which the watchdog sees"
        assert one.wire.parse(values(7))[1] == {0: {"id": "a"}}

    attempt(work, wait=20)


def test_a_wait_ends_when_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "AGAIN_SECONDS", 0.05)

    async def work(registry: Registry, one: Schemas) -> None:
        registry.is_away = True
        end = time.monotonic() + 0.3
        await one.ready(values(7), lambda: time.monotonic() > end)
        assert time.monotonic() < end + 1

    attempt(work, wait=60)


def test_made_up_ids_cost_a_bounded_number_of_requests() -> None:
    async def work(registry: Registry, one: Schemas) -> None:
        registry.has(7)
        await one.ready(values(*range(1000, 1500), 7, 7))
        assert len(registry.asked) == MOST_ASKED
        assert one.wire.parse(values(7))[1] == {0: {"id": "a"}}, "what most records have comes first"
        assert "was not asked for" in told(one, 1499)
        for start in range(2000, 4000, 100):
            await one.ready(values(*range(start, start + 100)))
        assert len(registry.asked) <= MOST_MISSED + 1
        assert len(one.wire.reasons) <= MOST_MISSED

    attempt(work)


def test_memories_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "MOST_KNOWN", 5)
    monkeypatch.setattr(schemas, "MOST_MISSING", 5)

    async def work(registry: Registry, one: Schemas) -> None:
        for number in range(20):
            registry.has(number)
            await one.ready(values(number, number + 1000))
            assert one.wire.parse(values(number))[1]
        assert len(one.wire.reads) == len(one.wire.reasons) == 5

    attempt(work)


REFERENCE = [{"name": "Card", "subject": "card/v 1", "version": 2}]
CARD = json.dumps({"type": "record", "name": "Card", "fields": [{"name": "token", "type": "string"}]})
USES = json.dumps({"type": "record", "name": "T", "fields": [{"name": "card", "type": "Card"}]})


def test_what_a_schema_refers_to_is_resolved() -> None:
    async def work(registry: Registry, one: Schemas) -> None:
        registry.has(7, USES, references=REFERENCE)
        registry.answers["/subjects/card%2Fv%201/versions/2"] = 200, {"schema": CARD}
        await one.ready(values(7))
        assert one.wire.parse(values(7))[1] == {0: {"card": {"token": "a"}}}
        registry.has(8, USES, references=[{**REFERENCE[0], "subject": "gone"}])
        registry.has(9, USES, references=[{**REFERENCE[0], "subject": "self"}])
        registry.answers["/subjects/self/versions/2"] = (
            200,
            {
                "schema": CARD,
                "references": [{**REFERENCE[0], "subject": "self"}],
            },
        )
        await one.ready(values(8, 9))
        assert told(one, 8) == "schema: schema 8 refers to gone version 2, which is missing"
        assert told(one, 9) == "schema: schema 9 refers to itself by self"

    attempt(work)


#: Status and body of an answer, and what a record of it is told.
ODD: list[tuple[int, Any, str]] = [
    (200, {"schema": "message T {}", "schemaType": "PROTOBUF"}, "is protobuf, not avro; correct mapping.encoding.kind"),
    (200, {"schema": "{"}, "is not JSON"),
    (200, {"schema": json.dumps(["null"] * 9000)}, "more than 5000"),
    (200, {"schema": "x" * 1_500_000}, "more than 1000000 bytes"),
    (200, b"x" * (LONGEST_ANSWER + 1), f"away (an answer of more than {LONGEST_ANSWER} bytes)"),
    (200, {"schema": 7}, "away (an answer without a schema)"),
    (200, {"schema": GOOD, "references": 7}, "away (an answer without a list"),
    (200, {"schema": GOOD, "references": [{"name": "x"}]}, "away (a reference without"),
    (200, b"<html>", "away (an answer that is not JSON; does the address have the path of the API?)"),
    (404, b"<html>", "away (404 Not Found)"),
    (401, {"error_code": 401}, "away (401 Unauthorized)"),
    (302, b"", "away (302 Found)"),
    (500, {"error_code": 50001}, "away (500 "),
]


@pytest.mark.parametrize(("status", "body", "why"), ODD)
def test_odd_answers_are_reasons_and_never_errors(status: int, body: Any, why: str) -> None:
    async def work(registry: Registry, one: Schemas) -> None:
        registry.answers["/schemas/ids/7"] = status, body
        await one.ready(values(7))
        assert why in told(one, 7)

    attempt(work)


@pytest.mark.parametrize("error", [RecursionError("deep"), KeyError("x"), MemoryError()])
def test_a_schema_that_breaks_its_compiler_is_a_reason(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise error

    async def work(registry: Registry, one: Schemas) -> None:
        registry.has(7)
        monkeypatch.setattr(avro, "reader", broken)
        await one.ready(values(7))
        assert told(one, 7) == f"schema: schema 7 cannot be compiled ({type(error).__name__})"

    attempt(work)


@pytest.mark.slow
def test_a_registry_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(registry: Registry, one: Schemas) -> None:
        registry.slow_seconds = 30
        began = time.monotonic()
        await one.ready(values(*range(40)))
        await one.ready(values(*range(40, 80)))
        assert time.monotonic() - began < 4
        registry.slow_seconds = 0

    monkeypatch.setattr(schemas, "REQUEST_SECONDS", 0.5)
    attempt(work, wait=1)


def test_who_asks_is_said_and_refused_at_the_start() -> None:
    secret = load(ScorerSettings, registry_user="me", registry_password="s3cret", registry_ca=None)

    async def basic(registry: Registry, one: Schemas) -> None:
        registry.answers["/schemas/types"] = 200, ["AVRO"]
        await one.check()
        assert registry.headers["Authorization"] == f"Basic {base64.b64encode(b'me:s3cret').decode()}"
        registry.answers["/schemas/types"] = 401, {}
        with pytest.raises(UserError, match=r"refuses this user \(401\); correct registry_user") as error:
            await one.check()
        assert "s3cret" not in str(error.value)
        registry.is_away = True
        await one.check()

    attempt(basic, registry_user="me", registry_password=secret.registry_password)

    async def bearer(registry: Registry, one: Schemas) -> None:
        await one.check()
        assert registry.headers["Authorization"] == "Bearer s3cret"

    attempt(bearer, registry_token=secret.registry_password)
    encoding = Encoding(kind="avro", registry="http://127.0.0.1:1")
    both = {"registry_user": "me", "registry_password": secret.registry_password}
    for given, why in (
        ({"registry_user": "me", "registry_password": None}, "need each other"),
        (both | {"registry_token": secret.registry_password}, "not both"),
        ({"registry_ca": Path("/nowhere.pem")}, "name a PEM file"),
    ):
        with pytest.raises(SettingsError, match=why):
            Schemas(encoding, SETTINGS.model_copy(update=given))


def test_one_schema_from_a_file_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    file = tmp_path / "t.avsc"
    file.write_text(GOOD)
    one = Schemas(Encoding(kind="avro", file=str(file)), SETTINGS)
    assert list(one.wire.reads) == [ONLY]
    assert one.wire.parse([b"\x02a"])[1] == {0: {"id": "a"}}
    behind = Schemas(Encoding(kind="avro", file=str(file), header="confluent"), SETTINGS)
    assert behind.wire.parse(values(7, 9))[1] == {0: {"id": "a"}, 1: {"id": "a"}}
    file.write_text("{")
    with pytest.raises(SettingsError, match=r"mapping.encoding.file: .*t.avsc is not JSON; correct it"):
        Schemas(Encoding(kind="avro", file=str(file)), SETTINGS)
    with pytest.raises(SettingsError, match="name a readable file"):
        Schemas(Encoding(kind="avro", file=str(tmp_path / "none")), SETTINGS)


def test_a_library_that_is_missing_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(LibraryError, match=r"run pip install 'shadow-scorer\[protobuf\]'"):
        compiling.require(Encoding(kind="protobuf", registry="http://127.0.0.1:1"))
    compiling.require(Encoding(kind="avro", registry="http://127.0.0.1:1"))
