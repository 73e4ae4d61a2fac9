"""The second view and drift out of a real store: from decisions on the wire to what a look says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from harness.stores import RedisServer, valkey
from scorer.deployments.records import Change, PublishedView, Target, encode
from scorer.deployments.slots import Deployments
from shadow.comparison.absorb import absorb
from shadow.comparison.decisions import read
from shadow.comparison.increment import Increment, add
from shadow.comparison.memory import Memory
from shadow.gate.criteria import Criterion, parse
from shadow.gate.findings import Verdict
from shadow.metrics import DRIFT_PSI, MATCHED_BLOCKS, MATCHED_THRESHOLD
from shadow.release.look import Look, look
from shadow.serve.gauges import forget, show
from shadow.settings import ShadowSettings
from shadow.store.tallies import Applied, TallyStore

pytestmark = pytest.mark.anyio

RELEASE = parse(
    "schema: 1\nsegments:\n  country: {field: country, values: [DE]}\nminimum_covered_hours: 24\ncalibration_days: 7\n"
)
PARTS, DAYS, EACH = 4, 15, 1500
#: A Monday.
START = datetime(2026, 2, 2, tzinfo=UTC)
#: Live blocks 2 % of normal truths; the candidate's scores say the same, and its threshold is far too low.
THRESHOLD, SHIPPED = 1 / (1 + math.exp(-2.05)), 1 / (1 + math.exp(-1.3))
VIEW = "v1.abc"


class Candidate:
    """Scores the second feature."""

    digest, epoch, threshold = "c" * 64, 1, SHIPPED

    def score(self, view: str, matrix: Any) -> Any:
        return matrix[:, 1]


def a_day(rng: np.random.Generator, day: int, start: int, amount: float) -> list[bytes]:
    truth = rng.normal(size=EACH)
    scores = 1 / (1 + np.exp(-truth))
    mine = 1 / (1 + np.exp(-(truth + 0.1 * rng.normal(size=EACH))))
    amounts = rng.lognormal(math.log(amount), 1, EACH)
    rows = []
    for n in range(EACH):
        at = (START + timedelta(days=day, seconds=n * 57)).isoformat()
        rows.append(
            {
                "transaction": {
                    "transaction_id": f"t{start + n}",
                    "occurred_at": at,
                    "card_id": f"card-{rng.integers(0, 3000)}",
                    "country": "DE" if n % 3 else "FR",
                },
                "decision": "block" if scores[n] >= THRESHOLD else "allow",
                "score": float(scores[n]),
                "threshold": THRESHOLD,
                "bundle": "b" * 64,
                "epoch": 1,
                "view": VIEW,
                "features": [float(amounts[n]), float(mine[n]), None],
                "amount_minor": int(amounts[n] * 100),
                "scored_at": at,
                "source": {"partition": 0, "offset": start + n},
            }
        )
    return [orjson.dumps(row) for row in rows]


async def fill(store: TallyStore, days: int, amounts: dict[int, float], seed: int) -> None:
    """So many event days in every partition."""
    rng = np.random.default_rng(seed)
    for partition in range(PARTS):
        memory, start = Memory(), 0
        for day in range(days):
            fence = await store.open_partition(partition, 0)
            values = a_day(rng, day, start, amounts.get(day, 40.0))
            decisions, _ = read(values, range(start, start + EACH))
            what = Increment()
            add(what, absorb(decisions, Candidate(), memory, RELEASE.segments, {}, 100.0, 50_000))
            start += EACH
            assert isinstance(await store.apply(partition, fence, start, what), Applied)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("views"), valkey()) as running:
        yield running


def a_ledger() -> Deployments:
    deployments = Deployments()
    slots = {
        "live": Target(digest="b" * 64, threshold=THRESHOLD),
        "candidate": Target(digest="c" * 64, threshold=SHIPPED),
    }
    for name, target in slots.items():
        change = Change(slots={name: target}, expects={name: 0}, by="t", reason="t", cause="deploy", at="2026-02-01")
        deployments.fold(f"ledger/{deployments.next_seq('a1b2c3d4')}".encode(), encode(change))
    deployments.views[VIEW] = PublishedView(names=("amount", "risk", "gap"), definitions={})
    return deployments


async def a_look(client: Any, days: int, amounts: dict[int, float] | None = None, before: Look | None = None) -> Look:
    if before is None:
        await fill(TallyStore(client, "candidate", RELEASE.segments.names), days, amounts or {}, 1)
    return await look(client, a_ledger(), "candidate", RELEASE, ShadowSettings(), before)


async def test_a_miscalibrated_candidate_is_matched_on_days_that_it_is_not_judged_on(client: Any) -> None:
    seen = await a_look(client, DAYS)
    found = seen.judgement.matched
    assert found is not None
    first = (START - datetime(1970, 1, 1, tzinfo=UTC)).days
    assert found.days == tuple(range(first, first + 7))
    assert found.shipped == SHIPPED
    assert not found.is_as_shipped
    assert seen.judgement.suggested_threshold == found.threshold == pytest.approx(THRESHOLD, abs=0.01)
    whole, parts = found.parts[0], seen.candidate.segments["all"]
    assert sum(whole.counts) == PARTS * EACH * 8 == parts.compared - PARTS * EACH * 7, (
        "judged on the hours it came from"
    )
    assert whole.shift is not None
    assert whole.shift.low < 0 < whole.shift.high < 0.5
    shipped = (parts.counts[1] + parts.counts[3]) / (parts.counts[1] + parts.counts[2])
    assert shipped > 4
    assert found.curve[0].blocks > found.curve[-1].blocks
    assert min(abs(point.threshold - SHIPPED) for point in found.curve) < 0.02


async def test_drift_names_what_has_changed_and_only_that(client: Any) -> None:
    still = await a_look(client, DAYS)
    drift = still.judgement.drift
    assert drift is not None
    assert drift.windows is not None
    assert len(drift.windows.recent) == 7
    assert {row.what for row in drift.rows} == {
        "score: candidate", "score: live", "feature: amount", "feature: risk", "feature: gap",
    }  # fmt: skip
    assert drift.drifted == ()
    assert next(row for row in drift.rows if row.what == "feature: gap").limit is None, "it is always missing"
    await client.flushall()
    moved = await a_look(client, DAYS, dict.fromkeys(range(7, DAYS), 60.0))
    assert moved.judgement.drift is not None
    assert moved.judgement.drift.drifted == ("feature: amount",)
    assert moved.judgement.decision == still.judgement.decision, "drift decides nothing"


async def test_before_anything_follows_the_first_week_nothing_is_said(client: Any) -> None:
    seen = await a_look(client, 7)
    assert seen.judgement.matched is None
    assert seen.judgement.drift is not None
    assert seen.judgement.drift.windows is None
    assert "not known yet" in seen.judgement.drift.told


async def test_drift_is_looked_at_anew_once_an_event_day_has_ended(client: Any) -> None:
    seen = await a_look(client, 9)
    again = await a_look(client, 9, before=seen)
    assert again.judgement.drift is seen.judgement.drift
    assert again.judgement.matched == seen.judgement.matched
    await client.flushall()
    await fill(TallyStore(client, "candidate", RELEASE.segments.names), 10, {}, 1)
    later = await a_look(client, 10, before=seen)
    assert later.judgement.drift is not None
    assert later.judgement.drift.windows is not None
    assert len(later.judgement.drift.windows.recent) == 2


async def test_metrics_show_both_and_forget_a_slot_that_is_gone(client: Any) -> None:
    seen = await a_look(client, DAYS)
    show(seen)
    assert MATCHED_THRESHOLD.labels("candidate")._value.get() == seen.judgement.suggested_threshold
    assert [sample.labels["segment"] for sample in MATCHED_BLOCKS.collect()[0].samples] == [
        name for name in RELEASE.segments.names if name != "amount=other"
    ]
    assert len(DRIFT_PSI.collect()[0].samples) == 5
    forget("candidate")
    assert not any(gauge.collect()[0].samples for gauge in (MATCHED_THRESHOLD, MATCHED_BLOCKS, DRIFT_PSI))


async def test_a_look_asks_the_store_of_bundles_for_lineage_where_the_criteria_do(client: Any, tmp_path: Path) -> None:
    await fill(TallyStore(client, "candidate", RELEASE.segments.names), 2, {}, 1)
    where = ShadowSettings(store=str(tmp_path), cache=tmp_path / "cache")
    seen = await look(client, a_ledger(), "candidate", RELEASE, where)
    assert seen.evidence is not None
    assert seen.evidence.origin is None, "nobody asked"
    asks = RELEASE.model_copy(update={"require_lineage": True})
    seen = await look(client, a_ledger(), "candidate", asks, where)
    (finding,) = [one for one in seen.judgement.findings if one.criterion is Criterion.LINEAGE]
    assert finding.verdict is Verdict.INSUFFICIENT
    assert finding.reason.startswith("Nobody can tell what made the candidate: its manifest cannot be read (")
