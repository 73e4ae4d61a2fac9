"""Files in all their writings give the same transactions, and what has two meanings is refused with the mend."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.small_files import NAMES, PLAIN, ROW, csv_text, read
from scorer.errors import UserError
from scorer.pipeline.layout import Layout

LONG = (*NAMES, "name")
CELLS = (*ROW, 'Müller; Söhne, "GmbH"\nKöln\t|')
WANT = [PLAIN | {"name": CELLS[-1]}]
AMOUNT, TIME = NAMES.index("amount"), NAMES.index("occurred_at")


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def with_cell(column: int, cell: str) -> str:
    return csv_text([[*ROW[:column], cell, *ROW[column + 1 :]]])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt", ".CSV", ".Csv"])
def test_the_delimiter_is_told_by_the_names(delimiter: str, suffix: str, tmp_path: Path) -> None:
    path = put(tmp_path / f"x{suffix}", csv_text([CELLS], (*LONG[:-1], "name"), delimiter))
    assert read(path) == WANT


def test_a_delimiter_may_be_stated_by_a_setting_or_by_excel(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", csv_text([CELLS], LONG, "^"))
    assert read(path, layout=Layout(delimiter="^")) == WANT
    put(path, "sep=^\r\n" + csv_text([CELLS], LONG, "^"))
    assert read(path) == WANT
    put(path, "\ufeffsep=;\n" + csv_text([CELLS], LONG, ";"))
    assert read(path) == WANT


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("quoted", [True, False])
def test_quotes_ends_of_lines_and_blanks_make_no_difference(ending: str, quoted: bool, tmp_path: Path) -> None:
    quote = '"' if quoted else " "
    rows = [",".join(f"{quote}{cell}{quote}" for cell in row) for row in (NAMES, ROW)]
    assert read(put(tmp_path / "x.csv", ending.join(rows))) == [PLAIN]
    assert read(put(tmp_path / "x.csv", ending.join([*rows, "", ""]))) == [PLAIN]


def test_quotes_may_be_part_of_cells(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", f'{",".join(LONG)}\n{",".join(ROW)},5" disk\n')
    assert read(path, layout=Layout(quotes=False)) == [PLAIN | {"name": '5" disk'}]
    assert read(path) == [PLAIN | {"name": '5" disk'}]


def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path: Path) -> None:
    path = put(
        tmp_path / "x.csv", csv_text([(*ROW, "a")], LONG) + f'{",".join(ROW)},"b\r\n' + f"{','.join(ROW)},c\r\n" * 50
    )
    with pytest.raises(UserError, match=r"x.csv: line 3 has a quote that is not closed; .*files.quotes"):
        read(path)


@pytest.mark.parametrize("head", ['a"b\rc,d', '"a,b', 'x"' + "y" * 200_000])
def test_a_line_of_names_with_odd_quotes_is_told(head: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x.csv: "):
        read(put(tmp_path / "x.csv", f"{head}\n1,2\n"))


def test_a_row_with_too_many_cells_is_told_without_its_content(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", csv_text([ROW, (*ROW, "4000000000000002")]))
    with pytest.raises(UserError, match=r"x.csv: row 2: 7 cells, expected 6; .*files.delimiter") as told:
        read(path)
    assert "4000" not in str(told.value)


@pytest.mark.parametrize("encoding", ["cp1252", "iso-8859-15", "cp850", "mac-roman", "utf-16", "utf-8"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_an_encoding_that_is_named_mangles_nothing(encoding: str, kind: str, tmp_path: Path) -> None:
    record = PLAIN | {"name": "Müller"}
    rows = {
        "csv": csv_text([(*ROW, "Müller")], LONG),
        "jsonl": json.dumps(record, ensure_ascii=False),
        "json": json.dumps([record], ensure_ascii=False, indent=1),
    }
    path = put(tmp_path / f"x.{kind}", rows[kind].encode(encoding))
    assert read(path, layout=Layout(encoding=encoding)) == [record]
    if encoding.startswith("utf"):
        assert read(path) == [record]
    else:
        line = {"csv": 2, "jsonl": 1, "json": 9}[kind]
        with pytest.raises(
            UserError, match=rf"x.{kind}: line {line}: not utf-8 at byte .*files.encoding, such as cp1252"
        ):
            read(path)


def test_a_wrong_encoding_is_told(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", csv_text([(*ROW, "Müller")], LONG).encode("cp1252"))
    with pytest.raises(UserError, match=r"not utf-16.*state another"):
        read(put(tmp_path / "odd.csv", path.read_bytes()[:101]), layout=Layout(encoding="utf-16"))
    with pytest.raises(ValueError, match="'klingon' is no encoding"):
        Layout(encoding="klingon")
    with pytest.raises(ValueError, match="'base64' is no encoding"):
        Layout(encoding="base64")


@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "json", "jsonl", "ndjson"])
def test_files_may_be_compressed(kind: str, tmp_path: Path) -> None:
    text = (json.dumps(PLAIN) if "json" in kind else csv_text([ROW])).encode()
    for suffix, packed in ((".gz", gzip.compress(text)), (".zst", bytes(cramjam.zstd.compress(text)))):
        assert read(put(tmp_path / f"x.{kind}{suffix}", packed)) == [PLAIN]
        assert read(put(tmp_path / f"y.{kind.upper()}{suffix.upper()}", packed + packed[:0])) == [PLAIN]
        with pytest.raises(UserError, match="cannot be decompressed"):
            read(put(tmp_path / f"z.{kind}{suffix}", packed[:-9]))
    assert read(put(tmp_path / "x.csv.gz", gzip.compress(csv_text([ROW]).encode()) + gzip.compress(b""))) == [PLAIN]


def test_a_workbook_is_told_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="workbook of Excel; unpack it, or save it as CSV"):
        read(put(tmp_path / "x.csv", b"PK\x03\x04" + bytes(50)))


@pytest.mark.parametrize("text", ["[{0}]", "[\n {0}\n]\n", "\ufeff[{0}]", "{0}", "{0}\n\n", "\ufeff{0}\r\n"])
def test_json_may_be_an_array_or_lines(text: str, tmp_path: Path) -> None:
    assert read(put(tmp_path / "x.json", text.replace("{0}", json.dumps(PLAIN)))) == [PLAIN]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{0}\n{", "row 2: line 2 cannot be read"),
        ("{0}\n\n[1]", "row 2: not an object"),
        ("[{0}, 7]", "row 2: not an object"),
        ("[{0}", "cannot be read"),
        ('{0}\n{"a": NaN, "b": Infinit}', "row 2: line 2"),
    ],
)
def test_json_that_is_none_is_told_by_its_row(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        read(put(tmp_path / "x.json", text.replace("{0}", json.dumps(PLAIN))))


def test_records_of_a_topic_in_a_file_are_read_as_on_the_topic(tmp_path: Path) -> None:
    inner = {name: cell for name, cell in PLAIN.items() if name != "card_id"} | {"card": {"token": "card-1"}}
    path = put(tmp_path / "x.jsonl", json.dumps({"op": "c", "after": inner}))
    (found,) = read(path, mapping={"envelope": "debezium", "fields": {"card_id": "card.token"}})
    assert found == PLAIN | {"card": {"token": "card-1"}}
    put(path, json.dumps({"op": "c", "after": inner}) + "\n" + json.dumps({"op": "d", "after": None}))
    with pytest.raises(UserError, match=r"x.jsonl: row 2: op: a deletion of a row"):
        read(path, mapping={"envelope": "debezium", "fields": {"card_id": "card.token"}})


# --- amounts ---


@pytest.mark.parametrize(
    ("cell", "form", "want"),
    [
        ("12.50", None, 12.5),
        ("1e3", None, 1000.0),
        ("007.5", None, 7.5),
        ("1.234,50", {"comma": True}, 1234.5),
        ("1.234", {"comma": True}, 1234.0),
        ("12,5", {"comma": True}, 12.5),
        ("1,234.50", {}, 1234.5),
        ("1,234", {}, 1234.0),
        ("$1,234.50", {"symbol": "$"}, 1234.5),
        ("12,50 €", {"comma": True, "symbol": "€"}, 12.5),
        ("1 234 567,50", {"comma": True}, 1234567.5),
        ("1\u202f234,50 €", {"comma": True, "symbol": "€"}, 1234.5),
        ("1'234.50", {}, 1234.5),
        ("CHF 1\u2019234.50", {"symbol": "CHF"}, 1234.5),
    ],
)
def test_amounts_are_read_in_any_writing_that_is_stated(cell: str, form: Any, want: float, tmp_path: Path) -> None:
    """The scorer applies the format, so the cell is sent as it is and read by the format there."""
    path = put(tmp_path / "x.csv", with_cell(AMOUNT, cell))
    mapping = {} if form is None else {"formats": {"amount": {"kind": "decimal", **form}}}
    (found,) = read(path, mapping=mapping)
    from scorer.pipeline.decode import decode
    from scorer.pipeline.mapping import FieldNames
    from scorer.pipeline.transaction import Reading

    reading = Reading(mapping=FieldNames.model_validate(mapping))
    assert decode([json.dumps(found).encode()], reading).events.amount.tolist() == [want]


@pytest.mark.parametrize(
    ("cell", "mend"),
    [
        ("12,50", r"\{kind: decimal, comma: true\}$"),
        ("1.234,50", r"\{kind: decimal, comma: true\}$"),
        ("1,234.50", r"\{kind: decimal, comma: false\}$"),
        ("1,234", r"\{kind: decimal, comma: true\} or \{kind: decimal, comma: false\}$"),
        ("$12", "symbol"),
        ("twelve", "correct it"),
    ],
)
def test_an_amount_with_two_meanings_is_refused_with_the_mend(cell: str, mend: str, tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", csv_text([ROW, (*ROW[:AMOUNT], cell, *ROW[AMOUNT + 1 :])]))
    with pytest.raises(
        UserError, match=rf"x.csv: row 2: amount \(column amount\) is .*mapping.formats.amount: .*{mend}"
    ):
        read(path)


# --- times ---


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("31.01.2026 13:00", {"kind": "time", "pattern": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"}),
        ("01/31/2026 12:00:00 PM", {"kind": "time", "pattern": "%m/%d/%Y %I:%M:%S %p"}),
        ("46053.5", {"kind": "since", "start": "1899-12-30", "unit": "d"}),
        ("46053.541666667", {"kind": "since", "start": "1899-12-30", "unit": "d", "zone": "Europe/Berlin"}),
        ("12", {"kind": "since", "start": "2026-01-31", "unit": "h"}),
        ("1769860800", {"kind": "epoch", "unit": "s"}),
        ("1769860800", None),
        ("4.32e+04", {"kind": "since", "start": "2026-01-31", "unit": "s"}),
        ("1769860800000", None),
        ("2026-01-31 12:00", None),
        ("2026-01-31T13:00:00+01:00", None),
        ("20260131T120000", None),
    ],
)
def test_times_are_read_in_any_writing_that_is_stated(cell: str, form: Any, tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", with_cell(TIME, cell))
    assert read(path, mapping={"formats": {"occurred_at": form}} if form else {}) == [PLAIN]


@pytest.mark.parametrize(
    ("cells", "mend"),
    [
        (["31.01.2026", "30.01.2026"], r"occurred_at: \{kind: time, pattern: '%d.%m.%Y'\}$"),
        (["01/31/2026 09:00"], r"occurred_at: \{kind: time, pattern: '%m/%d/%Y %H:%M'\}$"),
        (["01/02/2026", "03/04/2026"], r"'%d/%m/%Y'\} or \{kind: time, pattern: '%m/%d/%Y'\}, whichever it is$"),
        (["46053.5"], "serial of Excel"),
        (["1", "2"], "with a start of its own"),
        (["noon"], "2026-01-31T12:00:00Z"),
    ],
)
def test_a_time_that_has_two_meanings_is_refused_with_the_mend(cells: list[str], mend: str, tmp_path: Path) -> None:
    rows = [ROW, *([*ROW[:TIME], cell, *ROW[TIME + 1 :]] for cell in cells)]
    path = put(tmp_path / "x.csv", csv_text(rows).replace("occurred_at", "When"))
    with pytest.raises(UserError, match=rf"x.csv: row 2: occurred_at \(column When\) is .*, no time; .*{mend}"):
        read(path, mapping={"fields": {"occurred_at": "When"}})


def test_an_empty_time_is_refused_with_its_row(tmp_path: Path) -> None:
    path = put(tmp_path / "x.csv", csv_text([ROW, (*ROW[:TIME], "", *ROW[TIME + 1 :])]))
    with pytest.raises(UserError, match=r"x.csv: row 2: occurred_at is empty; give each a time"):
        read(path)


def test_a_field_may_be_made_of_several_columns(tmp_path: Path) -> None:
    names = ("transaction_id", "Date", "Time of day", "User", "Card", *NAMES[3:])
    path = put(tmp_path / "x.csv", csv_text([("t1", "31.01.2026", "12:00", "0042", "7", *ROW[3:])], names))
    layout = Layout(compose={"occurred_at": "{Date} {Time of day}", "card_id": "{User}-{Card}"})
    mapping = {
        "formats": {"occurred_at": {"kind": "time", "pattern": "%d.%m.%Y %H:%M"}},
        "drop": ["Date", "Time of day", "User", "Card"],
    }
    assert read(path, mapping=mapping, layout=layout) == [PLAIN | {"card_id": "0042-7"}]
    with pytest.raises(UserError, match=r"has no column Day for files.compose; its columns are transaction_id, Date"):
        read(path, mapping=mapping, layout=Layout(compose={"occurred_at": "{Day}"}))
    with pytest.raises(ValueError, match="names no column"):
        Layout(compose={"occurred_at": "Date"})


# --- several files ---


def test_several_files_and_folders_are_read_as_one(tmp_path: Path) -> None:
    rows = [(f"t{at}", f"2026-01-{at:02}T00:00:00Z", *ROW[2:]) for at in range(1, 7)]
    (tmp_path / "more" / "deep").mkdir(parents=True)
    put(tmp_path / "a.csv", csv_text(rows[3:4]))
    put(tmp_path / "more" / "b.csv", csv_text([rows[5], rows[0]], NAMES, ";"))
    put(tmp_path / "more" / "deep" / "c.jsonl", json.dumps(dict(zip(NAMES, rows[2], strict=True)) | {"amount": 1}))
    put(tmp_path / "more" / "_SUCCESS", b"")
    put(tmp_path / "more" / ".hidden.csv", b"")
    found = read(tmp_path / "more", tmp_path / "a.csv")
    assert [row["transaction_id"] for row in found] == ["t1", "t3", "t4", "t6"]
    with pytest.raises(UserError, match=r"a.csv: is named twice"):
        read(tmp_path / "a.csv", tmp_path)
    put(tmp_path / "more" / "notes.md", b"")
    with pytest.raises(UserError, match=r"notes.md: unknown suffix"):
        read(tmp_path / "more")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: has no files"):
        read(tmp_path / "empty")
    put(tmp_path / "d.csv", csv_text([(*rows[1], "1")], (*NAMES, "is_fraud")))
    with pytest.raises(UserError, match=r"a.csv: has no field is_fraud for the label, but other files have"):
        read(tmp_path / "a.csv", tmp_path / "d.csv", needs_label=True)
    assert len(read(tmp_path / "a.csv", tmp_path / "d.csv")) == 2


# --- all of it ---

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=9) | st.sampled_from(
    ["a,b", 'say "x"', "a;b", "x\ny", "1.5", "007", "12e4", "NA", "true"]
)


@given(
    rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"]),
    packed=st.booleans(),
)
def test_texts_come_out_of_any_csv_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, rows: Any, delimiter: str, encoding: str, packed: bool
) -> None:
    """Python's writer is the oracle. Categories of the view are texts; blanks around cells are no part of them."""
    from scorer.pipeline.view import Attribute

    names = (*NAMES, "one", "two")
    text = csv_text([(f"t{at}", *ROW[1:], *cells) for at, cells in enumerate(rows)], names, delimiter)
    content = text.encode(encoding)
    path = tmp_path_factory.mktemp("any") / f"x.csv{'.gz' if packed else ''}"
    put(path, gzip.compress(content) if packed else content)
    attributes = tuple(Attribute(name=name, kind="category", values=("x",)) for name in ("one", "two"))
    found = read(path, attributes=attributes)
    wanted = [
        {name: cell.strip() for name, cell in zip(("one", "two"), cells, strict=True) if cell.strip()} for cells in rows
    ]
    assert [{name: row[name] for name in ("one", "two") if name in row} for row in found] == wanted
