"""A script's reply tells whether its range was applied."""

from __future__ import annotations

import pytest

from shadow.store.tallies import Stale, Wiped, refusal_of


def test_each_reply_of_a_script_is_a_named_outcome() -> None:
    assert refusal_of([b"applied", 3, b"2:all", b"0.5"]) is None
    assert refusal_of([b"stale", b"40"]) == Stale(40)
    assert refusal_of([b"wiped"]) == Wiped()


@pytest.mark.parametrize("said", [b"appplied", b"", None, 1])
def test_an_unknown_reply_never_counts_as_applied(said: object) -> None:
    with pytest.raises(RuntimeError, match="expected applied, stale or wiped"):
        refusal_of([said])
