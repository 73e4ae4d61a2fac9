"""Ids stay texts, digit for digit, in every format, so that labels join."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.small_files import NAMES, ROW, csv_text, read
from scorer.errors import UserError
from shadow.intake.files import read_labels

IDS = [
    "000123",
    "98765432109876543210",
    "98765432109876543211",
    "12e4",
    "1.50",
    "-0",
    "0x1F",
    "1_000",
    "NA",
    "true",
    "2026-01-31",
]
FEED = {"source": "chargeback", "by": "bank", "at": "2026-02-01T00:00:00Z", "verdict": "fraud"}


def rows(ids: list[Any]) -> list[list[Any]]:
    return [[name, *ROW[1:2], name, name, *ROW[4:]] for name in ids]


def as_columns(ids: pa.Array) -> dict[str, Any]:
    n = len(ids)
    return {name: ids if name.endswith("_id") else [cell] * n for name, cell in zip(NAMES, ROW, strict=True)} | {
        "amount": [12.5] * n
    }


def write(path: Path, ids: list[str]) -> None:
    records = [dict(zip(NAMES, row, strict=True)) | {"amount": 12.5} for row in rows(ids)]
    if path.suffix in (".csv", ".tsv"):
        path.write_text(csv_text(rows(ids), delimiter="\t" if path.suffix == ".tsv" else ","))
    elif path.suffix == ".json":
        path.write_text(json.dumps(records))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    else:
        pq.write_table(pa.table(as_columns(pa.array(ids).dictionary_encode())), path)


def same(path: Path, ids: list[str]) -> None:
    """All three ids are as written, and so are those of labels in the same file."""
    found = {(row["transaction_id"], row["card_id"], row["merchant_id"]) for row in read(path)}
    assert found == {(name, name, name) for name in ids}
    labels, bad = read_labels(path, {}, FEED)
    assert not bad
    assert {label.transaction_id for label in labels} == set(ids)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_ids_that_look_like_numbers_stay_as_they_are_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    write(path, IDS)
    same(path, IDS)
    write(path, IDS[:1])  # a column of nothing else
    same(path, IDS[:1])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
@given(
    st.lists(st.from_regex(r"[0-9.eE+-]{1,25}|[A-Za-z0-9]{1,12}", fullmatch=True), min_size=1, max_size=8, unique=True)
)
def test_no_id_is_ever_changed(tmp_path_factory: pytest.TempPathFactory, suffix: str, ids: list[str]) -> None:
    path = tmp_path_factory.mktemp("ids") / f"x{suffix}"
    write(path, ids)
    assert sorted(row["transaction_id"] for row in read(path)) == sorted(ids)


@pytest.mark.parametrize(
    ("ids", "want"),
    [
        (pa.array([123, 2**62 + 1], pa.int64()), ["123", str(2**62 + 1)]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        (
            pa.array([Decimal("98765432109876543210"), Decimal("7")], pa.decimal128(20, 0)),
            ["7", "98765432109876543210"],
        ),
        (pa.array([Decimal(f"1{0:049}1")], pa.decimal256(60, 0)), [str(10**50 + 1)]),
        (pa.array([12.0, 2.0**52]), ["12", str(2**52)]),
        (pa.array([b"abc", b"\xc3\xbc"]), ["abc", "ü"]),
        (pa.array(["7", "007"]).dictionary_encode(), ["007", "7"]),
        (pa.array([7, 8], pa.int8()).dictionary_encode(), ["7", "8"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array(["a"], pa.string_view()), ["a"]),
    ],
)
def test_ids_of_every_type_of_parquet_become_texts(ids: pa.Array, want: list[str], tmp_path: Path) -> None:
    pq.write_table(pa.table(as_columns(ids)), tmp_path / "x.parquet")
    same(tmp_path / "x.parquet", want)


def test_numbers_of_json_that_are_ids_keep_all_digits(tmp_path: Path) -> None:
    record = dict(zip(NAMES, ROW, strict=True))
    lines = [json.dumps(record | {"transaction_id": 98765432109876543210 + at, "amount": 1.5}) for at in range(2)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    (tmp_path / "x.json").write_text(f"[{','.join(lines)}]")
    assert read(tmp_path / "x.json") == read(tmp_path / "x.jsonl")
    assert [row["transaction_id"] for row in read(tmp_path / "x.jsonl")] == [
        "98765432109876543210",
        "98765432109876543211",
    ]


def test_an_id_that_has_lost_digits_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table(as_columns(pa.array([1.0, 9.8765432109876543e19]))), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x.parquet: row 2: transaction_id is a float .*write ids as texts"):
        read(tmp_path / "x.parquet")


def test_other_columns_are_numbers_only_if_no_digit_is_lost(tmp_path: Path) -> None:
    kept = {"zip": "08654", "many": "98765432109876543210", "odd": "12e4"}
    cells = kept | {"n": "7", "x": "1.50", "tiny": "1e-07", "yes": "True"}
    (tmp_path / "x.csv").write_text(csv_text([(*ROW, *cells.values())], (*NAMES, *cells)))
    (found,) = read(tmp_path / "x.csv")
    assert {name: found[name] for name in cells} == cells | {"n": 7, "x": 1.5, "tiny": 1e-7, "yes": True}
