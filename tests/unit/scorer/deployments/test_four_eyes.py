"""One person alone makes no release that needs two, whatever they write and however they spell their name."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from scorer.deployments.changes import deployment, forced, promotion, rollback, switch
from scorer.deployments.pending import first_of, outdated, two_or_one
from scorer.deployments.records import (
    Answer,
    Approval,
    Change,
    Comment,
    Entry,
    First,
    Judged,
    Suggestion,
    Target,
    Withdrawal,
    encode,
)
from scorer.deployments.signatures import Signer, TrustedKeys
from scorer.deployments.slots import Deployments, LedgerLine
from scorer.errors import UserError
from scorer.people import Who, same

START = datetime(2026, 11, 1, 9, tzinfo=UTC)
OLD, NEW, OTHER = "a" * 64, "b" * 64, "c" * 64
LAX, STRICT = "1" * 64, "2" * 64
ROLES = {"ann": "releaser", "bob": "releaser", "carl": "admin", "dora": "reviewer", "serve": "gate", "ann2": "releaser"}


def key_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def keys(**more: Any) -> TrustedKeys:
    told = {
        name: {
            "public": base64.b64encode(key_of(name).public_key().public_bytes_raw()).decode(),
            "role": role,
            **({"person": "Ann"} if name == "ann2" else {}),
        }
        for name, role in ROLES.items()
    }
    return TrustedKeys.model_validate({"keys": told, "four_eyes": True, **more})


class Ledger:
    """A ledger whose entries are signed, and the time of its next one."""

    def __init__(self, trusted: TrustedKeys | None = None) -> None:
        self.state = Deployments(trusted)
        self.now = START

    @property
    def at(self) -> str:
        return self.now.isoformat()

    def write(self, by: str, entry: Entry) -> LedgerLine | None:
        """Write an entry as `by` signs it; its line if it counts."""
        self.now += timedelta(minutes=1)
        seq = self.state.next_seq(f"{len(self.state._values) + self.state.refusals:08x}")
        trusted = self.state.trusted
        value = encode(entry) if trusted is None else Signer(by, "", key_of(by).sign).signed(seq, entry)
        return self.state.fold(f"ledger/{seq}".encode(), value)

    def seq(self, by: str, entry: Entry) -> str:
        line = self.write(by, entry)
        assert line is not None
        assert not line.is_void
        return line.seq

    def fill(self, slot: str, digest: str, by: str, threshold: float = 0.5) -> Change:
        return deployment(self.state, slot, digest, threshold, by, "because", self.at)

    def suggest(self, criteria: str = STRICT, made_by: str | None = None, by: str = "serve") -> str:
        expects = {name: self.state.slot(name).epoch for name in ("live", "candidate")}
        target = Target(digest=self.state.slot("candidate").digest, threshold=0.5)
        return self.seq(by, Suggestion(slot="candidate", target=target, expects=expects, criteria=criteria, evidence={},
                                       made_by=made_by, at=self.at))  # fmt: skip

    def release(self, by: str, suggestion: str | None, threshold: float | None = None) -> Change:
        return promotion(self.state, "candidate", by, "because", self.at, threshold, suggestion)

    def force(self, by: str, decision: Any = "hold") -> Change:
        return forced(self.release(by, None), Judged(decision=decision, reason="x", criteria=STRICT), ["x"])

    def decide(self, by: str, change: Change) -> LedgerLine | None:
        """What the command writes."""
        return self.write(by, self.built(by, change))

    def built(self, by: str, change: Change) -> Entry:
        trusted = self.state.trusted
        person = same(by) if trusted is None else str(trusted.person(by))
        return two_or_one(self.state, change, Who(by, person, "releaser", "key"), True, self.at)

    @property
    def live(self) -> str | None:
        return self.state.slot("live").digest


@pytest.fixture(params=["signed", "by names"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    made = Ledger(keys() if request.param == "signed" else None)
    made.seq("carl", made.fill("live", OLD, "carl"))
    made.seq("ann", made.fill("candidate", NEW, "ann"))
    return made


@pytest.fixture
def strict() -> Ledger:
    """One that the scorers themselves hold to four eyes."""
    made = Ledger(keys())
    made.seq("carl", made.fill("live", OLD, "carl"))
    made.seq("ann", made.fill("candidate", NEW, "ann"))
    return made


def test_somebody_else_approves_alone_what_the_gate_suggests(ledger: Ledger) -> None:
    line = ledger.decide("bob", ledger.release("bob", ledger.suggest()))
    assert line is not None
    assert isinstance(line.entry, Change)
    assert ledger.live == NEW


def test_who_proposed_a_bundle_needs_somebody_else(ledger: Ledger) -> None:
    suggestion = ledger.suggest()
    first = ledger.decide("ann", ledger.release("ann", suggestion))
    assert first is not None
    assert isinstance(first.entry, Approval)
    assert "has trained or proposed" in first.entry.why[0]
    assert ledger.live == OLD
    with pytest.raises(UserError, match="ann has approved this already"):
        ledger.built("ann", ledger.release("ann", suggestion))
    # bob may do it alone, whoever has approved it first
    assert ledger.decide("bob", ledger.release("bob", suggestion))
    assert ledger.live == NEW
    assert ledger.state.open_approvals(ledger.now) == []


def test_who_trained_a_bundle_needs_somebody_else(ledger: Ledger) -> None:
    suggestion = ledger.suggest(made_by="BOB ")
    assert isinstance(ledger.built("bob", ledger.release("bob", suggestion)), Approval)


def test_a_forced_release_has_two_names(ledger: Ledger) -> None:
    first = ledger.decide("bob", ledger.force("bob"))
    assert first is not None
    assert ledger.live == OLD
    done = ledger.decide("carl", ledger.force("carl"))
    assert done is not None
    assert isinstance(done.entry, Change)
    assert done.entry.first == First(approval=first.seq, by="bob")
    assert ledger.live == NEW


def test_changed_criteria_need_two_and_the_first_release_has_none_to_compare(ledger: Ledger) -> None:
    assert ledger.decide("bob", ledger.release("bob", ledger.suggest(STRICT)))
    ledger.seq("ann", ledger.fill("candidate", OTHER, "ann"))
    suggestion = ledger.suggest(LAX)
    first = ledger.decide("bob", ledger.release("bob", suggestion))
    assert first is not None
    assert isinstance(first.entry, Approval)
    assert first.entry.why == ("the release criteria have changed since the last release",)
    assert ledger.decide("carl", ledger.release("carl", suggestion))
    assert ledger.live == OTHER
    ledger.seq("ann", ledger.fill("candidate", "d" * 64, "ann"))
    assert ledger.state.why_two(ledger.release("bob", ledger.suggest(LAX)), "bob") == ()


def test_a_bundle_straight_into_live_is_a_release(ledger: Ledger) -> None:
    assert isinstance(ledger.built("bob", ledger.fill("live", OTHER, "bob")), Approval)
    assert isinstance(ledger.built("bob", ledger.fill("live", OLD, "bob", 0.9)), Approval), "another threshold"


def test_what_must_be_quick_takes_one(ledger: Ledger) -> None:
    for override in ("block_all", None):
        change = switch(ledger.state, override, "ann", "because", ledger.at)  # type: ignore[arg-type]
        assert isinstance(ledger.built("ann", change), Change)
        ledger.seq("ann", change)
    ledger.decide("bob", ledger.release("bob", ledger.suggest()))
    back = rollback(ledger.state, "ann", "because", ledger.at, "candidate")
    assert isinstance(ledger.built("ann", back), Change)
    assert ledger.decide("ann", back)
    assert ledger.live == OLD


def test_a_rollback_to_what_was_never_live_is_a_release(ledger: Ledger) -> None:
    ledger.seq("ann", ledger.fill("previous", OTHER, "ann"))
    back = rollback(ledger.state, "ann", "because", ledger.at, "candidate")
    assert isinstance(ledger.built("ann", back), Approval)


def test_nobody_releases_without_saying_who_they_are(ledger: Ledger) -> None:
    with pytest.raises(UserError, match="needs to know who you are"):
        two_or_one(ledger.state, ledger.release("bob", ledger.suggest()), Who.called("bob"), True, ledger.at)


def test_without_the_setting_nothing_is_asked() -> None:
    plain = Ledger()
    plain.seq("ann", plain.fill("live", OLD, "ann"))
    plain.seq("ann", plain.fill("candidate", NEW, "ann"))
    change = plain.release("ann", plain.suggest())
    assert two_or_one(plain.state, change, Who.called("ann"), False, plain.at) == change


@pytest.mark.parametrize("settles", ["rejection", "withdrawal", "expiry", "another candidate", "kill switch"])
def test_a_first_approval_dies_with_its_evidence(ledger: Ledger, settles: str) -> None:
    suggestion = ledger.suggest()
    first = ledger.decide("ann", ledger.release("ann", suggestion))
    assert first is not None
    assert [line.seq for line in ledger.state.open_approvals(ledger.now)] == [first.seq]
    if settles == "rejection":
        ledger.seq("carl", Answer(suggestion=suggestion, answer="rejected", by="carl", reason="x", at=ledger.at))
    elif settles == "withdrawal":
        ledger.seq(
            "serve", Withdrawal(suggestion=suggestion, cause="verdict", reason="x", by="shadow serve", at=ledger.at)
        )
    elif settles == "expiry":
        ledger.now += timedelta(hours=72, minutes=1)
    elif settles == "another candidate":
        ledger.seq("bob", ledger.fill("candidate", OTHER, "bob"))
    else:
        ledger.seq("bob", switch(ledger.state, "block_all", "bob", "x", ledger.at))
    assert ledger.state.open_approvals(ledger.now) == []


def test_a_first_approval_of_a_forced_release_is_of_one_verdict(ledger: Ledger) -> None:
    first = ledger.decide("bob", ledger.force("bob", "hold"))
    assert first is not None
    assert first_of(ledger.state, ledger.force("carl", "reject"), ledger.at) is None
    assert isinstance(ledger.built("carl", ledger.force("carl", "reject")), Approval)
    assert [line.seq for line in outdated(ledger.state, "candidate", "reject", STRICT, ledger.now)] == [first.seq]
    assert outdated(ledger.state, "candidate", "hold", STRICT, ledger.now) == []
    ledger.seq("serve", Withdrawal(suggestion=first.seq, cause="verdict", reason="x", by="shadow serve", at=ledger.at))
    assert first_of(ledger.state, ledger.force("carl", "hold"), ledger.at) is None


def test_of_two_first_approvals_at_once_the_later_is_void(ledger: Ledger) -> None:
    suggestion = ledger.suggest(LAX, made_by="bob")
    mine, theirs = (ledger.built(by, ledger.release(by, suggestion)) for by in ("ann", "bob"))
    assert ledger.seq("ann", mine)
    line = ledger.write("bob", theirs)
    assert line is not None
    assert line.is_void
    assert ledger.decide("bob", ledger.release("bob", suggestion))
    assert ledger.live == NEW


def test_of_two_second_approvals_at_once_the_later_is_void_and_not_refused(ledger: Ledger) -> None:
    assert ledger.decide("ann", ledger.force("ann"))
    both = [ledger.built(by, ledger.force(by)) for by in ("bob", "carl")]
    lines = [ledger.write(by, entry) for by, entry in zip(("bob", "carl"), both, strict=True)]
    assert [line and line.is_void for line in lines] == [False, True]
    assert ledger.state.refusals == 0
    assert ledger.state.slot("live").epoch == 2


# What somebody with a key, and a program of their own, might write. Only the scorers stand against it.


def refused(ledger: Ledger, by: str, entry: Entry) -> str:
    assert ledger.write(by, entry) is None, "it counts"
    assert ledger.live == OLD
    return ledger.state.refused[-1][1]


def with_first(change: Change, seq: str, by: str) -> Change:
    return change.model_copy(update={"first": First(approval=seq, by=by)})


def test_alone_whatever_it_is_called(strict: Ledger) -> None:
    suggestion = strict.suggest()
    for change in (
        strict.release("ann", suggestion),
        strict.release("ann", None),
        strict.force("ann"),
        strict.fill("live", OTHER, "ann"),
        strict.release("bob", None).model_copy(update={"cause": "rollback", "by": "ann"}),
        strict.fill("live", OTHER, "ann").model_copy(update={"cause": "override"}),
        strict.release("ann", "00000099-00000000"),
    ):
        assert "two people" in refused(strict, "ann", change)


def test_with_a_suggestion_of_ones_own(strict: Ledger) -> None:
    assert "two people" in refused(strict, "bob", strict.release("bob", strict.suggest(by="bob")))


def test_another_bundle_or_threshold_than_was_suggested(strict: Ledger) -> None:
    suggestion = strict.suggest()
    change = strict.release("bob", suggestion)
    for target in (Target(digest=OTHER, threshold=0.5), Target(digest=NEW, threshold=0.1)):
        assert "two" in refused(strict, "bob", change.model_copy(update={"slots": {**change.slots, "live": target}}))


def test_a_suggestion_that_had_expired(strict: Ledger) -> None:
    suggestion = strict.suggest()
    strict.now += timedelta(hours=73)
    assert "two" in refused(strict, "bob", strict.release("bob", suggestion))


def test_ones_own_first_approval_by_another_key_of_ones_own(strict: Ledger) -> None:
    first = strict.decide("ann", strict.force("ann"))
    assert first is not None
    assert "twice" in refused(strict, "ann", with_first(strict.force("ann"), first.seq, "ann"))
    assert "twice" in refused(strict, "ann2", with_first(strict.force("ann2"), first.seq, "ann"))


def test_a_first_approval_in_the_name_of_somebody_else(strict: Ledger) -> None:
    made = strict.built("bob", strict.force("bob"))
    assert "in the name of somebody else" in refused(strict, "ann", made)
    first = strict.decide("bob", strict.force("bob"))
    assert first is not None
    assert "that of somebody else" in refused(strict, "ann", with_first(strict.force("ann"), first.seq, "carl"))


def test_a_first_approval_by_who_may_not(strict: Ledger) -> None:
    made = strict.built("bob", strict.force("bob"))
    for name in ("dora", "serve"):
        assert "needs the role releaser" in refused(strict, name, made.model_copy(update={"by": name}))


def test_a_first_approval_of_something_else(strict: Ledger) -> None:
    first = strict.decide("bob", strict.force("bob"))
    assert first is not None
    plain = strict.release("ann", strict.suggest())
    assert "for something else" in refused(strict, "ann", with_first(plain, first.seq, "bob"))
    stranger = with_first(strict.fill("live", OTHER, "ann"), first.seq, "bob")
    assert "for something else" in refused(strict, "ann", stranger)
    other = with_first(strict.force("ann", "reject"), first.seq, "bob")
    assert "for something else" in refused(strict, "ann", other)


def test_a_first_approval_under_another_suggestion(strict: Ledger) -> None:
    before = strict.suggest()
    first = strict.decide("ann", strict.release("ann", before))
    assert first is not None
    strict.seq("serve", Withdrawal(suggestion=before, cause="verdict", reason="x", by="serve", at=strict.at))
    again = strict.suggest(made_by="ann2")
    replayed = with_first(strict.release("ann2", again), first.seq, "ann")
    assert "twice" in refused(strict, "ann2", replayed)
    assert strict.write("bob", with_first(strict.release("bob", again), first.seq, "ann"))  # who needs no second


def test_a_first_approval_that_had_expired_or_was_withdrawn_or_never_came(strict: Ledger) -> None:
    first = strict.decide("bob", strict.force("bob"))
    assert first is not None
    assert "not on the ledger" in refused(strict, "ann", with_first(strict.force("ann"), "00000001-ffffffff", "bob"))
    strict.now += timedelta(hours=73)
    assert "had expired" in refused(strict, "ann", with_first(strict.force("ann"), first.seq, "bob"))
    strict.now -= timedelta(hours=73)
    strict.seq("bob", Withdrawal(suggestion=first.seq, cause="verdict", reason="x", by="bob", at=strict.at))
    assert "withdrawn" in refused(strict, "ann", with_first(strict.force("ann"), first.seq, "bob"))


def test_entries_before_four_eyes_count_as_they_did() -> None:
    plain = Ledger(keys(four_eyes=False))
    plain.seq("ann", plain.fill("live", OLD, "ann"))
    last = plain.seq("ann", plain.fill("live", NEW, "ann"))
    records = [(f"ledger/{line.seq}".encode(), line.entry) for line in plain.state.ledger]
    values = [Signer("ann", "", key_of("ann").sign).signed(key.decode()[7:], entry) for key, entry in records]
    for after, live in ((last, NEW), (None, OLD)):
        anew = Deployments(keys(four_eyes_after=after))
        for (key, _), value in zip(records, values, strict=True):
            anew.fold(key, value)
        assert anew.slot("live").digest == live


def test_comments_decide_nothing_and_end_with_their_suggestion(ledger: Ledger) -> None:
    suggestion = ledger.suggest()
    said = Comment(suggestion=suggestion, text="looks odd in FR", by="dora", at=ledger.at)
    ledger.seq("dora", said)
    assert [one.text for one in ledger.state.comments(suggestion)] == ["looks odd in FR"]
    for unknown in ("00000099-00000000",):
        line = ledger.write("dora", said.model_copy(update={"suggestion": unknown}))
        assert line is not None
        assert line.is_void
    assert ledger.decide("bob", ledger.release("bob", suggestion))
    line = ledger.write("dora", said)
    assert line is not None
    assert line.is_void


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("ann", "ANN", True),
        ("José", "Jose\u0301", True),
        ("ann", "a\u200bnn", True),
        ("ann b", " ann  b", True),
        ("\uff41\uff4e\uff4e", "ann", True),
        ("straße", "STRASSE", True),
        ("\ufb01ona", "fiona", True),
        ("ann", "bob", False),
        ("ann", "anna", False),
    ],
)
def test_one_person_by_any_spelling(one: str, other: str, is_one: bool) -> None:
    assert (same(one) == same(other)) is is_one


@given(st.text())
def test_a_spelling_is_found_once(name: str) -> None:
    assert same(same(name)) == same(name)
    assert same(name.upper().lower()) == same(name.lower())


KINDS = st.sampled_from(["fill", "live", "suggest", "release", "force", "reject", "switch", "back"])


@given(st.lists(st.tuples(KINDS, st.sampled_from(["ann", "bob", "carl"]), st.integers(0, 3)), max_size=14))
def test_no_order_of_events_gets_a_release_past_one_person(steps: Sequence[tuple[str, str, int]]) -> None:
    """Whatever the commands write counts, and every forced release, or bundle straight into live, has two names."""
    ledger = Ledger(keys())
    ledger.seq("carl", ledger.fill("live", OLD, "carl"))
    suggestion: str | None = None
    for what, by, n in steps:
        try:
            match what:
                case "fill":
                    ledger.seq(by, ledger.fill("candidate", "bcde"[n] * 64, by))
                case "live":
                    ledger.decide(by, ledger.fill("live", "abcd"[n] * 64, by))
                case "suggest" if ledger.state.slot("candidate").digest:
                    suggestion = ledger.suggest((STRICT, LAX)[n % 2])
                case "release":
                    ledger.decide(by, ledger.release(by, suggestion))
                case "force":
                    ledger.decide(by, ledger.force(by))
                case "reject" if suggestion:
                    ledger.write(by, Answer(suggestion=suggestion, answer="rejected", by=by, reason="x", at=ledger.at))
                case "switch":
                    ledger.write(by, switch(ledger.state, "block_all", by, "x", ledger.at))
                case "back":
                    ledger.decide(by, rollback(ledger.state, by, "x", ledger.at, "candidate"))
        except (UserError, ValueError):
            continue
    assert ledger.state.refusals == 0, list(ledger.state.refused)
    known = {OLD}
    for line in ledger.state.ledger:
        entry = line.entry
        if isinstance(entry, Change) and not line.is_void and entry.slots.get("live") is not None:
            digest = entry.slots["live"].digest  # type: ignore[union-attr]
            if entry.kind == "forced" or (digest not in known and entry.suggestion is None):
                assert entry.first is not None
                assert same(entry.first.by) != same(entry.by)
            known.add(str(digest))


def test_an_entry_of_an_older_version_reads_as_it_did() -> None:
    change = {"schema": 1, "kind": "change", "slots": {"live": {"digest": OLD, "threshold": 0.5}},
              "expects": {"live": 0}, "by": "ann", "reason": "x", "cause": "deploy",
              "at": START.isoformat()}  # fmt: skip
    state = Deployments()
    line = state.fold(b"ledger/00000001-00000000", orjson.dumps(change))
    assert line is not None
    assert isinstance(line.entry, Change)
    assert (line.entry.verified, line.entry.first) == (None, None)
    assert state.slot("live").digest == OLD
