"""Carries out on the archive what the topic `erasures` asks for: a card's rows go, and then the files that had them.

A request stands on the topic until an answer replaces it, so whoever dies in the middle leaves it to the next; to erase
again what is gone changes nothing. What has been on the topics when a request is taken up is erased, also what is not
archived yet: it is waited for. What comes later is new, as it is for the scorers.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from scorer.errors import UserError
from scorer.kafka.producer import BatchProducer
from scorer.kafka.reading import read_to_end, reader, spans
from scorer.kafka.topics import partitions_of
from scorer.pipeline.erasure import ErasureAnswer, ErasureRequest, archive_key, read_for_archive
from scorer.pipeline.instants import instant_ms
from shadow.archive.naming import TRANSACTION, Named
from shadow.archive.rows import KINDS
from shadow.archive.tables import UNREADABLE, Archive, in_a_line
from shadow.settings import ShadowSettings

log = logging.getLogger(__name__)

#: Pause after Kafka or the store of the tables was unavailable, and while a request waits for rows.
RETRY_SECONDS = 2.0
#: Longest wait of one fetch, in milliseconds.
WAIT_MS = 500
#: After so long a request that still waits is taken up anew, as a broker that was slow may have told an end too far.
TAKE_ANEW_SECONDS = 600.0
#: The partition of `erasures` that has what is for the archive.
OURS = 0
#: Tables whose rows are those of a card. Labels come before decisions, by whose transactions they are found.
OF_CARDS = ("labels", "decisions")
#: All that may name a card. The ledger names none.
ROLES = ("rejected", *OF_CARDS)

#: By partition, the offsets of the first record on a topic and after the last.
Spans = Mapping[int, tuple[int, int]]


def erase(archive: Archive, topics: Mapping[str, str], card: str, ends: Mapping[str, Spans]) -> dict[str, int]:
    """Erase a card's rows up to the ends of the topics, and the files that had them; how many rows of each table.

    topics: by role. ends: by topic. Raises one of UNREADABLE: then some of it may be done; call it again.
    """
    tables = {kind.role: archive.existing(kind, topics[kind.role]) for kind in KINDS if kind.role in ROLES}
    until = {topic: {n: after for n, (_, after) in of.items()} for topic, of in ends.items()}
    by_column = Named(card, in_texts=False)
    transactions: set[str] = set()
    is_known = False
    for role in OF_CARDS:
        table = tables[role]
        for batch in () if table is None else table.naming(by_column, until[table.topic]):
            is_known = True
            if role == "decisions":
                transactions |= {one for one in batch[TRANSACTION].to_pylist() if one is not None}
    by_text = Named(card, in_columns=False)
    # What is named in texts goes first: it is looked for only while the card is known by its own rows, and who dies
    # between the two must not leave it. A mistyped card, such as the name of a country, takes no row of others with it.
    steps = [("rejected", by_text), *((role, by_text) for role in OF_CARDS if is_known)]
    steps += [("labels", Named(card, transactions, in_texts=False)), ("decisions", by_column)]
    done: dict[str, int] = {}
    for role, named in steps:
        table = tables[role]
        if table is not None:
            done[role] = done.get(role, 0) + table.erase(named, until[table.topic])
            table.purge(named, until[table.topic])
    return done


class CardErasures:
    """The requests that the archive has not answered yet. is_mine: whether this process is to carry them out."""

    def __init__(self, settings: ShadowSettings, archive: Archive, is_mine: Callable[[], bool]) -> None:
        self._settings, self._archive, self._is_mine = settings, archive, is_mine
        self._open: dict[str, ErasureRequest] = {}
        self._taken: dict[str, tuple[float, dict[str, Spans]]] = {}  # what the request that is carried out waits for
        self.stopping = asyncio.Event()

    @property
    def oldest_seconds(self) -> float:
        """Age of the oldest request that is open; 0 if none is."""
        asked = [instant_ms(request.at) for request in list(self._open.values())]
        return max(0.0, time.time() - min(asked) / 1000) if asked else 0.0

    async def run(self) -> None:
        """Follow the topic until `stopping`, through whatever Kafka and the store do meanwhile."""
        said = ""
        while not self.stopping.is_set():
            try:
                async with reader(self._settings) as consumer:
                    await self._follow(consumer)
            except (KafkaError, OSError, UserError, *UNREADABLE) as error:
                if str(error) != said:  # a right that is missing is told once, not every two seconds
                    said = str(error)
                    log.warning("erasures: cannot go on, trying again: %s", in_a_line(error))
                await self._pause()

    async def once(self) -> None:
        """Carry out what is open now. Raises UserError, KafkaError or one of UNREADABLE."""
        async with reader(self._settings) as consumer:
            await self._read(consumer)
            await self._carry_out()

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), RETRY_SECONDS)
        except TimeoutError:
            return

    async def _follow(self, consumer: AIOKafkaConsumer) -> None:
        if not await self._read(consumer):
            await self._pause()
            return
        while not self.stopping.is_set():
            if self._is_mine():
                await self._carry_out()
            fetched = await consumer.getmany(timeout_ms=WAIT_MS)
            for records in fetched.values():
                self._fold(records)
            if self._open and not fetched:
                await self._pause()

    async def _read(self, consumer: AIOKafkaConsumer) -> bool:
        """Learn what is open, and follow it; whether the topic is there: else nobody can ask."""
        parts = [
            tp for tp in await partitions_of(self._settings, self._settings.topics.erasures) if tp.partition == OURS
        ]
        self._open.clear()
        after = dict.fromkeys(parts, 0)
        if parts:
            async for tp, records in read_to_end(consumer, dict.fromkeys(parts)):
                self._fold(records)
                after[tp] = records[-1].offset + 1
            consumer.assign(parts)  # `read_to_end` leaves out those that are empty
            for tp, offset in after.items():
                consumer.seek(tp, offset)
        return bool(parts)

    def _fold(self, records: Sequence[Any]) -> None:
        for record in records:
            try:
                found = read_for_archive(record.key, record.value, self._settings.card_number_fields)
            except ValueError:
                continue  # one of the scorers', or of nobody: they count those
            if isinstance(found[1], ErasureRequest):
                self._open[found[0]] = found[1]
            else:
                self._open.pop(found[0], None)

    async def _carry_out(self) -> None:
        """Erase what is asked for, first things first; returns where rows have to be waited for."""
        for name, request in list(self._open.items()):
            if self.stopping.is_set():
                return
            since, ends = self._taken.get(name, (-math.inf, {}))
            if time.monotonic() - since > TAKE_ANEW_SECONDS:
                ends = await self._ends()
                self._taken = {name: (time.monotonic(), ends)}
            if not await asyncio.to_thread(self._has_come_to, ends):
                return
            started = time.monotonic()
            rows = await asyncio.to_thread(erase, self._archive, self._topics(), request.card_id, ends)
            await asyncio.to_thread(self._archive.erased().add, name, request.at, rows)
            await self._answer(name, "erased" if any(rows.values()) else "nothing")
            self._open.pop(name, None)
            told = ", ".join(f"{count:,} rows of {role}" for role, count in rows.items())
            log.info("request %s: erased %s in %.1f s", name, told or "nothing", time.monotonic() - started)

    def _topics(self) -> dict[str, str]:
        return {role: getattr(self._settings.topics, role) for role in ROLES}

    async def _ends(self) -> dict[str, Spans]:
        """How far each topic reaches now."""
        out: dict[str, Spans] = {}
        async with reader(self._settings) as consumer:
            for topic in self._topics().values():
                out[topic] = await spans(consumer, list(await partitions_of(self._settings, topic)))
        return out

    def _has_come_to(self, ends: Mapping[str, Spans]) -> bool:
        """Whether every record that the topics had is in its table, whoever has written it."""
        for kind in KINDS:
            topic = getattr(self._settings.topics, kind.role)
            wanted = {n: after for n, (first, after) in ends.get(topic, {}).items() if first < after}
            table = self._archive.existing(kind, topic) if wanted else None
            if wanted and (table is None or any((table.position(n) or 0) < after for n, after in wanted.items())):
                return False
        return True

    async def _answer(self, name: str, done: Literal["erased", "nothing"]) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        answer = ErasureAnswer(at=at, done=done, worker=self._settings.worker_id)
        producer = BatchProducer(self._settings)
        try:
            await producer.start(require_idempotence=False)
            await producer.write(self._settings.topics.erasures, OURS, [(archive_key(name), answer.encode())])
        finally:
            await producer.stop()
