"""Whoever dies while a card is erased, at whatever step, the next attempt leaves no file that has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from harness.decisions import a_decision
from shadow.archive import tables
from shadow.archive.erasures import ROLES, erase
from shadow.archive.rows import KINDS
from shadow.archive.tables import Archive, Chunk, TopicTable

CARD = "tok-4f9a1c77"
TOPICS = {role: role for role in ROLES}
ENDS = {role: {0: (0, 1000)} for role in ROLES}
OTHERS = {"decisions": 10, "labels": 3, "rejected": 1}


class KilledError(Exception):
    """The process died here."""


def a_record(offset: int, value: bytes, headers: Any = (), key: bytes | None = None) -> Any:
    return SimpleNamespace(offset=offset, value=value, headers=list(headers), key=key, timestamp=1_770_000_000_000)


def records(role: str) -> list[Any]:
    """Of CARD and of others, in its own column, by its transactions, and in texts."""
    if role == "decisions":
        made = [a_decision(n, card_id=CARD if n % 2 else f"tok-{n}") for n in range(20)]
        made[4]["transaction"]["paid_by"] = CARD
        values = [orjson.dumps(one) for one in made]
        values[6] = b"no JSON " + CARD.encode()
        return [a_record(n, value) for n, value in enumerate([*values, *values[:1], *values[2:3]])]
    if role == "labels":
        told = {"source": "chargeback", "verdict": "fraud", "by": "bank", "at": "2026-02-03T00:00:00Z"}
        of = [{"transaction_id": "t1"}, {"transaction_id": "t2"}, {"transaction_id": "t8", "card_id": CARD}]
        of += [
            {"transaction_id": "t10", "reason": f"as {CARD} says"},
            {"transaction_id": "t12"},
            {"transaction_id": "x"},
        ]
        return [a_record(n, orjson.dumps(told | one)) for n, one in enumerate(of)]
    headers = [("reason", b"no"), ("field", b"x"), ("offset", b"1")]
    return [
        a_record(0, orjson.dumps({"card": CARD}), headers),
        a_record(1, b"{}", headers, CARD.encode()),
        a_record(2, b"{}", [*headers, ("note", CARD.encode())]),
        a_record(3, b"{}", headers, b"k"),
    ]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables in several files, some of which were put together, so that older versions hold the card as well."""
    folder = tmp_path_factory.mktemp("archive")
    for kind in KINDS:
        if kind.role in ROLES:
            table, made = Archive(str(folder), {}).table(kind, kind.role), records(kind.role)
            for start in range(0, len(made), 4):
                part = made[start : start + 4]
                table.append([Chunk(0, start, start + len(part), kind.build(0, part, ()))])
            table.delta.optimize.compact()
            orphan = kind.build(0, made, ())  # what a writer has left that was killed before its commit
            pq.write_table(
                orphan.drop_columns(["day"]), next(folder.glob(f"{kind.table}/day=*")) / "part-orphan.parquet"
            )
    return folder


def everything(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.name.endswith(".parquet"):
            yield str(pq.ParquetFile(path).read().to_pylist())
        elif path.is_file():
            yield path.read_text(errors="replace")


def rows_left(folder: Path) -> dict[str, int]:
    return {name: DeltaTable(folder / name).count() for name in OTHERS}


def test_a_card_goes_from_every_version_and_every_orphan(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "archive")
    assert any(CARD in text for text in everything(tmp_path / "archive"))
    done = erase(Archive(str(tmp_path / "archive"), {}), TOPICS, CARD, ENDS)
    assert done == {"decisions": 12, "labels": 3, "rejected": 3}
    assert not any(CARD in text for text in everything(tmp_path / "archive"))
    assert rows_left(tmp_path / "archive") == OTHERS
    logs = [path.read_text() for path in (tmp_path / "archive").rglob("_delta_log/*.json")]
    assert logs
    assert not any("tok-" in log for log in logs), "a log, which outlives its rows, names cards"
    again = erase(Archive(str(tmp_path / "archive"), {}), TOPICS, CARD, ENDS)
    assert set(again.values()) == {0}
    assert rows_left(tmp_path / "archive") == OTHERS


def test_rows_that_came_after_the_request_stay(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "archive")
    erase(Archive(str(tmp_path / "archive"), {}), TOPICS, CARD, {role: {0: (0, 3)} for role in ROLES})
    left = DeltaTable(tmp_path / "archive" / "decisions").to_pyarrow_table(columns=["offset", "card_id"]).to_pylist()
    assert sorted(row["offset"] for row in left if row["card_id"] == CARD) == list(range(3, 20, 2))
    assert sum(row["offset"] < 3 for row in left) == 2


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_death_at_any_step_leaves_all_of_it_to_the_next_attempt(
    written: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "ERASED_AT_ONCE", 3)
    for step in range(100):
        folder = tmp_path / f"{step}"
        shutil.copytree(written, folder)
        calls = [0]

        def dying(act: Callable[..., Any], calls: list[int] = calls, step: int = step) -> Callable[..., Any]:
            def call(*args: Any, **more: Any) -> Any:
                calls[0] += 1
                if calls[0] == step + 1 and where == "before":
                    raise KilledError
                found = act(*args, **more)
                if calls[0] == step + 1:
                    raise KilledError
                return found

            return call

        with monkeypatch.context() as patched:
            patched.setattr(DeltaTable, "delete", dying(DeltaTable.delete))
            patched.setattr(TopicTable, "purge", dying(TopicTable.purge))
            try:
                erase(Archive(str(folder), {}), TOPICS, CARD, ENDS)
            except KilledError:
                pass
            else:
                assert step > 8, "too few steps to die in"
                return
        erase(Archive(str(folder), {}), TOPICS, CARD, ENDS)
        assert not any(CARD in text for text in everything(folder)), step
        assert rows_left(folder) == OTHERS, step
    raise AssertionError("it never came to an end")


def test_a_file_that_somebody_is_writing_is_let_be(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "archive")
    folder = next((tmp_path / "archive").glob("decisions/day=*"))
    (folder / "part-half.parquet").write_bytes(b"PAR1 half of a file")
    (kind,) = (kind for kind in KINDS if kind.role == "decisions")
    newer = kind.build(0, [a_record(2000, orjson.dumps(a_decision(2000, card_id=CARD)))], ())
    pq.write_table(newer.drop_columns(["day"]), folder / "part-newer.parquet")
    erase(Archive(str(tmp_path / "archive"), {}), TOPICS, CARD, ENDS)
    assert (folder / "part-half.parquet").exists()
    assert (folder / "part-newer.parquet").exists(), "its offset is beyond what was asked for"


def test_a_commit_in_between_is_no_obstacle(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(written, tmp_path / "archive")
    at, raced = tmp_path / "archive" / "decisions", [0]
    delete = DeltaTable.delete

    def racing(table: DeltaTable, *args: Any, **more: Any) -> Any:
        if table.table_uri.rstrip("/").endswith("decisions") and raced[0] < 3:
            raced[0] += 1
            other = DeltaTable(at)
            some = other.to_pyarrow_table().slice(0, 1)
            write_deltalake(other, some, mode="append")
            DeltaTable(at).optimize.compact()
            delete(DeltaTable(at), f"partition = 0 AND offset = {some['offset'][0].as_py()}")
        return delete(table, *args, **more)

    monkeypatch.setattr(DeltaTable, "delete", racing)
    erase(Archive(str(tmp_path / "archive"), {}), TOPICS, CARD, ENDS)
    assert raced[0] == 3
    assert not any(CARD in text for text in everything(tmp_path / "archive"))
