"""A limit that is exactly met passes as seldom as promised, however heavy cards are. See `study.promised_error`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from shadow.gate.claims import ChangeClaim, bounded_changes
from shadow.gate.criteria import Criterion, Release
from shadow.gate.sums import Sums, amount_shift, card_shift, counted_shift
from study.promised_error import ALPHA, CAP_MINOR, DAYS, LOOKS, Cards, Case, added_up, cases, draw, passes, upper

BAR = -math.log(ALPHA)
#: A share of the cases: heavy ones, and each of what is added to them.
SOME = [case for case in cases() if case.sizes == "heavy" and case.a_day < 100]


def test_a_limit_that_is_met_passes_as_seldom_as_promised() -> None:
    runs, errors = 0, 0
    for case in SOME:
        found = passes(case, 25, seed=3)
        runs, errors = runs + 25 * len(found), errors + sum(found.values())
    assert runs >= 900
    assert errors <= ALPHA * runs, f"{errors} of {runs}, at most {upper(errors, runs):.2%}"


def one_run(*cards: tuple[int, int, int]) -> Sums:
    """At the last look, of groups of card-days: number, transactions of each, side. Of 10.00 each."""
    n, size, side = (np.array(column) for column in zip(*cards, strict=True))
    size, side = size.repeat(n), side.repeat(n)
    zeros = np.zeros(len(size), dtype=np.int64)
    drawn = added_up(Cards(zeros, zeros, size, np.full(len(size), CAP_MINOR // 50), side), 1)
    return Sums(**{name: getattr(drawn, name)[0, LOOKS - 1] for name in Sums.__dataclass_fields__})


def test_sixty_per_cent_more_cards_are_shown_as_sixty_per_cent_more() -> None:
    """Live's blocks are of bots with 20 transactions each, the additional ones of customers with one."""
    sums = one_run((1000, 20, 0), (600, 1, 2))
    assert float(counted_shift(sums)[0]) == pytest.approx(0.03)
    assert float(card_shift(sums).estimate[0]) == pytest.approx(0.6)


@pytest.mark.parametrize(("cards", "each"), [(300, 20), (1, 5000)])
def test_an_attack_that_both_block_moves_no_segment_and_takes_no_evidence(cards: int, each: int) -> None:
    quiet = one_run((1800, 1, 0), (120, 1, 1), (240, 1, 2))
    attacked = one_run((1800, 1, 0), (120, 1, 1), (240, 1, 2), (cards, each, 0))
    for sums in (quiet, attacked):
        assert abs(float(card_shift(sums).estimate[0]) - 0.0625) < 0.01
    for measure in (card_shift, amount_shift):
        before, after = (float(measure(sums).log_below(0.25)[0]) for sums in (quiet, attacked))
        assert after > 0.75 * before > 5


def test_an_attack_that_one_model_blocks_alone_holds_the_other_until_it_is_diluted() -> None:
    fewer = fewer_blocks(one_run((900, 1, 0), (1, 5000, 1)))
    assert float(fewer.measure.log_above(-0.1)[0]) > 20, "by cards it is one of 901"
    assert float(fewer.log_within()[0]) == 0, "as counted, it is most of the transactions"
    assert float(fewer.interval(ALPHA).estimate[0]) == pytest.approx(5000 / 5900)
    assert float(fewer_blocks(one_run((60_000, 1, 0), (1, 5000, 1))).log_within()[0]) > 20


def fewer_blocks(sums: Sums) -> ChangeClaim:
    claims = bounded_changes(sums, None, Release.model_validate({"schema": 1}))
    (found,) = (one for one in claims if one.criterion is Criterion.FEWER_BLOCKS)
    return replace(found, limit=found.limit[:1])


def test_a_candidate_that_loses_all_large_payments_is_held_by_whole_money() -> None:
    """By cards, and in money cut at the cap, it keeps the limits; of whole money it loses too much."""
    case, runs = Case("light", "nothing", "Pareto", 150, False), 40
    cards = draw(case, Criterion.FEWER_BLOCKS, 0.0, runs, np.random.default_rng(8))
    lost = replace(cards, side=np.where(cards.amount > 4 * CAP_MINOR, 1, cards.side))
    release, fortnight = Release.model_validate({"schema": 1}), 14 * LOOKS // DAYS
    share: dict[tuple[str, str], float] = {}
    for name, drawn in (("lost", lost), ("kept", cards)):
        for claim in bounded_changes(added_up(drawn, runs), None, release):
            passes_at = replace(claim, limit=claim.limit[:1]).log_within()[..., 0] >= BAR
            share[name, str(claim.criterion)] = float(passes_at[:, fortnight:].any(axis=1).mean())
            if claim.criterion is Criterion.FEWER_UNCAPPED_AMOUNT:
                beyond = -claim.measure.estimate[..., 0] > claim.limit[0]
                assert not (passes_at & beyond).any(), "it passes while what was lost is beyond the limit"
    assert min(share["lost", "fewer_blocks"], share["lost", "fewer_blocked_amount"]) > 0.8, share
    assert share["lost", "fewer_uncapped_amount"] <= 0.1, "where few large payments came, little was lost"
    assert share["kept", "fewer_uncapped_amount"] > 0.8
