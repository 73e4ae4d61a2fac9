"""Negative amounts: refused, allowed without a score, or decided by the model, by setting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.batches import MODEL, NOTHING, NOW, RULES, VIEW, a_value, incoming
from harness.transactions import EUROS
from scorer.pipeline.batch import LiveModel, Published, Settled
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.decode import decode
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.settle import settle
from scorer.pipeline.transaction import Reading
from scorer.worker.recovery import source_of


def settled(
    values: list[bytes | None],
    negative: str | None,
    model: LiveModel = MODEL,
    states: CardStates | None = None,
    **more: Any,
) -> Settled:
    mapping = FieldNames.model_validate(more | ({} if negative is None else {"negative": negative}))
    rules = replace(RULES, reading=Reading(EUROS, mapping, VIEW.attributes))
    return settle(incoming(values), CardStates(), NOTHING, model, rules, NOW)


def bodies(made: Settled) -> list[dict[str, Any]]:
    return [orjson.loads(value or b"") for _, value in made.decisions]


@pytest.mark.parametrize("negative", [None, "refuse"])
def test_a_negative_amount_is_refused_unless_a_setting_says_what_it_is(negative: str | None) -> None:
    made = settled([a_value(0), a_value(1, amount=-12.5)], negative)
    assert (len(made.decisions), made.fields, made.refunds) == (1, ["amount"], 0)
    assert dict(made.headers[0])["reason"] == (
        b"amount: Input should be greater than or equal to 0 (mapping.negative says what negative amounts are)"
    )


def test_a_refund_is_allowed_without_a_score_and_says_so() -> None:
    asked: list[int] = []

    def score(matrix: np.ndarray) -> np.ndarray:
        asked.append(len(matrix))
        return np.ones(len(matrix))  # blocks whatever it sees

    made = settled([a_value(0), a_value(1, amount=-12.5), a_value(2)], "refund", replace(MODEL, score=score))
    before, refund, after = bodies(made)
    assert asked == [2]
    told = [refund[name] for name in ("decision", "score", "refund", "amount_minor", "threshold", "epoch")]
    assert told == ["allow", None, True, -1250, 0.5, 3]
    assert refund["transaction"]["amount"] == -12.5
    assert [one["decision"] for one in (before, after)] == ["block", "block"]
    assert "refund" not in before
    assert (made.refunds, made.rejected, made.blocks.tolist()) == (1, [], [True, False, True])
    assert np.isnan(made.scores).tolist() == [False, True, False]
    assert [source_of(value) for _, value in made.decisions] == [0, 1, 2]


def test_a_refund_of_an_id_that_the_card_had_is_no_repeat() -> None:
    made = settled([a_value(0), a_value(0, amount=-0.25), a_value(0)], "refund")
    made_of_one_card = [body | {"card": body["transaction"]["card_id"]} for body in bodies(made)]
    assert ["repeat" in body for body in made_of_one_card] == [False, False, True]
    assert ["refund" in body for body in made_of_one_card] == [False, True, False]
    assert made.repeats == 1


@pytest.mark.parametrize(("override", "verdict"), [("allow_all", "allow"), ("block_all", "block")])
def test_the_kill_switch_holds_for_refunds_too(override: str, verdict: str) -> None:
    (body,) = bodies(settled([a_value(1, amount=-1)], "refund", replace(MODEL, override=override)))
    assert (body["decision"], body["refund"], body["override"]) == (verdict, True, override)


def test_a_credit_is_decided_by_the_model_as_it_is() -> None:
    made = settled([a_value(0), a_value(3, amount=-12.5), a_value(6)], "credit")
    before, credit, after = bodies(made)
    assert credit["amount_minor"] == -1250
    assert credit["score"] == MODEL.score(np.array([credit["features"]], dtype=np.float64))[0]  # type: ignore[misc]
    assert credit["features"][0] == -12.5
    assert "refund" not in credit
    amounts = [float(row["features"][0]) for row in (before, credit)]
    names = list(VIEW.names)
    assert after["features"][names.index("card_count_1h")] == 2
    assert after["features"][names.index("card_mean_1h")] == sum(amounts) / 2


@pytest.mark.parametrize("negative", ["refund", "credit"])
@pytest.mark.parametrize("amount", [-1e12, "-5", -0.0, None])
def test_only_amounts_within_the_limit_are_taken(negative: str, amount: Any) -> None:
    made = settled([a_value(0, amount=amount)], negative)
    if amount == 0:
        (body,) = bodies(made)
        assert body["score"] is not None, "nothing is no refund"
    else:
        assert made.fields == ["amount"]
        assert b"greater than or equal to 0" not in dict(made.headers[0])["reason"]


def test_a_record_with_another_fault_says_that_one() -> None:
    made = settled([a_value(0, amount=-5, card_id="")], "credit")
    assert made.fields == ["card_id"]


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        (-1250, {"kind": "minor_units"}),
        ("-12.50", {"kind": "decimal"}),
        ("-12,50", {"kind": "decimal", "comma": True}),
        ("+x4=", {"kind": "base64_decimal", "scale": 2}),
    ],
)
@pytest.mark.parametrize("envelope", [None, "connect"])
def test_negative_amounts_are_read_in_every_format(cell: Any, form: dict[str, Any], envelope: str | None) -> None:
    inner = orjson.loads(a_value(0, amount=cell))
    value = orjson.dumps(inner if envelope is None else {"payload": inner})
    (body,) = bodies(settled([value], "refund", formats={"amount": form}, envelope=envelope))
    assert (body["transaction"]["amount"], body["refund"]) == (-12.5, True)


@given(amounts=st.lists(st.sampled_from([-3.0, -0.01, 0.0, 1.5, 20.0]), max_size=40), cut=st.integers(0, 40))
def test_refunds_leave_every_other_decision_as_if_they_had_not_come(amounts: list[float], cut: int) -> None:
    """Against a stream without them, whose offsets have gaps instead."""
    values = [a_value(i, amount=amount) for i, amount in enumerate(amounts)]
    mapping = FieldNames.model_validate({"negative": "refund"})
    rules = replace(RULES, reading=Reading(EUROS, mapping, VIEW.attributes))

    def decide(rows: list[int], at: int) -> dict[int, dict[str, Any]]:
        states, found = CardStates(), {}
        for part in ([row for row in rows if row < at], [row for row in rows if row >= at]):
            if part:
                keys = [b"c%d" % (row % 3) for row in part]
                batch = replace(
                    incoming([values[row] for row in part]), keys=keys, offsets=np.array(part, dtype=np.int64)
                )
                made = settle(batch, states, Published(), MODEL, rules, NOW)
                found |= {body["source"]["offset"]: body for body in bodies(made)}
        return found

    everything = decide(list(range(len(amounts))), cut)
    assert sorted(everything) == list(range(len(amounts)))
    sales = decide([row for row, amount in enumerate(amounts) if amount >= 0], len(amounts))
    assert {at: body for at, body in everything.items() if "refund" not in body} == sales


def test_the_limit_holds_in_the_reporting_currency() -> None:
    money = type(EUROS).model_validate({"currency": "EUR", "rates": {"KWD": {"2020-01-01": 3.0}}})
    reading = Reading(money, FieldNames.model_validate({"negative": "credit"}), VIEW.attributes)
    decoded = decode([a_value(0, amount=-9e10, currency="KWD"), a_value(1, amount=-1, currency="KWD")], reading)
    assert [refusal.field for refusal in decoded.refusals] == ["amount"]
    assert decoded.events.minor.tolist() == [-300]
