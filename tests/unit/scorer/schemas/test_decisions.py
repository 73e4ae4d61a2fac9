"""The id of the schema of decisions, from a registry that is there, away or refuses. The registry is a stand-in that
misbehaves on purpose; `tests/integration/test_decision_formats.py` has a real one."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from scorer.errors import SettingsError, UserError
from scorer.pipeline import decision_avro
from scorer.pipeline.avro import ITEMS
from scorer.pipeline.risk_view import Risk
from scorer.pipeline.view import Attribute, FeatureView
from scorer.schemas import decisions
from scorer.schemas.decisions import registry_of, require_room, schema_id
from scorer.settings import ScorerSettings, load

MISSING = 404, {"error_code": 40401, "message": "Subject not found."}


class Registry:
    """answers: in order, status and body. asked: path and body of each request."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Any]] = []
        self.headers: dict[str, str] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((f"{request.method} {request.raw_path}", json.loads(await request.read())))
        self.headers = dict(request.headers)
        status, body = self.answers.pop(0)
        return web.Response(status=status, body=json.dumps(body).encode())

    @asynccontextmanager
    async def there(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def found(registry: Registry, **given: Any) -> int | None:
    async def go() -> int | None:
        async with registry.there() as address:
            return await schema_id(load(ScorerSettings, decisions_format="avro", decisions_registry=address, **given))

    return asyncio.run(go())


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(decisions, "AGAIN_SECONDS", 0.02)


def test_a_schema_that_is_there_is_not_registered() -> None:
    registry = Registry((200, {"subject": "decisions-value", "id": 9, "version": 1}))
    assert found(registry) == 9
    assert registry.asked == [
        ("POST /subjects/decisions-value", {"schema": decision_avro.text(), "schemaType": "AVRO"})
    ]


def test_one_that_is_missing_is_registered_under_the_name_of_the_topic() -> None:
    registry = Registry(MISSING, (200, {"id": 4}))
    topics = {"decisions": "risk/decisions"}
    assert found(registry, topics=topics, registry_user="ann", registry_password="secret") == 4
    assert [path for path, _ in registry.asked] == [
        "POST /subjects/risk%2Fdecisions-value",
        "POST /subjects/risk%2Fdecisions-value/versions",
    ]
    assert registry.headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        (
            [MISSING, (409, {"error_code": 409, "message": "incompatible\nwith an earlier\tschema"})],
            "not compatible with what is there; remove that, or relax the subject's compatibility "
            "(409 Conflict: incompatible with an earlier schema)",
        ),
        ([MISSING, (422, {"error_code": 42201})], "finds it not valid; look at its log (422 Unprocessable"),
        ([MISSING, (403, {})], "may not register schemas; register docs/schemas/decisions.avsc"),
        ([(401, {})], "refuses this user (401); correct registry_user"),
    ],
)
def test_a_refusal_is_one_line_with_its_mend(answers: list[tuple[int, Any]], line: str) -> None:
    with pytest.raises(UserError) as refused:
        found(Registry(*answers))
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_registry_that_is_away_is_waited_for_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert found(Registry((503, {}), (500, []), (200, {"no": "id"}), (200, {"id": 3}))) == 3
    assert [record.levelname for record in caplog.records if record.name == decisions.__name__] == ["WARNING", "INFO"]


def test_one_that_stays_away_ends_the_start_in_one_line() -> None:
    async def go() -> None:
        await schema_id(load(ScorerSettings, decisions_format="avro", decisions_registry="http://127.0.0.1:1"))

    with pytest.raises(UserError, match="start again once it answers, or set SCORER_DECISIONS_SCHEMA_ID") as error:
        asyncio.run(go())
    assert "\n" not in str(error.value)


def test_no_registry_is_asked_for_json_or_with_an_id() -> None:
    nowhere = {"decisions_registry": "http://127.0.0.1:1"}
    assert asyncio.run(schema_id(load(ScorerSettings, **nowhere))) is None
    given = load(ScorerSettings, decisions_format="avro", decisions_schema_id=0, **nowhere)
    assert asyncio.run(schema_id(given)) == 0


def test_avro_without_registry_and_id_is_refused_and_the_mappings_registry_is_the_default() -> None:
    with pytest.raises(SettingsError, match="set SCORER_DECISIONS_REGISTRY, or SCORER_DECISIONS_SCHEMA_ID"):
        registry_of(load(ScorerSettings, decisions_format="avro"))
    encoding = {"encoding": {"kind": "avro", "registry": "http://127.0.0.1:8081/"}}
    assert registry_of(load(ScorerSettings, decisions_format="avro", mapping=encoding)) == "http://127.0.0.1:8081"
    with pytest.raises(SettingsError, match="SCORER_DECISIONS_REGISTRY"):
        load(ScorerSettings, decisions_registry="registry:8081")


def test_a_view_with_more_features_than_readers_take_is_refused_in_avro_alone() -> None:
    in_avro = load(ScorerSettings, decisions_format="avro", decisions_schema_id=1)
    room = ITEMS - len(FeatureView(name="v").names)
    for n in (room, room + 1):
        view = FeatureView(name="v", attributes=tuple(Attribute(name=f"a{at}", kind="number") for at in range(n)))
        require_room(load(ScorerSettings), view)
        if n == room:
            require_room(in_avro, view)
        else:
            with pytest.raises(SettingsError, match=f"at most {ITEMS} features, the view has {ITEMS + 1}"):
                require_room(in_avro, view)


def test_a_view_with_merchant_risk_has_a_schema_with_more_fields_under_the_same_subject() -> None:
    view = FeatureView(name="v", risk=Risk())
    require_room(load(ScorerSettings, decisions_format="avro", decisions_schema_id=1), view)
    registry = Registry((200, {"id": 5}))

    async def go() -> int | None:
        async with registry.there() as address:
            settings = load(ScorerSettings, decisions_format="avro", decisions_registry=address)
            return await schema_id(settings, has_risk=True)

    assert asyncio.run(go()) == 5
    ((asked, body),) = registry.asked
    assert (asked, body["schema"]) == ("POST /subjects/decisions-value", decision_avro.text(has_risk=True))
