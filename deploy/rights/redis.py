"""Rights in Redis, as rules of its access lists. They need selectors: Redis 7 or Valkey 7.2, or newer."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from rights.users import CONNECTION, User

HEAD = """\
#!/bin/sh
# Lets each user of Redis or Valkey do what its process needs, and nothing else. Rendered: change
# deploy/rights/users.py, then run `make deploy-render`. A user keeps its passwords and loses its other rights.
#
#   REDIS=redis://host:port deploy/rights/redis-acls.sh
#
# REDIS: a server, with a user that may change access lists; run it for each node of a cluster. REDIS_CLI: path of
# redis-cli or valkey-cli.
set -eu
allow() {
    user=$1; shift
    cli=${REDIS_CLI:-redis-cli}
    "$cli" -e -u "$REDIS" ACL SETUSER "$user" on resetkeys resetchannels clearselectors -@all "$@"
    # Clients say what they are. Older servers do not know that command; newer ones would log each refusal.
    "$cli" -e -u "$REDIS" ACL SETUSER "$user" '+client|setinfo' > /dev/null 2>&1 || true
}
"""


def rules(user: User) -> list[str]:
    """What a user may do, as `ACL SETUSER` takes it: commands without keys, then a selector for each set of keys."""
    plain = [name for selector in user.redis if not selector.keys for name in selector.commands]
    found = [f"+{name}" for name in (*CONNECTION, *plain)]
    for selector in user.redis:
        if selector.keys:
            found.append(f"({' '.join([*selector.keys, *(f'+{name}' for name in sorted(selector.commands))])})")
    return found


def commands(users: Iterable[User]) -> str:
    """A shell script that gives every user its rights."""
    lines = [HEAD]
    for user in users:
        if user.redis:
            lines.append(f"\n# {', '.join(user.runs)}\n")
            plain = [rule for rule in rules(user) if rule.startswith("+")]
            selectors = [shlex.quote(rule) for rule in rules(user) if not rule.startswith("+")]
            lines.append(" \\\n    ".join([f"allow {user.name} {shlex.join(plain)}", *selectors]) + "\n")
    return "".join(lines)
