"""What is written of an erasure never names the card."""

from __future__ import annotations

import pytest

from scorer.errors import UserError
from scorer.people import Who
from shadow.release.erasures import NO_REASON, NOBODY, reason_of

ANN = Who.called("ann")


@pytest.mark.parametrize(
    ("card", "reason", "who"),
    [
        ("tok_1234", "of TOK_1234x", ANN),
        ("42", "card 42.", ANN),
        ("tok_1234", "asked", Who.called("my tok_1234")),
        ("(a+", "is (a+ bad", ANN),
        ("x", "4111 1111 1111 1111", ANN),
        ("x", "…", ANN),
    ],
)
def test_a_reason_or_a_name_with_the_card_is_refused(card: str, reason: str, who: Who) -> None:
    with pytest.raises(UserError):
        reason_of(reason, card, who)


def test_any_other_is_taken_as_it_is() -> None:
    assert reason_of("request 1742", "42", ANN) == "request 1742"
    assert reason_of(" two\n lines", "42", ANN) == "two lines"
    assert reason_of(None, "nobody", Who.called(NOBODY)) == NO_REASON
    assert reason_of(None, "given", ANN) == NO_REASON
