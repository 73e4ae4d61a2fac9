"""Bundles and a stream that every integration test shares, and what an undisturbed scorer makes of that stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness import models as shared
from harness.kafka import Kafka
from harness.models import REPEATED, STREAM, Decisions, Models
from harness.stack import Stack, by_source
from harness.stores import RedisServer
from shadow.local import embedded
from shadow.store.connection import connect


@pytest.fixture
async def client(server: RedisServer, anyio_backend: str) -> AsyncIterator[Any]:
    """A client of the test module's own server, which is empty."""
    client = connect(f"redis://{server.address}/0")
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return shared.make(tmp_path_factory.mktemp("models"))


on_kafka = pytest.param("kafka", marks=[pytest.mark.needs("kafka"), pytest.mark.variant])


@pytest.fixture(params=["embedded", on_kafka])
def broker_in(request: pytest.FixtureRequest) -> Callable[[Path], embedded.Server | Kafka]:
    """Makes a broker below a folder: the embedded one, and Apache Kafka."""
    return Kafka if request.param == "kafka" else lambda _: embedded.broker()


@pytest.fixture
def stacks(
    models: Models, tmp_path: Path, broker_in: Callable[[Path], embedded.Server | Kafka]
) -> Iterator[Callable[[], Stack]]:
    """Makes stacks, each with live deployed; all are taken down at the end."""
    with ExitStack() as open_ones:

        def make() -> Stack:
            folder = tmp_path / f"stack-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            stack = open_ones.enter_context(Stack(folder, dict(models.env), broker=broker_in(folder / "broker")))
            stack.deploy(models.live, "live")
            return stack

        yield make


@pytest.fixture
def stack(stacks: Callable[[], Stack]) -> Stack:
    """One stack with live deployed."""
    return stacks()


@pytest.fixture(scope="session")
def undisturbed(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Decisions:
    """Decisions on the stream by source, of one scorer that nobody disturbs and nobody shadows."""
    with Stack(tmp_path_factory.mktemp("undisturbed"), dict(models.env)) as stack:
        stack.deploy(models.live, "live")
        stack.start("scorer", "run")
        stack.run("scorer", "replay", str(models.stream))
        stack.until_settled(STREAM + REPEATED)
        return by_source(stack.decisions())
