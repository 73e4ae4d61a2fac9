"""`shadow levels` on real Delta tables: every decision once, the label that was known then, and nothing pending."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from harness.decisions import Doubling, a_decision
from harness.models import REPEATED, STREAM, Models
from harness.stack import Stack, wait_for
from scorer.errors import UserError
from shadow.archive.level_sums import FRAUD, HONEST, UNKNOWN
from shadow.archive.levels_read import Gathered, Window, gathered
from shadow.archive.rows import KINDS
from shadow.archive.tables import Archive, Chunk, TopicTable
from shadow.comparison.segments import Segments
from shadow.comparison.totals import Run, RunTotals
from shadow.gate.criteria import parse
from shadow.store.connection import connect
from shadow.store.reader import TallyReader

SEGMENTS = Segments.model_validate(
    {"country": {"field": "country", "values": ["DE"]}, "amount": {"field": "amount", "bands": [50]}}
)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
DELAY = timedelta(days=45)  # before 2026-01-15
(DECISIONS,) = (kind for kind in KINDS if kind.table == "decisions")
(LABELS,) = (kind for kind in KINDS if kind.table == "labels")


def table(folder: Path, kind: Any, records: Sequence[tuple[int, Any]], ms: int = 0) -> TopicTable:
    """A table of records, by partition, in several commits."""
    out = Archive(str(folder), {}).table(kind, kind.table)
    for partition in sorted({partition for partition, _ in records}):
        bodies = [body for at, body in records if at == partition]
        made = [
            SimpleNamespace(
                value=body if isinstance(body, bytes) else orjson.dumps(body),
                offset=offset,
                timestamp=ms,
                headers=[],
                key=None,
            )
            for offset, body in enumerate(bodies)
        ]
        for start in range(0, len(made), 500):
            part = made[start : start + 500]
            out.append([Chunk(partition, start, start + len(part), kind.build(partition, part, ()))])
    return out


def window(**changes: Any) -> Window:
    return Window(**({"first": None, "last": None, "as_of": AS_OF, "delay": DELAY} | changes))


def of(folder: Path, decisions: list[Any], labels: list[Any], **changes: Any) -> Gathered:
    return gathered(
        table(folder / "a", DECISIONS, decisions),
        table(folder / "a", LABELS, labels) if labels else None,
        Doubling(),  # type: ignore[arg-type]  # scores by the first feature
        SEGMENTS,
        100.0,
        window(**changes),
    )


def a_label(transaction: str, verdict: str, source: str = "review", at: str = "2026-02-01T00:00:00Z") -> dict[str, Any]:
    return {"transaction_id": transaction, "verdict": verdict, "source": source, "by": "ann", "at": at}


def a_stream(n: int, seed: int) -> tuple[list[tuple[int, Any]], list[tuple[int, Any]], pd.DataFrame]:
    """Decisions and labels, and by a recount of its own what has to come of each transaction."""
    rng, rows, labels, kept = np.random.default_rng(seed), [], [], []
    for at in range(n):
        partition, source = at % 3, at // 3
        occurred = BEGIN + timedelta(minutes=int(rng.integers(0, 20 * 1440)))
        score, feature, minor = round(rng.random(), 3), round(rng.random(), 3), int(rng.integers(1, 10_000))
        is_block = score >= 0.5
        country = str(rng.choice(["DE", "FR"]))
        row = a_decision(
            source,
            transaction_id=f"t{at}",
            occurred_at=occurred.isoformat(),
            card_id=f"card-{rng.integers(40)}",
            country=country,
            decision="block" if is_block else "allow",
            score=score,
            features=[feature],
            amount_minor=minor,
            source={"partition": partition, "offset": source},
        )
        odd = rng.random()
        if odd < 0.03:
            row["repeat"] = True
        elif odd < 0.06:
            row |= {"override": "block_all", "score": None, "decision": "block"}
        elif odd < 0.08:
            row["refund"] = True
        rows.append((partition, row))
        if odd > 0.97:
            rows.append((partition, row))  # after a crash it was decided again
        review = str(rng.choice(["", "", "fraud", "legit", "unsure"]))
        chargeback = rng.random() < 0.2
        is_late = rng.random() < 0.1
        known_at = "2026-03-02T00:00:00Z" if is_late else "2026-02-01T00:00:00Z"
        if review:
            labels.append((partition, a_label(f"t{at}", review, at=known_at)))
        if chargeback:
            labels.append((partition, a_label(f"t{at}", "fraud", "chargeback", known_at)))
        if odd < 0.08:
            continue
        state = FRAUD if chargeback and not is_late and not is_block else UNKNOWN if is_block else HONEST
        if review in ("fraud", "legit") and not is_late:
            state = FRAUD if review == "fraud" else HONEST
        kept.append(
            {
                "live": is_block,
                "candidate": feature >= 0.5,
                "state": state,
                "minor": minor,
                "country": country,
                "day": occurred.date(),
                "is_young": occurred >= AS_OF - DELAY,
            }
        )
    return rows, labels, pd.DataFrame(kept)


@pytest.mark.parametrize("seed", [1, 2])
def test_sums_are_those_of_a_recount(tmp_path: Path, seed: int) -> None:
    rows, labels, frame = a_stream(3000, seed)
    rows.insert(7, (0, b"no decision"))
    found = of(tmp_path, rows, labels)
    old = frame[~frame["is_young"]]
    for at, name in enumerate(SEGMENTS.names):
        parts = {
            "all": old["minor"] >= 0,
            "country=DE": old["country"] == "DE",
            "country=other": old["country"] != "DE",
            "amount=<50": old["minor"] < 5000,
            "amount=>=50": old["minor"] >= 5000,
            "amount=other": old["minor"] < 0,
        }
        mine = old[parts[name]]
        cells = mine["live"].astype(int) + 2 * mine["candidate"].astype(int)
        for cell in range(4):
            for state in (FRAUD, HONEST, UNKNOWN):
                hit = mine[(cells == cell) & (mine["state"] == state)]
                assert found.sums.counts[at, cell, state] == len(hit), (name, cell, state)
                assert found.sums.minor[at, cell, state] == hit["minor"].sum()
    assert found.sums.pending[0] == frame["is_young"].sum()
    assert found.left_out["unreadable"] == 1
    assert found.left_out["decided_again"] == len(rows) - 3001


def test_a_transaction_whose_label_may_still_come_is_never_honest(tmp_path: Path) -> None:
    rows = [(0, a_decision(at, occurred_at=f"2026-01-{day:02d}T12:00:00Z")) for at, day in enumerate((14, 15, 16))]
    found = of(tmp_path, rows, [(0, a_label("t2", "legit"))])
    assert found.sums.counts[0].sum(axis=0).tolist() == [0, 1, 0]
    assert found.sums.pending[0] == 2, "even with a label: those that come early are mostly fraud"


def test_what_came_to_be_known_later_does_not_count(tmp_path: Path) -> None:
    rows = [(0, a_decision(0, occurred_at="2026-01-02T12:00:00Z"))]
    labels = [(0, a_label("t0", "fraud", "chargeback", "2026-02-10T00:00:00Z"))]
    early = datetime(2026, 2, 9, tzinfo=UTC)
    for as_of, fraud in ((early, 0), (AS_OF, 1)):
        found = of(tmp_path / str(fraud), rows, labels, as_of=as_of, delay=timedelta(days=10))
        assert found.sums.counts[0].sum(axis=0).tolist() == [fraud, 1 - fraud, 0]


def test_a_label_by_card_and_second_counts_unless_it_fits_several(tmp_path: Path) -> None:
    same = {"card_id": "card-1", "occurred_at": "2026-01-02T12:00:00.400Z"}
    rows = [(0, a_decision(0, **same)), (0, a_decision(1, card_id="card-2", occurred_at="2026-01-02T12:00:00Z"))]
    labels = [
        (0, {"card_id": card, "occurred_at": "2026-01-02T12:00:00Z", "verdict": "fraud", "source": "chargeback",
             "by": "acquirer", "at": "2026-02-01T00:00:00Z"})
        for card in ("card-1", "card-2")
    ]  # fmt: skip
    found = of(tmp_path / "one", rows, labels)
    assert found.sums.counts[0].sum(axis=0).tolist() == [2, 0, 0]
    twice = [*rows, (0, a_decision(2, **same))]
    found = of(tmp_path / "two", twice, labels)
    assert found.sums.counts[0].sum(axis=0).tolist() == [1, 2, 0]
    assert found.left_out["labels_that_fit_several"] == 1


def test_only_the_days_asked_for_are_read_and_none_is_said_so(tmp_path: Path) -> None:
    rows = [(0, a_decision(at, occurred_at=f"2026-01-{at + 1:02d}T12:00:00Z")) for at in range(9)]
    found = of(tmp_path, rows, [], first=date(2026, 1, 3), last=date(2026, 1, 5))
    assert (found.days, found.sums.counts[0].sum()) == (["2026-01-03", "2026-01-04", "2026-01-05"], 3)
    with pytest.raises(UserError, match="has no decisions of these days"):
        of(tmp_path, rows[:0], [], first=date(2027, 1, 3))


def test_a_snapshot_that_the_candidate_cannot_score_is_told_apart(tmp_path: Path) -> None:
    rows = [(0, a_decision(at, occurred_at="2026-01-02T12:00:00Z", features=[None if at else 0.7])) for at in range(3)]
    found = of(tmp_path, rows, [])
    assert (found.sums.counts[0].sum(), found.sums.unscored[0]) == (1, 2)


def test_a_snapshot_of_another_width_spoils_no_other(tmp_path: Path) -> None:
    widths = [[0.7], [0.7, 0.1], [0.6], [], [0.2]]
    rows = [(0, a_decision(at, occurred_at="2026-01-02T12:00:00Z", features=of)) for at, of in enumerate(widths)]

    class Strict(Doubling):
        @property
        def score(self) -> Any:
            def scored(view: str, matrix: Any) -> Any:
                return matrix[:, 0] if matrix.shape[1] == 1 else np.full(len(matrix), np.nan)

            return scored

    found = gathered(
        table(tmp_path, DECISIONS, rows),
        None,
        Strict(),
        SEGMENTS,
        100.0,
        window(),  # type: ignore[arg-type]
    )
    assert (found.sums.counts[0].sum(), found.sums.unscored[0]) == (3, 2)
    assert found.sums.counts[0, 2:].sum() == 2, "blocked by the candidate"


def test_absurd_amounts_overflow_nothing(tmp_path: Path) -> None:
    rows = [(0, a_decision(at, occurred_at="2026-01-02T12:00:00Z", amount_minor=2**62)) for at in range(4)]
    found = of(tmp_path, rows, [(0, a_label(f"t{at}", "fraud")) for at in range(4)])
    assert found.sums.minor[0, 0, FRAUD] == 4 * 2.0**62


CRITERIA = "schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\n"


def test_the_candidate_decides_as_its_shadow_has_seen_it(stack: Stack, models: Models) -> None:
    (stack.folder / "release.yaml").write_text(CRITERIA)
    stack.env |= {"SHADOW_RELEASE": str(stack.folder / "release.yaml")}
    stack.deploy(models.candidate, "candidate")
    stack.start("scorer", "run")
    stack.start("shadow", "run", "--slot", "candidate")
    stack.run("scorer", "replay", str(models.stream))
    stack.until_settled(STREAM + REPEATED)
    told = stack.fails("shadow", "levels")
    assert "start `shadow archive run`, or correct SHADOW_ARCHIVE" in told
    stack.run("shadow", "archive", "run", "--once")

    asked = ("shadow", "levels", "--label-delay", "0", "--false-block-cost", "5", "--json")
    found = orjson.loads(stack.run(*asked))
    (whole,) = [one for one in found["segments"] if one["segment"] == "all"]
    assert (whole["pending"], whole["unscored"], found["currency"]) == (0, 0, "EUR")
    assert whole["judged"] > 0.9 * STREAM
    assert found["candidate"]["digest"] == models.candidate
    names = parse(CRITERIA).segments.names

    def totals() -> RunTotals:
        async def go() -> RunTotals:
            redis = connect(f"redis://{stack.store.address}/0")
            try:
                return await TallyReader(redis, "candidate", names).totals(Run(1, 1))
            finally:
                await redis.aclose()

        return asyncio.run(go())

    wait_for("the shadow has compared all of it", lambda: totals().compared == whole["judged"])
    counted = totals().segments
    for one in found["segments"]:
        part = counted[one["segment"]]
        assert one["judged"] == part.compared
        assert one["live"]["blocks"] == part.live_blocks
        assert one["candidate"]["blocks"] == int(part.counts[1] + part.counts[3])
        assert one["live"]["unknown"] == one["live"]["blocks"], "nobody has reviewed a block"
    assert orjson.loads(stack.run(*asked, "--label-delay", "100000"))["segments"][0]["judged"] == 0
    text = stack.run("shadow", "levels", "--label-delay", "0")
    assert "blocks of live that nobody reviewed" in text
    assert "if all that is unknown is honest" in text
    assert "--curve country=XX: release.yaml declares no such segment" in stack.fails(
        "shadow", "levels", "--curve", "country=XX"
    )
    assert "slot control: is empty" in stack.fails("shadow", "levels", "--slot", "control")
