"""Who names what is not there is told the nearest name that is."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.ledgers import a_ledger, fill
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.process.signing import SAID, SLOT
from shadow.comparison.totals import Run
from shadow.release.named import (
    UnknownNameError,
    nearest,
    require_run,
    require_segment,
    require_slot,
    require_transaction,
)

SEGMENTS = ("all", "country=DE", "country=FR", "amount=<20", "channel=online")


@given(st.sampled_from(SEGMENTS), st.integers(0, 12), st.sampled_from("abXYZ="))
def test_one_wrong_letter_is_no_riddle(name: str, at: int, letter: str) -> None:
    typed = name[: at % len(name)] + letter + name[at % len(name) + 1 :]
    if typed in SEGMENTS or name == "all":
        return
    found = nearest(typed, SEGMENTS).removeprefix("did you mean ").rstrip("?")
    assert found in SEGMENTS
    distance = sum(a != b for a, b in zip(found.lower(), typed.lower(), strict=False)) + abs(len(found) - len(typed))
    assert distance <= 2


@given(st.text(max_size=40), st.lists(st.text(max_size=12), max_size=30))
def test_whatever_is_typed_gets_one_short_answer(typed: str, known: list[str]) -> None:
    told = nearest(typed, known)
    assert told.startswith(("did you mean ", "expected one of ", "there is none"))
    assert told.count(", ") <= 12 + sum(name.count(", ") for name in known)


def test_slots_that_were_never_filled_and_live_are_refused() -> None:
    state = a_ledger()
    fill(state, "challenger", 0)
    for slot in ("candidate", "challenger", "control", "previous"):
        require_slot(state, slot)
    with pytest.raises(UnknownNameError, match=r"slot candidat: was never filled; did you mean candidate\?"):
        require_slot(state, "candidat")
    with pytest.raises(UnknownNameError, match=r"slot live: is what candidates are compared with.*such as candidate"):
        require_slot(state, "live")
    with pytest.raises(UnknownNameError, match="slot candidate: is empty; fill it with"):
        require_slot(Deployments(), "candidate")
    with pytest.raises(UnknownNameError, match="slot x: was never filled; there is none yet"):
        require_slot(Deployments(), "x")


def test_segments_runs_and_transactions_that_are_not_there_are_refused() -> None:
    require_segment(SEGMENTS, None)
    require_segment(SEGMENTS, "country=FR")
    with pytest.raises(UnknownNameError, match=r"segment country=fr: .* did you mean country=FR\?"):
        require_segment(SEGMENTS, "country=fr")
    require_run([Run(1, 1), Run(2, 1)], "candidate", Run(2, 1))
    with pytest.raises(UnknownNameError, match=r"run L3-C1: slot candidate never had it; did you mean L\d-C1\?"):
        require_run([Run(1, 1), Run(2, 1)], "candidate", Run(3, 1))
    require_transaction({"t1-17"}, "candidate", "t1-17")
    with pytest.raises(UnknownNameError, match=r"transaction t1-71: .* did you mean t1-17\?.*shadow review next"):
        require_transaction({"t1-17", "t9-99"}, "candidate", "t1-71")


@click.command()
@click.option("--by", type=SAID, required=True)
@click.option("--slot", type=SLOT, default="candidate")
def signed(by: str, slot: str) -> None:
    click.echo(f"{by}|{slot}")


@given(st.text(st.characters(categories=["Z", "P", "S", "Cc"], exclude_characters="\0"), max_size=8))
def test_a_signature_that_says_nothing_is_refused_in_one_line(text: str) -> None:
    done = CliRunner().invoke(signed, [f"--by={text}"])
    assert isinstance(done.exception, UserError)
    assert "\n" not in str(done.exception)
    assert str(done.exception) == "--by: says nothing; give your name, for the record"


def test_a_signature_is_one_line_without_blanks_around_it() -> None:
    assert CliRunner().invoke(signed, ["--by", "  ann\n of  risk "]).output == "ann of risk|candidate\n"
    assert CliRunner().invoke(signed, ["--by", "李"]).output == "李|candidate\n"
    assert CliRunner().invoke(signed, ["--by", "ann\x1b[2J\u202e"]).output == "ann [2J|candidate\n"


@pytest.mark.parametrize("slot", ["Candidate", "a" * 32, "1st", "", "a b", "live\n", "../x"])
def test_what_can_be_no_slot_is_refused_in_one_line(slot: str) -> None:
    done = CliRunner().invoke(signed, ["--by", "ann", f"--slot={slot}"])
    assert isinstance(done.exception, UserError)
    assert "\n" not in str(done.exception)
