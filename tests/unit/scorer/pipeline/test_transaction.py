"""What a transaction must be, and how its fields are called."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from harness.transactions import READING, a_transaction
from scorer.errors import SettingsError
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import Reading, unclean
from scorer.pipeline.view import Attribute


def test_mapping_twice_changes_nothing_more() -> None:
    mapping = FieldNames(fields={"transaction_id": "ID"}, defaults={"currency": "EUR"}, drop=("X",), label=None)
    once = mapping.apply({"ID": "a", "X": 1, "amount": 2})
    assert mapping.apply(once) == once


@pytest.mark.parametrize("text", ["a b", "a-b", "t 1", "é", "a\u00a0b", "a\u200db"])
def test_ids_may_hold_blanks_within(text: str) -> None:
    assert unclean(text) is None


#: Unicode's blanks and controls, by code point: from its own tables, where `unclean` goes by Python's.
BLANKS = [0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000, 0x200B, 0x2060, 0xFEFF, 0xAD, 0x3164]
CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]


@pytest.mark.parametrize("code", BLANKS)
def test_no_blank_of_any_kind_surrounds_an_id(code: int) -> None:
    for text in (chr(code) + "x", "x" + chr(code), chr(code)):
        assert "begins or ends with a blank" in (unclean(text) or "")


@pytest.mark.parametrize("code", CONTROLS)
def test_no_control_character_is_anywhere_in_an_id(code: int) -> None:
    for text in (chr(code) + "x", "x" + chr(code), f"x{chr(code)}y"):
        assert "control characters" in (unclean(text) or "")


def test_an_error_never_repeats_what_was_sent() -> None:
    for record in (a_transaction(card_id="4111111111111111"), a_transaction(note="4111111111111111", amount="x")):
        with pytest.raises(ValidationError) as refused:
            READING.contract.model_validate(record)
        assert "4111" not in str(refused.value)
        assert "4111" not in repr(refused.value)


def test_a_format_of_a_field_that_nothing_reads_is_refused_with_the_nearest_name() -> None:
    mapping = FieldNames.model_validate({"formats": {"occured_at": {"kind": "epoch", "unit": "ms"}}})
    with pytest.raises(SettingsError, match=r"formats\.occured_at: .* did you mean occurred_at\?"):
        Reading(mapping=mapping).check_formats()
    mapping = FieldNames.model_validate({"formats": {"age": {"kind": "decimal"}}})
    Reading(mapping=mapping, attributes=(Attribute(name="age", kind="number"),)).check_formats()
    with pytest.raises(SettingsError, match=r"formats\.age: .* name one of amount, card_id"):
        Reading(mapping=mapping).check_formats()
