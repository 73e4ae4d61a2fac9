"""Exploration: which would-be blocks are released at random, and the money that may be released. Pure.

A would-be block is *drawn* if its amount is above 0 and at most a maximum, and the budget of its event day has room for
that maximum, whatever its own amount is. So neither being drawn nor being released depends on the amount below the
maximum. Each drawn one is released with the same probability, by a keyed hash of its transaction id: any worker draws
the same, and whoever chooses ids without the key cannot tell what is released.

Each partition has an equal share of the budget and keeps account of it alone: see `Spending`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from scorer.pipeline import decision_avro
from scorer.pipeline.instants import DAY_MS, instant_ms

#: Event days of which a partition keeps account. One that is older than these is not explored any more.
KEPT_DAYS = 16
#: Before and after every event day.
NO_DAY, END_OF_DAYS = -(2**31), 2**31
#: How many values a draw has.
_DRAWS = 2**64


def key_of(secret: bytes) -> bytes:
    """The key of the draws that a secret of any length gives."""
    return hashlib.blake2b(secret, digest_size=32, person=b"exploration").digest()


@dataclass(frozen=True)
class Exploration:
    """What is declared of exploration.

    probability: of a release, between 0 and 1. share, maximum: minor units of the reporting currency that one partition
    may release on an event day, and that one transaction may have. partitions: how many of them have a share; further
    ones are not explored. key: from `key_of`.
    """

    probability: float
    share: int
    maximum: int
    partitions: int
    key: bytes = field(repr=False)

    def releases(self, transaction: str) -> bool:
        """Whether a drawn transaction is released: depends on its id, the key and the probability alone.

        >>> Exploration(0.5, 100, 10, 1, key_of(b"sixteen bytes...")).releases("t1")
        True
        """
        digest = hashlib.blake2b(transaction.encode(), digest_size=8, key=self.key).digest()
        return int.from_bytes(digest, "little") < self.probability * _DRAWS


@dataclass(frozen=True)
class Spending:
    """What a partition has released, in minor units by event day; at most KEPT_DAYS days. floor: the first day that may
    be explored."""

    days: Mapping[int, int] = field(default_factory=dict)
    floor: int = NO_DAY

    def has_room(self, day: int, exploration: Exploration) -> bool:
        """Whether a transaction of that day may be released, whatever its amount up to the maximum."""
        if day < self.floor:
            return False
        if day not in self.days and len(self.days) >= KEPT_DAYS and day < min(self.days):
            return False
        return self.days.get(day, 0) + exploration.maximum <= exploration.share

    def spent(self, day: int | None) -> int:
        """Minor units released on a day; None: on the newest."""
        return self.days.get(max(self.days, default=NO_DAY) if day is None else day, 0)

    def plus(self, day: int, minor: int) -> Spending:
        """The same with a release more. The oldest day that does not fit any more is not explored from then on."""
        days = {**self.days, day: self.days.get(day, 0) + minor}
        floor = self.floor
        while len(days) > KEPT_DAYS:
            oldest = min(days)
            floor = max(floor, oldest + 1)
            del days[oldest]
        return Spending(days, floor)


@dataclass
class Budget:
    """A partition's spending as a worker holds it. through: source offset up to which `spending` has every release."""

    spending: Spending = field(default_factory=Spending)
    through: int = -1


def explore(
    exploration: Exploration,
    spending: Spending,
    ids: Sequence[str],
    days: Sequence[int],
    minor: Sequence[int],
) -> tuple[list[bool], list[bool], Spending]:
    """Which would-be blocks of one partition are drawn, and which of these released; and the spending after them.

    ids, days, minor: of each would-be block whose amount may be released, in source order.
    """
    drawn: list[bool] = []
    released: list[bool] = []
    for name, day, amount in zip(ids, days, minor, strict=True):
        drawn.append(spending.has_room(day, exploration))
        released.append(drawn[-1] and exploration.releases(name))
        if released[-1]:
            spending = spending.plus(day, amount)
    return drawn, released, spending


class Release(NamedTuple):
    """A released would-be block as a decision tells it. offset: of its transaction. day: event day since 1970."""

    offset: int
    day: int
    minor: int


#: How JSON tells the probability. What follows it in a decision of ours holds no text of the sender's.
_TOLD, _CERTAIN = b'"release_probability":', b"1.0,"


def release_of(value: bytes | None, partition: int) -> Release | None:
    """The release that a decision of a partition tells; None if it tells none, or is no decision."""
    if value is None:
        return None
    try:
        if decision_avro.is_avro(value):
            if decision_avro.release_probability(value) == 1.0:
                return None
            row: Any = decision_avro.decision_of(value)
        else:
            at = value.rfind(_TOLD)
            if at < 0 or value.startswith(_CERTAIN, at + len(_TOLD)):
                return None
            row = orjson.loads(value)
        if row["decision"] != "allow" or not 0 < row["release_probability"] < 1:
            return None
        day = instant_ms(row["transaction"]["occurred_at"]) // DAY_MS
        source, minor = row["source"], row["amount_minor"]
        if source["partition"] != partition or type(minor) is not int or minor <= 0:
            return None
        return Release(int(source["offset"]), day, minor)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def recovered(
    kept: Spending | None, through: int, releases: Iterable[Release], lowest: int | None, is_whole: bool, unknown: int
) -> Spending:
    """The spending of a partition that is taken over.

    kept, through: the last account on the changelog and its source offset; None, -1 without one. releases: told by the
    last decisions on their topic. lowest: the lowest source offset of these, None if there is none. is_whole: whether
    they are all decisions of the partition. unknown: the first day that may be explored if what was released since the
    account cannot be seen whole, as exploration was off in between.
    """
    spending = Spending() if kept is None else kept
    newer = {release.offset: release for release in releases if release.offset > through}
    if not is_whole and not (kept is not None and lowest is not None and lowest <= through):
        spending = Spending(spending.days, max(spending.floor, unknown))
    for release in sorted(newer.values()):
        spending = spending.plus(release.day, release.minor)
    return spending


#: Key of the account on the changelog: no text, so no card has it.
KEY = b"\xffreleased"


def account(spending: Spending, through: int) -> tuple[bytes, bytes]:
    """The changelog's record of a partition's spending. through: source offset up to which it has every release."""
    days = {str(day): minor for day, minor in sorted(spending.days.items())}
    return KEY, orjson.dumps({"offset": through, "floor": spending.floor, "days": days})


def read_account(value: bytes, end: int) -> tuple[int, Spending] | None:
    """Source offset and spending of a record of the changelog; None if it is none of ours.

    end: offset after the partition's last transaction, which no account can have reached.
    """
    try:
        row = orjson.loads(value)
        offset, floor = row["offset"], row["floor"]
        days = {int(day): minor for day, minor in row["days"].items()}
        whole = [offset, floor, *days.values()]
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    if set(map(type, whole)) != {int} or not -1 <= offset < end or min(days.values(), default=0) < 0:
        return None
    return offset, Spending(days, floor)
