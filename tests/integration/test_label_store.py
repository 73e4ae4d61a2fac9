"""Labels and cases on a real Valkey (and a real Redis): whatever comes when, the same stands, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.kept import samples_of
from harness.stores import RedisServer, debian_redis, valkey
from integration.test_store import RUN, SEGMENTS, an_increment, an_offer
from shadow.comparison.case import Case, by_card, by_transaction, card_hash
from shadow.comparison.increment import Offered
from shadow.comparison.outcome import Outcome
from shadow.comparison.sampling import KEEP_DISAGREEMENTS, WHOLE_RUN, Stratum
from shadow.labels.label import BUCKETS, MONTH_MS, State, Vote, Votes, merge
from shadow.store.connection import connect
from shadow.store.keys import Keys
from shadow.store.labels import Assignment, LabelStore
from shadow.store.pseudonyms import pseudonyms
from shadow.store.tallies import Applied, Fence, TallyStore


@pytest.fixture(scope="module", params=["valkey", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    binary = valkey() if request.param == "valkey" else str(debian_redis())
    with RedisServer(tmp_path_factory.mktemp("store"), binary) as running:
        yield running


pytestmark = pytest.mark.anyio

VOTES = st.builds(
    Vote,
    subject=st.sampled_from([by_transaction(f"t-{n}") for n in range(4)]),
    source=st.sampled_from(["review", "chargeback"]),
    by=st.sampled_from(["ann", 'bob: "o\'hara"']),
    at_ms=st.sampled_from([1_770_000_000_123, 1_770_000_000_124, 1_770_000_000_123 + 2 * MONTH_MS]),
    verdict=st.sampled_from(["fraud", "legit", "unsure", "open"]),
    note=st.sampled_from(["", "asked the bank", 'a \u2028 \\ "quote"', "zu früh"]),
)


@given(votes=st.lists(VOTES, max_size=12), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_store_holds_what_the_rules_say_in_any_order(server: RedisServer, votes: list[Vote], seed: int) -> None:
    asyncio.run(_in_any_order(server, votes, random.Random(seed)))


async def _in_any_order(server: RedisServer, votes: list[Vote], chance: random.Random) -> None:
    redis = connect(f"redis://{server.address}/0")
    await redis.flushall()
    store = LabelStore(redis)
    arriving = [*votes, *chance.sample(votes, len(votes) // 2)]
    chance.shuffle(arriving)
    for start in range(0, len(arriving), 3):
        await store.merge(arriving[start : start + 3], {})
    expected: dict[str, list[Votes]] = {}
    for v in votes:
        expected.setdefault(v.subject, []).append({v.source: {v.by: (v.at_ms, v.verdict)}})
    found = await store.of([by_transaction(f"t-{n}") for n in range(9)])
    assert {subject: merge(*several) for subject, several in found.items()} == {
        subject: merge(*several) for subject, several in expected.items()
    }
    said = {subject: {(note.source, note.by): (note.at_ms, note.text) for note in notes}
            for subject, notes in (await store.notes(by_transaction(f"t-{n}") for n in range(9))).items()}  # fmt: skip
    assert said == written(votes)
    await redis.aclose()


def written(votes: list[Vote]) -> dict[str, dict[tuple[str, str], tuple[int, str]]]:
    """The notes that stand: of each person the newest, none where they took it back."""
    newest: dict[tuple[str, str, str], tuple[int, str]] = {}
    for v in votes:
        if v.note or v.verdict == "open":
            key = v.subject, v.source, v.by
            newest[key] = max(newest.get(key, (0, "")), (v.at_ms, v.note))
    found: dict[str, dict[tuple[str, str], tuple[int, str]]] = {}
    for (subject, source, by), note in newest.items():
        if note[1]:
            found.setdefault(subject, {})[source, by] = note
    return found


def a_vote(transaction: str = "t-1", verdict: str = "fraud", source: str = "review", by: str = "ann") -> Vote:
    return Vote(by_transaction(transaction), source, by, 1_770_000_000_000, verdict)


async def test_every_bucket_knows_how_far_the_topic_is_read(client: Any) -> None:
    store = LabelStore(client)
    assert await store.reached([0, 1]) == {0: 0, 1: 0}
    assert await store.merge([a_vote()], {0: 5, 1: 7}) == 1
    assert await store.reached([0, 1]) == {0: 5, 1: 7}
    assert await store.merge([a_vote()], {0: 3}) == 0, "an older reader moves nothing back"
    assert await store.reached([0, 1]) == {0: 5, 1: 7}
    await store.merge([], {1: 9})
    assert await store.reached([0, 1]) == {0: 5, 1: 9}


async def test_what_one_bucket_lost_is_read_again(client: Any) -> None:
    store = LabelStore(client)
    votes = [a_vote(f"t-{n}") for n in range(60)]
    await store.merge(votes[:30], {0: 30})
    lost = votes[40].bucket
    dumped = {key: await client.dump(key) for key in await client.keys(f"shadow:{{labels:{lost}}}:*")}
    await store.merge(votes[30:], {0: 60})
    for key, value in dumped.items():
        await client.restore(key, 0, value, replace=True)
    assert await store.reached([0]) == {0: 30}
    await store.merge(votes[30:], {0: 60})
    assert len(await store.of(v.subject for v in votes)) == 60
    assert await store.reached([0]) == {0: 60}


async def test_labels_expire(client: Any) -> None:
    store = LabelStore(client, label_days=3)
    await store.merge([a_vote()], {0: 1})
    (month,) = [key for key in await client.keys("shadow:{labels:*") if not key.endswith(b":fence")]
    assert 2 * 86_400 < await client.ttl(month) <= 3 * 86_400


async def test_notes_expire_with_their_labels_and_go_with_the_card(client: Any) -> None:
    store = LabelStore(client, label_days=3)
    await store.merge([replace(a_vote(), note="asked the bank")], {0: 1})
    (key,) = await client.keys("shadow:{labels:*notes:*")
    assert 2 * 86_400 < await client.ttl(key) <= 3 * 86_400
    await store.erase("c-1", [by_transaction("t-1")])
    assert await store.notes([by_transaction("t-1")]) == {}
    assert await client.keys("shadow:{labels:*notes:*") == []


async def test_a_case_is_assigned_to_one_colleague_until_it_is_done(client: Any) -> None:
    store = LabelStore(client, label_days=3)
    await store.assign("candidate", "t-1", "ben", "ann", 1_770_000_000_123)
    await store.assign("candidate", "t-1", "cat", "ben", 1_770_000_000_124)
    await store.assign("other", "t-1", "ann", "ann", 1)
    assert await store.assignments("candidate") == {"t-1": Assignment("cat", "ben", 1_770_000_000_124)}
    (key,) = await client.keys("shadow:assigned:candidate")
    assert 2 * 86_400 < await client.ttl(key) <= 3 * 86_400
    await store.unassign("candidate", ["t-1"])
    await store.unassign("candidate", [])
    assert await store.assignments("candidate") == {}


async def test_of_many_who_reach_for_a_case_at_once_one_gets_it(client: Any) -> None:
    store, people = LabelStore(client), [f"person-{n}" for n in range(20)]
    got = await asyncio.gather(*(store.lease("candidate", "t-1", name, 5) for name in people))
    assert sum(got) == 1
    assert await store.holders("candidate", ["t-1", "t-2"]) == [people[got.index(True)], None]


async def test_a_case_is_one_persons_for_a_while(client: Any) -> None:
    store = LabelStore(client)
    assert await store.lease("candidate", "t-1", "ann", 0.01)
    assert await store.lease("candidate", "t-1", "ann", 0.01), "hers already"
    assert not await store.lease("candidate", "t-1", "bob", 0.01)
    assert await store.lease("other", "t-1", "bob", 0.01)
    await asyncio.sleep(0.7)
    assert await store.lease("candidate", "t-1", "bob", 1)
    await store.release("candidate", "t-1")
    assert await store.lease("candidate", "t-1", "ann", 1)


def a_case(source: int, outcome: Outcome, segments: tuple[int, ...] = (0, 1)) -> tuple[Case, list[Offered]]:
    """A disagreement as the shadow offers it: a sample of its day, and a case of its run."""
    sample = an_offer(source, outcome, segments, transaction={"card_id": f"c-{source}"})
    case = Case(
        transaction=f"t{source}",
        outcome=outcome,
        minor=100 * source,
        occurred_ms=source,
        card=card_hash(f"c-{source}"),
        segments=tuple(SEGMENTS[at] for at in segments),
        hash=sample.value,
        day=4,
        offset=source,
    )
    strata: list[Stratum] = [(run, WHOLE_RUN, code, segment) for run, _, code, segment in sample.strata]
    return case, [sample, Offered(source, sample.value, case.encode(), strata)]


async def test_cases_are_the_smallest_hashes_of_the_run_and_each_has_its_sample(client: Any) -> None:
    store = TallyStore(client, "candidate", SEGMENTS)
    fence = await store.open_partition(0, 0)
    made = {n: a_case(n, Outcome.LIVE_ONLY if n % 3 else Outcome.CANDIDATE_ONLY, (0, 1 + n % 2)) for n in range(1, 401)}
    for start in range(1, 401, 80):
        what = an_increment(80, source=start + 80)
        what.samples = [sample for n in range(start, start + 80) for sample in made[n][1]]
        outcome = await store.apply(0, fence, fence.next + 80, what)
        assert isinstance(outcome, Applied)
        fence = Fence(fence.nonce, fence.next + 80, start + 80, False)
    cases = await store.cases(RUN)
    assert [case.hash for case in cases] == sorted(case.hash for case in cases)
    expected: set[str] = set()
    for outcome in (Outcome.LIVE_ONLY, Outcome.CANDIDATE_ONLY):
        for segment in SEGMENTS:
            mine = [case for case, _ in made.values() if case.outcome == outcome and segment in case.segments]
            expected |= {case.transaction for case in sorted(mine, key=lambda c: c.hash)[:KEEP_DISAGREEMENTS]}
    assert {case.transaction for case in cases} == expected
    assert all(0 < case.inclusion < 1 for case in cases)
    assert all([await store.sample_of(RUN, case) for case in cases])
    assert all(case.hash < case.inclusion for case in cases), "kept is what is below its threshold"
    taus = await store.taus(0)
    assert {day for _, day, _, _ in taus} == {4, WHOLE_RUN}
    assert len(await store.unexplained(0, 1000)) == len(await samples_of(store, RUN)), "cases are explained as samples"


async def test_cases_outlive_their_samples_so_late_labels_find_them(client: Any) -> None:
    store = TallyStore(client, "candidate", SEGMENTS, sample_days=3, label_days=60)
    fence = await store.open_partition(0, 0)
    what = an_increment()
    case, what.samples = a_case(1, Outcome.LIVE_ONLY)
    await store.apply(0, fence, 8, what)
    at = Keys("shadow", "candidate", 0)
    await client.delete(at.bodies(str(RUN), 4))  # as when its days are over
    assert await client.ttl(at.bodies(str(RUN), "run")) > 59 * 86_400
    (found,) = await store.cases(RUN)
    assert found.card not in ("c-1", case.card), "salted"
    assert found == replace(case, inclusion=1.0, card=found.card)
    assert await store.sample_of(RUN, found) is None


async def test_labels_join_cases_whichever_comes_first(client: Any) -> None:
    labels, store = LabelStore(client), TallyStore(client, "candidate", SEGMENTS)
    await labels.merge([a_vote("t1"), a_vote("t2", "legit", "chargeback", "bank"), a_vote("t-nobody-knows")], {0: 3})
    fence = await store.open_partition(0, 0)
    what = an_increment()
    made = [a_case(n, Outcome.CANDIDATE_ONLY) for n in (1, 2, 3)]
    what.samples = [sample for _, samples in made for sample in samples]
    await store.apply(0, fence, 8, what)
    cases = await store.cases(RUN)
    found = dict(zip([case.transaction for case in cases], await labels.known(cases), strict=True))
    assert (found["t1"].review, found["t2"].review, found["t3"].review) == (State.FRAUD, State.PENDING, State.PENDING)
    assert found["t2"].chargeback is State.LEGIT
    await labels.merge([a_vote("t3", "legit")], {0: 4})
    found = dict(zip([case.transaction for case in cases], await labels.known(cases), strict=True))
    assert found["t3"].review is State.LEGIT


async def test_a_label_by_card_and_second_speaks_only_if_it_names_one_case(client: Any) -> None:
    labels = LabelStore(client)
    case = replace(a_case(1, Outcome.CANDIDATE_ONLY)[0], occurred_ms=1_770_000_000_700)
    at = by_card(case.card, 1_770_000_000_000)
    case = replace(case, card=(await pseudonyms(client, "shadow")).card(case.card))  # as it is read from the store
    await labels.merge([Vote(at, "chargeback", "bank", 1_770_000_000_000, "fraud")], {})
    (found,) = await labels.known([case])
    assert found.chargeback is State.FRAUD
    twin = replace(case, transaction="t2", hash=0.9)
    assert [one.chargeback for one in await labels.known([case, twin])] == [State.PENDING] * 2
    later = replace(case, occurred_ms=1_770_000_001_000)
    assert [one.chargeback for one in await labels.known([later])] == [State.PENDING]


def test_there_are_enough_buckets_to_spread_over_a_cluster() -> None:
    assert {a_vote(f"t-{n}").bucket for n in range(500)} == set(range(BUCKETS))


async def test_an_erased_card_leaves_nothing_behind_and_moves_no_weight(client: Any) -> None:
    labels, store = LabelStore(client), TallyStore(client, "candidate", SEGMENTS)
    fence = await store.open_partition(0, 0)
    what = an_increment()
    for n in range(1, 4):
        _, samples = a_case(n, Outcome.CANDIDATE_ONLY)
        what.samples += samples
    await store.apply(0, fence, 8, what)
    at = by_card(card_hash("c-2"), 1_770_000_000_000)
    await labels.merge([a_vote("t1"), a_vote("t2"), Vote(at, "chargeback", "bank", 1, "fraud")], {})
    before = await store.cases(RUN)
    name = (await pseudonyms(client, "shadow")).card(card_hash("c-2"))
    assert await holding(client, b"c-2"), "the sample"
    assert len(await holding(client, name.encode())) == 2, "the case, the label"
    for n in range(1, 4):
        assert await holding(client, card_hash(f"c-{n}").encode()) == []
    samples, (gone,) = await store.erase_card("c-2")
    assert samples == 1
    assert gone.transaction == "t2"
    assert await labels.erase("c-2", [by_transaction("t2")]) == 2
    assert {sample.card_id for sample in await samples_of(store, RUN)} == {"c-1", "c-3"}
    assert await store.cases(RUN) == [case for case in before if case.transaction != "t2"]
    assert set(await labels.of([by_transaction("t1"), by_transaction("t2"), at])) == {by_transaction("t1")}
    assert await store.erase_card("c-2") == (0, [])
    assert await holding(client, b"c-2") == await holding(client, name.encode()) == []


async def holding(client: Any, text: bytes) -> list[bytes]:
    """The keys that hold a text, whatever their type, or have it in their name."""
    found = []
    async for key in client.scan_iter(count=1000):
        match await client.type(key):
            case b"hash":
                cells = [cell for pair in (await client.hgetall(key)).items() for cell in pair]
            case b"set":
                cells = [*await client.smembers(key)]
            case b"zset":
                cells = await client.zrange(key, 0, -1)
            case b"list":
                cells = await client.lrange(key, 0, -1)
            case _:
                cells = [await client.get(key) or b""]
        if any(text in cell for cell in [key, *cells]):
            found.append(key)
    return found


async def test_the_salt_is_made_once_and_anew_if_redis_has_lost_it(client: Any) -> None:
    one, two = await asyncio.gather(pseudonyms(client, "shadow"), pseudonyms(client, "shadow"))
    assert one == two == await pseudonyms(client, "shadow")
    assert (await pseudonyms(client, "other")).card("c") != one.card("c")
    await client.flushall()
    assert (await pseudonyms(client, "shadow")).card("c") != one.card("c")
