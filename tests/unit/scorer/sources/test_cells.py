"""Every type of Parquet's cells is read rightly, or refused in one line that says where and what to do."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.small_files import NAMES, PLAIN, ROW, csv_text, read
from scorer.errors import UserError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BERLIN = {"formats": {"occurred_at": {"kind": "time", "zone": "Europe/Berlin", "pattern": "%d.%m.%Y"}}}


def parquet(path: Path, **columns: Any) -> Path:
    plain = {name: [cell] for name, cell in zip(NAMES, ROW, strict=True)} | {"amount": [12.5]}
    pq.write_table(pa.table(plain | columns), path / "x.parquet")
    return path / "x.parquet"


@pytest.mark.parametrize(
    ("cells", "want"),
    [
        (pa.array([Decimal("0.1")], pa.decimal128(38, 20)), 0.1),
        (pa.array([Decimal("12.00")], pa.decimal128(9, 2)), 12),
        (pa.array([Decimal("-1.25")], pa.decimal32(5, 2)), -1.25),
        (pa.array([b"caf\xc3\xa9"]), "café"),
        (pa.array([b"abc"], pa.binary(3)), "abc"),
        (pa.array([timedelta(minutes=1, milliseconds=500)]), 60.5),
        (pa.array([1_500_000_001], pa.duration("ns")), 1.5),
        (pa.array([NOON]), "2026-01-31T12:00:00+00:00"),
        (pa.array([np.datetime64("2026-01-31T12:00:00.123456789", "ns")]), "2026-01-31T12:00:00.123456+00:00"),
        (pa.array([date(2026, 1, 31)]), "2026-01-31"),
        (pa.array([time(12, 30)]), "12:30:00"),
        (pa.array([45_000_000_000_001], pa.time64("ns")), "12:30:00"),
        (pa.array(["DE"]).dictionary_encode(), "DE"),
        (pa.array([np.float16(0.5)]), 0.5),
        (pa.array([2**64 - 1], pa.uint64()), 2**64 - 1),
        (pa.array([Decimal(2**70)], pa.decimal128(38, 0)), float(2**70)),
        (pa.array([{"a": [Decimal("1.5")], "b": b"x"}]), {"a": [1.5], "b": "x"}),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), [["k", 1]]),
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID(int=1).bytes], pa.binary(16))),
            "00000000-0000-0000-0000-000000000001",
        ),
        (pa.array([True]), True),
    ],
)
def test_a_cell_of_every_type_is_read_as_what_it_means(cells: pa.Array, want: Any, tmp_path: Path) -> None:
    (found,) = read(parquet(tmp_path, extra=cells))
    assert found.pop("extra") == want
    assert found == PLAIN


def test_a_file_with_damaged_names_is_told(tmp_path: Path) -> None:
    path = parquet(tmp_path, extra_name=pa.array([1]))
    path.write_bytes(path.read_bytes().replace(b"extra_name", b"extra\xa6\xa6\xa6\xa6\xa6"))
    with pytest.raises(UserError, match=r"x.parquet: cannot be read"):
        read(path)


@pytest.mark.parametrize("cells", [pa.nulls(1), pa.array([float("nan")]), pa.array([None], pa.decimal128(9, 2))])
def test_an_empty_cell_of_any_type_is_left_out(cells: pa.Array, tmp_path: Path) -> None:
    assert read(parquet(tmp_path, extra=cells)) == [PLAIN]


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([b"\xff\xfe"]),
        pa.array([b"\xff"], pa.binary(1)),
        pa.array([9 * 10**17], pa.timestamp("us")),
        pa.array([[b"\xff"]]),
    ],
)
def test_a_cell_without_a_meaning_is_refused_where_it_is_and_may_be_dropped(cells: pa.Array, tmp_path: Path) -> None:
    path = parquet(tmp_path, extra=cells)
    with pytest.raises(UserError, match=r"x.parquet: row 1: column extra is .*mapping.drop") as told:
        read(path)
    assert "\n" not in str(told.value)
    assert read(path, mapping={"drop": ["extra"]}) == [PLAIN]


@pytest.mark.parametrize(
    ("cells", "mapping"),
    [
        (pa.array([NOON]), None),
        (pa.array([NOON.astimezone(ZoneInfo("America/New_York"))], pa.timestamp("ns", "America/New_York")), None),
        (pa.array([NOON], pa.timestamp("us", "+05:30")), BERLIN),
        (pa.array([NOON.replace(tzinfo=None)], pa.timestamp("s")), None),
        (pa.array([NOON.replace(tzinfo=None, hour=13)]), BERLIN),
        (pa.array(["2026-01-31 12:00"]), None),
        (pa.array([int(NOON.timestamp())]), None),
        (pa.array([int(NOON.timestamp() * 1000)], pa.uint64()), None),
        (pa.array([Decimal(int(NOON.timestamp()))], pa.decimal128(20, 0)), None),
        (
            pa.array([timedelta(hours=12)]),
            {"formats": {"occurred_at": {"kind": "since", "start": "2026-01-31", "unit": "s"}}},
        ),
    ],
)
def test_the_time_of_a_transaction_is_read_from_every_type(cells: pa.Array, mapping: Any, tmp_path: Path) -> None:
    assert read(parquet(tmp_path, occurred_at=cells), mapping=mapping) == [PLAIN]


@pytest.mark.parametrize("cells", [pa.array([[1]]), pa.array([{"a": 1}]), pa.array([True]), pa.array(["x"])])
def test_what_is_no_time_is_refused_whatever_its_type(cells: pa.Array, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"x.parquet: row 1: occurred_at is .*, no time; .* in mapping.formats.occurred_at"
    ):
        read(parquet(tmp_path, occurred_at=cells))
    with pytest.raises(UserError, match=r"row 1: the time of the label .*, no time; .* in files.label_times"):
        read(parquet(tmp_path, is_fraud=pa.array([1]), label_available_at=cells))


def test_a_date_alone_is_its_midnight(tmp_path: Path) -> None:
    path = parquet(tmp_path, occurred_at=pa.array([date(2026, 1, 31)]))
    assert read(path)[0]["occurred_at"] == "2026-01-31T00:00:00.000Z"
    assert read(path, mapping=BERLIN)[0]["occurred_at"] == "2026-01-30T23:00:00.000Z"


def test_amounts_as_decimals_are_the_nearest_number(tmp_path: Path) -> None:
    cells = pa.array([Decimal("19.99")], pa.decimal128(38, 18))
    assert read(parquet(tmp_path, amount=cells))[0]["amount"] == 19.99


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_text_in_any_unicode_is_read_without_being_told(encoding: str, tmp_path: Path) -> None:
    text = csv_text([(*ROW, "Müller")], (*NAMES, "name"))
    (tmp_path / "x.csv").write_bytes(text.encode(encoding))
    assert read(tmp_path / "x.csv") == [PLAIN | {"name": "Müller"}]
