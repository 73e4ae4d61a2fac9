"""A rotation's plan follows from what is there: whoever is killed goes on, nothing is made twice, and what must not be
rotated is refused with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.changes import a_change, fold
from scorer.bundles.lineage import READ_FROM_ARCHIVE, Code, Data, Lineage, Part, Reading, Recipe, Split
from scorer.deployments.changes import rotating, switch
from scorer.deployments.records import Approval, Judged, Rotation, Suggestion, Target, Twin
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.training.rotation import (
    MOST_SEED,
    Archived,
    Asked,
    Begun,
    Ended,
    Found,
    Kept,
    Parent,
    candidate_of,
    change_of,
    chosen,
    control_of,
    recipe_for,
    require_rotatable,
    require_state,
    rfc3339,
    steps,
    twin_of,
    twin_recipe,
)

NOW = datetime(2026, 6, 15, 10, 30, tzinfo=UTC)
NAMES = ("amount", "country")
LIVE = "a" * 64


def a_lineage(archive: bool = True, **recipe: Any) -> Lineage:
    part = Part(transactions=1, frauds=1, first="2026-01-01T00:00:00.000Z", last="2026-01-02T00:00:00.000Z")
    files = dict(READ_FROM_ARCHIVE) if archive else {}
    return Lineage(
        recipe=Recipe(**{"features": NAMES, "seed": 3, "label_delay": 7 * 86_400, **recipe}),
        split=Split(fit=part, calibration=part, test=part),
        data=Data(transactions=1, first="a", last="b", content={}),
        reading=Reading(mapping={}, mapping_digest="", files=files, money={}, rates_digest=""),
        code=Code(),
    )


def a_parent(archive: str | None = "/archive", **recipe: Any) -> Parent:
    return Parent(LIVE, a_lineage(archive is not None, **recipe), True, archive)


def an_archive(newest: datetime | None = NOW, **more: Any) -> Archived:
    return Archived("2026-01-01", "2026-06-15", newest, 1_000_000, **more)


def a_ledger() -> Deployments:
    return fold(a_change({"live": "a"}, {"live": 0}))


def choose(
    asked: Asked | None = None,
    parent: Parent | None = None,
    archived: Archived | None = None,
    begun: tuple[Begun, ...] = (),
    ledger: Deployments | None = None,
    now: datetime = NOW,
) -> Begun | Ended:
    return chosen(
        parent or a_parent(), asked or Asked(), NAMES, archived or an_archive(), begun, ledger or a_ledger(), "ann", now
    )


def begin(**given: Any) -> Begun:
    found = choose(**given)
    assert isinstance(found, Begun)
    return found


def the_end(begun: Begun, **more: Any) -> Rotation:
    fields: dict[str, Any] = {
        "rotation": begun.key,
        "outcome": "deployed",
        "parent": begun.parent,
        "candidate": "b" * 64,
    }
    signed = {"by": "ann", "reason": "because", "at": rfc3339(NOW), "as_of": str(begun.recipe.labels_known_by)}
    return Rotation(**{**fields, "twin": "c" * 64, **signed, **more})


# --- what is rotated, and when ---


def test_data_count_as_of_the_beginning_of_the_archives_newest_day() -> None:
    assert begin().day == "2026-06-15"
    assert begin(archived=an_archive(NOW - timedelta(days=3))).day == "2026-06-12"
    assert begin(asked=Asked(as_of=datetime(2026, 6, 1, tzinfo=UTC))).day == "2026-06-01"
    assert begin(archived=an_archive(None)).day == "2026-06-15"


def test_the_candidate_is_made_as_live_was_but_for_what_is_asked() -> None:
    parent = a_parent(
        since="2026-01-01T00:00:00.000Z", until="2026-02-01T00:00:00.000Z", labels_known_by="2026-03-02T00:00:00.000Z",
        parameters={"num_leaves": 7}, class_weight="balanced", monotone={"amount": 1}, early_stopping=5,
    )  # fmt: skip
    assert parent.lineage is not None
    recipe = begin(parent=parent).recipe
    kept = {"features", "seed", "class_weight", "monotone", "early_stopping", "label_delay", "threshold", "calibrate"}
    before = parent.lineage.recipe.model_dump(include=kept)
    assert recipe.model_dump(include=kept) == before
    assert recipe.until is None
    assert (recipe.labels_known_by, recipe.since) == ("2026-06-15T00:00:00.000Z", "2026-04-16T00:00:00.000Z"), "60 days"
    asked = Asked(window=90 * 86_400, label_delay=3 * 86_400, seed=9, parameters={"num_leaves": 9, "max_depth": 3})
    other = begin(parent=parent, asked=asked).recipe
    assert (other.since, other.label_delay, other.seed) == ("2026-03-17T00:00:00.000Z", 3 * 86_400, 9)
    assert other.parameters == {"num_leaves": 9, "max_depth": 3}


def test_the_next_is_not_due_before_its_day_however_late_in_the_day_the_last_one_ended() -> None:
    first = begin(now=NOW)
    ledger = fold(the_end(first), start=a_ledger())
    for days in range(14):
        at = NOW + timedelta(days=days)
        found = choose(archived=an_archive(at), ledger=ledger, now=at)
        assert isinstance(found, Ended), days
        assert found.next_day == "2026-06-29"
    early = datetime(2026, 6, 29, 0, 1, tzinfo=UTC)
    assert begin(archived=an_archive(early), ledger=ledger, now=early).day == "2026-06-29"
    asked = Asked(as_of=datetime(2026, 6, 14, tzinfo=UTC))
    assert begin(asked=asked, ledger=ledger).day == "2026-06-14", "asked for, it is due at any time"
    again = choose(asked=Asked(as_of=first.as_of), ledger=ledger)
    assert isinstance(again, Ended)
    assert again.next_day is None


@pytest.mark.parametrize("as_of", ["9999-12-31T00:00:00Z", "soon", "2026-06-15T00:00:00"])
def test_a_rotation_of_no_time_or_of_the_future_holds_nothing_up(as_of: str) -> None:
    assert isinstance(choose(ledger=fold(the_end(begin(), as_of=as_of), start=a_ledger())), Begun)


def test_what_was_begun_is_gone_on_with_for_a_week_as_long_as_it_is_the_same() -> None:
    first = begin()
    later = NOW + timedelta(days=3)
    assert begin(begun=(first,), now=later, archived=an_archive(later)) == first
    late = NOW + timedelta(days=8)
    assert begin(begun=(first,), now=late, archived=an_archive(late)).day == "2026-06-23"
    assert begin(begun=(first,), now=later, archived=an_archive(later), asked=Asked(seed=8)).day == "2026-06-18"
    other = a_parent()
    promoted = Parent("d" * 64, other.lineage, True, "/archive")
    assert begin(begun=(first,), now=later, archived=an_archive(later), parent=promoted).day == "2026-06-18"
    ended = fold(the_end(first), start=a_ledger())
    assert isinstance(choose(begun=(first,), now=later, archived=an_archive(later), ledger=ended), Ended)


def test_what_would_be_live_itself_is_refused() -> None:
    parent = a_parent(labels_known_by="2026-06-15T00:00:00.000Z")
    for asked in (Asked(), Asked(as_of=datetime(2026, 6, 15, tzinfo=UTC))):
        with pytest.raises(UserError, match="--as-of 2026-06-15: is what live was trained as of"):
            choose(asked, parent)
    assert begin(asked=Asked(seed=4), parent=parent).recipe.seed == 4
    assert begin(asked=Asked(archive="/other"), parent=parent).archive == "/other"


def test_what_is_written_down_comes_back_as_it_was() -> None:
    first = begin(parent=a_parent(parameters={"num_leaves": 7}, threshold={"method": "cost", "insult": 4.5}))
    read = Begun.model_validate_json(first.model_dump_json())
    assert read == first
    assert read.key == first.key
    with pytest.raises(ValueError, match="expected a time"):
        Begun.model_validate({**first.model_dump(), "recipe": {"features": NAMES}})


@pytest.mark.parametrize(
    ("told", "given"),
    [
        ("lies ahead", {"asked": Asked(as_of=NOW + timedelta(minutes=1))}),
        ("--from-archive: is missing", {"parent": a_parent(None)}),
        ("--label-delay: is missing", {"parent": a_parent(label_delay=0)}),
        ("--window: has to be longer", {"asked": Asked(window=86_400)}),
        ("feature device: the live bundle has it", {"parent": a_parent(features=("device",))}),
        ("has no decision since 2026-05-15 10:30 UTC", {"archived": an_archive(NOW - timedelta(days=31))}),
    ],
)
def test_what_cannot_be_begun_is_refused(told: str, given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=told):
        choose(**given)


def test_a_live_bundle_of_unknown_origin_is_refused() -> None:
    for parent, told in (
        (Parent(LIVE, None, False), "was trained elsewhere, so it cannot be rotated here"),
        (Parent(LIVE, None, True), "no lineage, as an earlier version trained it"),
    ):
        with pytest.raises(UserError, match=told):
            require_rotatable(parent)
    require_rotatable(a_parent(None))


def test_slots_archive_and_clock_must_let_it_begin() -> None:
    at = rfc3339(NOW)
    suggested = Suggestion(
        slot="candidate", target=Target(digest="b" * 64), expects={"live": 1}, criteria="c", evidence={}, at=at
    )
    first = Approval(slots={"live": Target(digest="b" * 64)}, expects={"live": 1}, cause="deploy", by="ann",
                     reason="r", at=at)  # fmt: skip
    blocked = a_ledger()
    fold(switch(blocked, "block_all", "ann", "drill", at), start=blocked)
    for ledger, told in (
        (blocked, r"kill switch is on \(block_all\)"),
        (fold(suggested, start=a_ledger()), "suggestion 00000002-a1b2c3d4: waits for a decision"),
        (fold(first, start=a_ledger()), "approval 00000002-a1b2c3d4: waits for a second person"),
    ):
        with pytest.raises(UserError, match=told):
            require_state(ledger, an_archive(), NOW)
    for archived, told in (
        (an_archive(entries=frozenset({"00000001-ffffffff"})), "of another deployment"),
        (an_archive(NOW + timedelta(hours=1)), "clock: this machine has 2026-06-15 10:30 UTC"),
    ):
        with pytest.raises(UserError, match=told):
            require_state(a_ledger(), archived, NOW)
    require_state(a_ledger(), an_archive(NOW + timedelta(minutes=5), entries=frozenset({"00000001-a1b2c3d4"})), NOW)
    require_state(fold(suggested, start=a_ledger()), an_archive(), NOW + timedelta(days=4))


def test_a_twin_has_another_seed_and_nothing_else() -> None:
    for seed in (0, 1, MOST_SEED - 1):
        recipe = Recipe(features=NAMES, seed=seed)
        twin = twin_recipe(recipe)
        assert 0 <= twin.seed < MOST_SEED
        assert twin.seed != seed
        assert twin.model_copy(update={"seed": seed}) == recipe


def test_slot_control_gets_a_twin_of_live_only_if_none_is_in_it() -> None:
    ledger = a_ledger()
    assert control_of(ledger, []) is None
    assert control_of(ledger, [("c" * 64, 0.1), ("d" * 64, 0.2)]) == ("c" * 64, 0.1)
    fold(a_change({"control": "d"}, {"control": 0}), start=ledger)
    assert control_of(ledger, [("c" * 64, 0.1), ("d" * 64, 0.2)]) is None
    ledger.twins[LIVE] = Twin(digest="e" * 64, threshold=0.3)
    assert control_of(ledger, []) == ("e" * 64, 0.3), "the twin that the ledger names, for another in the slot"


# --- killed anywhere, it ends the same ---


class _KilledError(Exception):
    pass


@dataclass
class World:
    """A store of bundles and a ledger. Whatever is made has a digest of what it was made of. kills: before which acts
    whoever works is killed; acts are counted over all attempts."""

    kills: frozenset[int]
    rejects: bool
    kept: list[Kept] = field(default_factory=list)
    begun: list[Begun] = field(default_factory=list)
    reproduced: set[str] = field(default_factory=set)
    tried: dict[str, Judged] = field(default_factory=dict)
    ledger: Deployments = field(default_factory=a_ledger)
    acts: list[str] = field(default_factory=list)
    count: int = 0

    def may_die(self) -> None:
        self.count += 1
        if self.count in self.kills:
            raise _KilledError

    def found(self, begun: Begun) -> Found:
        candidate = candidate_of(begun, self.kept)
        twin = None if candidate is None else twin_of(begun, candidate, self.kept)
        return Found(
            candidate, twin, begun.key in self.reproduced, self.tried.get(begun.key), change_of(self.ledger, candidate)
        )

    def make(self, begun: Begun, recipe: Recipe, parent: str, now: datetime) -> None:
        digest = hashlib.sha256(f"{recipe.model_dump_json()}{parent}".encode()).hexdigest()
        self.kept.append(Kept(digest, 0.5, parent, recipe, begun.archive, now))

    def attempt(self, now: datetime) -> None:
        """All that the command does, with `now` as the time."""
        wanted = choose(begun=tuple(self.begun), ledger=self.ledger, now=now, archived=an_archive(now))
        if isinstance(wanted, Ended):
            self.acts.append("ended")
            return
        if wanted not in self.begun:
            self.may_die()
            self.begun.append(wanted)
        for name in ("train", "twin", "reproduce", "backtest", "deploy", "note"):
            found = self.found(wanted)
            step = next(one for one in steps(wanted, found, an_archive(), 100, True) if one.name == name)
            if step.state != "to do":
                continue
            self.may_die()
            self.acts.append(name)
            getattr(self, name)(wanted, found, now)

    def train(self, begun: Begun, found: Found, now: datetime) -> None:
        self.make(begun, begun.recipe, begun.parent, now)

    def twin(self, begun: Begun, found: Found, now: datetime) -> None:
        assert found.candidate is not None
        self.make(begun, twin_recipe(begun.recipe), found.candidate.digest, now)

    def reproduce(self, begun: Begun, found: Found, now: datetime) -> None:
        self.reproduced.add(begun.key)

    def backtest(self, begun: Begun, found: Found, now: datetime) -> None:
        self.tried[begun.key] = Judged(decision="reject" if self.rejects else "hold", reason="as planned")

    def deploy(self, begun: Begun, found: Found, now: datetime) -> None:
        assert found.candidate is not None
        assert found.twin is not None
        target = Target(digest=found.candidate.digest, threshold=0.5)
        twin = Twin(digest=found.twin.digest, threshold=0.5)
        fold(rotating(self.ledger, target, twin, None, "ann", "because", rfc3339(now)), start=self.ledger)

    def note(self, begun: Begun, found: Found, now: datetime) -> None:
        outcome = "rejected" if found.is_rejected else "deployed"
        fold(the_end(begun, outcome=outcome, change=found.change), start=self.ledger)


def lived(kills: frozenset[int], rejects: bool, hours: Iterator[int]) -> World:
    world, now = World(kills, rejects), NOW
    while world.acts[-1:] != ["ended"]:
        try:
            world.attempt(now)
        except _KilledError:
            now += timedelta(hours=next(hours))
    return world


@given(
    st.frozensets(st.integers(1, 14), max_size=7), st.booleans(), st.lists(st.integers(0, 23), min_size=14, max_size=14)
)
def test_killed_anywhere_each_step_is_done_once_and_all_ends_as_without_a_kill(
    kills: frozenset[int], rejects: bool, hours: list[int]
) -> None:
    calm, world = lived(frozenset(), rejects, iter([])), lived(kills, rejects, iter(hours))
    done = ["train", "twin", "reproduce", "backtest", *([] if rejects else ["deploy"]), "note"]
    assert [act for act in calm.acts if act != "ended"] == done
    assert [act for act in world.acts if act != "ended"] == done
    (begun,) = world.begun
    if 1 not in kills:  # else it begins on a later day perhaps
        assert {one.digest for one in world.kept} == {one.digest for one in calm.kept}
    ((_, entry),) = world.ledger.rotations
    assert entry.rotation == begun.key
    assert entry.outcome == ("rejected" if rejects else "deployed")
    assert world.ledger.slot("candidate").epoch == (0 if rejects else 1)


def test_an_end_that_is_noted_twice_counts_once() -> None:
    ledger = fold(the_end(begin()), the_end(begin(), by="bob"), start=a_ledger())
    assert [line.is_void for line in ledger.ledger] == [False, False, True]
    assert [entry.by for _, entry in ledger.rotations] == ["ann"]


def test_bundles_of_others_are_not_taken_for_what_the_rotation_made() -> None:
    begun = begin()
    own = Kept("b" * 64, 0.5, LIVE, begun.recipe, begun.archive, NOW)
    others = [
        replace(own, archive="/elsewhere"),
        replace(own, archive=None),
        replace(own, recipe=begun.recipe.model_copy(update={"seed": 99})),
        replace(own, recipe=None),
    ]
    assert candidate_of(begun, others) is None
    by_hand = replace(own, parent=None)
    assert candidate_of(begun, [*others, by_hand]) == by_hand, "of the same data by the same recipe, it is the same"
    assert twin_of(begun, own, [replace(own, recipe=twin_recipe(begun.recipe))]) is None, "a twin of something else"
    younger = replace(own, digest="0" * 64, made=NOW + timedelta(days=1))
    assert candidate_of(begun, [younger, *others, own]) == own


def test_a_candidate_that_was_replaced_since_was_deployed_all_the_same() -> None:
    begun = begin()
    own = Kept("b" * 64, 0.5, LIVE, begun.recipe, begun.archive, NOW)
    ledger = fold(a_change({"candidate": "b"}, {"candidate": 0}), a_change({"candidate": "c"}, {"candidate": 1}),
                  start=a_ledger())  # fmt: skip
    assert change_of(ledger, own) == "00000002-a1b2c3d4"
    late = fold(a_change({"candidate": "b"}, {"candidate": 7}), start=a_ledger())
    assert change_of(late, own) is None, "what is void has filled nothing"


def test_each_step_says_what_and_how_long_and_a_rejected_candidate_is_not_deployed() -> None:
    begun = begin()
    fresh = steps(begun, Found(), an_archive(), 200, True)
    assert [step.name for step in fresh] == ["train", "twin", "reproduce", "backtest", "deploy", "note"]
    assert {step.state for step in fresh} == {"to do"}
    assert all(step.seconds for step in fresh)
    own = Kept("b" * 64, 0.5, LIVE, begun.recipe, begun.archive, NOW)
    poor = Found(own, own, True, Judged(decision="reject", reason="reject: recall in FR"))
    assert [step.state for step in steps(begun, poor, an_archive(), 200, True)] == [*["done"] * 4, "left out", "to do"]
    assert "reject: recall in FR" in steps(begun, poor, an_archive(), 200, True)[3].what
    assert steps(begun, Found(own), an_archive(), 200, False)[3].state == "left out"
    assert recipe_for(a_parent(), Asked(), NAMES, NOW).labels_known_by == "2026-06-15T10:30:00.000Z"
