"""Files of every kind give the same transactions, and never their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.histories import NO_MAPPING, columns, rows
from scorer.errors import UserError
from scorer.pipeline.mapping import FieldNames
from scorer.sources.files import by_time, read_transactions, time_bound, write_table
from scorer.sources.source import LABEL, LABEL_TIME


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_every_kind_of_file_gives_the_same_transactions(history: Path, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"history{suffix}"
    write_table(path, columns())
    assert rows(read_transactions(path, NO_MAPPING)) == rows(read_transactions(history, NO_MAPPING))


def test_labels_are_never_sent(history: Path) -> None:
    (chunk, *_) = read_transactions(history, NO_MAPPING)
    assert chunk.labels is not None
    assert chunk.labels.sum() > 50
    assert (chunk.known_ms > 0).all()
    assert not {LABEL, LABEL_TIME} & orjson.loads(chunk.values[0]).keys()


def test_a_part_of_a_file_is_taken_in_order_of_time(history: Path) -> None:
    whole = rows(read_transactions(history, NO_MAPPING))
    stamps = [row["occurred_at"] for row in whole]
    assert stamps == sorted(stamps)
    part = rows(read_transactions(history, NO_MAPPING, "2026-01-10", "2026-01-12T12:00:00Z"))
    assert part == [row for row in whole if "2026-01-10" <= row["occurred_at"] < "2026-01-12T12:00:00Z"]
    assert (
        rows(read_transactions(history, NO_MAPPING, "2026-01-10", skip=5, limit=7))
        == [row for row in whole if row["occurred_at"] >= "2026-01-10"][5:12]
    )


def test_a_mapping_renames_fills_in_and_drops(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    theirs = {
        "id": 17,
        "when": "2026-01-02T03:04:05Z",
        "who": 5,
        "shop": "s",
        "sum": 1.5,
        "bad": 1,
        "secret": "x",
        "extra": 2,
    }
    path.write_bytes(orjson.dumps(theirs) + b"\n")
    fields = {"transaction_id": "id", "occurred_at": "when", "card_id": "who", "merchant_id": "shop", "amount": "sum"}
    mapping = FieldNames.model_validate(
        {"fields": fields, "defaults": {"currency": "EUR"}, "label": "bad", "drop": ["secret"]}
    )
    (chunk,) = read_transactions(path, mapping)
    assert chunk.keys == [b"5"]
    assert chunk.labels is not None
    assert chunk.labels.tolist() == [1]
    assert orjson.loads(chunk.values[0]) == {
        "transaction_id": "17",
        "occurred_at": "2026-01-02T03:04:05.000Z",
        "card_id": "5",
        "merchant_id": "s",
        "amount": 1.5,
        "currency": "EUR",
        "extra": 2,
    }


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.xml", b"", "name it .parquet"),
        ("x.txt", b"", "no line of names"),
        ("x.parquet", b"nonsense", "cannot be read"),
        ("x.jsonl", b'{"a": 1}\n', "has no field transaction_id"),
        (
            "x.jsonl",
            b'{"transaction_id": "1", "card_id": "c", "merchant_id": "m", "amount": 1, '
            b'"currency": "EUR", "occurred_at": "noon"}\n',
            "row 1: occurred_at is 'noon', no time",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_told(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told):
        list(read_transactions(tmp_path / name, NO_MAPPING))


def test_a_time_that_is_none_names_its_option() -> None:
    assert time_bound("1970-01-02", "--from") == 86_400_000
    with pytest.raises(UserError, match="--from soon"):
        time_bound("soon", "--from")


@given(st.lists(st.tuples(st.integers(0, 6), st.text("ab1é", max_size=3)), max_size=40))
def test_rows_are_in_order_of_time_then_id_however_many_are_of_one_time(rows: list[tuple[int, str]]) -> None:
    occurred = np.array([at for at, _ in rows], dtype=np.int64)
    order = by_time(occurred, np.array([name for _, name in rows], dtype=object))
    assert order.tolist() == sorted(range(len(rows)), key=lambda at: rows[at])
