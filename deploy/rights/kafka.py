"""Rights in Kafka, as commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rights.users import Kind, Operation, Right, User

Resource = tuple[Kind, str, bool]  # kind, name, whether it is a prefix
#: Options of `kafka-acls.sh` by kind of resource.
_OPTIONS: dict[Kind, str] = {"topic": "--topic", "group": "--group", "transactional id": "--transactional-id"}

HEAD = """\
#!/bin/sh
# Lets each user of Kafka do what its process needs, and nothing else. Rendered: change deploy/rights/users.py, then run
# `make deploy-render`. It only adds: rights that a user had before stay until you take them away.
#
#   KAFKA=host:port ADMIN=admin.properties deploy/rights/kafka-acls.sh
#
# KAFKA: a broker. ADMIN: settings of a client that may change access lists. KAFKA_ACLS: path of kafka-acls.sh.
set -eu
allow() {
    user=$1; shift
    "${KAFKA_ACLS:-kafka-acls.sh}" --bootstrap-server "$KAFKA" ${ADMIN:+--command-config "$ADMIN"} \\
        --add --allow-principal "User:$user" "$@"
}
"""


def commands(users: Iterable[User]) -> str:
    """A shell script that adds every right: one call for the resources of a user with the same operations."""
    lines = [HEAD]
    for user in users:
        lines.append(f"\n# {', '.join(user.runs)}\n")
        for (kind, operations, is_prefix), names in _alike(user.kafka):
            words = ["allow", user.name]
            words += [f"--operation {operation}" for operation in operations]
            words += ["--resource-pattern-type prefixed"] if is_prefix else []
            words += [f"{_OPTIONS[kind]} {name}" for name in names]
            lines.append(" ".join(words) + "\n")
    return "".join(lines)


def resources(rights: Sequence[Right]) -> dict[Resource, tuple[Operation, ...]]:
    """Operations by resource, in order of first mention."""
    found: dict[Resource, tuple[Operation, ...]] = {}
    for right in rights:
        key = right.kind, right.name, right.is_prefix
        found[key] = (*found.get(key, ()), right.operation)
    return {key: tuple(sorted(operations)) for key, operations in found.items()}


def _alike(rights: Sequence[Right]) -> list[tuple[tuple[Kind, tuple[Operation, ...], bool], list[str]]]:
    found: dict[tuple[Kind, tuple[Operation, ...], bool], list[str]] = {}
    for (kind, name, is_prefix), operations in resources(rights).items():
        found.setdefault((kind, operations, is_prefix), []).append(name)
    return list(found.items())
