"""Where a candidate comes from holds a promotion only where the criteria ask for it, and changes nothing else."""

from __future__ import annotations

from functools import partial

import pytest

from harness.totals import RELEASE, a_run, part
from scorer.errors import SettingsError
from shadow.gate.criteria import Criterion, Release, parse
from shadow.gate.findings import Decision, Finding, Judgement, Verdict
from shadow.gate.judge import judge as judged
from shadow.gate.mirror import watch_criteria
from shadow.gate.origin import Origin
from shadow.gate.recency import TOO_SHORT
from shadow.release.brief import brief
from shadow.release.sentences import Help, obstacles, steps, verdict

judge = partial(judged, recent=TOO_SHORT)
ASKS = RELEASE.model_copy(update={"require_lineage": True})
OUTSIDE = Origin(doubt="it was trained outside of a repository")
UNREAD = Origin(trouble="store s3://bundles: is away; check SHADOW_STORE")


def of_lineage(judgement: Judgement) -> list[Finding]:
    return [finding for finding in judgement.findings if finding.criterion is Criterion.LINEAGE]


@pytest.mark.parametrize("origin", [None, OUTSIDE, UNREAD, Origin()])
def test_criteria_that_do_not_ask_judge_as_if_nothing_was_known(origin: Origin | None) -> None:
    assert judge(a_run(), a_run(), RELEASE, origin=origin) == judge(a_run(), a_run(), RELEASE)


@pytest.mark.parametrize(
    ("origin", "says"), [(None, "not looked at"), (OUTSIDE, "outside of a repository; commit first"), (UNREAD, "s3://")]
)
def test_a_candidate_of_which_nobody_can_tell_what_made_it_holds(origin: Origin | None, says: str) -> None:
    judgement = judge(a_run(), a_run(), ASKS, origin=origin)
    (finding,) = of_lineage(judgement)
    assert (judgement.decision, finding.verdict) == (Decision.HOLD, Verdict.INSUFFICIENT)
    assert says in finding.reason
    assert judgement.reason == "hold: evidence still missing for lineage in all"


def test_a_clean_candidate_is_promoted_with_one_finding_more() -> None:
    judgement, before = judge(a_run(), a_run(), ASKS, origin=Origin()), judge(a_run(), a_run(), RELEASE)
    assert judgement.decision is Decision.PROMOTE
    (finding,) = of_lineage(judgement)
    assert finding.verdict is Verdict.PASS
    assert [one for one in judgement.findings if one is not finding] == list(before.findings)


def test_doubt_never_hides_a_rejection() -> None:
    bad = a_run(FR=part(30_000, 200, 800, 0))
    assert judge(bad, a_run(), ASKS, origin=OUTSIDE).decision is Decision.REJECT
    assert judge(bad, a_run(), ASKS, origin=Origin()).decision is Decision.REJECT


@pytest.mark.parametrize("pattern", ["*", "*: all", "lineag*: all"])
def test_no_wildcard_excuses_it(pattern: str) -> None:
    wide = parse(f"schema: 1\nrequire_lineage: true\nmay_stay_insufficient: ['{pattern}']\n")
    judgement = judge(a_run(), a_run(), wide, origin=OUTSIDE)
    (finding,) = of_lineage(judgement)
    assert (judgement.decision, finding.excused) == (Decision.HOLD, False)


def test_a_pattern_that_names_it_is_refused_with_the_field_that_counts() -> None:
    with pytest.raises(SettingsError, match="require_lineage: false"):
        parse("schema: 1\nmay_stay_insufficient: ['coverage: *', 'lineage: all']\n")


def test_a_file_that_does_not_name_it_means_what_it_meant() -> None:
    """A new digest would begin every run again whose criteria nobody has changed."""
    plain = parse("schema: 1")
    assert plain.digest == "c0c162841db9348227201e405d44518738ccd9cbf50910b2799aab6365107bd9", "as in 0.1.0"
    assert parse("schema: 1\nrequire_lineage: false").digest == plain.digest
    asks = parse("schema: 1\nrequire_lineage: true")
    assert asks.digest != plain.digest
    for release in (plain, asks):
        assert Release.again(release.model_dump(mode="json", by_alias=True), None).digest == release.digest


def test_the_watch_after_a_release_does_not_ask() -> None:
    assert not watch_criteria(ASKS).require_lineage


def test_people_are_told_what_to_do_first() -> None:
    judgement = judge(a_run(hours=48), a_run(), ASKS, origin=OUTSIDE)
    found = obstacles(judgement)
    assert found[0].help is Help.TRAIN, "waiting for the clean period would be in vain"
    assert found[0].told.startswith("All traffic: nobody can tell what made the candidate")
    assert "outside of a repository" in verdict(judgement, found)
    (first, *_) = steps("candidate", judgement, found, 0, None, "")
    assert first.command is not None
    assert first.command.startswith("scorer train")
    assert "next: scorer train" in "\n".join(brief(judgement, "candidate", []))
    away = obstacles(judge(a_run(), a_run(), ASKS, origin=UNREAD))
    assert [one.help for one in away] == [Help.DATA], "training again would not help"
