"""A connection is secure as a whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from scorer.errors import SettingsError
from scorer.kafka.connection import connection
from scorer.settings import load
from shadow.settings import ShadowSettings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"kafka_security": "sasl_ssl", "kafka_user": "ann"},
            "kafka_password: is missing with sasl_ssl; set SHADOW_KAFKA_P",
        ),
        (
            {"kafka_security": "ssl", "kafka_user": "ann"},
            "kafka_user: has no effect with ssl; remove it, or set SHADOW_KAFKA_S",
        ),
        ({"kafka_ca": "ca.pem"}, "kafka_ca: has no effect with plaintext"),
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
