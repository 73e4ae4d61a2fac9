"""The argument of the script names every key once, and all of them share one slot of a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from redis.crc import key_slot

from shadow.comparison.card_days import Blocked, count
from shadow.comparison.case import Case
from shadow.comparison.increment import Increment, Offered
from shadow.comparison.outcome import Outcome
from shadow.comparison.sampling import WHOLE_RUN
from shadow.comparison.totals import COLUMNS, ERRORS, Run
from shadow.store.keys import Keys
from shadow.store.payload import FIELDS, Payload, member
from shadow.store.pseudonyms import Pseudonyms

RUN, SEGMENTS = Run(1, 1), ("all", "country=DE")
NAMES = Pseudonyms(b"salt")
CASE = Case("t1", Outcome.LIVE_ONLY, 100, 0, "card", ("all",), 0.25, 0, 9)
KEYS = Keys("shadow", "candidate", 3)


def built(increment: Increment) -> tuple[list[str], dict[str, Any]]:
    """Keys and argument of the range [10, 12)."""
    payload = Payload(KEYS, SEGMENTS, sample_seconds=100, case_seconds=200, pseudonyms=NAMES)
    days, _ = count(increment.blocked, {}, len(SEGMENTS))
    body = payload.build("nonce", 10, 12, increment, days)
    return payload.names, body


def an_increment() -> Increment:
    sums = np.zeros((2, COLUMNS), dtype=np.int64)
    sums[:, Outcome.LIVE_ONLY], sums[0, ERRORS] = 1, 1
    found = Increment(tallies={(RUN, 5): sums, (RUN, 6): sums}, source=9, skipped=2)
    found.histograms[RUN, 0] = np.arange(4).reshape(2, 1, 2)
    found.blocked.append(Blocked(RUN, 5, "card", Outcome.LIVE_ONLY, 200, (0, 1)))
    for day in (0, WHOLE_RUN):
        body = CASE.encode() if day == WHOLE_RUN else b"body"
        found.samples.append(Offered(9, 0.25, body, [(str(RUN), day, Outcome.LIVE_ONLY, 1)]))
    found.meta[RUN], found.marks[RUN], found.reach[RUN] = {"live_digest": "a"}, {"feature view": "v"}, 12
    return found


def test_all_keys_share_a_slot_of_a_cluster_and_the_fence_is_first() -> None:
    names, _ = built(an_increment())
    assert names[0] == KEYS.fence
    assert len(names) == len(set(names)) > 10
    assert len({key_slot(name.encode()) for name in names}) == 1


def test_an_hour_is_counted_in_its_own_tally_and_in_the_total_of_its_run() -> None:
    names, body = built(an_increment())
    rows = {names[row[0] - 1]: (row[1], dict(zip(row[2::2], row[3::2], strict=True))) for row in body["tallies"]}
    lost, error = FIELDS[Outcome.LIVE_ONLY], FIELDS[ERRORS]
    assert rows[KEYS.tally(str(RUN), 5, "all")] == (60 * 86_400, {lost: 1, error: 1})
    assert rows[KEYS.tally(str(RUN), "total", "all")] == (0, {lost: 2, error: 2}), "kept for ever"
    assert rows[KEYS.tally(str(RUN), "total", "country=DE")] == (0, {lost: 2})


def test_a_card_day_is_counted_on_its_day_and_in_the_total_of_its_run() -> None:
    names, body = built(an_increment())
    rows = {names[row[0] - 1]: (row[1], dict(zip(row[2::2], row[3::2], strict=True))) for row in body["tallies"]}
    for segment in SEGMENTS:
        seconds, fields = rows[KEYS.card_sums(str(RUN), 0, segment)]
        assert (seconds, fields["k2"], fields["c0"], fields["u2"]) == (60 * 86_400, 1, -200, 200)
        assert rows[KEYS.card_sums(str(RUN), "total", segment)] == (0, fields), "kept for ever"
    tops = {names[row[0] - 1]: dict(zip(row[2::2], row[3::2], strict=True)) for row in body["tops"]}
    assert tops[KEYS.card_sums(str(RUN), "total", "all")] == {"t1": 200, "t2": 200, "t4": 200, "t5": 200}


def test_a_digest_of_a_card_tells_nothing_without_the_fence_and_links_no_two_days() -> None:
    found = {member(nonce, (RUN, day, "card")) for nonce in ("a", "b") for day in (0, 1)}
    assert len(found) == 4
    assert all(len(digest) == 8 for digest in found)


def test_a_day_of_cards_is_forgotten_when_the_eighth_after_it_begins() -> None:
    later = Increment(tallies={(RUN, 24 * day): np.zeros((2, COLUMNS), dtype=np.int64) for day in (-1, 3, 9)})
    names, body = built(later)
    assert [names[at - 1] for at in body["forgotten"]] == [KEYS.cards(str(RUN), 1, SEGMENTS)]
    assert built(an_increment())[1]["forgotten"] == []


def test_zeros_of_histograms_are_left_out() -> None:
    names, body = built(an_increment())
    found = {names[row[0] - 1]: row[2:] for row in body["histograms"]}
    assert found[KEYS.scores(str(RUN), 0, "all")] == [1, 1]
    assert found[KEYS.scores(str(RUN), "total", "country=DE")] == [0, 2, 1, 3]


def test_a_case_lives_as_long_as_labels_do_and_waits_for_no_explanation() -> None:
    names, body = built(an_increment())
    (_, _, bodies, _, seconds, _, why, *_), (_, _, case_bodies, _, case_seconds, _, case_why, *_) = body["samples"]
    assert (names[bodies - 1], seconds, why) == (KEYS.bodies(str(RUN), 0), 100, "L1-C1/0/9")
    assert (names[case_bodies - 1], case_seconds, case_why) == (KEYS.bodies(str(RUN), "run"), 200, "")


def test_a_candidate_error_resets_the_clean_period_in_its_hour() -> None:
    names, body = built(an_increment())
    assert [(names[at - 1], hour, cause) for at, hour, cause in body["resets"]] == [
        (KEYS.resets(str(RUN)), hour, "candidate error") for hour in (5, 6)
    ]
    assert [(hour, marks) for _, _, hour, marks in body["marks"]] == [(5, {"feature view": "v"})]


def test_an_empty_increment_moves_nothing_but_the_fence() -> None:
    names, body = built(Increment())
    assert names == [KEYS.fence]
    assert {name: part for name, part in body.items() if part} == {
        "nonce": "nonce",
        "from": 10,
        "to": 12,
        "source": -1,
        "cards": 60 * 86_400,
    }


def test_cards_are_named_with_the_salt_and_nothing_else_of_a_case_changes() -> None:
    _, body = built(an_increment())
    name = NAMES.card("card")
    sample, case = (row[7] for row in body["samples"])
    assert (sample, Case.decode(case.encode(), 3, 1.0)) == ("body", replace(CASE, card=name, partition=3))
    assert name not in (Pseudonyms(b"other").card("card"), NAMES.card("card2"))
