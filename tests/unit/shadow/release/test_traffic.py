"""Traffic as people state it: what they leave out is shared evenly, and what makes no sense is refused."""

from __future__ import annotations

import pytest

from scorer.errors import UserError
from shadow.gate.criteria import parse
from shadow.gate.planning import Delay, Reviews
from shadow.release.traffic import reviews, stated

RELEASE = parse("schema: 1\nsegments: {country: {field: country, values: [DE, FR, GB]}}")


def by_segment(shares: dict[str, float]) -> dict[str, float]:
    traffic = stated(RELEASE, 1000.0, 0.02, 0.17, shares)
    assert traffic.blocks.tolist() == pytest.approx((traffic.transactions * 0.02).tolist())
    assert set(traffic.discordance.tolist()) == {0.17}
    found = dict(zip(RELEASE.segments.names, traffic.transactions.tolist(), strict=True))
    assert [found.pop(f"amount={band}") for band in ("<500", ">=500", "other")] == [1000, 0, 0]
    return found


def test_segments_that_are_not_named_share_the_rest_evenly() -> None:
    assert by_segment({"country=DE": 0.5}) == pytest.approx(
        {"all": 1000, "country=DE": 500, "country=FR": 250, "country=GB": 250, "country=other": 0}
    )
    assert by_segment({})["country=GB"] == pytest.approx(1000 / 3)
    assert by_segment({"country=other": 0.1})["country=GB"] == pytest.approx(300)


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"country=XX": 0.1}, "no segment country=XX"),
        ({"country=DE": -0.1}, "expected a share from 0 to 1"),
        ({"country=DE": 0.7, "country=FR": 0.7}, r"country add up to 1\.4"),
    ],
)
def test_shares_that_make_no_sense_are_refused(shares: dict[str, float], told: str) -> None:
    with pytest.raises(UserError, match=told):
        stated(RELEASE, 1000.0, 0.02, 0.17, shares)


def test_reviews_are_expected_as_given_else_as_they_came() -> None:
    lately = {"review": Delay(40, 8.0, 2.5), "chargeback": Delay(9, 1.0, 30.0)}
    assert reviews(lately, None, None, 0.0) == Reviews(per_day=8.0, delay=2.5)
    assert reviews(lately, 20.0, 0.0, 0.1) == Reviews(per_day=20.0, delay=0.0, excess=0.1)
    assert reviews({}, None, None, 0.0) == Reviews(per_day=0.0, delay=1.0)
