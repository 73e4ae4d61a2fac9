"""Release criteria: what is refused, and whose limits apply."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import BaseModel

from scorer.errors import SettingsError
from shadow.comparison.totals import ALL
from shadow.gate.criteria import Criterion, Kind, Limits, Release, is_other, parse

CRITERIA = """
schema: 1
segments:
  country: {field: country, values: [DE, FR]}
minimum_covered_hours: 24
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("segments: {}", "schema"),
        ("schema: 2", "schema"),
        ("schema: 1\nspeed: 3", "speed: Extra inputs are not permitted; remove it"),
        ("schema: 1\noverall: {minimum_coverage: 2}", "overall.minimum_coverage"),
        ("schema: 1\nexceptions: {country=XX: {}}", "country=XX is not a declared segment; declare or remove it"),
        ("schema: [", "not valid YAML"),
        ("", "the file"),
    ],
)
def test_an_error_in_the_criteria_names_the_field_in_one_line(text: str, told: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse(text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("where", ["overall", "per_segment", "exceptions.country=FR"])
def test_limits_that_contradict_each_other_are_refused_with_the_sum(where: str) -> None:
    given = "{maximum_lost_fraud: 0.04, maximum_insults: 0.07, maximum_excess_disagreement: 0.12}"
    within = where.replace(".", ": {") + f": {given}" + ("}" if "." in where else "")
    with pytest.raises(SettingsError) as error:
        parse(CRITERIA + within)
    assert str(error.value).startswith(f"release criteria: {where}: maximum_excess_disagreement 0.12 is more than ")
    assert "maximum_lost_fraud 0.04 + maximum_insults 0.07 = 0.11" in str(error.value)
    assert "set it to at most 0.11" in str(error.value)
    parse(CRITERIA + within.replace("0.12", "0.11"))


def test_an_excess_that_nobody_wrote_follows_the_limits_on_harm() -> None:
    release = parse(CRITERIA + "overall: {maximum_lost_fraud: 0.01}\nper_segment: {maximum_insults: 0.9}\n")
    assert release.limits(ALL).maximum_excess_disagreement == pytest.approx(0.11)
    assert release.limits("country=DE").maximum_excess_disagreement == 0.3


def test_the_digest_depends_on_the_criteria_not_on_how_they_are_written() -> None:
    assert parse(CRITERIA).digest == parse("# a remark\n" + CRITERIA).digest
    assert parse(CRITERIA).digest != parse(CRITERIA.replace("24", "25")).digest


def test_a_segment_may_have_limits_of_its_own() -> None:
    text = CRITERIA + "exceptions: {country=FR: {maximum_fewer_blocks: 0.9}}\n"
    assert parse(text).limits("country=FR").maximum_fewer_blocks == 0.9
    assert parse(text).limits("country=DE").maximum_fewer_blocks == 0.25
    assert parse(text).limits(ALL).maximum_fewer_blocks == 0.1


def test_an_excuse_is_a_pattern_of_criterion_and_segment() -> None:
    release = parse(CRITERIA + "may_stay_insufficient: ['*_blocks: country=FR', 'coverage: *']\n")
    assert release.excused(Criterion.MORE_BLOCKS).tolist() == [False, False, True, False, False, True, False]
    assert release.excused(Criterion.COVERAGE).tolist() == [not is_other(name) for name in release.segments.names]
    assert release.excused(Criterion.MORE_BLOCKED_AMOUNT).tolist() == [False] * 5 + [True, False], "above the cap"
    assert parse(CRITERIA).excused(Criterion.COVERAGE).tolist() == [
        name == release.implied for name in release.segments.names
    ], "above the cap by default, if nobody names that"
    assert not parse(CRITERIA + "may_stay_insufficient: ['*: *=other', '*']\n").excused(Criterion.COVERAGE)[3]
    named = parse(CRITERIA + "may_stay_insufficient: ['*: country=other']\n")
    assert named.excused(Criterion.COVERAGE)[3], "an `other` must be named in full"


def test_every_criterion_with_a_limit_finds_it_in_its_segments() -> None:
    release = parse(CRITERIA)
    for criterion in Criterion:
        if criterion.kind is not Kind.RUN:
            limits = [getattr(release.limits(name), str(criterion.limit_field)) for name in release.segments.names]
            assert release.limit(criterion).tolist() == [np.inf if limit is None else limit for limit in limits]
    assert release.limit(Criterion.MORE_BLOCKS).tolist() == [0.1] + [0.25] * 6


@pytest.mark.parametrize("model", [Limits, Release])
def test_every_limit_and_setting_is_described_for_users(model: type[BaseModel]) -> None:
    own = {"schema_number", "segments", "overall", "per_segment"}
    assert [name for name, field in model.model_fields.items() if not field.description and name not in own] == []


def test_the_cap_is_at_least_one_minor_unit() -> None:
    assert parse("schema: 1\namount_cap: 12.5").cap_minor(100.0) == 1250
    assert parse("schema: 1\namount_cap: 0.001").cap_minor(100.0) == 1


def test_what_is_above_the_cap_is_a_segment_and_holds_nothing_unless_it_was_declared() -> None:
    bands = "schema: 1\namount_cap: 200\nsegments:\n  size: {field: amount, bands: [%s]}\n"
    for edges, labels in (
        ("50, 300", ("<50", "50-200", "200-300", ">=300", "other")),
        ("50", ("<50", "50-200", ">=200", "other")),
    ):
        release = parse(bands % edges)
        assert release.segments.names[1:] == tuple(f"size={label}" for label in labels)
        assert release.excuses(Criterion.MORE_BLOCKS, str(release.implied))
        assert release.implied == f"size={labels[2]}"
    declared = parse(bands % "50, 200")
    assert (declared.implied, declared.excuses(Criterion.MORE_BLOCKS, "size=>=200")) == (None, False)
    assert parse("schema: 1").segments.names == ("all", "amount=<500", "amount=>=500", "amount=other")
    clash = parse("schema: 1\nsegments: {amount: {field: country, values: [DE]}}\n")
    assert clash.implied == "amount_bands=>=500"


@pytest.mark.parametrize("number", [2**53 + 1, 2**64, 10**30, -(10**30)])
@pytest.mark.parametrize("name", ["minimum_covered_hours", "overall.minimum_transactions", "calibration_days"])
def test_a_number_that_no_reader_of_json_keeps_is_refused(name: str, number: int) -> None:
    where, _, field = name.rpartition(".")
    told = f"{where}: {{{field}: {number}}}" if where else f"{field}: {number}"
    with pytest.raises(SettingsError, match=name):
        parse(f"schema: 1\n{told}\n")
