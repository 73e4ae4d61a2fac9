"""Public data sets train and replay by the settings that we ship, in made-up files of their layout."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from harness.places import ROOT
from harness.public_layouts import LAYOUTS, write
from scorer.bundles.store import BundleStore
from scorer.bundles.view_file import load_view
from scorer.cli.train import train
from scorer.pipeline.decode import decode
from scorer.pipeline.features import history
from scorer.pipeline.transaction import Reading
from scorer.settings import ScorerSettings, load
from scorer.sources.files import read_transactions
from scorer.sources.source import Source
from scorer.sources.tokens import token

KEY = "0123456789abcdef"

#: Attributes that are the same in all of our made-up rows, which training refuses.
SAME = {
    "tabformer": "mcc",
    "paysim": "oldbalanceOrg,oldbalanceDest",
    "ieee_cis": "ProductCD,card4,card6,addr1,addr2,dist1,dist2",
}


@pytest.fixture(params=list(LAYOUTS))
def layout(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """The name of a data set whose settings are in force, and a file of it."""
    name: str = request.param
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SCORER_SETTINGS", f"deploy/mappings/{name}.yaml")
    monkeypatch.setenv("SCORER_STORE", str(tmp_path / "bundles"))
    monkeypatch.setenv("SCORER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SCORER_TOKEN_KEY", KEY)
    return name, write(name, tmp_path)


def sent(path: Path) -> tuple[list[dict[str, Any]], ScorerSettings, list[str], Any]:
    """What a replay sends, the settings, what is said, and what a scorer with the same settings decodes of it."""
    settings = load(ScorerSettings)
    view = load_view(settings.view)
    said: list[str] = []
    source = Source(settings.mapping, settings.files, view.attributes, settings.token_bytes)
    values = [value for chunk in read_transactions(path, source, tell=said.append) for value in chunk.values]
    reading = Reading(settings.money, settings.mapping, view.attributes, settings.card_number_fields)
    reading.check_formats()
    return [orjson.loads(value) for value in values], settings, said, decode(values, reading)


def test_every_transaction_of_a_file_is_decided_as_it_was_written(layout: tuple[str, Path]) -> None:
    name, path = layout
    records, settings, said, decoded = sent(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert decoded.refusals == []
    events = decoded.events
    assert len(set(events.ids)) == len(events)
    assert len(events) == len(rows)
    assert (sum(events.amount < 0) > 10) == (name == "tabformer")
    assert ("no card has a past" in " ".join(said)) == (name == "ulb")
    matrix = history(load_view(settings.view), events)
    counts = [at for at, feature in enumerate(load_view(settings.view).names) if feature.startswith("card_count")]
    assert (np.nansum(matrix[:, counts]) > 0) == (name in ("sparkov", "tabformer", "ieee_cis"))
    label = settings.mapping.label
    assert label is not None
    assert all(label not in record for record in records)


def want_of(name: str, path: Path) -> dict[str, Any]:
    """The first transaction of a file, worked out by hand from its first row."""
    with path.open(newline="") as file:
        row = next(iter(csv.DictReader(file)))
    if name == "sparkov":
        return {
            "transaction_id": row["trans_num"],
            "occurred_at": f"{row['trans_date_trans_time'].replace(' ', 'T')}.000Z",
            "card_id": token(row["cc_num"], KEY.encode()),
            "merchant_id": row["merchant"],
            "amount": float(row["amt"]),
            "currency": "USD",
            "category": row["category"],
            "state": row["state"],
            "city_pop": int(row["city_pop"]),
        }
    if name == "tabformer":
        day = f"{int(row['Year'])}-{int(row['Month']):02}-{int(row['Day']):02}T{row['Time']}:00.000Z"
        want = {
            "transaction_id": f"{path.name}#000000001",
            "occurred_at": day,
            "card_id": f"{row['User']}-{row['Card']}",
            "merchant_id": row["Merchant Name"],
            "amount": row["Amount"],
            "currency": "USD",
            "channel": row["Use Chip"],
            "state": row["Merchant State"],
            "mcc": int(row["MCC"]),
            "errors": row["Errors?"],
        }
        return {field: cell for field, cell in want.items() if cell != ""}
    if name == "paysim":
        hours = int(row["step"])
        when = f"2026-01-{1 + hours // 24:02}T{hours % 24:02}:00:00.000Z"
        return {
            "transaction_id": f"{path.name}#000000001",
            "occurred_at": when,
            "card_id": row["nameOrig"],
            "merchant_id": row["nameDest"],
            "amount": float(row["amount"]),
            "currency": "EUR",
            "type": row["type"],
            "oldbalanceOrg": 170136.0,
            "oldbalanceDest": 0.0,
        }
    if name == "ulb":
        hour, rest = divmod(int(row["Time"]), 3600)
        return {
            "transaction_id": f"{path.name}#000000001",
            "occurred_at": f"2013-09-01T{hour:02}:{rest // 60:02}:{rest % 60:02}.000Z",
            "card_id": f"{path.name}#000000001",
            "merchant_id": "-",
            "amount": float(row["Amount"]),
            "currency": "EUR",
            **{f"V{at}": float(row[f"V{at}"]) for at in range(1, 29)},
        }
    made_of = ("card1", "card2", "card3", "card4", "card5", "card6", "addr1")
    day, rest = divmod(int(row["TransactionDT"]), 86_400)
    want = {
        "transaction_id": row["TransactionID"],
        "occurred_at": f"2017-12-{1 + day:02}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}.000Z",
        "card_id": "/".join(row[part] for part in made_of),
        "merchant_id": "-",
        "amount": float(row["TransactionAmt"]),
        "currency": "USD",
    }
    passed = [field for field in row if field[0] != "V" and not field.startswith("Transaction") and field != "isFraud"]
    texts = (*made_of, "ProductCD", "P_emaildomain", *(f"M{at}" for at in range(1, 10)))
    return want | {field: row[field] if field in texts else float(row[field]) for field in passed if row[field]}


def test_the_first_row_becomes_what_is_written_in_it(layout: tuple[str, Path]) -> None:
    name, path = layout
    (first, *_), _, _, decoded = sent(path)
    assert first == want_of(name, path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    column = {"sparkov": "amt", "paysim": "amount", "ieee_cis": "TransactionAmt"}.get(name, "Amount")
    amounts = [float(row[column].removeprefix("$")) for row in rows]
    assert sorted(decoded.events.amount.tolist()) == sorted(amounts)


@pytest.mark.slow
def test_a_model_is_trained_and_finds_the_fraud(layout: tuple[str, Path], tmp_path: Path) -> None:
    name, path = layout
    command = [str(path), "--param", "num_iterations=20", "--block-rate", "0.06"]
    if name in SAME:
        command += ["--without", SAME[name]]
    done = CliRunner().invoke(train, command)
    assert done.exit_code == 0, (done.output, done.exception)
    digest = done.stdout.strip().splitlines()[-1]
    bundle = BundleStore(str(tmp_path / "bundles"), tmp_path / "cache2", 30.0).fetch(digest)
    assert bundle.manifest.metrics["overall"]["average_precision"] > 0.9
    assert ("no card has a past" in done.stderr) == (name == "ulb")
    with path.open(newline="") as file:
        labels = [row[load(ScorerSettings).mapping.label or ""] for row in csv.DictReader(file)]
    assert 0 < bundle.manifest.training.frauds < sum(label in ("1", "Yes") for label in labels)


def test_no_card_number_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("SCORER_SETTINGS", "deploy/mappings/sparkov.yaml")
    monkeypatch.setenv("SCORER_TOKEN_KEY", KEY)
    path = write("sparkov", tmp_path, 50)
    with path.open(newline="") as file:
        numbers = {row["cc_num"] for row in csv.DictReader(file)}
    text = repr(sent(path)[0])
    assert not any(number in text for number in numbers)
    assert not any(name in text for name in ("Jennifer", "Perry Cove", "1988-03-09"))
    monkeypatch.delenv("SCORER_TOKEN_KEY")
    done = CliRunner().invoke(train, [str(path)])
    assert done.exit_code != 0
    assert "set token_key, such as SCORER_TOKEN_KEY" in done.output + str(done.exception)
