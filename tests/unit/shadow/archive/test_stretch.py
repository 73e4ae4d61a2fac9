"""Archived decisions come back once, each partition in the order of its offsets, whatever the files are like."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import patch

import orjson
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.decisions import a_decision
from shadow.archive import stretch as stretches
from shadow.archive.rows import DECISIONS, decision_of, decisions, decisions_of
from shadow.archive.stretch import Stretch, split
from unit.shadow.archive.test_rows import a_record, odd

FIRST = date(2026, 1, 1)
SLIM = pa.schema([field for field in DECISIONS if field.name in ("partition", "offset", "view", "problem")])


def a_dataset(folder: Path, rows: list[tuple[int, int, int]], files: int, group: int, rng: random.Random) -> ds.Dataset:
    """Rows of (partition, offset, day after FIRST), scattered over files by day, in row groups of some rows."""
    for number in range(files):
        mine = [row for at, row in enumerate(rows) if at % files == number]
        for day in {day for _, _, day in mine}:
            some = [row for row in mine if row[2] == day]
            if rng.random() < 0.3:
                rng.shuffle(some)
            table = pa.table(
                {
                    "partition": pa.array([p for p, _, _ in some], pa.int32()),
                    "offset": pa.array([o for _, o, _ in some], pa.int64()),
                    "view": [f"v{day // 2}"] * len(some),
                    "problem": pa.nulls(len(some), pa.string()),
                }
            )
            path = folder / f"day={FIRST + timedelta(days=day)}" / f"{number}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(table, path, row_group_size=group)
    layout = ds.partitioning(pa.schema([("day", pa.date32())]), flavor="hive")
    return ds.dataset(folder, schema=SLIM.append(pa.field("day", pa.date32())), partitioning=layout, format="parquet")


@given(
    seed=st.integers(0, 2**32),
    counts=st.lists(st.integers(0, 250), min_size=1, max_size=3),
    files=st.integers(1, 3),
    group=st.sampled_from([20, 90, 1000]),
    window=st.sampled_from([10, 100, 5000]),
    step=st.sampled_from([1, 3, 2000]),
)
def test_every_row_comes_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    counts: list[int],
    files: int,
    group: int,
    window: int,
    step: int,
) -> None:
    rng = random.Random(seed)
    rows = []
    for partition, count in enumerate(counts):
        offset = rng.randrange(10**6)
        for at in range(count):
            offset += rng.randint(1, step)
            late = rng.choice([0, 0, 0, 0, -1, 2]) if at > 20 else 0
            rows.append((partition * 3, offset, max(0, at // 80 + late)))
    rng.shuffle(rows)
    stored = a_dataset(tmp_path_factory.mktemp("rows"), rows, files, group, rng)
    first, last = rng.choice([(None, None), (FIRST + timedelta(days=1), None), (None, FIRST + timedelta(days=2))])
    kept = [
        row
        for row in rows
        if (first is None or FIRST + timedelta(days=row[2]) >= first)
        and (last is None or FIRST + timedelta(days=row[2]) <= last)
    ]
    with patch.object(stretches, "KEPT_ROWS", 60):
        stretch = Stretch(stored, first, last, window)
        parts = [(partition, part["offset"].to_pylist()) for partition, part in stretch.parts()]
    for partition in {partition for partition, _, _ in rows}:
        wanted = sorted(offset for mine, offset, _ in kept if mine == partition)
        assert [offset for mine, part in parts if mine == partition for offset in part] == wanted
        if wanted:
            assert stretch.partitions[partition] == (wanted[0], wanted[-1])
    assert stretch.n == len(kept) == sum(of.decisions for of in stretch.days.values())
    for view, of in stretch.days.items():
        days = [FIRST + timedelta(days=day) for _, _, day in kept if f"v{day // 2}" == view]
        assert (of.first, of.last, of.decisions) == (min(days), max(days), len(days))


def test_rows_that_lie_in_order_are_read_once_and_few_are_held(tmp_path: Path) -> None:
    rows = [(at % 4, at // 4, at // 5000) for at in range(40_000)]
    stored = a_dataset(tmp_path, rows, 1, 1000, random.Random(5))
    reads = []
    real = ds.Fragment.to_table

    class Counting:
        def __init__(self, fragment: ds.Fragment) -> None:
            self.fragment = fragment

        def to_table(self, **asked: object) -> pa.Table:
            reads.append(self.fragment)
            return real(self.fragment, **asked)

    stretch = Stretch(stored, window=3000)
    stretch._pieces = [stretches._Piece(Counting(p.rows), p.n, p.windows) for p in stretch._pieces]  # type: ignore[arg-type]
    largest = max(part.num_rows for _, part in stretch.parts())
    assert len(reads) == len(stretch._pieces) == 40
    assert largest <= 3000


def test_a_decision_of_a_table_is_that_of_its_row_and_what_is_none_is_split_off() -> None:
    values = [orjson.dumps(a_decision(at, features=[0.1 * at, None, -0.0][: at % 4])) for at in range(40)]
    values[7], values[9] = b"{", None
    table = decisions(0, [a_record(at, value) for at, value in enumerate(values)])
    table = pa.concat_tables([table.slice(0, 11), table.slice(11, 3), table.slice(14)])
    good, bad = split(table)
    assert bad == [7, 9]
    assert decisions_of(good) == [decision_of(row) for row in good.to_pylist()]
    assert decisions_of(good.slice(3, 20)) == [decision_of(row) for row in good.slice(3, 20).to_pylist()]
    assert decisions_of(good.slice(0, 0)) == []


@given(st.lists(odd, max_size=12))
def test_whatever_became_a_row_comes_back_all_the_same(values: list[bytes | None]) -> None:
    good, bad = split(decisions(0, [a_record(at, value) for at, value in enumerate(values)]))
    assert decisions_of(good) == [decision_of(row) for row in good.to_pylist()]
    assert sorted([*bad, *good["offset"].to_pylist()]) == list(range(len(values)))
