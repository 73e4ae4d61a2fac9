"""What a training gets of an archive: each transaction once, as it was served, with what was known of it by a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

from harness.decisions import a_decision
from scorer.bundles.lineage import ByRate, Recipe
from scorer.errors import UserError
from scorer.pipeline.instants import instant_ms
from scorer.pipeline.money import Money
from scorer.pipeline.view import Attribute, FeatureView
from scorer.sources.label_cells import UNKNOWN
from scorer.training.making import Material
from scorer.training.served import ServedMaking
from scorer.training.train import train
from shadow.archive.rows import KINDS
from shadow.archive.served import served
from shadow.archive.tables import Archive, Chunk

VIEW = FeatureView(name="v", attributes=(Attribute(name="age", kind="number"),))
START = datetime(2026, 1, 1, tzinfo=UTC)
#: When everything has long been archived.
LATE = "2026-06-01T00:00:00Z"
#: When labels are looked at.
T = "2026-03-01T00:00:00Z"


def stamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


class Kept:
    """An archive that is written without a broker. Records arrive when they say."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "archive")
        self._place, self._reached = Archive(self.address, {}), dict.fromkeys(("decisions", "labels"), 0)

    def add(self, name: str, values: list[tuple[str, Any]]) -> None:
        """values: of each record, when it arrived, and what it says."""
        kind = next(kind for kind in KINDS if kind.table == name)
        first = self._reached[name]
        records = [
            SimpleNamespace(
                offset=first + at, value=orjson.dumps(value), key=b"k", timestamp=instant_ms(when), headers=[]
            )
            for at, (when, value) in enumerate(values)
        ]
        self._reached[name] = after = first + len(records)
        self._place.table(kind, name).append([Chunk(0, first, after, kind.build(0, records, ()))])

    def label(
        self, transaction: str, arrived: str, verdict: str = "fraud", source: str = "chargeback", by: str = "a"
    ) -> None:
        said = {
            "transaction_id": transaction,
            "source": source,
            "verdict": verdict,
            "by": by,
            "at": "2026-01-02T00:00:00Z",
        }
        self.add("labels", [(arrived, said)])

    def read(self, as_of: str = T, **bounds: str) -> Any:
        told: list[str] = []
        since, until = (None if name not in bounds else instant_ms(bounds[name]) for name in ("since", "until"))
        return served(self.address, VIEW, since, until, instant_ms(as_of), told.append), told

    def material(self, as_of: str = T, **asked: Any) -> Material:
        recipe = Recipe(features=VIEW.names, labels_known_by=as_of, label_delay=3600, **asked)
        return ServedMaking(recipe, VIEW, Money()).read(self.address, lambda text: None)


def a_row(at: int, arrived: str = "2026-02-01T00:00:00Z", **changes: Any) -> tuple[str, Any]:
    features = [float(at % 7), *(float(at % k) for k in range(2, len(VIEW.names) + 1))]
    occurred = stamp(START + timedelta(minutes=at))
    return arrived, a_decision(at, **{"view": VIEW.id, "features": features, "occurred_at": occurred, **changes})


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_snapshots_are_those_that_were_served_bit_for_bit(kept: Kept) -> None:
    odd = [0.1 + 0.2, 5e-324, -0.0, None, 1e308, *([1 / 3] * (len(VIEW.names) - 5))]
    kept.add("decisions", [a_row(1, features=odd[: len(VIEW.names)], amount_minor=12345)])
    rows, _ = kept.read()
    expected = np.array([np.nan if cell is None else cell for cell in odd[: len(VIEW.names)]])
    assert rows.matrix[0].tobytes() == expected.tobytes()
    assert (rows.ids, rows.minor.tolist(), rows.occurred_ms.tolist()) == (
        ["t1"],
        [12345],
        [instant_ms("2026-01-01T00:01:00Z")],
    )


def test_repeats_refunds_other_views_and_what_is_no_decision_are_left_out(kept: Kept) -> None:
    kept.add(
        "decisions",
        [
            a_row(1), a_row(2, repeat=True), a_row(3, refund=True), a_row(4, view="another"), a_row(5, features=[1.0]),
            a_row(6, transaction_id="t1"), ("2026-02-01T00:00:00Z", {"no": "decision"}), a_row(7),
        ],
    )  # fmt: skip
    rows, told = kept.read()
    assert sorted(rows.ids) == ["t1", "t7"]
    assert rows.repeats == 1
    assert told == [
        "1 decisions were made on other feature views, and are not used",
        "1 decisions do not have the features of their view, and are not used",
    ]


def test_times_bound_what_is_read_and_what_came_later_is_not_there_yet(kept: Kept) -> None:
    kept.add("decisions", [a_row(at) for at in range(5)] + [a_row(5, arrived=LATE)])
    assert sorted(kept.read()[0].ids) == ["t0", "t1", "t2", "t3", "t4"]
    assert sorted(kept.read(as_of="2026-06-02T00:00:00Z")[0].ids) == [f"t{at}" for at in range(6)]
    bound = kept.read(since="2026-01-01T00:01:00Z", until="2026-01-01T00:03:00Z")[0]
    assert sorted(bound.ids) == ["t1", "t2"]


def test_what_live_blocked_is_unknown_until_it_is_reviewed(kept: Kept) -> None:
    kept.add("decisions", [a_row(at, decision="block" if at % 2 else "allow") for at in range(6)])
    for at in (0, 1):
        kept.label(f"t{at}", "2026-02-01T00:00:00Z")
    kept.label("t3", "2026-02-01T00:00:00Z", "fraud", "review")
    kept.label("t5", "2026-02-01T00:00:00Z", "legit", "review")
    rows, _ = kept.read()
    assert dict(zip(rows.ids, rows.labels.tolist(), strict=True)) == {
        "t0": 1, "t1": UNKNOWN, "t2": 0, "t3": 1, "t4": 0, "t5": 0,
    }  # fmt: skip


def test_a_label_by_card_and_second_counts_unless_it_fits_several(kept: Kept) -> None:
    same = {"occurred_at": "2026-01-01T00:01:00Z", "card_id": "twice"}
    kept.add("decisions", [a_row(0), a_row(1, **same), a_row(2, **same)])
    for card, second in (("card-0", "2026-01-01T00:00:00Z"), ("twice", "2026-01-01T00:01:00Z")):
        said = {
            "card_id": card,
            "occurred_at": second,
            "source": "chargeback",
            "verdict": "fraud",
            "by": "a",
            "at": second,
        }
        kept.add("labels", [("2026-02-01T00:00:00Z", said)])
    rows, _ = kept.read()
    assert dict(zip(rows.ids, rows.labels.tolist(), strict=True)) == {"t0": 1, "t1": 0, "t2": 0}


def filled(kept: Kept, n: int = 2000) -> None:
    """Frauds are those with the largest first feature, and some of them are known."""
    kept.add("decisions", [a_row(at) for at in range(n)])
    for at in range(6, n, 7 * 5):
        kept.label(f"t{at}", "2026-02-01T00:00:00Z")


def digest_of(kept: Kept, as_of: str = T) -> str:
    material = kept.material(as_of)
    recipe = Recipe(
        features=VIEW.names,
        labels_known_by=as_of,
        label_delay=3600,
        parameters={"num_iterations": 3, "min_data_in_leaf": 5},
    )
    return train(material.history, recipe, created_at=START, view_record=None).digest


def test_a_label_that_moves_over_the_time_of_looking_changes_the_model_and_one_that_moves_before_it_does_not(
    tmp_path: Path,
) -> None:
    edge = datetime(2026, 3, 1, tzinfo=UTC)
    found = {}
    for name, arrived in {
        "long before": edge - timedelta(days=9), "just before": edge, "just after": edge + timedelta(seconds=1),
        "never": None,
    }.items():  # fmt: skip
        kept = Kept(tmp_path / name)
        filled(kept)
        if arrived is not None:
            kept.label("t13", stamp(arrived))
        found[name] = digest_of(kept)
    assert found["long before"] == found["just before"] != found["just after"] == found["never"]


def test_an_archive_that_has_grown_since_gives_the_same_model_as_of_then(kept: Kept) -> None:
    filled(kept)
    before = digest_of(kept)
    kept.add("decisions", [a_row(at, arrived=LATE) for at in range(2000, 2100)])
    kept.label("t20", LATE)
    assert digest_of(kept) == before
    assert digest_of(kept, "2026-06-02T00:00:00Z") != before


def test_the_block_rate_counts_what_nobody_can_label(kept: Kept) -> None:
    # a tenth of the transactions is riskier than all others, and live blocks half of these: too many for 8 %
    rows = [a_row(at, decision="block" if at % 20 == 16 else "allow") for at in range(2000)]
    for at, (_, row) in enumerate(rows):
        row["features"][0] = 50.0 if at % 10 == 6 else float(at % 5)
    kept.add("decisions", rows)
    for at in range(6, 2000, 20):
        kept.label(f"t{at}", "2026-02-01T00:00:00Z")
    history = kept.material().history
    recipe = Recipe(
        features=VIEW.names,
        labels_known_by=T,
        label_delay=3600,
        threshold=ByRate(rate=0.08),
        parameters={"num_iterations": 20, "min_data_in_leaf": 5},
    )
    assert train(history, recipe).threshold > 0.2 > train(replace(history, unlabelled=None), recipe).threshold


def test_an_archive_without_frauds_or_decisions_is_refused_in_one_line(kept: Kept) -> None:
    with pytest.raises(UserError, match="has no decisions; start `shadow archive run`"):
        kept.read()
    kept.add("decisions", [a_row(1)])
    with pytest.raises(UserError, match="no fraud is known"):
        kept.material()
    with pytest.raises(UserError, match="has no decision on this feature view in that time"):
        kept.material(since="2026-02-01T00:00:00Z")


def test_an_archive_that_is_damaged_is_told_in_one_line(kept: Kept) -> None:
    kept.add("decisions", [a_row(at) for at in range(5)])
    for path in Path(kept.address).rglob("*.parquet"):
        path.write_bytes(b"PAR1" + b"\x1b[31m damaged " * 20 + b"PAR1")
    with pytest.raises(UserError, match="cannot be read") as told:
        kept.read()
    assert "\n" not in str(told.value)
    assert "\x1b" not in str(told.value)
