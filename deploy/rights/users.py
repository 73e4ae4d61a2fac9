"""The users, one for each process, and the rights that each needs. Everything else in this package renders them.

Kafka's operations Read and Write include Describe. tests/integration/test_secure_kafka.py and test_redis_rights.py run
every process with exactly these rights, and show that each of them is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from scorer.deployments.records import CANDIDATE, CONTROL, PREVIOUS
from scorer.settings import ScorerSettings, Topics
from shadow.settings import ShadowSettings, together
from shadow.store.keys import SCHEMA

Kind = Literal["topic", "group", "transactional id"]
Operation = Literal["Read", "Write", "Describe", "Create"]

SLOTS = (CANDIDATE, CONTROL, PREVIOUS)


@dataclass(frozen=True, slots=True)
class Right:
    """An operation on a resource of Kafka. is_prefix: on every resource whose name begins with `name`."""

    kind: Kind
    name: str
    operation: Operation
    why: str
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Selector:
    """Commands that a user may run on keys. keys: patterns of Redis; `%R~` before one is for reading only."""

    keys: tuple[str, ...]
    commands: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class User:
    """A user of Kafka and, if it has selectors, of Redis.

    runs: the commands that log in as it. is_deployed: whether something on Kubernetes logs in as it; its passwords are
    in a Secret that is named after it.
    """

    name: str
    runs: tuple[str, ...]
    kafka: tuple[Right, ...]
    redis: tuple[Selector, ...] = ()
    is_deployed: bool = True

    @property
    def secret(self) -> str:
        """The Secret with its passwords."""
        return f"{self.name}-secrets"

    @property
    def password_setting(self) -> str:
        """The setting with its password in Kafka: of the program that it runs first."""
        return f"{self.runs[0].split()[0].upper()}_KAFKA_PASSWORD"


@dataclass(frozen=True, slots=True)
class Names:
    """Names that settings may change. prefix: of keys in Redis."""

    topics: Topics = field(default_factory=Topics)
    group: str = "scorer"
    group_prefix: str = "shadow-"
    prefix: str = "shadow"
    archive_group: str = "archive"

    @classmethod
    def of(cls, scorer: ScorerSettings, shadow: ShadowSettings) -> Names:
        """The names in settings. The shadow's must be the scorer's."""
        return cls(scorer.topics, scorer.group, shadow.group_prefix, shadow.prefix, shadow.archive_group)


#: Needed by every connection: the client's health check, and what a client of a Redis Cluster asks first.
CONNECTION = ("ping", "cluster|slots", "command")
#: Inside of the scripts that apply a partition's decisions (shadow/store/lua).
_APPLY = (
    *("hget", "hmget", "hset", "hsetnx", "hincrby", "hdel", "hexists", "sadd", "srem", "expire"),
    *("bitfield", "zadd", "zcard", "zpopmax", "rpush", "append", "hlen", "get", "set", "unlink"),
)


def users(names: Names | None = None, slots: Sequence[str] = SLOTS) -> tuple[User, ...]:
    """Every user, with one shadow for each slot; slots of one process have one, as in `candidate.control`."""
    of = names or Names()
    return (
        _topics(of),
        _scorer(of),
        *(_shadow(of, slot) for slot in slots),
        _serve(of),
        _archive(of),
        _risk(of),
        _rotate(of),
        _operator(of),
        _reviewer(of),
        _replay(of),
    )


def _every(topics: Topics) -> list[str]:
    return [getattr(topics, role) for role in Topics.model_fields]


def _topics(of: Names) -> User:
    rights = [
        right
        for name in _every(of.topics)
        for right in (
            Right("topic", name, "Create", "creates it if it is missing"),
            Right("topic", name, "Describe", "checks its partitions"),
        )
    ]
    return User("topics", ("scorer topics",), tuple(rights))


def _scorer(of: Names) -> User:
    topics = of.topics
    return User(
        "scorer",
        ("scorer run",),
        (
            Right("topic", topics.transactions, "Read", "decides them"),
            Right("topic", topics.decisions, "Write", "publishes decisions"),
            Right("topic", topics.decisions, "Read", "sees how far an earlier owner of a partition had come"),
            Right("topic", topics.rejected, "Write", "publishes dead letters"),
            Right("topic", topics.rejected, "Read", "sees how far an earlier owner of a partition had come"),
            Right("topic", topics.velocity, "Write", "stores card states"),
            Right("topic", topics.velocity, "Read", "recovers card states"),
            Right("topic", topics.erasures, "Read", "learns which cards to forget"),
            Right("topic", topics.erasures, "Write", "says that it has forgotten a card"),
            Right("topic", topics.deployments, "Read", "learns what is live"),
            Right("topic", topics.deployments, "Write", "reports what it runs, and publishes its feature view"),
            Right("topic", topics.labels, "Describe", "checks at its start that every topic exists"),
            Right("topic", topics.risk, "Read", "looks merchants up in its snapshots, if the feature view has them"),
            Right("group", of.group, "Read", "shares the partitions with other scorers"),
            Right("transactional id", f"{of.group}-", "Write", "fences partitions", is_prefix=True),
        ),
    )


def _shadow(of: Names, place: str) -> User:
    """place: a slot, or several of one process with dots between."""
    slots = place.split(".")
    keys = [(f"~{of.prefix}:{{{slot}:*", f"~{of.prefix}:{slot}:partitions") for slot in slots]
    return User(
        f"shadow-{together(slots)}",
        (f"shadow run {' '.join(f'--slot {slot}' for slot in slots)}",),
        (
            Right("topic", of.topics.decisions, "Read", "compares them"),
            Right("topic", of.topics.deployments, "Read", "learns what is in its slot"),
            Right(
                "group",
                f"{of.group_prefix}{together(slots)}",
                "Read",
                "shares the partitions with other shadows of its slot",
            ),
        ),
        (
            Selector(
                tuple(chain.from_iterable(keys)),
                ("evalsha", *_APPLY, "hgetall", "smembers", "srandmember"),
                "applies what decisions add up to, reads it back after a rebalance, explains samples",
            ),
            Selector((f"~{of.prefix}:slots",), ("sadd",), "notes that its slot exists"),
            _salting(of),
            Selector((), ("script|load", "multi", "exec"), "loads its scripts, opens a partition in one step"),
        ),
    )


def _reading(of: Names) -> Selector:
    return Selector(
        (f"%R~{of.prefix}:*",),
        ("get", "hget", "hgetall", "hmget", "hvals", "hscan", "lrange", "mget", "smembers"),
        "reads tallies, samples, cases, labels",
    )


def _salting(of: Names) -> Selector:
    return Selector((f"~{of.prefix}:salt",), ("set",), "reads the salt of cards, or makes it")


def _marking(of: Names) -> tuple[Selector, ...]:
    return (
        Selector(
            (f"~{of.prefix}:labels", f"~{of.prefix}:{{labels:*"),
            ("evalsha", "hset", "expire", "sadd"),
            "stores labels",
        ),
        Selector((f"~{of.prefix}:lease:*",), ("set", "del"), "hands out cases for review"),
        Selector((f"~{of.prefix}:assigned:*",), ("hset", "hdel", "expire"), "notes who is to review what"),
        Selector((), ("script|load",), "loads the script that stores labels"),
        _salting(of),
    )


def _serve(of: Names) -> User:
    return User(
        "serve",
        ("shadow serve",),
        (
            Right("topic", of.topics.deployments, "Read", "learns what is in each slot"),
            Right("topic", of.topics.deployments, "Write", "suggests promotions, writes decisions that come over HTTP"),
            Right("topic", of.topics.decisions, "Read", "measures how far each slot is behind"),
            Right("topic", of.topics.labels, "Read", "stores labels in Redis"),
            Right("topic", of.topics.labels, "Write", "records reviews that come over HTTP"),
            Right("group", of.group, "Describe", "waits for every scorer when it carries a decision out"),
        ),
        (
            _reading(of),
            *_marking(of),
            Selector((f"~{of.prefix}:told:*",), ("hset",), "notes whom it has told what"),
            Selector(
                (f"~{of.prefix}:complaints:*",),
                ("expire", "hlen", "hset", "hsetnx"),
                "counts complaints that are reported",
            ),
            Selector((), ("info",), "measures the memory of Redis"),
        ),
    )


def _archive(of: Names) -> User:
    topics = of.topics
    return User(
        "archive",
        ("shadow archive run", "shadow archive compact", "shadow archive status"),
        (
            *(
                Right("topic", name, "Read", "archives it")
                for name in (topics.decisions, topics.rejected, topics.labels, topics.deployments)
            ),
            Right("topic", topics.erasures, "Read", "learns which cards to erase"),
            Right(
                "topic", topics.erasures, "Write", "says that it has erased a card, which takes the card off the topic"
            ),
            Right("group", of.archive_group, "Read", "shares the partitions with others of its kind"),
        ),
    )


def _risk(of: Names) -> User:
    topics = of.topics
    return User(
        "risk",
        ("scorer risk",),
        (
            Right("topic", topics.decisions, "Read", "counts what was paid at each merchant"),
            Right("topic", topics.labels, "Read", "counts how much of it was fraud"),
            Right("topic", topics.risk, "Read", "goes on from its last snapshot"),
            Right("topic", topics.risk, "Write", "publishes snapshots"),
        ),
        is_deployed=False,
    )


def _rotate(of: Names) -> User:
    return User(
        "rotate",
        ("scorer rotate",),
        (
            Right("topic", of.topics.deployments, "Read", "learns what is in each slot"),
            Right("topic", of.topics.deployments, "Write", "fills slot candidate, notes how it ended"),
        ),
        (
            Selector(
                (f"%R~{of.prefix}:*:partitions", f"%R~{of.prefix}:{{*}}:{SCHEMA}:*"),
                ("get", "hget", "hgetall", "smembers"),
                "reads what a run has gathered that it would end",
            ),
        ),
    )


def _operator(of: Names) -> User:
    topics = of.topics
    return User(
        "operator",
        (
            "scorer deploy",
            "scorer decisions",
            "shadow approve",
            "shadow reject",
            "shadow rollback",
            "shadow comment",
            "shadow verify",
            "shadow erase",
            "and all of the reviewer's",
        ),
        (
            Right("topic", topics.deployments, "Read", "learns what is in each slot"),
            Right("topic", topics.deployments, "Write", "fills slots, decides, turns the kill switch"),
            Right("topic", topics.decisions, "Read", "counts them again"),
            Right("topic", topics.labels, "Write", "records labels"),
            Right("topic", topics.erasures, "Write", "asks the scorers, and the archive, to forget a card"),
            Right("topic", topics.erasures, "Read", "waits until they have"),
            *(
                Right("topic", name, "Describe", "checks before it fills a slot that every topic exists")
                for name in (topics.transactions, topics.rejected, topics.velocity)
            ),
            Right("group", of.group, "Describe", "waits for every scorer"),
        ),
        (
            _reading(of),
            *_marking(of),
            Selector((f"~{of.prefix}:{{labels:*",), ("hdel",), "erases labels"),
            Selector(
                (f"~{of.prefix}:{{*}}:{SCHEMA}:s:*", f"~{of.prefix}:{{*}}:{SCHEMA}:x:*"),
                ("evalsha", "hdel", "hexists", "set"),
                "erases cases, and samples in their index as well",
            ),
            Selector((), ("multi", "exec"), "reads a partition as of one moment"),
        ),
    )


def _reviewer(of: Names) -> User:
    return User(
        "reviewer",
        (
            "shadow gate",
            "shadow evidence",
            "shadow status",
            "shadow history",
            "shadow disagreements",
            "shadow report",
            "shadow plan",
            "shadow labels load",
            "shadow labels show",
            "shadow review next",
            "shadow review mark",
        ),
        (
            Right("topic", of.topics.deployments, "Read", "learns what is in each slot"),
            Right("topic", of.topics.labels, "Write", "records labels"),
        ),
        (_reading(of), *_marking(of)),
        is_deployed=False,
    )


def _replay(of: Names) -> User:
    topics = of.topics
    return User(
        "replay",
        ("scorer replay",),
        (
            Right("topic", topics.transactions, "Write", "sends a file, or dead letters that are valid now"),
            Right("topic", topics.rejected, "Read", "finds the dead letters"),
            Right("topic", topics.rejected, "Write", "marks those that it has sent"),
            *(
                Right("topic", name, "Describe", "checks that every topic exists")
                for name in (topics.decisions, topics.labels, topics.deployments, topics.velocity, topics.erasures)
            ),
        ),
        is_deployed=False,
    )
