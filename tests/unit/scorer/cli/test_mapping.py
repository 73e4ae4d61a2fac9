"""`scorer mapping try` on files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from harness.transactions import a_transaction
from scorer.cli.mapping import mapping
from scorer.errors import UserError
from scorer.pipeline.decode import decode
from scorer.pipeline.transaction import Reading
from scorer.settings import ScorerSettings, in_file, load
from scorer.sources.files import read_transactions
from scorer.sources.source import Source

PLAIN = a_transaction(occurred_at="2026-01-31T12:00:00Z")
OTHER = {"after": {name: cell for name, cell in PLAIN.items() if name != "card_id"} | {"pan_token": "c"}, "op": "c"}


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def attempt(*argv: str) -> Result:
    return CliRunner().invoke(mapping, ["try", *argv])


def lines(path: str, *records: Any) -> str:
    Path(path).write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_it_proposes_shows_and_writes_a_section_that_the_settings_take(monkeypatch: pytest.MonkeyPatch) -> None:
    done = attempt(
        "--file",
        lines("some.jsonl", OTHER, OTHER | {"op": "d"}, OTHER | {"op": "c", "after": {}}),
        "--write",
        "new.yaml",
    )
    assert done.exit_code == 0
    section = {"mapping": {"envelope": "debezium", "fields": {"card_id": "pan_token"}, "changes": "skip"}}
    assert yaml.safe_load(done.stdout) == yaml.safe_load(Path("new.yaml").read_text()) == section
    told = done.stderr.splitlines()
    assert told[0].startswith("no feature view at features.yaml")
    assert told[1:5] == [
        "line 1: transaction t1 at 2026-01-31T12:00:00.000Z, card c, merchant m1, amount 12.5",
        "line 2: passed over: deletion",
        "line 3: refused: transaction_id: Field required",
        "1 of 3 records become transactions",
    ]
    monkeypatch.setenv("SCORER_SETTINGS", "new.yaml")
    assert load(ScorerSettings).mapping.fields == {"card_id": "pan_token"}
    again = attempt("--file", "some.jsonl")
    assert yaml.safe_load(again.stdout) == section
    assert "trying the mapping of the settings" in again.stderr


def test_a_section_is_added_to_settings_without_one_and_replaces_none() -> None:
    Path("mine.yaml").write_text("# ours\npartitions: 4\n")
    assert attempt("--file", lines("some.jsonl", OTHER), "--write", "mine.yaml").exit_code == 0
    text = Path("mine.yaml").read_text()
    assert text.startswith("# ours\npartitions: 4\n")
    assert yaml.safe_load(text)["mapping"]["envelope"] == "debezium"
    found = attempt("--file", "some.jsonl", "--write", "mine.yaml")
    assert isinstance(found.exception, UserError)
    assert str(found.exception).startswith("mine.yaml: has the section mapping already")
    assert Path("mine.yaml").read_text() == text


def test_plain_records_need_no_mapping_and_unreadable_ones_end_with_1() -> None:
    done = attempt("--file", lines("plain.jsonl", PLAIN, PLAIN))
    assert (done.exit_code, done.stdout) == (0, "mapping: {}\n")
    assert "no mapping is needed" in done.stderr
    Path("none.txt").write_text("hello\n\n4111-1111-1111-1111\n")
    done = attempt("--file", "none.txt")
    assert done.exit_code == 1
    assert "line 2: refused: value: not JSON" in done.stderr
    assert "4111" not in done.output


def test_rows_of_a_table_are_records_too() -> None:
    Path("some.csv").write_text("id,when,card,shop,amt,ccy\nt1,2026-01-31T12:00:00Z,c,m,12.5,EUR\n")
    done = attempt("--file", "some.csv")
    assert done.exit_code == 0
    assert "row 1: transaction t1 at 2026-01-31T12:00:00.000Z, card c, merchant m, amount 12.5" in done.stderr


def test_how_a_file_is_written_is_proposed_too_and_then_train_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "Buchungsnummer;Datum;Uhrzeit;Kartentoken;Händler;Betrag;Währung\nt1;31.01.2026;12:00;c;m;1.234,50 €;EUR\n"
    Path("some.csv").write_bytes(rows.encode("cp1252"))
    done = attempt("--file", "some.csv", "--write", "new.yaml")
    assert "transaction t1 at 2026-01-31T12:00:00.000Z, card c, merchant m, amount 1234.5" in done.stderr
    said = yaml.safe_load(done.stdout)
    assert said["files"] == {"encoding": "cp1252", "compose": {"occurred_at": "{Datum} {Uhrzeit}"}}
    assert said["mapping"]["formats"]["amount"] == {"kind": "decimal", "comma": True, "symbol": "€"}
    assert "check files.encoding: the file is not UTF-8" in done.stderr
    assert "check files.compose: Datum and Uhrzeit are taken together" in done.stderr
    monkeypatch.setenv("SCORER_SETTINGS", "new.yaml")
    again = attempt("--file", "some.csv")
    assert again.exit_code == 0
    assert "check" not in again.stderr
    settings = load(ScorerSettings)
    (chunk,) = read_transactions(Path("some.csv"), Source(settings.mapping, settings.files))
    events = decode(chunk.values, Reading(mapping=settings.mapping.of_files)).events
    assert (events.cards, events.amount.tolist(), events.occurred_ms.tolist()) == (["c"], [1234.5], [1769860800000])


def test_names_that_a_stranger_chose_break_neither_the_section_nor_the_terminal() -> None:
    Path("some.csv").write_text("{x},t\x1b]0;x\x07,card,shop,amt,ccy,id\n2026-01-31,12:00,c,m,1.5,EUR,t1\n")
    done = attempt("--file", "some.csv", "--write", "new.yaml")
    assert "\x1b" not in done.output
    assert "\x07" not in done.output
    assert in_file("new.yaml")["mapping"]["fields"]["occurred_at"] == "{x}"
    assert "files" not in in_file("new.yaml"), "a template would take these braces for its own"
    record = PLAIN | {"when\x1b[2J": PLAIN["occurred_at"], "occurred_at": None}
    done = attempt("--file", lines("some.jsonl", record))
    assert "check fields.occurred_at: when\N{REPLACEMENT CHARACTER}[2J is taken" in done.stderr


def test_settings_of_files_are_kept_to() -> None:
    Path("some.csv").write_bytes("id;when;card;shop;amt;ccy\nt1;2026-01-31T12:00:00Z;ž;m;12.5;EUR\n".encode("cp1250"))
    Path("scorer.yaml").write_text("files: {encoding: utf-8}\n")
    found = CliRunner(env={"SCORER_SETTINGS": "scorer.yaml"}).invoke(mapping, ["try", "--file", "some.csv"])
    assert isinstance(found.exception, UserError)
    assert "not utf-8" in str(found.exception)
    Path("scorer.yaml").write_text("files: {encoding: cp1250}\n")
    done = CliRunner(env={"SCORER_SETTINGS": "scorer.yaml"}).invoke(mapping, ["try", "--file", "some.csv"])
    assert "card ž" in done.stderr
    assert "files" not in yaml.safe_load(done.stdout)


@pytest.mark.parametrize("text", [json.dumps([PLAIN, PLAIN]), json.dumps([PLAIN, PLAIN], indent=2), "\ufeff[\n{}]"])
def test_an_array_in_a_file_is_its_records(text: str) -> None:
    Path("some.json").write_text(text.replace("{}", json.dumps(PLAIN)), encoding="utf-8")
    done = attempt("--file", "some.json")
    assert done.exit_code == 0
    assert "row 1: transaction t1" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.jsonl", "", "empty.jsonl: has no records"),
        ("pretty.json", json.dumps(PLAIN, indent=1), "pretty.json: a record takes several lines"),
        ("some.xyz", "x", "some.xyz: unknown suffix"),
    ],
)
def test_what_is_no_file_of_records_is_one_line(name: str, content: str, told: str) -> None:
    Path(name).write_text(content)
    found = attempt("--file", name)
    assert isinstance(found.exception, UserError)
    assert str(found.exception).startswith(told)


def test_either_a_topic_or_a_file() -> None:
    found = attempt("--file", lines("some.jsonl", PLAIN), "--topic", "x")
    assert isinstance(found.exception, UserError)
