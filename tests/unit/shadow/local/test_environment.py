"""What scorer and shadow share is the same to both."""

from __future__ import annotations

import pytest

from scorer.kafka.connection import connection
from scorer.settings import ScorerSettings, load
from shadow.local.environment import shared
from shadow.settings import ShadowSettings


def test_what_scorer_and_shadow_share_is_the_same_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    user = {"kafka_security": "sasl_plaintext", "kafka_user": "ann", "kafka_password": "a secret"}
    for chosen in ({}, user):
        scorer = load(ScorerSettings, **chosen)
        with monkeypatch.context() as env:
            for name, value in shared(scorer).items():
                env.setenv(name, value)
            assert connection(load(ShadowSettings)) == connection(scorer)
            assert load(ShadowSettings).instance_id is None
            assert load(ShadowSettings).fetch_wait_ms == 400, "a default of its own"
