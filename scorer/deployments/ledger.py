"""Follows the `deployments` topic, and appends to it such that of two changes at once only one wins."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from scorer import metrics
from scorer.deployments.key_files import signer, stamp, trusted_keys
from scorer.deployments.records import SCHEMA, Change, Entry, encode
from scorer.deployments.signatures import TrustedKeys
from scorer.deployments.slots import Deployments, LedgerLine
from scorer.errors import BrokerError, SettingsError, UserError
from scorer.kafka.aiokafka_internals import require_tasks
from scorer.kafka.connection import connection, unreachable
from scorer.kafka.reading import read_to_end, reader
from scorer.kafka.stopping import stop
from scorer.settings import CommonSettings

log = logging.getLogger(__name__)


#: Starts a background task under a name.
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class StaleChangeError(UserError):
    """Another change of the slot, or another answer to the suggestion, came first."""


async def read(settings: CommonSettings) -> Deployments:
    """The present state of the topic.

    Raises BrokerError if no broker answers or the topic is missing, SettingsError if the trusted keys cannot be used.
    """
    return await _read(settings, trusted_keys(settings))


async def _read(settings: CommonSettings, trusted: TrustedKeys | None) -> Deployments:
    deployments = Deployments(trusted)
    topic = settings.topics.deployments
    async with reader(settings) as consumer:
        await _require(consumer, topic)
        async for _, records in read_to_end(consumer, {TopicPartition(topic, 0): None}):
            for record in records:
                deployments.fold(record.key, record.value)
    require_ends(deployments, settings)
    return deployments


def require_ends(deployments: Deployments, settings: CommonSettings) -> None:
    """Raises SettingsError if the trusted keys name an entry as an end that is not on the ledger."""
    if deployments.trusted is not None:
        missing = sorted(deployments.trusted.ends - {line.seq for line in deployments.ledger})
        if missing:
            raise SettingsError(
                f"setting trusted_keys: {settings.trusted_keys}: entry {missing[0]} is not on topic "
                f"{settings.topics.deployments}; `scorer key last` prints the last one"
            )


async def _require(consumer: AIOKafkaConsumer, topic: str) -> None:
    if topic not in await consumer.topics():
        raise BrokerError(
            f"topic {topic}: is missing, or this user may not describe it; create it with `scorer topics`"
        )


async def append(settings: CommonSettings, build: Callable[[Deployments], Entry]) -> tuple[LedgerLine, Deployments]:
    """Append the entry that `build` makes from the present state; returns its ledger line and the state after it.

    Raises StaleChangeError if another entry came first, UserError if it would not count as it is signed, what `read`
    raises, and whatever `build` does.
    """
    trusted = trusted_keys(settings)
    signs = signer(settings, trusted)
    deployments = await _read(settings, trusted)
    entry = build(deployments)
    seq = deployments.next_seq(secrets.token_hex(4))
    topic = settings.topics.deployments
    value = encode(entry) if signs is None else signs.signed(seq, entry)
    _require_counts(trusted, seq, value, deployments)
    lacking = deployments.lacks_second(seq, entry, None if signs is None else signs.name)
    if lacking is not None:
        raise UserError(f"topic deployments: this would not count, as {lacking}; set four_eyes here, too")
    await put(settings, {f"ledger/{seq}": value})
    after = await _read(settings, trusted)
    line = next((line for line in after.ledger if line.seq == seq), None)
    if line is None:
        raise BrokerError(f"topic {topic}: the broker acknowledged an entry and lost it; look at the broker's log")
    if line.is_void:
        raise StaleChangeError("somebody else changed a slot first; look at the change, then repeat the command")
    if isinstance(entry, Change):
        states = {
            f"slot/{name}": orjson.dumps({"schema": SCHEMA, **_state(after, name)}, option=orjson.OPT_SORT_KEYS)
            for name in entry.slots
        }
        await put(settings, states)
    return line, after


def require_may_write(settings: CommonSettings, deployments: Deployments, entry: Entry) -> None:
    """Raise UserError if an entry that this process would write would not count, before the work is done that it is
    about. deployments: as `read` gives them."""
    trusted = trusted_keys(settings)
    signs = signer(settings, trusted)
    seq = deployments.next_seq(secrets.token_hex(4))
    _require_counts(trusted, seq, encode(entry) if signs is None else signs.signed(seq, entry), deployments)


def _require_counts(trusted: TrustedKeys | None, seq: str, value: bytes, deployments: Deployments) -> None:
    """Raises UserError if nobody would heed an entry."""
    if trusted is None:
        return
    why = trusted.refusal(seq, orjson.loads(value), {line.seq for line in deployments.ledger})
    if why is not None:
        raise UserError(
            f"topic deployments: this would not count, as {why}; only what a trusted key has signed does: set "
            "signing_key to yours"
        )


def _state(deployments: Deployments, name: str) -> dict[str, Any]:
    slot = deployments.slot(name)
    return {field: getattr(slot, field) for field in ("epoch", "digest", "threshold", "override", "since")}


async def put(settings: CommonSettings, records: Mapping[str, bytes | None]) -> None:
    """Write records by key, in order, and wait until they are acknowledged. Raises BrokerError."""
    producer = AIOKafkaProducer(**connection(settings), acks="all", linger_ms=0)
    try:
        await producer.start()
        for key, value in records.items():
            await producer.send_and_wait(settings.topics.deployments, value, key=key.encode(), partition=0)
    except (KafkaError, OSError) as error:
        raise await unreachable(settings, error) from None
    finally:
        await stop(producer, settings.request_seconds)


class Follower:
    """Keeps the state of the topic up to date.

    on_change: awaited with the state once `start` has read the topic to its end, and after each chunk of new records.
    """

    def __init__(self, settings: CommonSettings, on_change: Callable[[Deployments], Awaitable[None]]) -> None:
        self._settings = settings
        self._on_change = on_change
        self._is_stopping = False
        self._said = -1
        self._trusted: TrustedKeys | None = None
        self._is_following = False  # else what is read was there before
        self.deployments = Deployments()

    async def start(self, spawn: Spawn) -> None:
        """Read the topic to its end, then follow it in the background. Raises KafkaError, OSError or UserError.

        spawn: starts the task that follows, and sees to it that this task does not end unnoticed.
        """
        caught_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        following = spawn(self._follow(caught_up), "deployments")
        await asyncio.wait([following, caught_up], return_when=asyncio.FIRST_COMPLETED)
        if not caught_up.done():
            await following  # raises what ended it
        await caught_up

    def stop(self) -> None:
        """Stop following at the next chance, whoever cancels the task or not: up to Python 3.11, `asyncio.wait_for`
        loses a cancellation that comes with its result."""
        self._is_stopping = True

    async def _follow(self, caught_up: asyncio.Future[None]) -> None:
        topic = self._settings.topics.deployments
        while not self._is_stopping:
            try:
                async with reader(self._settings) as consumer:
                    await _require(consumer, topic)
                    keys = stamp(self._settings)
                    self.deployments = await self._read_all(consumer, is_first=not caught_up.done())
                    if not consumer.assignment():
                        consumer.assign([TopicPartition(topic, 0)])  # `read_to_end` assigns no empty partition
                    await self._on_change(self.deployments)
                    self._is_following = True
                    if not caught_up.done():
                        caught_up.set_result(None)
                    while not self._is_stopping and stamp(self._settings) == keys:  # else all counts anew
                        for records in (await consumer.getmany(timeout_ms=1000)).values():
                            self._fold(self.deployments, records)
                            await self._on_change(self.deployments)
                        require_tasks(consumer)
            except (KafkaError, OSError, UserError) as error:
                if not caught_up.done():
                    raise
                log.warning("deployments: cannot be read (%s); trying again", error)
                await asyncio.sleep(1.0)

    async def _read_all(self, consumer: AIOKafkaConsumer, is_first: bool) -> Deployments:
        """The state at the end of the topic. Raises SettingsError if the trusted keys cannot be used.

        is_first: else those before them go on, so that a wrong file does not keep the kill switch from this worker.
        """
        try:
            trusted = trusted_keys(self._settings)
            found = await self._state(consumer, trusted)
            require_ends(found, self._settings)
        except SettingsError as error:
            if is_first:
                raise
            log.error("%s; the keys before it go on", error)
            return await self._state(consumer, self._trusted)
        self._trusted = trusted
        return found

    async def _state(self, consumer: AIOKafkaConsumer, trusted: TrustedKeys | None) -> Deployments:
        deployments = Deployments(trusted)
        async for _, records in read_to_end(consumer, {TopicPartition(self._settings.topics.deployments, 0): None}):
            self._fold(deployments, records)
        return deployments

    def _fold(self, deployments: Deployments, records: list[Any]) -> None:
        for record in records:
            foreign, refusals = deployments.foreign, deployments.refusals
            line = deployments.fold(record.key, record.value)
            is_new = record.offset > self._said  # once, however often the topic is read again
            if deployments.foreign > foreign and is_new:
                self._said = record.offset
                metrics.FOREIGN.labels(self._settings.topics.deployments).inc()
                log.warning("deployments: passed over the record at offset %d, which is none of ours", record.offset)
            news = deployments.refusals - refusals if is_new else 0
            for seq, why in list(deployments.refused)[len(deployments.refused) - news :]:
                self._said = record.offset
                metrics.REFUSED_ENTRIES.inc(self._is_following)
                log.error("deployments: entry %s at offset %d is refused: %s", seq, record.offset, why)
            if line is not None and line.is_void:
                log.warning("deployments: entry %s is void, because another one came first", line.seq)
