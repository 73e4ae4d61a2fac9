"""Settings come from arguments, environment and file, in that order, and a bad one is named with its mend."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scorer.connection import connection
from scorer.errors import SettingsError
from scorer.money import Money
from scorer.settings import ScorerSettings, checked_timing, load
from shadow.cli.up import _shared
from shadow.settings import ShadowSettings

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("SCORER_", "SHADOW_")):
            monkeypatch.delenv(name)


def test_arguments_win_over_environment_over_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("group: file\nbatch_records: 7\ncommit_seconds: 3\n")
    monkeypatch.setenv("SCORER_SETTINGS", str(path))
    monkeypatch.setenv("SCORER_GROUP", "environment")
    monkeypatch.setenv("SCORER_BATCH_RECORDS", "8")
    found = load(ScorerSettings, batch_records=9, http_port=None)
    assert (found.group, found.batch_records, found.commit_seconds, found.http_port) == ("environment", 9, 3.0, 9100)


def test_kafka_is_a_list_and_nested_settings_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORER_KAFKA", "a:1, b:2,")
    monkeypatch.setenv("SCORER_TOPICS", '{"decisions": "d"}')
    found = load(ScorerSettings)
    assert found.kafka == ("a:1", "b:2")
    assert found.bootstrap == "a:1,b:2"
    assert (found.topics.decisions, found.topics.transactions) == ("d", "transactions")


@pytest.mark.parametrize(
    ("kind", "name", "value", "told"),
    [
        (ScorerSettings, "SCORER_NOPE", "1", "SCORER_NOPE: no such setting"),
        (ScorerSettings, "SCORER_BATCH_RECORDS", "0", "set SCORER_BATCH_RECORDS"),
        (ScorerSettings, "SCORER_BATCH_RECORDS", "many", "set SCORER_BATCH_RECORDS"),
        (ScorerSettings, "SCORER_CLOCK", "sun", "set SCORER_CLOCK"),
        (ScorerSettings, "SCORER_TOPICS", '{"decision": "d"}', "topics.decision"),
        (ScorerSettings, "SCORER_KAFKA", "", "set SCORER_KAFKA"),
        (ScorerSettings, "SCORER_TOPIC_CONFIGS", '{"decision": {}}', "'decision' is none of transactions, decisions"),
        (ShadowSettings, "SHADOW_PREFIX", "a{b}", "set SHADOW_PREFIX"),
        (ShadowSettings, "SHADOW_FLUSH_SECONDS", "-1", "set SHADOW_FLUSH_SECONDS"),
    ],
)
def test_a_bad_setting_is_one_line_with_its_name(
    kind: Any, name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load(kind)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"kafka_security": "sasl_ssl", "kafka_user": "ann"},
            "kafka_password: is missing (sasl_ssl); set SHADOW_KAFKA_P",
        ),
        (
            {"kafka_security": "ssl", "kafka_user": "ann"},
            "kafka_user: of no use with ssl; remove it, or set SHADOW_KAFKA_S",
        ),
        ({"kafka_ca": "ca.pem"}, "kafka_ca: of no use with plaintext"),
        ({"kafka_security": "ssl", "kafka_key": "a.key"}, "kafka_certificate: is missing"),
        (
            {"kafka_security": "ssl", "kafka_ca": "no.pem"},
            "kafka_ca: no.pem cannot be used (No such file or directory)",
        ),
        ({"kafka_security": "ssl", "kafka_certificate": __file__}, "kafka_certificate: "),
    ],
)
def test_a_broker_that_is_half_secure_is_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        connection(load(ShadowSettings, **given))
    assert told in str(error.value)


def test_what_scorer_and_shadow_share_is_the_same_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    user = {"kafka_security": "sasl_plaintext", "kafka_user": "ann", "kafka_password": "a secret"}
    for chosen in ({}, user):
        scorer = load(ScorerSettings, **chosen)
        with monkeypatch.context() as env:
            for name, value in _shared(scorer).items():
                env.setenv(name, value)
            assert connection(load(ShadowSettings)) == connection(scorer)
            assert load(ShadowSettings).instance_id is None
            assert load(ShadowSettings).fetch_wait_ms == 400, "a default of its own"


def test_a_password_is_not_shown() -> None:
    found = load(ShadowSettings, kafka_security="sasl_plaintext", kafka_user="ann", kafka_password="a secret")
    assert "a secret" not in repr(found)
    assert connection(found)["sasl_plain_password"] == "a secret"


def test_a_bad_file_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    monkeypatch.setenv("SCORER_SETTINGS", str(path))
    with pytest.raises(SettingsError, match="name an existing YAML file"):
        load(ScorerSettings)
    path.write_text("a: [")
    with pytest.raises(SettingsError, match="not YAML"):
        load(ScorerSettings)
    path.write_text("grup: x\n")
    with pytest.raises(SettingsError, match=r"setting grup: .*remove it"):
        load(ScorerSettings)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"heartbeat_seconds": 4.0}, "heartbeat_seconds"),
        ({"request_seconds": 5.0}, "request_seconds"),
        ({"request_seconds": 11.0, "fetch_wait_ms": 3000}, "fetch_wait_ms"),
    ],
)
def test_times_that_do_not_fit_each_other_are_told(changes: dict[str, float], told: str) -> None:
    checked_timing(load(ScorerSettings))
    with pytest.raises(SettingsError, match=told):
        checked_timing(load(ScorerSettings, **changes))


# --- money ---

RATES = {"USD": {"2026-01-01": 0.5, "2026-02-01": 0.8}}


@given(st.lists(st.tuples(st.sampled_from(["EUR", "USD", "GBP"]), st.integers(20_000, 21_000)), max_size=20))
def test_a_rate_is_that_of_the_latest_day_not_after_the_transactions(rows: list[tuple[str, int]]) -> None:
    money = Money.model_validate({"currency": "EUR", "rates": RATES})
    epoch = date(1970, 1, 1).toordinal()
    first, second = date(2026, 1, 1).toordinal() - epoch, date(2026, 2, 1).toordinal() - epoch
    found = money.rates_for([row[0] for row in rows], np.array([row[1] * DAY_MS + 5 for row in rows], dtype=np.int64))
    for (currency, day), rate in zip(rows, found.tolist(), strict=True):
        wanted = {"EUR": 1.0, "GBP": None, "USD": 0.8 if day >= second else 0.5 if day >= first else None}[currency]
        assert np.isnan(rate) if wanted is None else rate == wanted


@given(st.lists(st.decimals(0, 10**9, places=2), max_size=20))
def test_minor_units_of_whole_cents_are_exact(amounts: list[Any]) -> None:
    found = Money().minor(np.array([float(amount) for amount in amounts], dtype=np.float64))
    assert found.tolist() == [int(amount * 100) for amount in amounts]


def test_currencies_without_cents_have_none() -> None:
    assert Money(currency="JPY").minor(np.array([7.0])).tolist() == [7]
    assert Money(currency="KWD").minor(np.array([7.0])).tolist() == [7000]


@pytest.mark.parametrize("bad", [{"currency": "euro"}, {"rates": {"USD": {}}}, {"rates": {"USD": {"2026-01-01": 0}}}])
def test_money_that_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Money.model_validate(bad)
