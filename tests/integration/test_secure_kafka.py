"""Every process of ours on real Apache Kafka and Redis, each as a user of its own with just the rights it needs."""

from __future__ import annotations

import asyncio
import hashlib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    for_code,
)

from harness.access import (
    PASSWORD,
    USERS,
    audited,
    change_right,
    give_rights_in_kafka,
    give_rights_in_redis,
    guarded,
    logins,
    redis_address,
    rights_in_kafka,
)
from harness.certificates import certificate
from harness.kafka import Kafka
from harness.models import BAD, REPEATED, STREAM, Decisions, Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, by_source, get, wait_for, write_lines
from harness.stores import RedisServer, debian_redis
from rights.users import Right
from scorer.settings import Topics
from shadow.local.process import free_port

pytestmark = [pytest.mark.needs("kafka", "openssl", "redis")]

#: Certificates as PEM; a client's certificate names its user.
TLS = {
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "ssl.client.auth": "requested",
    "listener.name.ssl.ssl.client.auth": "required",
    "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
}
SIGNED = ("--by", "ann", "--reason", "because")
TOKEN, OF_ANN = "a token", "the token of ann"
TOPICS = tuple(Topics().model_dump().values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority's certificate, and those of the broker and a scorer that it signed."""
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder, "ca")
    certificate(folder, "stranger")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key")
    certificate(folder, "broker", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    certificate(folder, "scorer", *signed)
    return folder


@pytest.fixture(scope="module")
def broker(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Lets each user do what deploy/rights/kafka-acls.sh says, and nothing else."""

    def inline(path: Path) -> str:
        return path.read_text().replace("\n", "\\n")

    settings = {
        **TLS,
        **logins("SASL_SSL", "SASL_PLAINTEXT"),
        "ssl.keystore.certificate.chain": inline(folder / "broker.pem"),
        "ssl.keystore.key": inline(folder / "broker.key"),
        "ssl.truststore.certificates": inline(folder / "ca.pem"),
    }
    listeners = {protocol: free_port() for protocol in ("SSL", "SASL_SSL", "SASL_PLAINTEXT")}
    with guarded(tmp_path_factory.mktemp("kafka"), settings, listeners) as broker:
        give_rights_in_kafka(broker)
        yield broker


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Lets each user do what deploy/rights/redis-acls.sh says, and nothing else."""
    with RedisServer(tmp_path_factory.mktemp("redis"), str(debian_redis())) as server:
        give_rights_in_redis(server)
        yield server


def ways(folder: Path, user: str) -> dict[str, dict[str, str]]:
    """Settings for each way of speaking to the broker as a user."""
    login = {"kafka_user": user, "kafka_password": PASSWORD}
    return {
        "ssl": {
            "kafka_ca": str(folder / "ca.pem"),
            "kafka_certificate": str(folder / f"{user}.pem"),
            "kafka_key": str(folder / f"{user}.key"),
        },
        "sasl_ssl": {**login, "kafka_ca": str(folder / "ca.pem")},
        "sasl_plaintext": {**login, "kafka_mechanism": "PLAIN"},
    }


@dataclass(frozen=True)
class Logins:
    """How users log in to both servers."""

    broker: Kafka
    store: RedisServer
    folder: Path

    def __call__(self, user: str, way: str = "sasl_ssl", **changed: str) -> dict[str, str]:
        """Variables of both programs. changed: other settings than the user's."""
        port = self.broker.listeners[way.upper()]
        both = {"kafka": f"127.0.0.1:{port}", "kafka_security": way, **ways(self.folder, user)[way], **changed}
        env = {f"{program}_{name.upper()}": value for program in ("SCORER", "SHADOW") for name, value in both.items()}
        nowhere = "redis://nowhere.invalid:1/0"  # for a user that Redis does not know
        return env | {"SHADOW_REDIS": redis_address(self.store, user) if USERS[user].redis else nowhere}


@pytest.fixture(scope="module")
def login(broker: Kafka, store: RedisServer, folder: Path) -> Logins:
    return Logins(broker, store, folder)


@pytest.fixture(scope="module")
def stack(
    broker: Kafka, store: RedisServer, models: Models, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Nothing runs yet. The criteria ask for little, so that a short stream is enough."""
    at = tmp_path_factory.mktemp("stack")
    release = at / "release.yaml"
    release.write_text(
        "schema: 1\nsegments:\n  country: {field: country, values: [DE, ES, FR, GB]}\n"
        "minimum_covered_hours: 24\nmay_stay_insufficient: ['*']\n"
    )
    own = {
        "SHADOW_RELEASE": str(release),
        "SCORER_CREATE_TOPICS": "false",
        "SCORER_FENCE": "on",
        "SHADOW_OPERATOR_TOKEN": TOKEN,
    }
    with Stack(at, {**models.env, **own}, broker=broker, store=store) as stack:
        yield stack


def post(url: str, body: dict[str, Any], token: str = TOKEN) -> Any:
    """What the API answers to an operator, or to the person of a token."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    asked = urllib.request.Request(url, orjson.dumps(body), headers)
    with urllib.request.urlopen(asked, timeout=PATIENCE_SECONDS) as answer:
        return orjson.loads(answer.read())


# --- everything that is to work ---


def test_every_process_does_its_work_with_just_its_rights(
    stack: Stack, login: Logins, broker: Kafka, store: RedisServer, models: Models, undisturbed: Decisions
) -> None:
    operator, reviewer, replay = login("operator"), login("reviewer"), login("replay", "sasl_plaintext")
    stack.run("scorer", "topics", env={**login("topics"), "SCORER_CREATE_TOPICS": "true"})
    for slot, bundle in (("live", models.live), ("candidate", models.candidate), ("control", models.control)):
        stack.deploy(bundle, slot, env=operator)
    scorers = [stack.start("scorer", "run", env=login("scorer", way), ready=False) for way in ("ssl", "sasl_ssl")]
    shadows = {
        slot: stack.start("shadow", "run", "--slot", slot, env=login(f"shadow-{slot}"), ready=False)
        for slot in ("candidate", "control", "previous")
    }
    serve = stack.start("shadow", "serve", env=login("serve"), ready=False)
    stack.until_ready()
    api = f"http://127.0.0.1:{serve.port}/api"
    assert [scorer.metric("scorer_fence") for scorer in scorers] == [1, 1]

    # decided, compared, suggested
    stack.run("scorer", "replay", str(models.stream), env=replay)
    n = STREAM + REPEATED
    stack.until_settled(n)
    assert by_source(stack.decisions()) == undisturbed
    for slot in ("candidate", "control"):
        compared = lambda slot=slot: shadows[slot].metric("shadow_comparisons_total") >= n - BAD - REPEATED  # noqa: E731
        wait_for(f"{slot}: all compared", compared)
    wait_for("suggestion", lambda: orjson.loads(get(f"{api}/suggestions") or b"[]"))

    # a reviewer looks, and says what was fraud
    stack.run("shadow", "gate", env=reviewer)
    stack.run("shadow", "report", env=reviewer)
    lines = stack.run("shadow", "disagreements", "--output", "jsonl", env=reviewer).splitlines()
    first, second, third = (orjson.loads(line) for line in lines[:3])
    stack.run("shadow", "review", "next", "--by", "rita", env=reviewer)
    stack.run("shadow", "review", "mark", first["transaction_id"], "fraud", "--by", "rita", env=reviewer)
    said = {"transaction_id": second["transaction_id"], "verdict": "legit", "by": "otto"}
    assert post(f"{api}/review/mark", said) == said
    post(f"{api}/review/next", {"by": "otto"})
    chargeback = {"transaction_id": third["transaction_id"], "at": "2026-02-20T00:00:00Z", "verdict": "fraud"}
    file = write_lines(stack.folder / "chargebacks.jsonl", [chargeback])
    load = ("shadow", "labels", "load", str(file), "--source", "chargeback", "--by", "bank")
    stack.run(*load, env=reviewer)
    show = ("shadow", "labels", "show", third["transaction_id"])
    wait_for("chargeback in the store", lambda: "chargeback: fraud" in stack.run(*show, env=reviewer))
    stack.run(*load, env=operator)

    # an operator checks and decides, and forgets a card
    for slot in ("candidate", "control"):
        assert stack.run("shadow", "verify", "--slot", slot, env=operator).endswith("equal")
    stack.run("shadow", "reject", *SIGNED, env=operator)
    stack.run("shadow", "approve", "--force", *SIGNED, env=operator)
    for scorer in scorers:
        wait_for("promoted", lambda scorer=scorer: scorer.metric("scorer_live_epoch") == 2)
    wait_for("the old model's shadow", lambda: "bundle" in shadows["previous"].log.read_text())
    people = {"ann": {"token": hashlib.sha256(OF_ANN.encode()).hexdigest(), "role": "releaser"}}
    desk = stack.start("shadow", "serve", env={**login("serve"), "SHADOW_PEOPLE": orjson.dumps(people).decode()})
    back = post(f"http://127.0.0.1:{desk.port}/api/rollback", {"reason": "a drill"}, OF_ANN)  # waits for every scorer
    assert back["state"] == "rolled_back"
    stack.run("scorer", "deploy", "--block-all", *SIGNED, env=operator)
    stack.run("scorer", "deploy", "--resume", *SIGNED, env=operator)
    assert "erased 0" not in stack.run("shadow", "erase", "--card", first["card_id"], env=operator)

    # a dead letter is sent again
    dollars = {**orjson.loads(models.stream.read_bytes().splitlines()[0]), "transaction_id": "usd", "currency": "USD"}
    stack.run("scorer", "replay", str(write_lines(stack.folder / "usd.jsonl", [dollars])), env=replay)
    stack.until_settled(n + 1)
    rate = {"SCORER_MONEY": '{"currency": "EUR", "rates": {"USD": {"2026-01-01": 0.5}}}'}
    assert stack.run("scorer", "replay", "--rejected", env={**replay, **rate}).startswith("sent 1 again")
    stack.until_settled(n + 2)

    # all of it is archived
    passed = [row["transaction"]["transaction_id"] for row in stack.decisions() if row["decision"] == "allow"][::40]
    write_lines(file, [{**chargeback, "transaction_id": name} for name in passed])
    stack.run(*load, env=reviewer)
    as_of = datetime.now(UTC).isoformat(timespec="milliseconds")
    where = {"SHADOW_ARCHIVE": str(stack.folder / "archive")}
    stack.run("shadow", "archive", "run", "--once", "--http-port", "0", env={**login("archive"), **where})

    # the next candidate is made of that
    rotate = ("scorer", "rotate", "--from-archive", where["SHADOW_ARCHIVE"], "--label-delay", "1d", "--as-of", as_of)
    more = ("--no-backtest", "--discard-evidence", "--by", "rotate")
    stack.run(*rotate, *more, env={**login("rotate"), **where})

    # merchants have their risk, and a scorer looks them up
    view = stack.folder / "risk.yaml"
    view.write_text(f"{Path(models.env['SCORER_VIEW']).read_text()}\nrisk: {{delay_days: 0, windows: [1d]}}\n")
    by_risk = {"SCORER_VIEW": str(view), "SCORER_CLOCK": "event"}
    for _ in range(2):  # the second goes on from what the first has published
        stack.run("scorer", "risk", "--once", env={**login("risk"), **by_risk})
    another = stack.start("scorer", "run", env={**login("scorer"), **by_risk})
    wait_for("snapshots", lambda: "merchant risk: snapshot" in another.log.read_text())

    # nobody asked for more, and everybody for all they have
    assert [found for found in audited(broker) if found[1] == "Denied"] == []
    with store.client() as client:
        assert client.execute_command("ACL", "LOG") == []
    allowed = audited(broker)
    for user in USERS.values():
        unused = {right for right in user.kafka if not is_used(user.name, right, allowed)}
        assert unused == set(), user.name
    assert all(worker.process.poll() is None for worker in stack.workers)


def is_used(user: str, right: Right, allowed: set[tuple[str, str, str, str, str]]) -> bool:
    """Whether a user did what a right is for."""
    kind = {"topic": "Topic", "group": "Group", "transactional id": "TransactionalId"}[right.kind]
    return any(
        found[:4] == (user, "Allowed", right.operation.upper(), kind)
        and (found[4].startswith(right.name) if right.is_prefix else found[4] == right.name)
        for found in allowed
    )


def test_the_broker_allows_what_the_rights_say_and_nothing_else(broker: Kafka) -> None:
    assert rights_in_kafka(broker) == {
        user.name: {(right.kind, right.name, right.is_prefix, right.operation) for right in user.kafka}
        for user in USERS.values()
    }


# --- everything that is not ---


@pytest.fixture(scope="module")
def topics(stack: Stack, login: Logins) -> None:
    """Every topic is there."""
    stack.run("scorer", "topics", env={**login("topics"), "SCORER_CREATE_TOPICS": "true"})


def connection(broker: Kafka, user: str) -> dict[str, Any]:
    """Options of a client that logs in as a user."""
    return {
        "bootstrap_servers": f"127.0.0.1:{broker.listeners['SASL_PLAINTEXT']}",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": user,
        "sasl_plain_password": PASSWORD,
        "request_timeout_ms": 5000,
    }


async def refusal_of_writing(broker: Kafka, user: str, topic: str) -> type[Exception] | None:
    """What a user who appends a record is told; None if it is there."""
    producer = AIOKafkaProducer(**connection(broker, user))
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"forged", partition=0)
    except KafkaError as error:
        return type(error)
    finally:
        await producer.stop()
    return None


async def refusal_of_reading(broker: Kafka, user: str, topic: str) -> type[Exception] | None:
    """What a user who reads a partition is told; None if it gets an answer, however empty."""
    options = connection(broker, user)
    client = AIOKafkaAdminClient(**options)
    await client.start()
    try:
        (told,) = await client.describe_topics([topic])
    finally:
        await client.close()
    if told["error_code"]:  # a consumer would ask again and again
        return for_code(told["error_code"])
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_beginning()
        await consumer.getmany(timeout_ms=500)
    except KafkaError as error:
        return type(error)
    finally:
        await consumer.stop()
    return None


def may(user: str, operation: str, topic: str) -> bool:
    return any((right.operation, right.name) == (operation, topic) for right in USERS[user].kafka)


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("topic", ["deployments", "transactions", "decisions"])
@pytest.mark.parametrize("slot", ["candidate", "control", "previous"])
def test_a_shadow_cannot_write_what_live_goes_by(broker: Kafka, slot: str, topic: str) -> None:
    before = asyncio.run(length(broker, topic))
    assert asyncio.run(refusal_of_writing(broker, f"shadow-{slot}", topic)) is TopicAuthorizationFailedError
    assert asyncio.run(length(broker, topic)) == before


async def length(broker: Kafka, topic: str) -> int:
    """Offset after the last record of a topic's first partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.address)
    await consumer.start()
    try:
        at = TopicPartition(topic, 0)
        return int((await consumer.end_offsets([at]))[at])
    finally:
        await consumer.stop()


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("user", USERS)
def test_a_user_cannot_touch_a_topic_without_a_right_to(broker: Kafka, user: str) -> None:
    closed = {
        operation: [topic for topic in TOPICS if not may(user, operation, topic)] for operation in ("Write", "Read")
    }
    assert closed["Write"], "nobody may write everything"
    for topic in closed["Write"]:
        assert asyncio.run(refusal_of_writing(broker, user, topic)) is TopicAuthorizationFailedError, topic
    for topic in closed["Read"]:
        assert asyncio.run(refusal_of_reading(broker, user, topic)) is TopicAuthorizationFailedError, topic


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("user", ["shadow-candidate", "serve", "operator"])
@pytest.mark.parametrize("group", ["scorer", "shadow-control"])
def test_only_a_groups_own_processes_can_move_its_offsets(broker: Kafka, user: str, group: str) -> None:
    async def commit() -> None:
        consumer = AIOKafkaConsumer(**connection(broker, user), group_id=group, enable_auto_commit=False)
        try:
            await consumer.start()
            at = TopicPartition("decisions", 0)
            consumer.assign([at])
            await asyncio.wait_for(consumer.commit({at: 0}), PATIENCE_SECONDS)
        finally:
            await consumer.stop()

    with pytest.raises(GroupAuthorizationFailedError):
        asyncio.run(commit())


@pytest.mark.parametrize("user", ["shadow-candidate", "serve", "operator", "replay"])
def test_only_a_scorer_can_fence_scorers(broker: Kafka, user: str) -> None:
    async def fence() -> None:
        producer = AIOKafkaProducer(**connection(broker, user), transactional_id="scorer-0")
        try:
            await asyncio.wait_for(producer.start(), PATIENCE_SECONDS)
        finally:
            await producer.stop()

    with pytest.raises(TransactionalIdAuthorizationFailed):
        asyncio.run(fence())


@pytest.mark.parametrize(
    ("way", "changed", "reason"),
    [
        ("sasl_plaintext", {"kafka_password": "a guess"}, "SaslAuthenticationFailed"),
        ("sasl_ssl", {"kafka_user": "bob"}, "SaslAuthenticationFailed"),
        ("sasl_ssl", {"kafka_ca": "stranger.pem"}, "certificate verify failed"),
        ("ssl", {"kafka_certificate": "stranger.pem", "kafka_key": "stranger.key"}, "closed"),  # so does TLS 1.3
    ],
)
def test_who_is_not_let_in_is_told_in_one_line(
    stack: Stack, login: Logins, folder: Path, way: str, changed: dict[str, str], reason: str
) -> None:
    files = {
        name: value if name in ("kafka_user", "kafka_password") else str(folder / value)
        for name, value in changed.items()
    }
    told = stack.try_run("scorer", "topics", seconds=30, env=login("scorer", way, **files))
    assert told is not None
    assert told.startswith("error: kafka 127.0.0.1"), told
    assert reason in told, told
    assert told.count("\n") == 1


@pytest.mark.usefixtures("topics")
def test_a_scorer_that_may_not_fence_says_so(stack: Stack, login: Logins, broker: Kafka, models: Models) -> None:
    stack.deploy(models.live, "live", env=login("operator"))
    change_right(broker, "scorer", Right("group", "other", "Read", "this test"), True)
    env = {**login("scorer"), "SCORER_GROUP": "other"}
    told = stack.try_run("scorer", "run", "--http-port", "0", seconds=30, env=env)
    assert told is not None
    assert "cannot fence" in told
    assert "SCORER_FENCE=on" in told
    worker = stack.start("scorer", "run", env={**env, "SCORER_FENCE": "auto"})
    assert worker.metric("scorer_fence") == 0.0
    assert "no fence" in worker.log.read_text()
