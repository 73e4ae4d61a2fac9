"""A fetch that fails leaves its room: a worker that stops waits for what is under way, and for nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from scorer.counting import Counting
from scorer.errors import UserError
from scorer.fetch import Batch
from scorer.http import Health
from scorer.live import LiveLoader
from scorer.pipeline import Published
from scorer.recovery import IN_FLIGHT
from scorer.settings import ScorerSettings
from scorer.store import BundleStore
from scorer.velocity import CardStates
from scorer.view import FeatureView
from scorer.worker import Scorer
from scorer.writer import Partition


def a_batch() -> Batch:
    fetch: Any = SimpleNamespace()
    record = SimpleNamespace(offset=0, key=b"c", value=b"{}", timestamp=0)
    return Batch(TP("transactions", 0), [record], 1, 0, fetch, 0)


@pytest.mark.anyio
async def test_a_fetch_that_cannot_be_settled_leaves_its_room(tmp_path: Path) -> None:
    view = FeatureView(name="v")
    settings = ScorerSettings(kafka=("127.0.0.1:1",))
    no_model = LiveLoader(BundleStore(str(tmp_path), tmp_path), view)
    scorer = Scorer(settings, view, no_model, Health(), Counting())
    scorer._partitions[0] = Partition(CardStates(), Published(), 0)
    for _ in range(2 * IN_FLIGHT):
        with pytest.raises(UserError, match="slot live"):
            await asyncio.wait_for(scorer.accept([a_batch()]), 5)
    await asyncio.wait_for(scorer.drain(), 5)
