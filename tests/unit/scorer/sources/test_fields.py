"""Fields that a file lacks, or has twice, or makes of its rows: as on a topic, and said where it matters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.small_files import NAMES, PLAIN, ROW, csv_text, read
from scorer.errors import UserError
from scorer.pipeline.decode import decode
from scorer.pipeline.layout import Layout
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import REQUIRED, Reading
from scorer.pipeline.view import FeatureView
from scorer.sources.files import read_transactions
from scorer.sources.source import Source
from scorer.training.history import read_history
from shadow.intake.files import read_labels

KEY = b"0123456789abcdef"
DEFAULTS = {"merchant_id": "-", "currency": "EUR", "amount": 1.0, "card_id": "one", "transaction_id": "id"}


def put(folder: Path, rows: Sequence[Sequence[str]], names: Sequence[str], kind: str = "csv") -> Path:
    path = folder / f"x.{kind}"
    if kind == "csv":
        path.write_text(csv_text(rows, names))
    elif kind == "jsonl":
        records = [{n: float(c) if n == "amount" else c for n, c in zip(names, row, strict=True)} for row in rows]
        path.write_bytes(b"\n".join(map(orjson.dumps, records)))
    else:
        columns: dict[str, Any] = {name: [row[at] for row in rows] for at, name in enumerate(names)}
        if "amount" in columns:
            columns["amount"] = [float(cell) for cell in columns["amount"]]
        pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", [name for name in REQUIRED if name != "occurred_at"])
def test_a_constant_serves_a_field_without_a_column_as_on_a_topic(name: str, kind: str, tmp_path: Path) -> None:
    at = NAMES.index(name)
    path = put(tmp_path, [[*ROW[:at], *ROW[at + 1 :]]], [*NAMES[:at], *NAMES[at + 1 :]], kind)
    mapping = {"defaults": {name: DEFAULTS[name]}}
    found = read(path, mapping=mapping)
    record = {key: cell for key, cell in PLAIN.items() if key != name}
    on_topic = decode([orjson.dumps(record)], Reading(mapping=FieldNames.model_validate(mapping)))
    assert found == [orjson.loads(on_topic.events.documents[0])]
    with pytest.raises(
        UserError, match=rf"x.{kind}: has no field {name} for {name}; .*mapping.fields.*mapping.defaults"
    ):
        read(path)


def test_a_constant_serves_an_empty_cell(tmp_path: Path) -> None:
    path = put(tmp_path, [(*ROW[:3], "", "12.5", "")], NAMES)
    assert read(path, mapping={"defaults": {"merchant_id": "-", "currency": "EUR"}}) == [PLAIN | {"merchant_id": "-"}]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_mapped_field_wins_over_a_stray_one_of_our_name_even_if_it_is_empty(kind: str, tmp_path: Path) -> None:
    mapping = {"fields": {"transaction_id": "ID"}}
    for names, row in (((*NAMES, "ID"), (*ROW, "mine")), (("ID", *NAMES), ("mine", *ROW))):
        assert read(put(tmp_path, [row], names, kind), mapping=mapping) == [PLAIN | {"transaction_id": "mine"}]
    if kind == "csv":
        (found,) = read(put(tmp_path, [(*ROW, "")], (*NAMES, "ID")), mapping=mapping)
        assert "transaction_id" not in found


def test_one_field_may_serve_two_of_ours(tmp_path: Path) -> None:
    path = put(tmp_path, [(*ROW[1:],)], NAMES[1:])
    assert read(path, mapping={"fields": {"transaction_id": "card_id"}})[0]["transaction_id"] == "card-1"


def test_ids_are_made_from_file_and_row_and_stay_the_same(tmp_path: Path) -> None:
    rows = [(f"2026-01-0{day}T00:00:00Z", *ROW[2:]) for day in (3, 1, 2)]
    mapping = {"fields": {"transaction_id": "$row"}}
    for kind in ("csv", "jsonl", "parquet"):
        path = put(tmp_path, rows, NAMES[1:], kind)
        assert [row["transaction_id"] for row in read(path, mapping=mapping)] == [
            f"x.{kind}#{row:09}" for row in (2, 3, 1)
        ]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        put(tmp_path / folder, rows[:1], NAMES[1:])
    found = [row["transaction_id"] for row in read(tmp_path / "a", tmp_path / "b", mapping=mapping)]
    assert found == ["a/x.csv#000000001", "b/x.csv#000000001"]
    path = put(tmp_path, [ROW], NAMES)
    assert read(path, mapping=mapping)[0]["transaction_id"] == "x.csv#000000001", "it wins over a stray one of our name"
    with pytest.raises(UserError, match=r"its name looks like a card number.*rename it"):
        read(path.rename(tmp_path / "4000000000000002.csv"), mapping=mapping)
    path = put(tmp_path, [ROW], NAMES)
    with pytest.raises(UserError, match=r"mapping.fields.amount: only an id can be made from the row"):
        read(path, mapping={"fields": {"amount": "$row"}})


def test_a_card_for_each_row_has_no_past_and_that_is_said(tmp_path: Path) -> None:
    rows = [(f"t{at}", f"2026-01-0{at}T00:00:00Z", *ROW[3:], "0") for at in range(1, 5)]
    path = put(tmp_path, rows, [NAMES[0], NAMES[1], *NAMES[3:], "is_fraud"])
    said: list[str] = []
    source = Source(FieldNames(fields={"card_id": "$row"}))
    data = read_history(read_transactions(path, source, tell=said.append), FeatureView(name="v"), Reading(), "x")
    assert said == ["each row has a card of its own: no card has a past, and features of card velocity say nothing"]
    counts = [at for at, name in enumerate(data.view.names) if name.startswith("card_count")]
    assert np.nansum(data.matrix[:, counts]) == 0


def test_tokens_replace_numbers_by_a_keyed_hash_and_labels_get_the_same(tmp_path: Path) -> None:
    numbers = ["4000 0000 0000 0002", "4000000000000002", "5555555555554444"]
    path = put(tmp_path, [(*ROW[:2], number, *ROW[3:]) for number in numbers], NAMES)
    layout = Layout(tokens=("card_id",))
    found = [row["card_id"] for row in read(path, layout=layout, token_key=KEY)]
    assert found[0] == found[1] != found[2]
    assert all(len(card) == 32 and card.isalpha() for card in found)
    assert set(found).isdisjoint(row["card_id"] for row in read(path, layout=layout, token_key=KEY[::-1]))
    assert not decode([orjson.dumps(row) for row in read(path, layout=layout, token_key=KEY)], Reading()).refusals
    feed = {"source": "chargeback", "by": "bank", "verdict": "fraud", "at": "2026-02-01T00:00:00Z"}
    labels, _ = read_labels(path, {"transaction_id": "none"}, feed, layout=layout, token_key=KEY)
    assert [label.card_id for label in labels] == found
    pq.write_table(
        pa.table({n: [c] for n, c in PLAIN.items()} | {"card_id": [4000000000000002]}), tmp_path / "y.parquet"
    )
    assert read(tmp_path / "y.parquet", layout=layout, token_key=KEY)[0]["card_id"] == found[0]
    for reader in (lambda: read(path, layout=layout), lambda: read_labels(path, {}, feed, layout=layout)):
        with pytest.raises(UserError, match=r"files.tokens: needs a key; set token_key"):
            reader()


def test_refunds_are_refused_or_not_learnt(tmp_path: Path) -> None:
    rows = [(f"t{at}", *ROW[1:4], amount, "EUR", "0") for at, amount in enumerate(("$5.00", "$-7.50", "$0.00"))]
    path = put(tmp_path, rows, (*NAMES, "is_fraud"))
    formats = {"amount": {"kind": "decimal", "symbol": "$"}}
    mapping = FieldNames.model_validate({"formats": formats, "negative": "refund"})
    data = read_history(read_transactions(path, mapping), FeatureView(name="v"), Reading(mapping=mapping), "x")
    assert data.ids == ["t0", "t2"]
    mapping = FieldNames.model_validate({"formats": formats})
    with pytest.raises(UserError, match=r"x.csv: row 2: amount: .* 0 \(mapping.negative says .*\), found '\$-7.50'"):
        read_history(read_transactions(path, mapping), FeatureView(name="v"), Reading(mapping=mapping), "x")


def test_changes_of_rows_are_refused_or_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(
        orjson.dumps({"op": "d", "after": None}) + b"\n" + orjson.dumps({"op": "c", "after": PLAIN})
    )
    said: list[str] = []
    source = Source(FieldNames.model_validate({"envelope": "debezium", "changes": "skip"}))
    (chunk,) = read_transactions(tmp_path / "x.jsonl", source, tell=said.append)
    assert [orjson.loads(value) for value in chunk.values] == [PLAIN]
    assert said == ["1 changes of rows are passed over"]
    with pytest.raises(UserError, match=r"x.jsonl: row 1: op: a deletion of a row, not a new transaction"):
        read(tmp_path / "x.jsonl", mapping={"envelope": "debezium"})


def test_what_only_records_of_a_topic_have_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, [ROW], NAMES)
    with pytest.raises(
        UserError, match=r"mapping.fields.card_id: records on a topic have a \$key, and files have none"
    ):
        read(path, mapping={"fields": {"card_id": "$key"}})


def test_a_card_number_is_never_repeated_in_a_message(tmp_path: Path) -> None:
    for column in ("card_id", "transaction_id", "merchant_id", "amount", "currency"):
        at = NAMES.index(column)
        path = put(tmp_path, [(*ROW[:at], "4000000000000002", *ROW[at + 1 :], "0")], (*NAMES, "is_fraud"))
        with pytest.raises(UserError) as told:
            read_history(read_transactions(path, FieldNames()), FeatureView(name="v"), Reading(), "x")
        assert "4000000000000002" not in str(told.value)
        assert "x.csv: row 1: " in str(told.value)
