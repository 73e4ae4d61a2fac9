"""Every state of the review page is told: nobody, somebody else's, nothing left, expired, and a case without models."""

from __future__ import annotations

import re
from typing import Any

import pytest

from shadow.web.rendering import TEMPLATES
from shadow.web.static_files import static

NASTY = '<script>alert("x")</script>'
BASE: dict[str, Any] = {
    "slot": "candidate",
    "here": "review",
    "by": "ann",
    "is_known": True,
    "colleagues": ["ben", NASTY],
    "waiting": 12,
    "settles": "About 40 more reviews settle country=FR.",
    "segments": [{"name": "country=FR", "reviewed": "3", "settled": "10 %", "more": "about 40"}],
    "today": [("ann", 2)],
    "done": "/review/done?slot=candidate",
    "again": "/review?slot=candidate",
    "mine": [],
    "minutes": "30",
    "last": None,
    "case": None,
    "held": None,
    "blind": True,
    "longest": 500,
}
CARD = {"id": "t-2", "at": "2026-01-21 10:00:00", "amount": "4.20", "who": "live alone", "scores": "0.91 → 0.12"}
PARTS: dict[str, Any] = {
    "is_expired": False,
    "id": "t-1",
    "at": "2026-01-21T18:24:21.614Z",
    "amount": "27.34 EUR",
    "fields": [("merchant_id", NASTY)],
    "sees_cards": True,
    "card": [CARD | {"address": "/explore/transaction?transaction=t-2"}],
    "votes": [],
    "notes": [{"text": NASTY, "by": "ben", "at": "2026-01-22", "source": "review"}],
    "no_votes": "Nobody has said anything of it yet.",
    "verdict": "Live blocks it, the candidate would not.",
    "spoken": "",
    "scores": [],
    "told_scores": ["Live scores 0.910."],
    "reasons": [],
    "no_reasons": "Not explained yet.",
}
CASE = {"case": "t-1", "parts": PARTS, "segment": "country=FR", "counts": True, "assigned": None, "whole": "/x"}


def shown(**given: Any) -> str:
    text: str = TEMPLATES.get_template("review.html.j2").render(static=static, **{**BASE, **given})
    assert NASTY not in text
    return text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"by": None, "is_known": False}, "Who reviews?"),
        ({"held": "ben", "held_id": "t-1"}, "ben has this case open"),
        ({}, "All 12 cases that wait are open or assigned to colleagues"),
        ({"waiting": 0}, "No case waits for a review"),
        (CASE, "asked for to settle country=FR"),
        (CASE | {"segment": None, "counts": False}, "It is not in the queue"),
        (CASE | {"assigned": "ann by ben"}, "Assigned to ann by ben"),
        (
            CASE | {"parts": {"is_expired": True, "id": "t-1", "at": "2026-01-21T18:24:21", "amount": "1.00"}},
            "The sample of this transaction has expired",
        ),
    ],
)
def test_each_state_says_what_is_so(given: dict[str, Any], told: str) -> None:
    assert told in shown(**given)
    assert ('action="/review/mark"' in shown(**given)) is ("case" in given)


def test_what_the_models_say_is_folded_and_nowhere_else() -> None:
    text = shown(**CASE)
    outside = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    assert "<details" in text
    assert "<details open" not in text
    for said in (PARTS["verdict"], "0.91", "live alone", "Live scores"):
        assert said not in outside, said
    assert "27.34 EUR, 2026-01-21 18:24:21 UTC" in outside


def test_a_name_goes_with_each_form_only_if_it_was_typed() -> None:
    assert 'name="by"' not in shown(**CASE)
    assert shown(**CASE, is_known=False).count('<input type="hidden" name="by" value="ann">') == 2


def test_undo_says_what_it_goes_back_to() -> None:
    last = {"id": "t-0", "shown": "t-0", "said": "fraud", "back": "legit", "back_words": "legitimate"}
    text = shown(**CASE, last=last)
    assert '<input type="hidden" name="verdict" value="legit">' in text
    assert "back to legitimate" in text
    assert "(back to" not in shown(**CASE, last=last | {"back": "open"})
