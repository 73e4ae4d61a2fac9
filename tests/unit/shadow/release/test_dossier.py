"""A dossier gives the verdict that was given, byte for byte, from what it holds alone; a changed byte is refused; and
other criteria say which verdicts flip."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness.ledgers import AT, a_ledger
from harness.totals import a_run, part
from scorer.deployments.records import Suggestion, Target, encode
from scorer.deployments.slots import Deployments
from shadow.comparison.bins import BINS, KINDS
from shadow.comparison.case import Case
from shadow.comparison.outcome import Outcome
from shadow.comparison.resets import Reset
from shadow.comparison.totals import ALL, RunTotals
from shadow.gate.criteria import Criterion, Release, parse
from shadow.gate.evidence import Evidence, RecentEvidence, judged
from shadow.gate.findings import Decision, Finding, Judgement, Verdict
from shadow.gate.origin import Origin
from shadow.gate.sums import Sums
from shadow.labels.label import Known, State
from shadow.release import dossier
from shadow.release.dossier import DossierError, beside, digest_of, dossier_of, last_dossier, read_dossier, replay
from shadow.release.evidence_json import from_json, to_json
from shadow.release.history import history
from shadow.release.recent import path_of

VERSIONS = {"shadow-scorer": "0.1.0"}
TEXT = """schema: 1
segments:
  country: {{field: country, values: [DE, FR]}}
minimum_covered_hours: {hours}
may_stay_insufficient: ['recent_*: *']
{more}"""


def criteria(hours: int = 24, more: str = "") -> Release:
    return parse(TEXT.format(hours=hours, more=more))


RELEASE = criteria()
NAMES = RELEASE.segments.names
sizes = st.integers(0, 2000)
parts = st.builds(part, st.integers(0, 90_000), sizes, sizes, sizes, st.integers(0, 20))
units = st.floats(0, 1, exclude_max=True)


@st.composite
def runs(draw: st.DrawFn) -> RunTotals:
    """The sums of a run, with histograms."""
    totals = a_run(
        draw(st.integers(1, 60)), draw(st.integers(0, 50)), draw(st.integers(0, 2)), DE=draw(parts), FR=draw(parts)
    )
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    scores = rng.integers(0, 3, (len(KINDS), BINS))
    segments = {name: replace(one, scores=scores) for name, one in totals.segments.items()}
    covered = tuple(range(700, 700 + totals.hours))
    resets = tuple(Reset(hour, "candidate error") for hour in draw(st.lists(st.sampled_from(covered), max_size=2)))
    return replace(
        totals, segments=segments, covered=covered, resets=resets, begun=("new artefact",), view="v", live_digest="a"
    )


@st.composite
def cases(draw: st.DrawFn) -> list[tuple[Case, Known]]:
    """Reviewed and open cases, by hash."""
    found = []
    for at, value in enumerate(sorted(draw(st.lists(units, max_size=25)))):
        case = Case(
            transaction=f"secret-{at}",
            outcome=draw(st.sampled_from([Outcome.LIVE_ONLY, Outcome.CANDIDATE_ONLY])),
            minor=draw(st.integers(0, 10**6)),
            occurred_ms=86_400_000 * draw(st.integers(20_000, 20_003)) + at,
            card=f"card-{draw(st.integers(0, 9))}",
            segments=(ALL, draw(st.sampled_from(["country=DE", "country=FR"]))),
            hash=value,
            day=draw(st.integers(-1, 3)),
            offset=at,
            partition=at % 3,
            inclusion=draw(st.floats(0.01, 1)),
        )
        found.append(
            (case, Known(State.PENDING, draw(st.sampled_from([State.FRAUD, State.LEGIT, State.UNSURE, State.PENDING]))))
        )
    return found


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """Evidence as `look` gathers it, whatever is in it."""
    candidate, control = draw(runs()), draw(st.one_of(st.none(), runs()))
    recent = None
    if draw(st.booleans()):
        days = list(range(draw(st.integers(1, 9))))

        def path(totals: RunTotals) -> Sums:
            some, n = ("counts", "capped", "cells", "money"), len(days) + 1
            shares = {
                name: replace(one, errors=0, **{field: getattr(one, field) // n for field in some})
                for name, one in totals.segments.items()
            }
            return path_of(totals, dict.fromkeys(days, shares), days, RELEASE)

        histogram = candidate.segments[ALL].scores if draw(st.booleans()) else None
        recent = RecentEvidence(
            path(candidate),
            None if control is None else path(control),
            draw(st.integers(0, 5)) - 1,
            histogram,
            None if histogram is None else histogram // 2,
            draw(st.floats(1, 50)),
        )
    found = draw(cases())
    return Evidence(
        candidate,
        control,
        "" if control is not None else "no A/A control",
        draw(st.sampled_from([1.0, 100.0])),
        tuple(case for case, _ in found),
        tuple(known for _, known in found),
        recent,
        draw(st.none() | st.builds(Origin, st.none() | st.text(max_size=20), st.none() | st.text(max_size=20))),
    )


def made(
    evidence: Evidence, release: Release = RELEASE, before: str | None = None
) -> tuple[bytes, Judgement, Suggestion]:
    judgement = judged(evidence, release)
    suggestion = Suggestion(
        slot="candidate",
        target=Target(digest="b" * 64, threshold=0.5),
        expects={"live": 1, "candidate": 1},
        criteria=release.digest,
        evidence={"run": "L1-C1", "judgement": judgement.to_json()},
        at=AT,
    )
    return dossier_of(suggestion, evidence, judgement, release, {"live": None}, VERSIONS, before), judgement, suggestion


def good() -> Evidence:
    """What is promoted."""
    return Evidence(replace(a_run(), covered=tuple(range(700, 748))), a_run(), "", 100.0, (), (), None)


@cache
def a_dossier() -> bytes:
    """Of what is promoted."""
    return made(good())[0]


slow = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])


@pytest.mark.slow
@slow
@given(evidences())
def test_a_dossier_alone_gives_the_same_verdict_byte_for_byte(evidence: Evidence) -> None:
    content, judgement, _ = made(evidence)
    found = read_dossier(content, digest_of(content))
    again = replay(found)
    assert again.is_same
    assert again.now == judgement.decision
    assert again.differences == ()
    wanted, seen = (dict(one.to_json().items()) for one in (judgement, judged(found.evidence, RELEASE)))
    assert orjson.dumps(seen) == orjson.dumps(wanted), "by another way than that of the dossier"
    assert dossier.canonical(to_json(from_json(to_json(evidence)))) == dossier.canonical(to_json(evidence))
    assert b"secret" not in content, "no id of a transaction"
    assert b"card-" not in content, "no card"
    assert replay(found, criteria()).is_same, "its own criteria, from the file"


@pytest.mark.slow
@slow
@given(evidences())
def test_fewer_segments_are_judged_as_if_no_others_had_been_counted(evidence: Evidence) -> None:
    fewer = parse("schema: 1\nminimum_covered_hours: 24\n")
    content, _, _ = made(evidence)
    found = replay(read_dossier(content, digest_of(content)), fewer)
    if evidence.recent is not None:
        rows = [NAMES.index(name) for name in fewer.segments.names]

        def some(sums: Sums) -> Sums:
            return Sums(*(getattr(sums, name)[:, rows] for name in Sums.__dataclass_fields__))

        recent = evidence.recent
        floor = None if recent.floor is None else some(recent.floor)
        evidence = replace(evidence, recent=replace(recent, path=some(recent.path), floor=floor))
    wanted = judged(evidence, fewer)
    assert (found.now, found.reason) == (wanted.decision, wanted.reason)


@pytest.mark.parametrize(
    ("origin", "decision"),
    [(Origin(), "promote"), (Origin(doubt="it was trained elsewhere"), "hold"), (Origin(trouble="gone"), "hold")],
)
def test_what_was_known_of_where_a_candidate_comes_from_is_judged_again(origin: Origin, decision: str) -> None:
    asks = criteria(more="require_lineage: true")
    content, judgement, _ = made(replace(good(), origin=origin), asks)
    found = replay(read_dossier(content, digest_of(content)))
    assert (judgement.decision, found.now, found.is_same) == (decision, decision, True)
    plain, _, _ = made(replace(good(), origin=origin))
    flipped = replay(read_dossier(plain, digest_of(plain)), asks)
    assert (flipped.was, flipped.now) == ("promote", decision), "it was not asked for then"


def test_an_older_dossier_is_replayed_and_no_verdict_is_made_up_under_criteria_that_ask_for_more() -> None:
    body = orjson.loads(a_dossier())
    assert "origin" not in body["evidence"], "as earlier versions wrote it"
    assert "require_lineage" not in body["criteria"]
    found = read_dossier(a_dossier(), digest_of(a_dossier()))
    assert replay(found).is_same
    with pytest.raises(DossierError, match="does not hold where its candidate came from"):
        replay(found, criteria(more="require_lineage: true"))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_one_changed_byte_is_refused(data: st.DataObject) -> None:
    content = a_dossier()
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda value: value != content[at]))
    changed = content[:at] + bytes([other]) + content[at + 1 :]
    with pytest.raises(DossierError, match="its content was changed") as told:
        read_dossier(changed, digest_of(content))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "finding", [[], "x", None, {}, {"criterion": [], "segment": "all", "verdict": "pass", "reason": "x"}]
)
def test_a_finding_of_another_shape_makes_it_none(finding: Any) -> None:
    body = orjson.loads(a_dossier())
    body["verdict"]["findings"] = [finding]
    content = orjson.dumps(body)
    with pytest.raises(DossierError, match="is none that this version reads"):
        read_dossier(content, digest_of(content))


@pytest.mark.slow
@settings(max_examples=40, deadline=None, phases=[Phase.generate])
@given(st.data())
def test_what_is_no_dossier_is_refused_in_one_line(data: st.DataObject) -> None:
    """Under a digest of its own, whatever somebody else has made of one."""
    body = orjson.loads(a_dossier())
    where: Any = body
    while True:
        key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
        if not isinstance(where[key], dict | list) or not where[key] or data.draw(st.booleans()):
            break
        where = where[key]
    where[key] = data.draw(st.sampled_from([None, "x", -1, [], {}, [[]], 1e300, True]))
    content = orjson.dumps(body)
    told: list[str] = []
    try:
        replay(read_dossier(content, digest_of(content)))
    except DossierError as error:
        told.append(str(error))
    assert not any("\n" in line for line in told)


def test_another_code_names_the_findings_that_differ() -> None:
    content = a_dossier()
    body = orjson.loads(content)
    first = next(found for found in body["verdict"]["findings"] if found["verdict"] == "pass")
    first["verdict"], first["reason"] = "fail", "as another code had it"
    body["verdict"]["decision"] = "reject"
    other = orjson.dumps(body)
    found = replay(read_dossier(other, digest_of(other)))
    assert not found.is_same
    assert (found.was, found.now) == ("reject", "promote")
    (one,) = found.differences
    assert (one.criterion, one.segment, one.was, one.now) == (first["criterion"], first["segment"], "fail", "pass")
    assert "fail → pass" in one.told


def test_other_criteria_say_which_verdict_flips_and_why() -> None:
    content, judgement, _ = made(good())
    assert judgement.decision is Decision.PROMOTE
    found = read_dossier(content, digest_of(content))
    longer = replay(found, criteria(100))
    assert (longer.was, longer.now) == ("promote", "hold")
    assert [(one.criterion, one.segment, one.was, one.now) for one in longer.differences] == [
        ("covered_hours", "all", "pass", "insufficient")
    ]
    stricter = replay(found, criteria(more="overall: {maximum_more_blocks: 0.0001, maximum_fewer_blocks: 0.0001}\n"))
    assert stricter.now == "hold"
    assert {(one.criterion, one.segment) for one in stricter.differences} == {
        ("more_blocks", "all"),
        ("fewer_blocks", "all"),
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("schema: 1\namount_cap: 300\nsegments:\n  country: {field: country, values: [DE, FR]}\n", "segments amount="),
        ("schema: 1\nrecent_days: 4\n", "recent_days was 3 when it was counted, and is 4"),
        ("schema: 1\ntolerated_error_rate: 0.1\n", "tolerated_error_rate was 0"),
        ("schema: 1\nsegments:\n  country: {field: country, values: [DE]}\n", "segments country="),
        ("schema: 1\nsegments:\n  shop: {field: shop, values: [DE]}\n", "segments shop="),
    ],
)
def test_criteria_that_the_evidence_was_not_counted_for_are_refused(text: str, why: str) -> None:
    content = a_dossier()
    with pytest.raises(DossierError, match="cannot be judged under these criteria") as told:
        replay(read_dossier(content, digest_of(content)), parse(text))
    assert why in str(told.value)


def test_what_the_file_did_not_say_is_still_implied() -> None:
    """The segment above the cap may stay unknown only if the file does not name the cap."""
    content = a_dossier()
    found = read_dossier(content, digest_of(content))
    assert found.release.implied == RELEASE.implied is not None
    assert found.release.digest == RELEASE.digest


def test_a_suggestion_with_a_dossier_is_small_and_the_history_still_tells_it() -> None:
    many = tuple(
        Finding(Criterion.COVERAGE, f"country={n}", 0.5, None, 0.99, Verdict.INSUFFICIENT, "thin" * 10, excused=True)
        for n in range(500)
    )
    judgement = Judgement(Decision.PROMOTE, many, 400, 336, "L1-C1")
    _, _, suggestion = made(good())
    suggestion = suggestion.model_copy(update={"evidence": {"run": "L1-C1", "judgement": judgement.to_json()}})
    small = beside(suggestion, judgement, "d" * 64)
    assert len(encode(suggestion)) > 80_000
    assert len(encode(small)) < 10_000
    state = a_ledger(small)
    row = history(state)[-1]
    assert row.stood is not None
    assert (row.stood.decision, row.stood.passed, len(row.stood.against)) == ("promote", 0, dossier.KEPT)
    assert row.stood.dossier == "d" * 64


def test_each_dossier_names_the_one_before_it() -> None:
    """Suggestions without one, as of older versions, are passed over."""
    state: Deployments = a_ledger()
    assert last_dossier(state) is None
    _, judgement, suggestion = made(good())
    for digest in ("d" * 64, None, "e" * 64, None):
        entry = suggestion if digest is None else beside(suggestion, judgement, digest)
        state.fold(f"ledger/{state.next_seq('aa')}".encode(), encode(entry))
    assert last_dossier(state) == "e" * 64
    content, _, _ = made(good(), before="e" * 64)
    assert read_dossier(content, digest_of(content)).body["before"] == "e" * 64
