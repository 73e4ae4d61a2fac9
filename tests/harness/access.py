"""Users with their rights on real servers: as deploy/rights/kafka-acls.sh and deploy/rights/redis-acls.sh give them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from harness import kafka
from harness.kafka import Kafka
from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from harness.stores import RedisServer
from rights.users import Kind, Operation, Right, users

USERS = {user.name: user for user in users()}
PASSWORD = "no one's guess"
#: Further settings of a broker: users by two mechanisms, access lists. Who comes in the open may do everything.
GUARDED = {
    "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
#: Of Java: the broker says of each request what it was allowed or denied.
AUDIT = "-Dorg.slf4j.simpleLogger.log.kafka.authorizer.logger=debug"
#: Numbers of the protocol.
KINDS: dict[Kind, int] = {"topic": 2, "group": 3, "transactional id": 5}
OPERATIONS: dict[Operation, int] = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
LITERAL, PREFIXED = 3, 4
ALLOW, ANY = 3, 1
_AUDITED = re.compile(
    r"Principal = User:(\S+) is (Allowed|Denied) operation = (\w+) from host = \S+ on resource = "
    r"(\w+):LITERAL:(\S+) for request = \w+"
)


def logins(*protocols: str) -> dict[str, str]:
    """Settings of a broker that let every user log in by SASL protocols."""
    known = " ".join(f'user_{name}="{PASSWORD}"' for name in USERS)
    settings = {}
    for name in (protocol.lower() for protocol in protocols):
        module = "org.apache.kafka.common.security"
        settings[f"listener.name.{name}.plain.sasl.jaas.config"] = f"{module}.plain.PlainLoginModule required {known};"
        settings[f"listener.name.{name}.scram-sha-512.sasl.jaas.config"] = f"{module}.scram.ScramLoginModule required;"
    return settings


def guarded(folder: Path, settings: Mapping[str, str], listeners: dict[str, int]) -> Kafka:
    """A broker, not started, with access lists, every user's password, and an audit in its log."""
    return Kafka(
        folder,
        settings={**GUARDED, **settings},
        listeners=listeners,
        users=dict.fromkeys(USERS, PASSWORD),
        java=(*kafka.JAVA, AUDIT),
    )


def give_rights_in_kafka(broker: Kafka) -> None:
    """Run deploy/rights/kafka-acls.sh with Kafka's own command."""
    tool = kafka.write_tool(broker.folder / "kafka-acls", "org.apache.kafka.tools.AclCommand")
    env = {**os.environ, "KAFKA": broker.address, "KAFKA_ACLS": str(tool)}
    subprocess.run(
        [ROOT / "deploy" / "rights" / "kafka-acls.sh"],
        env=env,
        check=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )


def give_rights_in_redis(server: RedisServer) -> None:
    """Run deploy/rights/redis-acls.sh with redis-cli, and give each user its password."""
    env = {**os.environ, "REDIS": f"redis://{server.address}"}
    subprocess.run(
        [ROOT / "deploy" / "rights" / "redis-acls.sh"],
        env=env,
        check=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    with server.client() as client:
        for user in USERS.values():
            if user.redis:
                client.execute_command("ACL", "SETUSER", user.name, f">{PASSWORD}")


def redis_address(server: RedisServer, user: str) -> str:
    """Address of a Redis with a user's login in it."""
    return f"redis://{user}:{quote(PASSWORD)}@{server.address}/0"


@asynccontextmanager
async def _client(broker: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def _rule(user: str, right: Right) -> tuple[int | str, ...]:
    pattern = PREFIXED if right.is_prefix else LITERAL
    return KINDS[right.kind], right.name, pattern, f"User:{user}", "*", OPERATIONS[right.operation], ALLOW


async def _rules(client: AIOKafkaAdminClient) -> set[tuple[int | str, ...]]:
    answer = await client._send_request(DescribeAclsRequest(ANY, None, ANY, None, None, ANY, ANY))
    assert answer.error_code == 0, answer
    return {(kind, name, pattern, *rule) for kind, name, pattern, rules in answer.resources for rule in rules}


def rights_in_kafka(broker: Kafka) -> dict[str, set[tuple[Kind, str, bool, Operation]]]:
    """What the broker allows, by user: kind and name of the resource, whether that is a prefix, operation."""

    async def go() -> set[tuple[Any, ...]]:
        async with _client(broker) as client:
            return await _rules(client)

    kinds = {number: kind for kind, number in KINDS.items()}
    operations = {number: operation for operation, number in OPERATIONS.items()}
    found: dict[str, set[tuple[Kind, str, bool, Operation]]] = {}
    for kind, name, pattern, principal, host, operation, permission in asyncio.run(go()):
        assert (host, permission) == ("*", ALLOW)
        mine = found.setdefault(principal.removeprefix("User:"), set())
        mine.add((kinds[kind], name, pattern == PREFIXED, operations[operation]))
    return found


def change_right(broker: Kafka, user: str, right: Right, is_allowed: bool) -> None:
    """Give or take away one right, and wait until the broker goes by it."""

    async def go() -> None:
        rule = _rule(user, right)
        async with _client(broker) as client:
            if is_allowed:
                answer = await client._send_request(CreateAclsRequest(*rule))
                assert [error for error, *_ in answer.creation_responses] == [0], answer
            else:
                answer = await client._send_request(DeleteAclsRequest(*rule))
                assert [len(matching) for *_, matching in answer.filter_responses] == [1], answer
            deadline = time.monotonic() + 10
            while (rule in await _rules(client)) != is_allowed:
                assert time.monotonic() < deadline, rule
                await asyncio.sleep(0.02)

    asyncio.run(go())


def audited(broker: Kafka, since: int = 0) -> set[tuple[str, str, str, str, str]]:
    """What users were allowed and denied: user, outcome, operation, kind and name of the resource.

    since: length of the broker's log at the beginning.
    """
    with (broker.nodes[0].folder / "log.txt").open("rb") as log:
        log.seek(since)
        text = log.read().decode(errors="replace")
    return {found for found in _AUDITED.findall(text) if found[0] != "ANONYMOUS"}


def log_length(broker: Kafka) -> int:
    """Bytes in the log of a single broker."""
    return (broker.nodes[0].folder / "log.txt").stat().st_size
