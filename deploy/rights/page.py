"""docs/rights.md: who may do what, and how to have it so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rights.kafka import resources
from rights.users import CONNECTION, User

HEAD = """\
# Rights

Each process logs in as a user of its own, which has the rights that the process needs and no other. This page, the
commands and the manifests are rendered from [deploy/rights/users.py](../deploy/rights/users.py) by
`make deploy-render`. Tests run every process with exactly these rights, on Apache Kafka and on Redis and Valkey. They
also take away each right in turn, and check that its user can no longer do its work. What a user could do at worst
with its rights: [SECURITY.md](../SECURITY.md).
"""
KAFKA = """
## Kafka

**R**ead, **W**rite, **D**escribe, **C**reate; the first two include Describe. No user has a right on the cluster or on
other topics. SLOT is the name of a slot: each has a user for its shadows. Brokers older than Kafka 2.8 also require
`IdempotentWrite` on the cluster of every user that writes.
"""
APPLY_KAFKA = """
Create the users, then give them their rights. On Kubernetes with Strimzi, the component
[strimzi](../deploy/kubernetes/README.md#one-user-for-each-process) does both. Brokers must have an authorizer
(`authorizer.class.name`), and refuse what no rule allows (`allow.everyone.if.no.acl.found=false`, the default).

```sh
kafka-configs.sh --bootstrap-server $KAFKA --command-config admin.properties \\
  --alter --entity-type users --entity-name scorer --add-config 'SCRAM-SHA-512=[password=…]'
KAFKA=$KAFKA ADMIN=admin.properties deploy/rights/kafka-acls.sh
```

A process logs in with `SCORER_KAFKA_USER` and `SCORER_KAFKA_PASSWORD`, or `SHADOW_KAFKA_USER` and
`SHADOW_KAFKA_PASSWORD` ([settings](settings.md)), or with a token ([operations](operations.md#tokens-for-kafka)). With
client certificates, have the broker take the user from the certificate's name (`ssl.principal.mapping.rules`).
"""
REDIS = """
## Redis

For Redis 7 or Valkey 7.2, or newer. A pattern that begins with `%R~` allows only reading. Every user may also run
{connection}.
"""
APPLY_REDIS = """
```sh
REDIS=redis://redis:6379 deploy/rights/redis-acls.sh      # on each node of a cluster
redis-cli ACL SETUSER serve '>…'                          # a password for each user
redis-cli ACL SAVE                                        # CONFIG REWRITE, if the server has no aclfile
redis-cli ACL SETUSER default off                         # last: from now on nobody gets in without a user
```

A process logs in with `SHADOW_REDIS=redis://serve:PASSWORD@redis:6379/0`. These rights are for database 0; any other
also requires `+select`.
"""
OTHERS = """
## Other names, further slots

If your settings rename topics, groups or keys (`SCORER_TOPICS`, `SCORER_GROUP`, `SHADOW_GROUP_PREFIX`,
`SHADOW_PREFIX`), set them when you render. A further slot needs a further user:

```sh
make deploy-render SLOTS="candidate control previous challenger"
```

Slots of one process (`shadow run --slot candidate --slot control`) have one user, whose name has dots between them:

```sh
make deploy-render SLOTS="candidate.control previous"
```
"""


def page(users: Sequence[User]) -> str:
    """The whole page. users: with the shadow of one slot, for all of them."""
    connection = ", ".join(f"`{name.replace('|', ' ')}`" for name in CONNECTION)
    return "".join(
        [
            HEAD,
            *_who(users),
            KAFKA,
            *_topics(users),
            *_other_resources(users),
            *_reasons(users),
            APPLY_KAFKA,
            REDIS.format(connection=f"{connection} and, where the server has it, `client setinfo`"),
            *_redis(users),
            APPLY_REDIS,
            OTHERS,
        ]
    )


def _who(users: Sequence[User]) -> Iterator[str]:
    yield "\n| user | runs |\n|---|---|\n"
    for user in users:
        runs = [run if " " not in run or run.startswith("and ") else f"`{run}`" for run in user.runs]
        yield f"| `{user.name}` | {', '.join(runs)} |\n"


def _topics(users: Sequence[User]) -> Iterator[str]:
    names = dict.fromkeys(right.name for user in users for right in user.kafka if right.kind == "topic")
    yield f"\n| topic | {' | '.join(f'`{user.name}`' for user in users)} |\n|---|{'---|' * len(users)}\n"
    for name in names:
        cells = []
        for user in users:
            operations = resources(user.kafka).get(("topic", name, False), ())
            cells.append("".join(letter for letter in "RWDC" if any(op.startswith(letter) for op in operations)))
        yield f"| `{name}` | {' | '.join(cells)} |\n"


def _other_resources(users: Sequence[User]) -> Iterator[str]:
    yield "\n| user | group or transactional id | operation |\n|---|---|---|\n"
    for user in users:
        for (kind, name, is_prefix), operations in resources(user.kafka).items():
            if kind != "topic":
                which = f"every {kind} that begins with `{name}`" if is_prefix else f"{kind} `{name}`"
                yield f"| `{user.name}` | {which} | {', '.join(operations)} |\n"


def _reasons(users: Sequence[User]) -> Iterator[str]:
    yield "\nWhat each right is for:\n\n| user | right | what for |\n|---|---|---|\n"
    for user in users:
        by_reason: dict[tuple[str, str], list[str]] = {}
        for right in user.kafka:
            by_reason.setdefault((right.operation, right.why), []).append(
                f"`{right.name}{'*' if right.is_prefix else ''}`"
            )
        for (operation, why), names in by_reason.items():
            yield f"| `{user.name}` | {operation} {', '.join(names)} | {why} |\n"


def _redis(users: Sequence[User]) -> Iterator[str]:
    yield "\n| user | keys | commands | what for |\n|---|---|---|---|\n"
    for user in users:
        for selector in user.redis:
            patterns = "<br>".join(f"`{pattern}`" for pattern in selector.keys) or "none"
            commands = " ".join(f"`{name.replace('|', ' ')}`" for name in sorted(selector.commands))
            yield f"| `{user.name}` | {patterns} | {commands} | {selector.why} |\n"
    unknown = ", ".join(f"`{user.name}`" for user in users if not user.redis)
    yield f"\nRedis does not know {unknown}.\n"
