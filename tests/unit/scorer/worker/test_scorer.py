"""The worker where Kafka fails it: a fetch that cannot be settled, and work that another scorer has taken over."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import ProducerFenced
from faust.types import TP

from harness.patience import PATIENCE_SECONDS
from scorer.bundles.store import BundleStore
from scorer.errors import UserError
from scorer.pipeline.batch import Published
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView
from scorer.process.health import Health
from scorer.settings import ScorerSettings
from scorer.streaming.fetch import Batch
from scorer.worker.counting import Counting
from scorer.worker.live import LiveLoader
from scorer.worker.recovery import IN_FLIGHT
from scorer.worker.scorer import Scorer
from scorer.worker.writer import Partition, Work


def a_batch() -> Batch:
    fetch: Any = SimpleNamespace()
    record = SimpleNamespace(offset=0, key=b"c", value=b"{}", timestamp=0)
    return Batch(TP("transactions", 0), [record], 1, 0, fetch, 0)


def a_scorer(tmp_path: Path) -> Scorer:
    """One that owns partition 0."""
    view = FeatureView(name="v")
    settings = ScorerSettings(kafka=("127.0.0.1:1",))
    no_model = LiveLoader(BundleStore(str(tmp_path), tmp_path), view)
    scorer = Scorer(settings, view, Reading(), no_model, Health(), Counting())
    scorer._partitions[0] = Partition(CardStates(), Published(), 0)
    return scorer


@pytest.mark.anyio
@pytest.mark.parametrize("is_moved_on", [False, True])
async def test_who_is_fenced_expects_a_rebalance_unless_it_was_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_moved_on: bool
) -> None:
    """A refusal may come late, when this scorer has partitions of a later generation: it goes on with these."""
    scorer = a_scorer(tmp_path)
    failures: list[BaseException] = []

    async def no_rebalance(_: int) -> bool:
        return False

    async def fail(error: BaseException) -> None:
        failures.append(error)

    monkeypatch.setattr(scorer.app, "rebalanced", no_rebalance)
    monkeypatch.setattr(scorer.app, "fail", fail)
    monkeypatch.setattr(type(scorer.app), "consumer", SimpleNamespace(drop=lambda _: None))
    monkeypatch.setattr(type(scorer.app), "consumer_generation_id", 2)
    batch = a_batch()
    settled: Any = SimpleNamespace()
    work = Work([(batch, scorer._partitions[0], settled)], "")
    await scorer._room.acquire()
    if is_moved_on:
        scorer._partitions[0] = Partition(CardStates(), Published(), 0)
    await scorer.gave_up(work, ProducerFenced())
    await asyncio.sleep(0.01)
    assert len(failures) == (not is_moved_on)


@pytest.mark.anyio
async def test_a_fetch_that_cannot_be_settled_leaves_its_room(tmp_path: Path) -> None:
    scorer = a_scorer(tmp_path)
    for _ in range(2 * IN_FLIGHT):
        with pytest.raises(UserError, match="slot live"):
            await asyncio.wait_for(scorer.accept([a_batch()]), PATIENCE_SECONDS)
    await asyncio.wait_for(scorer.drain(), PATIENCE_SECONDS)
