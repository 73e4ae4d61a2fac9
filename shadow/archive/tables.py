"""The archive's Delta tables: the only module that imports deltalake.

A commit carries, for each partition of its rows, the offset after the last of them (a transaction identifier of Delta:
`<topic>/<partition>`). Delta refuses a commit that carries an identifier which another commit has moved since the table
was read. So whoever writes from what a table said it had reached writes each offset once, however many others write.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from scorer.bundles.lineage import digest_of_json
from scorer.errors import LibraryError, UserError
from scorer.pipeline.instants import instant_ms
from shadow.archive.naming import Named
from shadow.archive.rows import KINDS, PLACE, TIME, Kind

try:
    from deltalake import (
        ColumnProperties,
        CommitProperties,
        DeltaTable,
        Transaction,
        WriterProperties,
        write_deltalake,
    )
    from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
except ImportError as error:
    raise LibraryError("deltalake: is not installed; install the extra `archive` of this package") from error

log = logging.getLogger(__name__)

#: Offsets that retention took before they were archived: `first` to before `after`.
GAPS = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("first", pa.int64()),
        ("after", pa.int64()),
        ("found_at", TIME),
    ]
)
GAPS_TABLE = "gaps"
#: Erasures that were carried out. No card: the request's id stands for it.
ERASED = pa.schema(
    [
        ("request", pa.string()),
        ("asked_at", TIME),
        ("erased_at", TIME),
        ("decisions", pa.int64()),
        ("rejected", pa.int64()),
        ("labels", pa.int64()),
    ]
)
ERASED_TABLE = "erasures"
#: Rows that one commit erases at most, by their places, and times that it is tried against other commits.
ERASED_AT_ONCE, ERASE_TRIES = 1000, 20
#: No statistics of columns that hold a card: a table's log outlives its files.
CONFIGURATION = {
    "delta.dataSkippingStatsColumns": ",".join(name for name, _ in PLACE if name != "day"),
    "delta.checkpointInterval": "50",
    "delta.logRetentionDuration": "interval 30 days",
}
#: What a call to a table may raise that another attempt may mend: the store is away, or another commit came first.
FAILED = (DeltaError, OSError)
#: The same of reading rows, for which a file is damaged, too.
UNREADABLE = (*FAILED, pa.ArrowException)
#: What colours parts of deltalake's messages.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: Numbers that rise by one.
_DELTAS = ColumnProperties(dictionary_enabled=False, encoding="DELTA_BINARY_PACKED")
#: Bytes of a file that compaction aims at.
FILE_BYTES = 256 * 2**20


def written() -> WriterProperties:
    """How files are written."""
    return WriterProperties(
        compression="ZSTD",
        compression_level=3,
        max_row_group_size=128 * 1024,
        column_properties=dict.fromkeys(("offset", "source_offset"), _DELTAS),
    )


def in_a_line(error: BaseException) -> str:
    """What an error of the tables says, for people: one line, without colours, of bounded length."""
    return " ".join(_COLOUR.sub("", str(error)).split())[:300]


@dataclass(frozen=True)
class Chunk:
    """Rows of one partition in offset order, and the offsets that they stand for: `start` to before `after`."""

    partition: int
    start: int
    after: int
    rows: pa.Table

    def from_offset(self, offset: int) -> Chunk:
        """What is left of it from an offset on."""
        if offset <= self.start:
            return self
        rows = self.rows.filter(pc.greater_equal(self.rows["offset"], offset))
        return Chunk(self.partition, min(offset, self.after), self.after, rows)


class Archive:
    """Where the tables are. uri: a folder or the address of a store of objects. options: of that store."""

    def __init__(self, uri: str, options: Mapping[str, str]) -> None:
        self.uri = uri.rstrip("/")
        self.options = dict(options)

    def table(self, kind: Kind, topic: str) -> TopicTable:
        """The table of a topic, made if it is missing. Raises one of FAILED, or UserError."""
        return TopicTable(self._opened(kind.table, kind.schema, ["day"], CONFIGURATION), topic, kind)

    def existing(self, kind: Kind, topic: str) -> TopicTable | None:
        """The same; None if nobody has made it yet."""
        try:
            table = self._found(kind.table)
        except TableNotFoundError:
            return None
        self._require(table, kind.table, kind.schema)
        return TopicTable(table, topic, kind)

    def gaps(self) -> Gaps:
        """The table of what was lost. Raises as `table`."""
        return Gaps(self._opened(GAPS_TABLE, GAPS, None, {}))

    def erased(self) -> Erased:
        """The table of erasures that were carried out. Raises as `table`."""
        return Erased(self._opened(ERASED_TABLE, ERASED, None, {}))

    def existing_erased(self) -> list[dict[str, Any]]:
        """Every erasure that was carried out, oldest first."""
        try:
            rows: list[dict[str, Any]] = pa.table(self._found(ERASED_TABLE).scan()).to_pylist()
        except TableNotFoundError:
            return []
        return sorted(rows, key=lambda row: (row["erased_at"], row["request"]))

    def existing_gaps(self) -> list[dict[str, Any]]:
        """Every gap that was found."""
        try:
            rows: list[dict[str, Any]] = pa.table(self._found(GAPS_TABLE).scan()).to_pylist()
        except TableNotFoundError:
            return []
        return sorted(rows, key=lambda row: (row["topic"], row["partition"], row["first"]))

    def _at(self, name: str) -> str:
        return f"{self.uri}/{name}"

    def _found(self, name: str) -> DeltaTable:
        return DeltaTable(self._at(name), storage_options=self.options or None)

    def _opened(
        self, name: str, schema: pa.Schema, partition_by: list[str] | None, configuration: Mapping[str, str]
    ) -> DeltaTable:
        if "://" not in self.uri:
            Path(self._at(name)).mkdir(parents=True, exist_ok=True)
        try:
            table = self._found(name)
        except TableNotFoundError:
            DeltaTable.create(
                self._at(name),
                schema=schema,
                mode="ignore",
                partition_by=partition_by,
                configuration=dict(configuration),
                storage_options=self.options or None,
            )
            table = self._found(name)
        self._require(table, name, schema)
        return table

    def _require(self, table: DeltaTable, name: str, schema: pa.Schema) -> None:
        """Raise UserError if a table lacks a column."""
        there = {field.name for field in table.schema().fields}
        missing = [column for column in schema.names if column not in there]
        if missing:
            raise UserError(
                f"archive {self._at(name)}: has no column {missing[0]}; another program wrote it: name another place "
                "in SHADOW_ARCHIVE"
            )


class TopicTable:
    """The table of a topic, as of when it was last read. Calls are not for two threads at once."""

    def __init__(self, table: DeltaTable, topic: str, kind: Kind) -> None:
        self.delta, self.topic, self.kind = table, topic, kind

    def refresh(self) -> None:
        """Read what others have committed."""
        self.delta.update_incremental()

    def _app(self, partition: int) -> str:
        return f"{self.topic}/{partition}"

    def position(self, partition: int) -> int | None:
        """The offset that a partition is to be archived from; None before its first."""
        found: int | None = self.delta.transaction_version(self._app(partition))
        return found

    def append(self, chunks: Sequence[Chunk]) -> int:
        """Commit the rows of chunks, each of which begins where the table has come to; how many rows.

        Raises one of FAILED: nothing was written then, or all of it. `refresh` tells which.
        """
        reached: dict[int, int] = {}
        for chunk in chunks:
            reached[chunk.partition] = chunk.after
        rows = pa.concat_tables([chunk.rows for chunk in chunks])
        write_deltalake(
            self.delta,
            rows,
            mode="append",
            writer_properties=written(),
            commit_properties=CommitProperties(
                app_transactions=[Transaction(self._app(p), after) for p, after in sorted(reached.items())]
            ),
        )
        return int(rows.num_rows)

    def stored(self) -> ds.Dataset:
        """Its rows, in no order, as pyarrow reads them."""
        return self.delta.to_pyarrow_dataset()

    def days(self) -> list[str]:
        """Days of which it has rows, as ISO 8601."""
        return sorted({str(part["day"]) for part in self.delta.partitions()})

    def batches(self, columns: Sequence[str], day: str | None = None, rows: int = 20_000) -> Iterator[pa.RecordBatch]:
        """Some columns of the rows of a day, ISO 8601, or of all, so many at a time, in no certain order."""
        wanted = None if day is None else ds.field("day") == pa.scalar(date.fromisoformat(day), pa.date32())
        found = self.stored().to_batches(
            columns=list(columns), filter=wanted, batch_size=rows, batch_readahead=1, fragment_readahead=1
        )
        yield from (batch for batch in found if batch.num_rows)

    def schema_of(self, columns: Sequence[str]) -> pa.Schema:
        """The types of some columns."""
        schema = self.stored().schema
        return pa.schema([schema.field(name) for name in columns])

    def drop_before(self, day: date) -> int:
        """Delete the rows of days before one; how many days there were. Their files go with the next `compact`."""
        old = [one for one in self.days() if one < day.isoformat()]
        if old:
            self.delta.delete(f"day < '{day.isoformat()}'")
        return len(old)

    def compact(self, keep_hours: int) -> tuple[int, int]:
        """Write small files together, and delete files that no version of the last hours needs; how many of both.

        Appending goes on meanwhile. Also deletes what interrupted writes have left.
        """
        done = self.delta.optimize.compact(target_size=FILE_BYTES, writer_properties=written(), max_concurrent_tasks=1)
        self.refresh()
        gone = self.delta.vacuum(keep_hours, dry_run=False, enforce_retention_duration=False, full=True)
        self.refresh()
        return int(done["numFilesRemoved"]), len(gone)

    def naming(self, named: Named, until: Mapping[int, int]) -> Iterator[pa.RecordBatch]:
        """The rows that name a card, of offsets below `until`, which has them by partition."""
        for batch in self.stored().to_batches(batch_size=20_000, batch_readahead=1, fragment_readahead=1):
            found = _within(named, until, batch)
            if found.any():
                yield batch.filter(pa.array(found))

    def erase(self, named: Named, until: Mapping[int, int]) -> int:
        """Delete the rows that name a card, of offsets below `until`; how many.

        A commit tells of them by their places alone, as the log of a table outlives its rows. Raises one of UNREADABLE:
        some of them may be deleted then.
        """
        done = 0
        for attempt in range(ERASE_TRIES):
            self.refresh()
            try:
                places = sorted(
                    (n, offset)
                    for batch in self.naming(named, until)
                    for n, offset in zip(batch["partition"].to_pylist(), batch["offset"].to_pylist(), strict=True)
                )
                for at in range(0, len(places), ERASED_AT_ONCE):
                    some = places[at : at + ERASED_AT_ONCE]
                    self.delta.delete(_at_places(some), writer_properties=written())
                    done += len(some)
                return done
            except CommitFailedError:  # another commit came first
                if attempt + 1 == ERASE_TRIES:
                    raise
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def purge(self, named: Named, until: Mapping[int, int]) -> int:
        """Delete the files that the present version does not have and that hold rows which name a card; how many.

        Once `erase` is done, nobody can commit such a file any more: a commit that read the rows before is refused, and
        offsets below `until` were archived. Other old files stay for readers that are not done yet. Raises as `erase`.
        """
        self.refresh()
        files = self.stored().filesystem
        gone = 0
        for path in self.delta.vacuum(0, dry_run=True, enforce_retention_duration=False, full=True):
            if not path.endswith(".parquet"):
                continue
            try:
                with files.open_input_file(path) as opened:
                    batches = pq.ParquetFile(opened).iter_batches(batch_size=20_000)
                    is_found = any(_within(named, until, batch).any() for batch in batches)
            except FileNotFoundError:
                continue
            except pa.ArrowInvalid:  # what an interrupted write has left; `compact` deletes it
                continue
            if is_found:
                files.delete_file(path)
                gone += 1
        return gone

    @property
    def version(self) -> int:
        """The number of its last commit."""
        return int(self.delta.version())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names and sizes of its files, which are never written twice."""
        actions = pa.table(self.delta.get_add_actions(flatten=True)).select(["path", "size_bytes"]).to_pylist()
        return digest_of_json(sorted([one["path"], one["size_bytes"]] for one in actions))

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.delta.count())

    @property
    def files(self) -> tuple[int, int]:
        """How many files it has, and their bytes."""
        actions = pa.table(self.delta.get_add_actions(flatten=True))
        return actions.num_rows, int(pc.sum(actions["size_bytes"]).as_py() or 0)


def _at_places(places: Sequence[tuple[int, int]]) -> str:
    """What is true of the rows at some places, partition and offset, alone."""
    by_partition: dict[int, list[int]] = {}
    for n, offset in places:
        by_partition.setdefault(n, []).append(offset)
    return " OR ".join(
        f"(partition = {n} AND offset IN ({', '.join(map(str, offsets))}))" for n, offsets in by_partition.items()
    )


def _within(named: Named, until: Mapping[int, int], batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Which rows of a batch name a card, and are below `until`."""
    found = named.rows(batch)
    for at in np.flatnonzero(found).tolist():
        found[at] = batch["offset"][at].as_py() < until.get(batch["partition"][at].as_py(), 0)
    return found


class Erased:
    """Erasures that were carried out."""

    def __init__(self, table: DeltaTable) -> None:
        self._table = table

    def add(self, request: str, asked_at: str, rows: Mapping[str, int]) -> None:
        """Record an erasure once: what the first attempt that came to its end has erased. Raises one of FAILED."""
        self._table.update_incremental()
        if self._table.transaction_version(request) is not None:
            return
        asked = datetime.fromtimestamp(instant_ms(asked_at) / 1000, UTC)
        row = {"request": request, "asked_at": asked, "erased_at": datetime.now(UTC), **rows}
        write_deltalake(
            self._table,
            pa.Table.from_pylist([row], schema=ERASED),
            mode="append",
            commit_properties=CommitProperties(app_transactions=[Transaction(request, 1)]),
        )


class Gaps:
    """What retention took before it was archived."""

    def __init__(self, table: DeltaTable) -> None:
        self._table = table

    def add(self, topic: str, partition: int, first: int, after: int) -> bool:
        """Record lost offsets once; whether nobody had. Raises one of FAILED."""
        app = f"{topic}/{partition}"
        self._table.update_incremental()
        if (self._table.transaction_version(app) or 0) >= after:
            return False
        row = {"topic": topic, "partition": partition, "first": first, "after": after, "found_at": datetime.now(UTC)}
        write_deltalake(
            self._table,
            pa.Table.from_pylist([row], schema=GAPS),
            mode="append",
            commit_properties=CommitProperties(app_transactions=[Transaction(app, after)]),
        )
        return True


def oldest_day(days: int, today: date) -> date:
    """The first day that is kept.

    >>> oldest_day(1, date(2026, 1, 31))
    datetime.date(2026, 1, 31)
    """
    return today - timedelta(days=days - 1)


def every_kind() -> tuple[Kind, ...]:
    """The kinds of tables, in the order in which they are told of."""
    return KINDS
