"""Files read by their columns give the same events and snapshots, bit for bit, as rows through JSON and the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scorer.errors import UserError
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.money import Money
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import Attribute, FeatureView
from scorer.sources import files
from scorer.sources.file_rows import FileRows
from scorer.sources.files import read_transactions
from scorer.sources.source import Source
from scorer.training.history import History, read_history

VIEW = FeatureView(
    name="v",
    attributes=(
        Attribute(name="age", kind="number"),
        Attribute(name="chip", kind="boolean"),
        Attribute(name="country", kind="category", values=("DE", "FR", "Österreich")),
    ),
)
MONEY = Money.model_validate({"currency": "EUR", "rates": {"USD": {"2026-01-02": 0.9, "2026-01-20": 0.8}}})
START = datetime(2026, 1, 3, tzinfo=UTC)
NAN, INF = float("nan"), float("inf")

#: What is in most cells, and what is odd, of each field.
TEXTS = st.sampled_from(["a", "b", "c-1", "4111", "x y", "0001"])
ODD_TEXTS = st.sampled_from([
    "", " a", "a ", "é", "\u00a0a", "a\n", 'a"b', "a\\u0031", "4111 1111 1111 1111", "4111111111111111", "z" * 129,
    "\u0664\u0661\u0661\u0661" * 4, "123456789012", "a\u2028", None,
])  # fmt: skip
NUMBERS = st.sampled_from([0.0, 1.5, 12.34, 99_999.99, 1e-7, 0.1 + 0.2])
ODD_NUMBERS = st.sampled_from([-0.0, -1.0, NAN, INF, -INF, 1e15, 1e300, 5e-324, 4111111111111111.0, None])


def cells(plain: st.SearchStrategy[Any], odd: st.SearchStrategy[Any], n: int) -> st.SearchStrategy[list[Any]]:
    """A column with no odd cell, or with one."""
    some = st.lists(plain, min_size=n, max_size=n)
    with_one = st.tuples(some, st.integers(0, n - 1), odd).map(
        lambda drawn: [*drawn[0][: drawn[1]], drawn[2], *drawn[0][drawn[1] + 1 :]]
    )
    return st.one_of(some, some, with_one)


@st.composite
def tables(draw: st.DrawFn) -> dict[str, pa.Array]:
    n = draw(st.integers(2, 30))
    times = draw(st.lists(st.integers(0, 60), min_size=n, max_size=n))
    unit = draw(st.sampled_from(["s", "ms", "us", "ns"]))
    zone = draw(st.sampled_from([None, "UTC", "Europe/Berlin"]))
    moments = [START + timedelta(hours=hours, milliseconds=0 if unit == "s" else hours % 7) for hours in times]
    table: dict[str, pa.Array] = {}
    ids: list[Any] = [f"t{at}" for at in range(n)]
    kind = draw(st.sampled_from(["texts", "whole", "repeated", "odd", "large"]))
    if kind == "whole":
        table["transaction_id"] = pa.array(range(n), draw(st.sampled_from([pa.int64(), pa.int16(), pa.uint64()])))
    elif kind == "large":
        table["transaction_id"] = pa.array([4_111_111_111_111_111 + at for at in range(n)], pa.int64())
    else:
        odd = ODD_TEXTS if kind == "odd" else TEXTS
        table["transaction_id"] = pa.array(ids if kind == "texts" else draw(cells(TEXTS, odd, n)), pa.string())
    table["occurred_at"] = pa.array([m if zone else m.replace(tzinfo=None) for m in moments], pa.timestamp(unit, zone))
    table["card_id"] = pa.array(draw(cells(TEXTS, ODD_TEXTS, n)), pa.string())
    table["merchant_id"] = draw(
        st.one_of(
            cells(TEXTS, ODD_TEXTS, n).map(lambda c: pa.array(c, pa.string())),
            cells(TEXTS, TEXTS, n).map(lambda c: pa.array(c).dictionary_encode()),
            cells(st.integers(0, 5), st.sampled_from([-3, 10**13, None]), n).map(lambda c: pa.array(c, pa.int64())),
        )
    )
    amounts = st.sampled_from([pa.float64(), pa.float32()])
    table["amount"] = draw(
        st.one_of(
            st.tuples(cells(NUMBERS, ODD_NUMBERS, n), amounts).map(lambda d: pa.array(d[0], d[1])),
            cells(st.integers(0, 500), st.sampled_from([-7, 2**53 + 1, None]), n).map(pa.array),
        )
    )
    table["currency"] = pa.array(draw(cells(st.sampled_from(["EUR", "USD"]), st.sampled_from(["XXX", "eur", None]), n)))
    table["age"] = draw(
        st.one_of(
            cells(st.one_of(NUMBERS, st.none()), ODD_NUMBERS, n).map(lambda c: pa.array(c, pa.float64())),
            cells(st.integers(0, 9), st.sampled_from([2**62 + 1, None]), n).map(lambda c: pa.array(c, pa.int64())),
            cells(st.booleans(), st.none(), n).map(lambda c: pa.array(c, pa.bool_())),
        )
    )
    if draw(st.booleans()):
        table["chip"] = pa.array(draw(cells(st.booleans(), st.none(), n)), pa.bool_())
    words = st.sampled_from(["DE", "FR", "Österreich", "IT", None])
    table["country"] = pa.array(draw(cells(words, ODD_TEXTS, n)), pa.string())
    if draw(st.booleans()):
        table["beside"] = draw(
            st.one_of(
                cells(TEXTS, ODD_TEXTS, n).map(lambda c: pa.array(c, pa.string())),
                cells(NUMBERS, ODD_NUMBERS, n).map(lambda c: pa.array(c, pa.float64())),
                st.just(pa.array([moments[0]] * n, pa.timestamp("ns", "UTC"))),
                st.just(pa.array([[1, 2]] * n)),
            )
        )
    table["is_fraud"] = pa.array(draw(st.lists(st.sampled_from([0, 1, None]), min_size=n, max_size=n)), pa.int8())
    return table


MAPPINGS = [
    {},
    {"negative": "refund"},
    {"negative": "credit"},
    {"defaults": {"currency": "EUR", "age": 3.5, "country": "FR"}},
    {"fields": {"merchant_id": "country", "country": "merchant_id"}},
    {"fields": {"card_id": "beside"}},
    {"fields": {"transaction_id": "$row"}},
    {"formats": {"occurred_at": {"kind": "time", "zone": "Europe/Berlin"}}},
    {"formats": {"amount": {"kind": "minor_units"}}},
    {"drop": ["beside", "country"]},
    {"fields": {"amount": "age"}, "label": "is_fraud"},
]


def by_both(paths: Sequence[Path], mapping: dict[str, Any], **more: Any) -> list[History | str]:
    """What comes of files read by rows, and by columns: a history, or what is wrong with them."""
    names = FieldNames.model_validate(mapping)
    reading = Reading(MONEY, names, VIEW.attributes, **more)
    found: list[History | str] = []
    for columns in (None, reading):
        source = Source(names, attributes=VIEW.attributes, needs_label=True)
        try:
            found.append(read_history(read_transactions(paths, source, reading=columns), VIEW, reading, "x"))
        except UserError as error:
            found.append(str(error))
    return found


def assert_equal(ours: History | str, theirs: History | str) -> None:
    if isinstance(ours, str) or isinstance(theirs, str):
        assert ours == theirs
        return
    assert ours.ids == theirs.ids
    assert ours.matrix.tobytes() == theirs.matrix.tobytes()
    for name in ("occurred_ms", "amount", "labels", "known_ms"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name
    assert ours.data == theirs.data


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(tables(), st.sampled_from(MAPPINGS), st.sampled_from([(), ("card_id", "beside")]), st.integers(1, 40))
def test_columns_give_what_rows_give(
    tmp_path_factory: pytest.TempPathFactory, table: Any, mapping: Any, fields: tuple[str, ...], chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    pq.write_table(pa.table(table), folder / "x.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", chunk)
        assert_equal(*by_both([folder / "x.parquet"], mapping, card_number_fields=fields))


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(tables(), tables())
def test_columns_of_several_files_give_what_their_rows_give(
    tmp_path_factory: pytest.TempPathFactory, first: Any, second: Any
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    for name, table in (("a", first), ("b", second)):
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
    assert_equal(*by_both([folder / "a.parquet", folder / "b.parquet"], {}))


def plain(n: int) -> dict[str, Any]:
    return {
        "transaction_id": [f"t{at}" for at in range(n)],
        "occurred_at": [START + timedelta(hours=at // 3) for at in range(n)],
        "card_id": [at % 7 for at in range(n)], "merchant_id": ["m"] * n, "amount": [1.5 * at for at in range(n)],
        "currency": ["EUR"] * n, "age": [None] + [2.0] * (n - 1), "chip": [True] * n, "country": ["DE"] * n,
        "is_fraud": [0, 1] * (n // 2),
    }  # fmt: skip


def test_what_is_plain_is_never_written_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the property would hold of one way that is taken twice."""
    pq.write_table(pa.table(plain(50)), tmp_path / "x.parquet")
    by_rows, _ = by_both([tmp_path / "x.parquet"], {})

    def never(*_: Any) -> Any:
        raise AssertionError("a row was read by itself")

    monkeypatch.setattr(FileRows, "records", never)
    names = FieldNames.model_validate({})
    reading = Reading(MONEY, names, VIEW.attributes)
    chunks = read_transactions(tmp_path / "x.parquet", Source(names, attributes=VIEW.attributes), reading=reading)
    assert_equal(read_history(chunks, VIEW, reading, "x"), by_rows)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_one_odd_row_leaves_only_its_chunk_to_be_read_by_rows(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = plain(60)
    table["country"][30] = "\u00a0"
    table["card_id"] = [f"c{at % 7}" for at in range(60)]
    table["card_id"][31] = "a\\b"
    files.write_table(tmp_path / f"x{suffix}", table)
    monkeypatch.setattr(files, "CHUNK", 10)
    names = FieldNames.model_validate({})
    reading = Reading(MONEY, names, VIEW.attributes)
    source = Source(names, attributes=VIEW.attributes)
    chunks = list(read_transactions(tmp_path / f"x{suffix}", source, reading=reading))
    assert sum(chunk.events is None for chunk in chunks) == 1
    assert_equal(*by_both([tmp_path / f"x{suffix}"], {}))


def test_where_chunks_end_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    table = plain(300)
    order = rng.permutation(300).tolist()
    pq.write_table(
        pa.table({name: [cells[at] for at in order] for name, cells in table.items()}), tmp_path / "x.parquet"
    )
    found = []
    for chunk in (1, 7, 1000):
        monkeypatch.setattr(files, "CHUNK", chunk)
        found += by_both([tmp_path / "x.parquet"], {})
    for other in found[1:]:
        assert_equal(found[0], other)


ODD_CELLS: list[tuple[str, Any, pa.DataType]] = [
    *(
        (name, cell, pa.string())
        for name in ("transaction_id", "card_id", "merchant_id", "country", "beside", "currency")
        for cell in (
            "", " a", "a\u00a0", "é", "a\n", 'a"b', "\\u0031", "4111 1111 1111 1111", "4111-1111-1111-1111",
            "z" * 129, "\u0664\u0661\u0661\u0661" * 4, "card 4111111111111111 x", "a\u2028b", "\u200b", None,
            "4111111111111112", "123e4567-e89b-12d3-a456-426614174000", "USD",
        )
    ),
    *(
        (name, cell, pa.float64())
        for name in ("amount", "age", "beside")
        for cell in (NAN, INF, -INF, -0.0, -1.0, 1e15, 1e16, 5e-324, 4111111111111111.0, 1234.5678901234, None)
    ),
    *(
        (name, cell, pa.int64())
        for name in ("card_id", "merchant_id", "amount", "age", "beside")
        for cell in (4111111111111111, -5, 2**53 + 1, 2**63 - 1, 0, None, 10**11, 10**11 - 1)
    ),
    ("chip", None, pa.bool_()),
    ("age", True, pa.bool_()),
    ("chip", 1, pa.int64()),
]  # fmt: skip


@pytest.mark.parametrize("mapping", [{}, {"negative": "credit"}, {"defaults": {"age": 1.5, "country": "FR"}}])
def test_each_odd_cell_among_plain_ones_is_read_as_rows_are(mapping: dict[str, Any], tmp_path: Path) -> None:
    """One after the other, so that none hides behind another one."""
    fillings = {pa.string(): "x1", pa.float64(): 2.5, pa.int64(): 3, pa.bool_(): False}
    refused = 0
    for at, (name, cell, kind) in enumerate(ODD_CELLS):
        table: dict[str, Any] = plain(12) | {"beside": [1.5] * 12}
        rest = table[name] if kind == pa.string() and name in ("currency", "transaction_id") else [fillings[kind]] * 12
        table[name] = pa.array([*rest[:7], cell, *rest[8:]], kind)
        path = tmp_path / f"{at}.parquet"
        pq.write_table(pa.table(table), path)
        found = by_both([path], mapping)
        assert_equal(*found)
        refused += isinstance(found[0], str)
    assert 30 < refused < len(ODD_CELLS) - 30
