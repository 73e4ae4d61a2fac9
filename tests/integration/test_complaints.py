"""Complaints on a real Valkey, over the real API: a report counts once, whoever sends it how often, and is compared."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from harness.ledgers import a_ledger, fill
from harness.stores import RedisServer, valkey
from harness.tallied import FIRST_HOUR, an_hour
from scorer.deployments.slots import Deployments
from shadow.comparison.increment import Increment, add
from shadow.comparison.totals import Run
from shadow.gate.criteria import parse
from shadow.release.complaints import date_of
from shadow.release.complaints_look import look_at_complaints
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.store.complaints import ComplaintStore, Kept
from shadow.store.connection import connect
from shadow.store.tallies import Applied, TallyStore
from shadow.web.app import build

RELEASE = parse("schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\n")
OPERATOR = {"authorization": "Bearer let-me"}
DAY = date(2026, 1, 1)
#: The event day on which every slot of the ledger was filled.
RELEASED = FIRST_HOUR // 24


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("store"), valkey()) as running:
        yield running


def run(server: RedisServer, story: Callable[[Any], Awaitable[None]]) -> None:
    async def told() -> None:
        redis = connect(f"redis://{server.address}/0")
        await redis.flushall()
        try:
            await story(redis)
        finally:
            await redis.aclose()

    asyncio.run(told())


def test_a_report_counts_once_however_often_and_from_wherever_it_comes(server: RedisServer) -> None:
    async def story(redis: Any) -> None:
        store = ComplaintStore(redis)
        done = await asyncio.gather(*(store.add("monday", DAY, 17, None) for _ in range(20)))
        assert sorted(kept.name for kept in done) == ["KNOWN"] * 19 + ["NEW"]
        assert await store.add("by country", DAY, 3, "country=DE") is Kept.NEW
        assert await store.add("monday", DAY, 18, None) is Kept.DIFFERS
        assert (await store.days([DAY]))[DAY].complaints == 20
        assert await store.add("monday", DAY, 5, None, replace=True) is Kept.REPLACED
        assert await store.add("monday", DAY, 5, None, replace=True) is Kept.KNOWN
        found = await store.days([DAY - timedelta(1), DAY])
        assert list(found) == [DAY], "a day without a report is not a day with none"
        assert (found[DAY].complaints, found[DAY].reports, found[DAY].segments) == (8, 2, {"country=DE": 3})
        assert 0 < await redis.ttl(f"shadow:complaints:{DAY}") <= 180 * 86_400

    run(server, story)


def test_over_http_a_report_takes_a_token_and_says_what_is_wrong_with_it(server: RedisServer) -> None:
    async def story(redis: Any) -> None:
        address = f"redis://{server.address}/0"
        serve = Serve(ShadowSettings(redis=address, operator_token=SecretStr("let-me")), RELEASE)
        today = datetime.now(UTC).date()
        transport = httpx.ASGITransport(app=build(serve))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

            async def post(headers: Any = OPERATOR, **said: Any) -> tuple[int, str]:
                body = {"id": "a", "day": str(today), "count": 4} | said
                answer = await client.post("/api/complaints", json=body, headers=headers)
                return answer.status_code, answer.text

            assert (await post(headers={}))[0] == 401
            assert await redis.keys("*complaints*") == []
            assert (await post())[0] == 200
            assert "counted before" in (await post())[1]
            for wrong, status, why in (
                ({"count": 5}, 409, "replace"),
                ({"count": -1}, 422, "count"),
                ({"count": 1.5}, 422, "count"),
                ({"count": True}, 422, "count"),
                ({"id": ""}, 422, "id"),
                ({"id": "4111 1111 1111 1111"}, 422, "card number"),
                ({"id": "b", "segment": "country=XX"}, 422, "segment"),
                ({"id": "b", "day": str(today + timedelta(1))}, 422, "day"),
                ({"id": "b", "day": str(today - timedelta(180))}, 422, "day"),
                ({"id": "b", "day": "yesterday"}, 422, "day"),
                ({"id": "b", "sum": 3}, 422, "sum"),
            ):
                code, told = await post(**wrong)
                assert (code, why in told) == (status, True), (wrong, told)
                assert "4111" not in told
            assert (await post(id="b", segment="country=FR", count=2))[0] == 200
            assert (await post(id="b", segment="country=FR", count=0, replace=True))[0] == 200
            shown = (await client.get("/api/complaints")).json()
            assert shown["days"] == [{"day": str(today), "complaints": 4, "reports": 2, "segments": {"country=FR": 0}}]
            assert shown["release"] is None
        await serve.redis.aclose()

    run(server, story)


async def tallies(redis: Any, slot: str, of: Run, days: range, blocks: int, errors: int = 0) -> None:
    """Two hours of each day, counted from the release on, in which live blocks so much."""
    store = TallyStore(redis, slot, RELEASE.segments.names)
    fence, what = await store.open_partition(0, 0), Increment()
    hours = [(RELEASED + day) * 24 + hour for day in days for hour in (3, 20)]
    for at, hour in enumerate(hours):
        add(what, an_hour(of, hour, [(100, blocks // 2 - 1, 1, 1)], RELEASE.segments, errors, source=fence.next + at))
    assert isinstance(await store.apply(0, fence, fence.next + len(hours), what), Applied)


def released() -> Deployments:
    """Live was changed once after it was filled."""
    deployments = a_ledger()
    fill(deployments, "live", 1)
    return deployments


async def look(redis: Any, day: int = 10) -> Any:
    at = datetime.combine(date_of(RELEASED + day), datetime.min.time(), UTC)
    return await look_at_complaints(redis, released(), RELEASE, ShadowSettings(), at)


@pytest.mark.parametrize(("since", "verdict"), [(6, "not_risen"), (40, "risen")])
def test_complaints_since_a_release_are_held_against_those_before_it(
    server: RedisServer, since: int, verdict: str
) -> None:
    async def story(redis: Any) -> None:
        await tallies(redis, "candidate", Run(1, 1), range(-20, 1), 200)
        await tallies(redis, "control", Run(1, 1), range(-3, 1), 200)  # has seen less
        await tallies(redis, "previous", Run(2, 1), range(9), 100)
        assert await look(redis) is None, "nobody reports any"
        store = ComplaintStore(redis)
        for day in range(-20, 10):
            count = 12 if day < 0 else 500 if day == 0 else since
            await store.add(f"{day}", date_of(RELEASED + day), count, None)
        found = await look(redis)
        assert (found.before.days, found.before.complaints, found.before.blocks) == (19, 19 * 12, 19 * 200)
        assert (found.after.days, found.after.complaints, found.after.blocks) == (7, 7 * since, 7 * 100)
        assert found.verdict == verdict, found
        assert await look(redis, day=15) is None, "the watch is over"

    run(server, story)


def test_blocks_of_a_shadow_that_missed_much_are_compared_with_nothing(server: RedisServer) -> None:
    async def story(redis: Any) -> None:
        await tallies(redis, "candidate", Run(1, 1), range(-20, 1), 200)
        await tallies(redis, "previous", Run(2, 1), range(9), 200, errors=9)
        store = ComplaintStore(redis)
        for day in range(-20, 10):
            await store.add(f"{day}", date_of(RELEASED + day), 12, None)
        found = await look(redis)
        assert found.verdict == "unknown"
        assert "the shadow in slot previous missed 162 decisions since the release" in found.reason

    run(server, story)


def test_without_tallies_from_before_the_release_there_is_nothing_to_compare_with(server: RedisServer) -> None:
    async def story(redis: Any) -> None:
        await tallies(redis, "previous", Run(2, 1), range(9), 200)
        await ComplaintStore(redis).add("a", date_of(RELEASED + 2), 12, None)
        found = await look(redis)
        assert found.verdict == "unknown"
        assert "no shadow ran before the release" in found.reason

    run(server, story)
