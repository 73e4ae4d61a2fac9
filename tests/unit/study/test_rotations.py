"""The study of releases plants the harm that it says, counts by rules of its own, and comes to its end."""

from __future__ import annotations

import numpy as np
import pytest

from shadow.comparison.totals import Run
from shadow.gate.evidence import judged
from shadow.gate.findings import Decision
from study.rotations import office
from study.rotations.book import Book
from study.rotations.run import failed, study
from study.rotations.watched import watch
from study.rotations.world import CHANCE, FRAUD, NAMES, RELEASE, Harm, draw, evidence


@pytest.mark.parametrize(
    ("harm", "lost", "insulted"),
    [(Harm(), 0.0, 0.0), (Harm(loses=0.1), 0.1, 0.0), (Harm(insults=0.2), 0.0, 0.2), (Harm(gains=0.1), -0.1, 0.0)],
)
def test_harm_is_what_it_says(harm: Harm, lost: float, insulted: float) -> None:
    found = draw(np.random.default_rng(1), 14, harm)
    live = (found.side < 2).sum()
    by = {
        (side, fraud): int(((found.side == side) & (found.fraud == fraud)).sum()) for side in (1, 2) for fraud in (0, 1)
    }
    assert (by[1, 1] - by[2, 1]) / live == pytest.approx(lost, abs=0.01)
    assert (by[2, 0] - by[1, 0]) / live == pytest.approx(insulted, abs=0.01)
    assert found.fraud[found.side < 2].mean() == pytest.approx(FRAUD, abs=0.02)
    assert (found.side == 2).sum() / live == pytest.approx(CHANCE + harm.insults + harm.gains, abs=0.01)


def test_harm_in_one_country_is_there_alone_and_begins_on_its_day() -> None:
    found = draw(np.random.default_rng(2), 10, Harm(loses=0.3, country="FR", from_day=5))
    for name in ("DE", "FR", "ES"):
        here = found.where[:, 1] == NAMES.index(f"country={name}")
        for late in (False, True):
            some = here & ((found.day >= 5) == late) & (found.side < 2)
            expected = 0.3 + 0.7 * CHANCE if name == "FR" and late else CHANCE
            assert (found.side[some] == 1).mean() == pytest.approx(expected, abs=0.02), (name, late)


def test_the_gate_promotes_a_better_model_of_it_and_rejects_a_harmful_one() -> None:
    for harm, decision in ((Harm(gains=0.05), Decision.PROMOTE), (Harm(loses=0.2, country="FR"), Decision.REJECT)):
        rng = np.random.default_rng(3)
        seen = evidence(draw(rng, 14, harm), draw(rng, 14, Harm()), 14, Run(1, 1), rng)
        assert judged(seen, RELEASE).decision is decision


def test_the_watch_finds_planted_harm_and_none_in_a_twin() -> None:
    assert watch("good", 0, seed=1).day is None
    assert watch("bad", 0, seed=1).day is not None


def test_the_book_counts_by_hand() -> None:
    book = Book(needed=2, days=20)
    book.accepted("retrain", 0.0)
    book.accepted("retrain", 14.0)
    book.switched_on("retrain")
    assert not book.on, "too soon"
    book.accepted("retrain", 28.0)
    book.switched_on("retrain")
    assert book.on == {"retrain"}
    book.broken("design")
    assert book.on == {"retrain"}
    book.broken()
    assert (book.on, book.lost, book.row["retrain"]) == (set(), 1, [])


@pytest.mark.slow
def test_a_few_rotations_end_as_the_rules_say_and_every_dossier_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office, "ROTATIONS", 5)
    monkeypatch.setattr(office, "RULES", office.Rules(2, 14.0))
    desk = office.Office(1)
    desk.book = Book(2, 14.0)
    tale = desk.run()
    assert tale.counts["rotations"] == 5
    assert tale.dossiers == tale.replayed > 0
    assert tale.disagreed == []


def test_a_promise_that_is_not_kept_is_named() -> None:
    kept = {
        "harmful_live": 0, "replayed": 3, "dossiers": 3, "disagreed": [], "watch_false_alarm": 0.0, "watch_power": 1.0
    }  # fmt: skip
    assert failed(kept) == []
    for name, value in (("harmful_live", 1), ("replayed", 2), ("disagreed", ["x"]), ("watch_false_alarm", 0.02),
                        ("watch_power", 0.9)):  # fmt: skip
        assert len(failed(kept | {name: value})) == 1, name
    assert callable(study)
