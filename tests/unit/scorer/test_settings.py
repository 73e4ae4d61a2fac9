"""Settings come from arguments, environment and file, in that order, and a bad one is named with its mend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scorer.errors import SettingsError
from scorer.kafka.connection import connection
from scorer.settings import ScorerSettings, load
from shadow.settings import ShadowSettings


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
    monkeypatch.setenv("SCORER_CARD_NUMBER_FIELDS", "transaction_id, note")
    monkeypatch.setenv("SCORER_TOPICS", '{"decisions": "d"}')
    found = load(ScorerSettings)
    assert found.kafka == ("a:1", "b:2")
    assert found.card_number_fields == ("transaction_id", "note")
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
        (ScorerSettings, "SCORER_TOPIC_CONFIGS", '{"decision": {}}', "'decision' is not one of transactions"),
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


# --- money ---
