"""A few records to look at: the newest of a topic, or the first of a file."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from scorer.errors import UserError
from scorer.kafka.reading import MARKERS, read_to_end, reader
from scorer.kafka.topics import partitions_of
from scorer.pipeline.cells import date_and_time
from scorer.pipeline.layout import Layout
from scorer.pipeline.origin import Origin
from scorer.pipeline.proposal import Given
from scorer.settings import CommonSettings
from scorer.sources.tables import read_rows
from scorer.sources.texts import EncodingError

#: A record, and where it is.
Placed = tuple[str, Given]
#: Encoding of files that are not UTF-8, most often.
WESTERN = "cp1252"
#: Suffixes of files with a record on each line.
LINES = (".jsonl", ".ndjson", ".json", ".txt")


async def last_records(
    consumer: AIOKafkaConsumer, parts: Sequence[TopicPartition], most: int
) -> tuple[list[Any], dict[TopicPartition, int]]:
    """The newest records of some partitions, in the order of timestamp, partition and offset; and the offset after the
    last record of each one that has some. Raises KafkaError."""
    found: list[Any] = []
    after: dict[TopicPartition, int] = {}
    async for part, records in read_to_end(consumer, dict.fromkeys(parts, most + MARKERS)):
        found = sorted([*found, *records], key=lambda record: (record.timestamp, record.partition, record.offset))
        found = found[max(0, len(found) - most) :]  # what is not among the newest now is not at the end either
        after[part] = records[-1].offset + 1
    return found, after


async def newest(settings: CommonSettings, topic: str, most: int) -> tuple[list[Placed], int]:
    """The newest records of a topic, by their timestamps, of all its partitions; and how many partitions it has.

    Changes nothing on the broker.

    Raises UserError if there is no such topic or record, BrokerError if no broker answers.
    """
    parts = await partitions_of(settings, topic)
    if not parts:
        raise UserError(f"topic {topic}: is missing, or this user may not describe it; name another with --topic")
    async with reader(settings) as consumer:
        every, _ = await last_records(consumer, parts, most)
    if not every:
        raise UserError(f"topic {topic}: has no records; send some, or give a file of them with --file")
    placed = [
        (
            f"partition {record.partition} offset {record.offset}",
            Given(record.value, Origin(record.key, record.headers, record.timestamp), record.partition),
        )
        for record in sorted(every, key=lambda record: (record.partition, record.offset))
    ]
    return placed, len(parts)


def first(path: Path, most: int, layout: Layout) -> list[Placed]:
    """The first records of a file: JSON on each line, a table or Parquet. Raises UserError that names the file,
    EncodingError if it is in another encoding."""
    is_lines = path.suffix.lower() in LINES and not _begins_an_array(path)
    if is_lines:
        try:
            with path.open("rb") as lines:
                values = list(islice((line.rstrip(b"\r\n") for line in lines if line.strip()), most))
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; name a readable file") from None
        if len(values) > 1 and values[0].strip() in (b"{", b"["):
            raise UserError(f"{path}: a record takes several lines; write each on one line")
    else:
        table = read_rows(path, layout)
        rows = table.records(np.arange(min(most, len(table))))
        for row in rows:
            row |= {ours: layout.composed(ours, row) for ours in layout.compose}
        values = [
            orjson.dumps({name: cell for name, cell in row.items() if cell is not None}, default=str) for row in rows
        ]
    if not values:
        raise UserError(f"{path}: has no records; give a file with some")
    return [(f"line {at}" if is_lines else f"row {at}", Given(value)) for at, value in enumerate(values, 1)]


def looked_at(path: Path, most: int, layout: Layout) -> tuple[list[Placed], Layout, list[str]]:
    """The first records of a file; how it is written, as far as the settings do not say it; and what to check of that.

    Raises UserError that names the file.
    """
    checks = []
    try:
        records = first(path, most, layout)
    except EncodingError:
        if layout.encoding is not None:
            raise
        layout = layout.model_copy(update={"encoding": WESTERN})
        records = first(path, most, layout)
        checks.append(
            f"files.encoding: the file is not UTF-8 and is read as {WESTERN}, that of Western Europe: look at letters "
            "such as ä and é; Central Europe has cp1250, Cyrillic cp1251"
        )
    if path.suffix.lower() in LINES or "occurred_at" in layout.compose:
        return records, layout, checks
    rows = [orjson.loads(one.value or b"{}") for _, one in records]
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    pair = date_and_time(columns)
    if pair is not None and "occurred_at" not in columns and not set("{}") & set("".join(pair)):
        date, clock = pair
        layout = layout.model_copy(update={"compose": {**layout.compose, "occurred_at": f"{{{date}}} {{{clock}}}"}})
        records = first(path, most, layout)
        checks.append(f"files.compose: {date} and {clock} are taken together for the time of a transaction")
    return records, layout, checks


def _begins_an_array(path: Path) -> bool:
    """Whether a file is one array of records, on one line or several, rather than a record on each line."""
    try:
        with path.open("rb") as file:
            start = file.read(1_000).removeprefix(codecs.BOM_UTF8).lstrip()
    except OSError:
        return False
    return start[:1] == b"[" and start[1:].lstrip()[:1] == b"{"
