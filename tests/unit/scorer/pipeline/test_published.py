"""What the scorer writes is what the types of a decision and of a dead letter say: schemas are made from these."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from harness.batches import MODEL, NOTHING, NOW, RULES, a_value, cut, incoming, make, mixed
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.encode import OF_SOURCE, SCHEMA, SENT_AT
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.published import Decision, RejectionHeaders
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import clean_pattern, unclean

DECISION = TypeAdapter(Decision)
LETTER = TypeAdapter(RejectionHeaders)


@given(mixed)
def test_every_decision_and_dead_letter_is_of_its_type(kinds: list[str]) -> None:
    for settled in cut(make(kinds), []):
        for _, value in settled.decisions:
            assert set(DECISION.validate_json(value or b"")) == set(orjson.loads(value or b""))
        for headers in settled.headers:
            told = {name: text.decode() for name, text in headers}
            own = {name: text for name, text in told.items() if name != SENT_AT and not name.startswith(OF_SOURCE)}
            assert set(LETTER.validate_python(own)) == set(own)
            assert own["schema"] == str(SCHEMA)


@pytest.mark.parametrize("override", ["allow_all", "block_all"])
def test_a_decision_under_the_kill_switch_and_a_refund_are_of_their_type(override: str) -> None:
    refunding = replace(RULES.reading, mapping=FieldNames.model_validate({"negative": "refund"}))
    rules = replace(RULES, reading=refunding)
    values: list[bytes | None] = [a_value(0), a_value(3, transaction_id="t0"), a_value(6, amount=-5)]
    model = replace(MODEL, override=override)
    settled = settle(incoming(values), CardStates(), NOTHING, model, rules, NOW)
    bodies: list[Any] = [DECISION.validate_json(value or b"") for _, value in settled.decisions]
    assert ["repeat" in body for body in bodies] == [False, True, False]
    assert ["refund" in body for body in bodies] == [False, False, True]
    assert {body["override"] for body in bodies} == {override}


def test_a_field_that_the_type_does_not_know_is_refused() -> None:
    (_, value), *_ = settle(incoming([a_value(0)]), CardStates(), NOTHING, MODEL, RULES, NOW).decisions
    body = orjson.loads(value or b"")
    DECISION.validate_json(orjson.dumps(body))
    for changed in ({**body, "more": 1}, {**body, "epoch": "3"}, {k: v for k, v in body.items() if k != "score"}):
        with pytest.raises(ValidationError):
            DECISION.validate_json(orjson.dumps(changed))


@given(st.text(min_size=1, max_size=6) | st.sampled_from(["a\u00a0", "\u200ba", "a b", "a\x85", "a\n", "\u2028", "a-"]))
def test_the_pattern_of_an_id_refuses_what_is_unclean(text: str) -> None:
    assert bool(re.search(clean_pattern(), text)) == (unclean(text) is None)


def test_no_number_that_the_type_allows_is_one_that_json_lacks() -> None:
    model = replace(MODEL, score=lambda matrix: np.zeros(len(matrix)))
    (_, value), *_ = settle(incoming([a_value(0)]), CardStates(), NOTHING, model, RULES, NOW).decisions
    assert b"NaN" not in (value or b"")
    assert DECISION.validate_json(value or b"")["score"] == 0
