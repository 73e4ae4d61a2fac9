"""Brokers within TLS, with users and access lists: every process of ours, on real Apache Kafka."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest

from harness.kafka import Kafka
from harness.models import BAD, REPEATED, STREAM, Decisions, Models
from harness.stack import Stack, by_source, wait_for
from scorer.settings import Topics
from shadow import local

# numbers of the protocol
TOPIC, GROUP, TRANSACTIONAL_ID = 2, 3, 5
LITERAL, PREFIXED = 3, 4
READ, WRITE = 3, 4
ALLOW = 3
pytestmark = pytest.mark.needs("kafka", "openssl")

PASSWORD = "no one's guess"
#: Further brokers' settings: certificates as PEM, users by two mechanisms, access lists. In the open may come who will.
SECURE = {
    "ssl.keystore.type": "PEM",
    "ssl.truststore.type": "PEM",
    "ssl.client.auth": "requested",
    "listener.name.ssl.ssl.client.auth": "required",
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
PLAIN = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="{PASSWORD}";'
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


def certificate(folder: Path, name: str, *more: str) -> None:
    """`name`.pem and `name`.key, signed by themselves unless more says otherwise."""
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
    subprocess.run([*argv, *files, *more], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority's certificate, and those of the broker and a client that it signed."""
    folder = tmp_path_factory.mktemp("certificates")
    certificate(folder, "ca")
    certificate(folder, "stranger")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key")
    certificate(folder, "broker", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
    certificate(folder, "client", *signed)
    return folder


@pytest.fixture(scope="module")
def broker(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    def inline(path: Path) -> str:
        return path.read_text().replace("\n", "\\n")

    settings = {
        **SECURE,
        "ssl.keystore.certificate.chain": inline(folder / "broker.pem"),
        "ssl.keystore.key": inline(folder / "broker.key"),
        "ssl.truststore.certificates": inline(folder / "ca.pem"),
    }
    listeners = {protocol: local.free_port() for protocol in ("SSL", "SASL_SSL", "SASL_PLAINTEXT")}
    for name in ("sasl_ssl", "sasl_plaintext"):
        settings[f"listener.name.{name}.plain.sasl.jaas.config"] = PLAIN
        settings[f"listener.name.{name}.scram-sha-512.sasl.jaas.config"] = SCRAM
    users = {"ann": PASSWORD}
    with Kafka(tmp_path_factory.mktemp("kafka"), settings=settings, listeners=listeners, users=users) as kafka:
        asyncio.run(allow(kafka, "User:ann", "User:CN=client"))
        yield kafka


async def allow(kafka: Kafka, *users: str) -> None:
    """What deploy/kubernetes/README.md says that a user needs, and no more; group `other` is for a test."""
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await client.start()
    rules = [
        *((TOPIC, name, LITERAL, operation) for name in Topics().model_dump().values() for operation in (READ, WRITE)),
        (GROUP, "scorer", LITERAL, READ),
        (GROUP, "other", LITERAL, READ),
        (GROUP, "shadow-", PREFIXED, READ),
        (TRANSACTIONAL_ID, "scorer-", PREFIXED, WRITE),
    ]
    for resource, name, pattern, operation in rules:
        for user in users:
            request = CreateAclsRequest(resource, name, pattern, user, "*", operation, ALLOW)
            answer = await client._send_request(request)
            assert [error for error, *_ in answer.creation_responses] == [0], answer
    await client.close()


def ways(folder: Path) -> dict[str, dict[str, str]]:
    """Settings for each way of speaking to the broker."""
    user = {"kafka_user": "ann", "kafka_password": PASSWORD}
    return {
        "ssl": {
            "kafka_ca": str(folder / "ca.pem"),
            "kafka_certificate": str(folder / "client.pem"),
            "kafka_key": str(folder / "client.key"),
        },
        "sasl_ssl": {**user, "kafka_ca": str(folder / "ca.pem")},
        "sasl_plaintext": {**user, "kafka_mechanism": "PLAIN"},
    }


def environment(broker: Kafka, folder: Path, way: str, **changed: str) -> dict[str, str]:
    """The same as variables of both programs."""
    port = broker.listeners[way.upper()]
    both = {"kafka": f"127.0.0.1:{port}", "kafka_security": way, **ways(folder)[way], **changed}
    return {f"{program}_{name.upper()}": value for program in ("SCORER", "SHADOW") for name, value in both.items()}


@pytest.fixture(scope="module")
def stack(broker: Kafka, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), dict(models.env), broker=broker) as stack:
        yield stack


def test_every_process_works_however_it_speaks_to_brokers(
    stack: Stack, broker: Kafka, folder: Path, models: Models, undisturbed: Decisions
) -> None:
    ssl, sasl_ssl, sasl_plaintext = (environment(broker, folder, way) for way in ways(folder))
    stack.run("scorer", "topics")
    stack.deploy(models.live, "live", env=sasl_ssl)
    stack.deploy(models.candidate, "candidate", env=sasl_plaintext)
    stack.start("scorer", "run", env=ssl)
    stack.start("scorer", "run", env=sasl_ssl)
    stack.run("scorer", "replay", str(models.stream), env=sasl_plaintext)
    n = STREAM + REPEATED
    stack.until_settled(n)
    assert by_source(stack.decisions()) == undisturbed
    shadow = stack.start("shadow", "run", "--slot", "candidate", env=sasl_ssl)
    wait_for("all compared", lambda: shadow.metric("shadow_comparisons_total") >= n - BAD - REPEATED)
    assert stack.run("shadow", "verify", "--slot", "candidate", env=ssl).endswith("equal")


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
    stack: Stack, broker: Kafka, folder: Path, way: str, changed: dict[str, str], reason: str
) -> None:
    files = {
        name: value if name in ("kafka_user", "kafka_password") else str(folder / value)
        for name, value in changed.items()
    }
    env = environment(broker, folder, way, **files)
    told = stack.try_run("scorer", "topics", seconds=30, env=env)
    assert told is not None
    assert told.startswith("error: kafka 127.0.0.1"), told
    assert reason in told, told
    assert told.count("\n") == 1


def test_a_scorer_that_may_not_fence_says_so(stack: Stack, broker: Kafka, folder: Path) -> None:
    env = {**environment(broker, folder, "sasl_ssl"), "SCORER_GROUP": "other"}
    told = stack.try_run("scorer", "run", "--http-port", "0", seconds=30, env={**env, "SCORER_FENCE": "on"})
    assert told is not None
    assert "cannot fence" in told
    assert "SCORER_FENCE=auto" in told
    worker = stack.start("scorer", "run", env=env)
    assert worker.metric("scorer_fence") == 0.0
    assert "no fence" in worker.log.read_text()
