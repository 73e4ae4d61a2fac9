"""Users of Redis and Valkey: each may do what its process does; without any of its rights it cannot; nothing else."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
import redis
from pydantic import SecretStr
from redis.exceptions import AuthenticationError, NoPermissionError, RedisClusterException, ResponseError

from harness.access import PASSWORD, USERS, give_rights_in_redis, redis_address
from harness.stores import RedisServer, debian_redis, valkey
from integration.test_label_store import a_case, a_vote
from integration.test_redis_cluster import masters
from integration.test_store import RUN, SEGMENTS, a_block, an_increment
from rights.redis import rules
from rights.users import Selector, User, users
from scorer.deployments.slots import Deployments
from shadow.comparison.bins import BINS, KINDS
from shadow.comparison.case import by_transaction
from shadow.comparison.outcome import Outcome
from shadow.comparison.query import Query
from shadow.comparison.sample import Contribution
from shadow.comparison.sampling import KEEP_DISAGREEMENTS
from shadow.comparison.totals import ALL
from shadow.notify.notifier import Notifier
from shadow.settings import ShadowSettings
from shadow.store import keys
from shadow.store.complaints import ComplaintStore
from shadow.store.connection import connect, memory
from shadow.store.labels import LabelStore
from shadow.store.payload import FORGOTTEN_AFTER
from shadow.store.reader import TallyReader
from shadow.store.samples import SampleReader
from shadow.store.tallies import Applied, TallyStore

pytestmark = pytest.mark.needs("redis")
__all__ = ["masters"]  # a fixture

N = KEEP_DISAGREEMENTS + 300


@pytest.fixture(scope="module", params=["redis", "valkey"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    binary = valkey() if request.param == "valkey" else str(debian_redis())
    with RedisServer(tmp_path_factory.mktemp("redis"), binary) as running:
        give_rights_in_redis(running)
        yield running


# --- what each process does with Redis ---


async def a_shadow_works(client: Any) -> None:
    """Opens a partition behind a gap, applies more samples than are kept, explains one, reads its own state back."""
    store = TallyStore(client, "candidate", SEGMENTS)
    await store.ping()
    fence = await store.open_partition(0, 0)
    assert isinstance(await store.record_gap(0, fence, 5), Applied)
    what = an_increment(2)
    what.blocked, what.skipped = [a_block("x")], 1
    what.histograms = {(RUN, 4): np.ones((len(SEGMENTS), len(KINDS), BINS), dtype=np.int64)}
    offered = [one for n in range(1, N) for one in a_case(n, Outcome.CANDIDATE_ONLY)[1]]
    what.samples = sorted(offered, key=lambda one: -one.value)  # all are taken, so that their index is compacted
    assert isinstance(await store.apply(0, await store.open_partition(0, 0), 8, what), Applied)
    later = an_increment(0, hour=24 * (FORGOTTEN_AFTER + 1), source=20)  # so that the cards of a day are forgotten
    assert isinstance(await store.apply(0, await store.open_partition(0, 0), 9, later), Applied)
    assert await store.taus(0), "every sample is kept"
    ((name, sample), (gone, _), *_) = await store.unexplained(0, 5)
    assert await store.explain(0, name, sample.explained((Contribution("amount", 1.0, 0.0, 0.5, 0.5),)))
    await client.hdel(keys.Keys("shadow", "candidate", 0).bodies(str(RUN), 4), gone.rpartition("/")[2])
    await store.unexplained(0, N)
    assert await store.stands(0, await store.open_partition(0, 0))
    old = keys.Keys("shadow", "candidate", 1)  # begun before there was an index
    before = an_increment(0)
    before.samples = what.samples[:5]
    assert isinstance(await store.apply(1, await store.open_partition(1, 0), 8, before), Applied)
    await client.hdel(old.run(str(RUN)), "indexed")


async def _somebody_reads(client: Any) -> None:
    store, labels = TallyReader(client, "candidate", SEGMENTS), LabelStore(client)
    await store.ping()
    assert (await store.totals(RUN)).compared == 2
    assert [info.run for info in await store.runs()] == [RUN]
    assert 100 in await store.hourly(RUN, "all")
    assert (await store.histograms(RUN, [4], SEGMENTS)).any()
    assert [part.gap for part in await store.progress()] == [5, 0]
    assert (await SampleReader(client, "candidate").page(RUN, Query(), 100.0))[0]
    cases = await store.cases(RUN)
    assert any([await store.sample_of(RUN, case) for case in cases])
    assert len(await labels.known(cases)) == len(cases)


async def _somebody_marks(client: Any) -> None:
    labels = LabelStore(client)
    for by in ("ann", "bob"):
        await labels.lease("candidate", "t1", by, 1)
    assert await labels.holders("candidate", ["t1"]) == ["ann"]
    await labels.merge([replace(a_vote(f"t{n}"), note="a note") for n in range(N)], {})
    await labels.release("candidate", "t1")
    await labels.assign("candidate", "t1", "bob", "ann", 1)
    await labels.assign("candidate", "t2", "bob", "ann", 1)
    await labels.unassign("candidate", ["t1"])
    assert list(await labels.assignments("candidate")) == ["t2"]
    assert await labels.notes([by_transaction("t1")])
    assert await labels.of([by_transaction("t1")])


async def a_reviewer_works(client: Any) -> None:
    await _somebody_reads(client)
    await _somebody_marks(client)


async def serve_works(client: Any) -> None:
    await _somebody_reads(client)
    await _somebody_marks(client)
    await LabelStore(client).merge([], {0: 7})
    assert await LabelStore(client).reached([0]) == {0: 7}
    assert await memory(client)
    settings = ShadowSettings(notify=SecretStr("json://127.0.0.1:1"))
    await Notifier(settings, client).tell(Deployments(), [])
    complaints, day = ComplaintStore(client), date(2026, 1, 1)
    for count in (3, 3, 4):
        await complaints.add("call centre", day, count, None, replace=True)
    assert (await complaints.days([day]))[day].complaints == 4


async def an_operator_works(client: Any) -> None:
    await _somebody_reads(client)
    await _somebody_marks(client)
    store = TallyStore(client, "candidate", SEGMENTS)
    assert [info.run for info, _ in (await store.books(0)).runs] == [RUN]
    assert await client.smembers(keys.slots("shadow"))
    card = (await SampleReader(client, "candidate").page(RUN, Query(limit=2), 100.0))[0][0].card_id  # a body has gone
    samples, gone = await store.erase_card(card)
    assert samples
    assert gone
    assert await LabelStore(client).erase(card, [by_transaction(gone[0].transaction)]) == 1


async def a_rotation_works(client: Any) -> None:
    """What `shadow evidence` reads for it."""
    store = TallyReader(client, "candidate", (ALL,))
    await store.ping()
    assert [info.run for info in await store.runs()] == [RUN]
    assert (await store.totals(RUN)).compared == 2


WORK: dict[str, Callable[[Any], Awaitable[None]]] = {
    "shadow-candidate": a_shadow_works,
    "reviewer": a_reviewer_works,
    "serve": serve_works,
    "operator": an_operator_works,
    "rotate": a_rotation_works,
}
#: What a user cannot do without a right: Redis says so, or a script of ours does.
REFUSED = (NoPermissionError, ResponseError)


async def work(server: RedisServer, user: str) -> None:
    """A user does all of its work, on a store in which a shadow has worked before if the user is none."""
    admin = connect(f"redis://{server.address}/0")
    await admin.flushall()
    await admin.script_flush()
    if WORK[user] is not a_shadow_works:
        await a_shadow_works(admin)
        await admin.script_flush()
    client = connect(redis_address(server, user))
    try:
        await WORK[user](client)
    finally:
        await client.aclose()
        await admin.aclose()


def refused(server: RedisServer) -> list[tuple[str, str]]:
    """Reason and object of everything that anybody was refused since this was asked last."""
    with server.client() as client:
        found = client.execute_command("ACL", "LOG")
        client.execute_command("ACL", "LOG", "RESET")
    lines = [entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True)) for entry in found]
    return [(line[b"reason"].decode(), line[b"object"].decode()) for line in lines]


@pytest.mark.parametrize("user", WORK)
def test_a_user_may_do_its_work(server: RedisServer, user: str) -> None:
    refused(server)
    asyncio.run(work(server, user))
    assert refused(server) == []


def test_slots_of_one_process_have_one_user_for_all_of_their_keys(server: RedisServer) -> None:
    (user,) = [one for one in users(slots=["control.candidate"]) if one.name.startswith("shadow-")]
    assert user.name == "shadow-candidate.control"
    assert user.runs == ("shadow run --slot control --slot candidate",)
    assert [right.name for right in user.kafka if right.kind == "group"] == [user.name]
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", user.name, "on", f">{PASSWORD}", *rules(user))
        with suppress(ResponseError):  # older servers do not know that command
            client.execute_command("ACL", "SETUSER", user.name, "+client|setinfo")
        client.flushall()
    refused(server)

    async def go() -> None:
        client = connect(redis_address(server, user.name))
        await a_shadow_works(client)
        assert (await TallyStore(client, "control", SEGMENTS).open_partition(0, 0)).is_new
        assert refused(server) == []
        with pytest.raises(REFUSED):
            await TallyStore(client, "previous", SEGMENTS).open_partition(0, 0)
        await client.aclose()

    asyncio.run(go())
    with server.client() as client:
        client.execute_command("ACL", "DELUSER", user.name)


# --- every right is needed ---


def without(user: User) -> Iterator[tuple[str, User]]:
    """The user with one right less, and which: a command of a selector, or a pattern of keys."""
    for at, selector in enumerate(user.redis):
        for command in selector.commands:
            less = replace(selector, commands=tuple(name for name in selector.commands if name != command))
            yield f"{' '.join(selector.keys) or 'no keys'}: {command}", _with(user, at, less)
        for pattern in selector.keys:
            less = replace(selector, keys=tuple(other for other in selector.keys if other != pattern))
            yield f"{pattern}: {' '.join(selector.commands)}", _with(user, at, less if less.keys else None)


def _with(user: User, at: int, selector: Selector | None) -> User:
    changed = [*user.redis[:at], *([selector] if selector is not None else []), *user.redis[at + 1 :]]
    return replace(user, redis=tuple(changed))


LESS = [(name, right, less) for name in WORK for right, less in without(USERS[name])]


@pytest.mark.parametrize(("name", "right", "less"), LESS, ids=[f"{name}-{right}" for name, right, _ in LESS])
def test_a_user_cannot_do_its_work_without_any_of_its_rights(
    server: RedisServer, name: str, right: str, less: User
) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", name, "resetkeys", "clearselectors", "-@all", *rules(less))
    refused(server)
    try:
        with pytest.raises(REFUSED):
            asyncio.run(work(server, name))
        assert refused(server)
    finally:
        give_rights_in_redis(server)


# --- and nothing else ---

FOREIGN = ("shadow:{control:0}:fence", "shadow:control:partitions", "shadow:{labels:0}:fence", "other:key")
RULING = (
    *(
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG GET maxmemory",
        "CONFIG SET maxmemory 1",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "DBSIZE",
    ),
    *("ACL WHOAMI", "ACL SETUSER serve +@all", "CLIENT LIST", "MONITOR", "SHUTDOWN NOSAVE", "SAVE", "SCRIPT FLUSH"),
    *("EVAL 'return 1' 0", "SWAPDB 0 1", "REPLICAOF NO ONE", "PUBLISH channel x", "SELECT 1"),
)


def told(server: RedisServer, user: str, *command: str) -> Any:
    """What Redis answers a user. Raises NoPermissionError."""
    with redis.Redis(port=server.port, username=user, password=PASSWORD, socket_timeout=5) as client:
        return client.execute_command(*command)


@pytest.mark.parametrize("user", [user.name for user in USERS.values() if user.redis])
@pytest.mark.parametrize("command", RULING)
def test_no_user_can_rule_over_the_server(server: RedisServer, user: str, command: str) -> None:
    with pytest.raises(NoPermissionError):
        told(server, user, *shlex.split(command))


@pytest.mark.parametrize("key", FOREIGN)
def test_a_shadow_can_neither_read_nor_write_what_is_not_its_own(server: RedisServer, key: str) -> None:
    with server.client() as client:
        client.flushall()
        client.hset(key, "next", "7")
    for command in (("HGETALL", key), ("HSET", key, "next", "1"), ("SMEMBERS", key), ("HDEL", key, "next")):
        with pytest.raises(NoPermissionError):
            told(server, "shadow-candidate", *command)
    script = told(server, "shadow-candidate", "SCRIPT", "LOAD", f"return redis.call('HSET', '{key}', 'next', '1')")
    with pytest.raises(ResponseError, match=r"access at least one of the keys|permission"):
        told(server, "shadow-candidate", "EVALSHA", script, "0")
    with pytest.raises(NoPermissionError):
        told(server, "shadow-candidate", "EVALSHA", script, "1", key)
    with server.client() as client:
        assert client.hgetall(key) == {b"next": b"7"}


@pytest.mark.parametrize("user", ["serve", "operator", "reviewer"])
def test_only_a_shadow_can_change_what_is_counted(server: RedisServer, user: str) -> None:
    for name in ("fence", "run:L1-C1", "t:L1-C1:total:all", "hours:L1-C1", "resets:L1-C1"):
        for command in (
            ("HSET", f"shadow:{{candidate:0}}:{name}", "c0", "9"),
            ("DEL", f"shadow:{{candidate:0}}:{name}"),
        ):
            with pytest.raises(NoPermissionError):
                told(server, user, *command)


def test_who_has_no_password_is_not_let_in(server: RedisServer) -> None:
    for user in ("serve", "nobody"):
        with pytest.raises(AuthenticationError), redis.Redis(port=server.port, username=user, password="x") as client:
            client.ping()


# --- a cluster ---


@pytest.mark.variant
@pytest.mark.parametrize("user", WORK)
@pytest.mark.parametrize("lacks", [None, "cluster|slots", "command"])
def test_in_a_cluster_a_user_may_also_ask_where_keys_are(
    masters: list[RedisServer], user: str, lacks: str | None
) -> None:
    for master in masters:
        give_rights_in_redis(master)
        with master.client() as client:
            client.flushall()
            if lacks is not None:
                client.execute_command("ACL", "SETUSER", user, f"-{lacks}")
        refused(master)

    async def go() -> None:
        if WORK[user] is not a_shadow_works:
            admin = connect(f"redis+cluster://{masters[0].address}")
            await a_shadow_works(admin)
            await admin.aclose()
        client = connect(redis_address(masters[0], user).replace("redis://", "redis+cluster://"))
        try:
            await WORK[user](client)
        finally:
            await client.aclose()

    if lacks is None:
        asyncio.run(go())
        assert [refused(master) for master in masters] == [[]] * len(masters)
    else:
        with pytest.raises((*REFUSED, RedisClusterException)):
            asyncio.run(go())
