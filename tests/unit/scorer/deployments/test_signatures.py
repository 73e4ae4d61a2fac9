"""Only what a trusted key has signed counts: as it was signed, in its place, and within its time."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.changes import AT, a_change
from scorer.deployments.changes import forced
from scorer.deployments.records import (
    Answer,
    Automation,
    Change,
    Entry,
    Erasure,
    First,
    Judged,
    Prepare,
    Rotation,
    Suggestion,
    Target,
    Twin,
    Withdrawal,
    encode,
)
from scorer.deployments.signatures import Signer, TrustedKeys, message
from scorer.deployments.slots import Deployments

KEYS = {name: Ed25519PrivateKey.generate() for name in ("ann", "bob", "eve", "serve", "robot", "cron", "stranger")}
ROLES = {
    "ann": "releaser",
    "bob": "releaser",
    "eve": "admin",
    "serve": "gate",
    "robot": "automation",
    "cron": "rotation",
}
SEQ = "00000001-a1b2c3d4"


def public(name: str) -> str:
    return base64.b64encode(KEYS[name].public_key().public_bytes_raw()).decode()


def trusted(deployment: str = "production", unsigned_until: str | None = None, **until: str) -> TrustedKeys:
    keys = {name: {"public": public(name), "role": role, "until": until.get(name)} for name, role in ROLES.items()}
    return TrustedKeys.model_validate({"keys": keys, "deployment": deployment, "unsigned_until": unsigned_until})


def by(name: str, deployment: str = "production", as_name: str | None = None) -> Signer:
    return Signer(as_name or name, deployment, KEYS[name].sign)


SUGGESTION = Suggestion(
    slot="candidate", target=Target(digest="c" * 64), expects={"live": 1}, criteria="x", evidence={"n": 0.1}, at=AT
)
ENTRIES: list[Entry] = [
    a_change({"live": "a"}, {"live": 0}),
    Prepare(digest="a" * 64, by="ann", at=AT),
    SUGGESTION,
    Answer(suggestion=SEQ, answer="rejected", by="ann", reason="no", at=AT),
    Withdrawal(suggestion=SEQ, cause="expired", reason="late", by="ann", at=AT),
    Erasure(request="0" * 16, partitions=4, samples=2, cases=1, labels=0, by="ann", reason="asked", at=AT),
]


def refusal(keys: TrustedKeys, value: bytes, seq: str = SEQ, before: tuple[str, ...] = ()) -> str | None:
    return keys.refusal(seq, orjson.loads(value), before)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.kind)
def test_what_a_releaser_has_signed_counts(entry: Entry) -> None:
    value = by("ann").signed(SEQ, entry)
    assert refusal(trusted(), value) is None
    without = {name: cell for name, cell in orjson.loads(value).items() if name != "signature"}
    assert without == orjson.loads(encode(entry)), "nothing else is added"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.kind)
def test_the_gate_may_only_suggest_and_withdraw(entry: Entry) -> None:
    why = refusal(trusted(), by("serve").signed(SEQ, entry))
    assert (why is None) == (entry.kind in ("suggestion", "withdrawal")), why


def test_nobody_signs_for_somebody_else() -> None:
    change = a_change({"live": "a"}, {"live": 0})  # by ann
    for signer, why in (
        (by("bob"), "in the name of somebody else"),
        (by("stranger"), "'stranger', which is not trusted"),
        (by("stranger", as_name="ann"), "not that of ann"),
        (by("ann", deployment="staging"), "not that of ann"),
    ):
        assert why in str(refusal(trusted(), signer.signed(SEQ, change)))
    assert "not signed" in str(refusal(trusted(), encode(change)))


def test_a_signature_counts_in_its_own_place_only() -> None:
    value = by("ann").signed(SEQ, ENTRIES[0])
    assert "not that of ann" in str(refusal(trusted(), value, "00000002-a1b2c3d4"))


cells = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3) | st.just("b" * 64)


@given(st.sampled_from(ENTRIES), st.data())
def test_nothing_that_is_signed_can_be_changed(entry: Entry, data: st.DataObject) -> None:
    body: dict[str, Any] = orjson.loads(by("ann").signed(SEQ, entry))
    name = data.draw(st.sampled_from([*(name for name in body if name != "signature"), "new", "override"]))
    other = body | {name: data.draw(cells)}
    if data.draw(st.booleans()) and name in body:
        del other[name]
    if other != body:
        assert trusted().refusal(SEQ, other, ()) is not None


@pytest.mark.parametrize(
    "signature",
    [
        *(None, 3, "x", [], {}, {"key": "ann"}, {"key": "ann", "value": "?"}, {"key": "ann", "value": "AA=="}),
        *({"key": "ann", "value": None}, {"key": ["ann"], "value": "AA=="}, {"key": None, "value": "AA=="}),
    ],
)
def test_a_signature_of_any_shape_is_read_or_refused(signature: Any) -> None:
    body = {**orjson.loads(encode(ENTRIES[0])), "signature": signature}
    assert trusted().refusal(SEQ, body, ()) is not None


def test_a_key_counts_until_its_last_entry() -> None:
    seqs = [f"0000000{n}-a1b2c3d4" for n in range(1, 5)]
    keys = trusted(ann=seqs[1], unsigned_until=seqs[0])
    change = a_change({"live": "a"}, {"live": 0})
    signed = [refusal(keys, by("ann").signed(seq, change), seq, tuple(seqs[:at])) for at, seq in enumerate(seqs)]
    assert [why is None for why in signed] == [True, True, False, False]
    plain = [refusal(keys, encode(change), seq, tuple(seqs[:at])) for at, seq in enumerate(seqs)]
    assert [why is None for why in plain] == [True, False, False, False]
    assert keys.ends == {seqs[0], seqs[1]}


def key_of(y: int, sign: int) -> str:
    return base64.b64encode((y | sign << 255).to_bytes(32, "little")).decode()


def forged(public: bytes) -> bool:
    """Whether somebody without a private key has signed something in a few tries."""
    key = Ed25519PublicKey.from_public_bytes(public)
    for n in range(64):
        for point in (b"\1" + bytes(31), bytes(32), b"\xec" + b"\xff" * 30 + b"\x7f"):
            try:
                key.verify(point + bytes(32), f"message {n}".encode())
            except InvalidSignature:
                continue
            return True
    return False


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18])
@pytest.mark.parametrize("sign", [0, 1])
def test_no_key_is_trusted_for_which_anybody_can_sign(y: int, sign: int) -> None:
    with pytest.raises(ValidationError, match="anybody could sign"):
        TrustedKeys.model_validate({"keys": {"ann": {"public": key_of(y, sign), "role": "releaser"}}})


def test_such_keys_are_a_danger_and_ours_are_none() -> None:
    assert forged(base64.b64decode(key_of(1, 0)))
    assert not forged(KEYS["ann"].public_key().public_bytes_raw())


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"keys": {}}, "keys"),
        ({"keys": {"ann": {"public": "AAAA", "role": "releaser"}}}, "32 bytes"),
        ({"keys": {" ann": {"public": public("ann"), "role": "releaser"}}}, "keys"),
        ({"keys": {"ann": {"public": public("ann"), "role": "owner"}}}, "role"),
        ({"keys": {n: {"public": public("ann"), "role": "releaser"} for n in ("ann", "bob")}}, "ann and bob"),
        ({"keys": {"ann": {"public": public("ann"), "role": "gate"}}, "unsigned_until": "12"}, "unsigned_until"),
    ],
)
def test_trusted_keys_that_make_no_sense_are_refused(told: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        TrustedKeys.model_validate(told)


# --- on the ledger ---


def folded(keys: TrustedKeys, *values: tuple[str, bytes | None]) -> Deployments:
    state = Deployments(keys)
    for seq, value in values:
        state.fold(f"ledger/{seq}".encode(), value)
    return state


def test_the_ledger_takes_up_what_counts_and_nothing_else() -> None:
    good, bad = a_change({"live": "a"}, {"live": 0}), a_change({"live": "b"}, {"live": 0}, by="mallory")
    state = folded(
        trusted(),
        ("00000001-00000000", encode(bad)),
        (SEQ, by("ann").signed(SEQ, good)),
        ("00000001-00000001", by("serve").signed("00000001-00000001", bad)),
    )
    assert state.slot("live").digest == "a" * 64
    assert [(line.seq, line.signed_by) for line in state.ledger] == [(SEQ, "ann")]
    assert [seq for seq, _ in state.refused] == ["00000001-00000000", "00000001-00000001"]
    assert state.foreign == 0


@pytest.mark.parametrize("over", [None, b"garbage", encode(a_change({"live": "b"}, {"live": 0}))])
def test_who_writes_over_an_entry_changes_nothing_and_is_noticed(over: bytes | None) -> None:
    value = by("ann").signed(SEQ, a_change({"live": "a"}, {"live": 0}))
    state = folded(trusted(), (SEQ, value), (SEQ, value), (SEQ, over))
    assert state.slot("live").digest == "a" * 64
    assert [seq for seq, _ in state.refused] == [SEQ]
    assert len(folded(trusted(), (SEQ, over)).refused) == 1, "as compaction leaves it"


def test_an_entry_that_is_gone_is_noticed_by_the_next_one() -> None:
    later = "00000003-a1b2c3d4"
    state = folded(trusted(), (later, by("ann").signed(later, a_change({"live": "a"}, {"live": 0}))))
    assert "was entry 3, and only 0 are before it" in state.refused[0][1]


def test_without_trusted_keys_all_is_as_ever() -> None:
    state = Deployments()
    state.fold(f"ledger/{SEQ}".encode(), by("stranger").signed(SEQ, a_change({"live": "a"}, {"live": 0})))
    assert state.slot("live").digest == "a" * 64
    assert state.ledger[0].signed_by is None
    assert state.refusals == len(state.refused) == 0


def test_whoever_floods_the_ledger_fills_no_memory() -> None:
    state = Deployments(trusted())
    for n in range(1000):
        state.fold(f"ledger/{'9' * 500}{n}".encode(), b"{}")
    assert state.refusals == 1000
    assert len(state.refused) == 100
    assert max(len(seq) for seq, _ in state.refused) == 80


def _automatic(**more: Any) -> Entry:
    change: Entry = a_change({"live": "a"}, {"live": 0}).model_copy(
        update={"automatic": True, "cause": "approve", "by": "robot", **more}
    )
    return change


def _switched(state: Any) -> Automation:
    return Automation(change="retrain", state=state, by="eve", reason="r", at=AT)


@pytest.mark.parametrize(
    ("entry", "who"),
    [
        (_automatic(), {"robot"}),
        (_automatic(cause="rollback"), {"robot"}),
        (_automatic(cause="deploy"), set()),
        (_automatic(cause="override"), set()),
        (_automatic(automatic=False), set()),
        (_switched("lost"), {"serve", "robot", "eve"}),
        (_switched("on"), {"eve"}),
        (_switched("off"), {"eve"}),
    ],
)
def test_only_an_automatic_promotion_or_rollback_needs_no_person(entry: Entry, who: set[str]) -> None:
    allowed = {name for name in ROLES if refusal(trusted(), by(name).signed(SEQ, entry)) is None}
    assert allowed == who


def test_a_forced_release_is_never_automatic() -> None:
    change = _automatic()
    entry = forced(change, Judged(decision="hold", reason="thin"), ())  # type: ignore[arg-type]
    assert "needs the role releaser" in str(refusal(trusted(), by("robot").signed(SEQ, entry)))


def _rotated(**more: Any) -> Rotation:
    fields: dict[str, Any] = {"rotation": "0" * 16, "outcome": "deployed", "as_of": AT, "by": "cron", "reason": "r"}
    digests = {"parent": "a" * 64, "candidate": "b" * 64, "twin": "c" * 64}
    return Rotation(**{**fields, **digests, "at": AT, **more})


def _filled(slots: dict[str, str | None] | None = None, **more: Any) -> Change:
    held = {"candidate": "b", "control": "e"} if slots is None else slots
    twin = {"b" * 64: Twin(digest="c" * 64, threshold=0.5)}
    return a_change(held, dict.fromkeys(held, 0), twins=twin, **{"by": "cron", **more})


@pytest.mark.parametrize(
    ("entry", "counts"),
    [
        (_rotated(), True),
        (_filled(), True),
        (_filled({"candidate": "b"}), True),
        (_rotated(by="ann"), False),
        (_filled(by="ann"), False),
        (_filled({"control": "e"}), False),
        (_filled({"candidate": None}), False),
        (_filled({"candidate": "b", "live": "b"}), False),
        (_filled({"candidate": "b", "previous": "b"}), False),
        (_filled({"candidate": "d"}), False),
        (_filled(cause="approve"), False),
        (_filled(cause="override"), False),
        (_filled(suggestion=SEQ), False),
        (_filled(first=First(approval=SEQ, by="ann")), False),
        (_filled(automatic=True), False),
        (_filled().model_copy(update={"slots": {"candidate": Target(digest="b" * 64, override="block_all")}}), False),
        (Prepare(digest="a" * 64, by="cron", at=AT), False),
        (SUGGESTION, False),
    ],
)
def test_the_key_of_a_rotation_fills_slot_candidate_and_does_nothing_else(entry: Entry, counts: bool) -> None:
    why = refusal(trusted(), by("cron").signed(SEQ, entry))
    assert (why is None) == counts, why


@pytest.mark.parametrize("held", [7, [], {"digest": ["b"]}, {"digest": {"a": 1}}, None])
def test_no_shape_of_a_rotations_change_is_more_than_refused(held: Any) -> None:
    body = {"schema": 1, "kind": "change", "by": "cron", "cause": "deploy", "slots": {"candidate": held}, "at": AT}
    signed = {**body, "signature": by("cron")._signature(message("production", SEQ, body))}
    assert "only puts a bundle" in str(trusted().refusal(SEQ, signed, ()))
