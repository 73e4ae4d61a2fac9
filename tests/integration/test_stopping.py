"""A client whose own task misses its cancellation is stopped all the same."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient

from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack
from scorer.kafka import stopping


@pytest.mark.parametrize("kind", [AIOKafkaConsumer, AIOKafkaProducer, AIOKafkaAdminClient])
def test_a_lost_cancellation_holds_nobody_up(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: Any
) -> None:
    asked = asyncio.Event()

    async def loses_it(*_: object) -> bool:
        """As `asyncio.wait_for` does if the answer comes at that moment."""
        asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return True
        return True

    async def go() -> float:
        client = kind(bootstrap_servers=stack.broker.address, metadata_max_age_ms=200)
        await client.start()
        with monkeypatch.context() as patch:
            patch.setattr(AIOKafkaClient, "_metadata_update", loses_it)
            await asyncio.wait_for(asked.wait(), PATIENCE_SECONDS)
        began = time.monotonic()
        await stopping.stop(client)
        return time.monotonic() - began

    monkeypatch.setattr(stopping, "STOP_SECONDS", 1.0)
    took = asyncio.run(go())
    assert 0.9 < took < 5
    assert "a Kafka client did not stop within 1 s" in caplog.text
