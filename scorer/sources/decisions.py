"""Decisions as their topic has them, in JSON whatever it is, and with the names of their features."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from scorer.deployments.ledger import read
from scorer.errors import UserError
from scorer.kafka.reading import reader
from scorer.kafka.topics import partitions_of
from scorer.pipeline.decision_avro import is_avro, json_of
from scorer.settings import CommonSettings
from scorer.sources.samples import last_records

#: Longest wait of one look for new decisions, in milliseconds.
WAIT_MS = 1000


def named(value: bytes, names: dict[str, tuple[str, ...]]) -> bytes:
    """A decision whose features are an object, by name; unchanged if it is none, or its view is not known.

    names: of the features, by view. Every number stays as it is written, so this is slower than what the scorer uses.

    >>> named(b'{"view": "v", "features": [1.5, null]}', {"v": ("amount", "hour")})
    b'{"view":"v","features":{"amount":1.5,"hour":null}}'
    """
    try:
        decision = json.loads(value)
        features, view = decision["features"], names[decision["view"]]
        if not isinstance(features, list) or len(features) != len(view):
            return value
        decision["features"] = dict(zip(view, features, strict=True))
        return json.dumps(decision, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return value


def as_json(value: bytes) -> bytes:
    """A decision as JSON; unchanged if it is JSON, or no decision."""
    try:
        return json_of(value) if is_avro(value) else value
    except ValueError:
        return value


def view_of(value: bytes) -> str | None:
    """The feature view of a decision, None if it names none."""
    try:
        found = json.loads(value)["view"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def is_line(value: bytes) -> bool:
    """Whether a record is a JSON object on one line. Other people's records might also speak to the terminal.

    >>> is_line(b'{"decision":"allow"}'), is_line(b'{\\n}'), is_line(b'["x"]')
    (True, False, False)
    """
    try:
        return min(value, default=0) >= ord(" ") and isinstance(orjson.loads(value), dict)
    except orjson.JSONDecodeError:
        return False


class Names:
    """Names of features by view, as scorers publish them on the deployments topic."""

    def __init__(self, settings: CommonSettings) -> None:
        self._settings = settings
        self._names: dict[str, tuple[str, ...]] = {}
        self.unknown: set[str] = set()  # views that were looked for and are not there

    async def of(self, value: bytes) -> bytes:
        """A decision with names. Reads the topic once for each view that is new. Raises BrokerError."""
        view = view_of(value)
        if view is not None and view not in self._names and view not in self.unknown:
            views = (await read(self._settings)).views
            self._names = {name: published.names for name, published in views.items()}
            if view not in self._names:
                self.unknown.add(view)
        return named(value, self._names)


async def decisions(settings: CommonSettings, most: int, follow: bool) -> AsyncIterator[bytes]:
    """The newest decisions in the order of their records' times; with `follow`, then those to come, without an end.

    Raises UserError if there is no such topic, BrokerError if no broker answers.
    """
    topic = settings.topics.decisions
    parts = await partitions_of(settings, topic)
    if not parts:
        raise UserError(f"topic {topic}: is missing, or this user may not describe it; create it with `scorer topics`")
    async with reader(settings) as consumer:
        records, after = await last_records(consumer, parts, most)
        for record in records:
            if record.value is not None:  # else somebody else's
                yield as_json(record.value)
        while follow:
            async for value in _to_come(consumer, parts, after):
                yield value


async def _to_come(
    consumer: AIOKafkaConsumer, parts: list[TopicPartition], after: dict[TopicPartition, int]
) -> AsyncIterator[bytes]:
    if consumer.assignment() != set(parts):  # reading to the end has left out those that are empty
        consumer.assign(parts)
        for part in parts:
            consumer.seek(part, after.get(part, 0))
    for records in (await consumer.getmany(timeout_ms=WAIT_MS)).values():
        for record in records:
            if record.value is not None:
                yield as_json(record.value)
