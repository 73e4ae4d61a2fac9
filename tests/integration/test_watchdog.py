"""A worker that stands still although records wait ends, and says where it stood; nobody else does.

Each test runs a real member of a group on a real broker. Only its end is taken away, for it would be that of the tests:
`tests/faults` has real workers stand still, and end.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from harness.kafka import Kafka
from harness.recorder import PARTITIONS, TOPIC, Recorder, make_topic, running, send, until
from scorer.errors import BrokerError
from scorer.kafka.fence import FencedProducer
from scorer.kafka.probe import ANSWER_SECONDS
from scorer.kafka.topics import ensure_topics
from scorer.settings import ScorerSettings
from scorer.streaming import watchdog
from scorer.streaming.faust_internals import client_of, thread_of
from scorer.streaming.watchdog import StalledError
from shadow.local import embedded

pytestmark = pytest.mark.anyio
#: How long a worker may stand still here, and long enough to see that one is left alone.
LIMIT_SECONDS, LONG_SECONDS = 2.0, 6.0
#: A fetch that is under way ends within this time.
UNDER_WAY_SECONDS = 1.0


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "REBALANCE_SECONDS", 2 * LIMIT_SECONDS)
    monkeypatch.setattr(Recorder, "is_kept", True)
    for noisy in ("faust", "mode", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


@pytest.fixture
def settings(broker_in: Callable[[Path], embedded.Server | Kafka], tmp_path: Path) -> Iterator[ScorerSettings]:
    with broker_in(tmp_path) as broker:
        yield ScorerSettings(
            kafka=broker.address,  # type: ignore[arg-type]
            session_seconds=LIMIT_SECONDS,
            heartbeat_seconds=0.5,
            stall_seconds=LIMIT_SECONDS,
            commit_seconds=0.1,
            batch_records=100,
            partitions=PARTITIONS,
        )


async def hangs(*_: Any) -> bool:
    """What never comes back, unless it is cancelled."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return False


def hang_fetches(worker: Recorder) -> None:
    client_of(thread_of(worker.app.consumer))._fetcher._proc_fetch_request = hangs


def hang_handler(worker: Recorder) -> None:
    worker.passing.clear()


def hang_thread(worker: Recorder) -> None:
    let_go = threading.Event()
    threading.Timer(3 * LONG_SECONDS, let_go.set).start()  # or the test would never end
    thread_of(worker.app.consumer).thread_loop.call_soon_threadsafe(let_go.wait)


def forget_to_finish(worker: Recorder) -> None:
    worker.waits_for_me = True


@pytest.mark.parametrize("wedge", [hang_fetches, hang_handler, hang_thread, forget_to_finish])
async def test_who_stands_still_while_records_wait_ends_and_says_where(
    settings: ScorerSettings, wedge: Callable[[Recorder], None], caplog: pytest.LogCaptureFixture
) -> None:
    await make_topic(settings)
    await send(settings, 10)
    async with running(settings) as worker:
        await until("records", lambda: len(worker.offsets) == 10)
        wedge(worker)
        await asyncio.sleep(UNDER_WAY_SECONDS)
        await send(settings, 500)
        wedged = time.monotonic()
        await until("it ends", lambda: worker.ends)
        assert time.monotonic() - wedged < LIMIT_SECONDS + 2 * ANSWER_SECONDS
        hang = {"hang_fetches": "in hangs", "hang_handler": "in Recorder.accept", "hang_thread": "wait"}
        assert hang.get(wedge.__name__, "thread watchdog") in caplog.text
        assert "task " in caplog.text
    assert isinstance(worker.ends[0], StalledError)
    assert f"partitions [0]: nothing came for {LIMIT_SECONDS:g} s" in str(worker.ends[0])


async def test_nobody_ends_who_has_nothing_to_do(settings: ScorerSettings) -> None:
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assigned", worker.app.is_assigned.is_set)
        await asyncio.sleep(LONG_SECONDS)
        await send(settings, 10)
        await until("records", lambda: len(worker.offsets) == 10)
        await asyncio.sleep(LONG_SECONDS)
        assert not worker.ends


async def test_who_waits_for_an_answer_ends_if_its_loop_hangs_and_cannot_see_it(
    settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assigned", worker.app.is_assigned.is_set)
        monkeypatch.setattr(Recorder, "patient_until", time.monotonic() + 1000)
        worker.passing.clear()
        await send(settings, 500)
        await asyncio.sleep(LONG_SECONDS)
        assert not worker.ends
        time.sleep(2 * LONG_SECONDS)
        assert isinstance(worker.ends[0], StalledError)


async def test_a_fault_of_the_watchdog_ends_nobody_and_it_watches_on(
    settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assigned", worker.app.is_assigned.is_set)
        with monkeypatch.context() as broken:
            broken.setattr(Recorder, "signs", lambda self: 1 / 0)
            await until("a fault", lambda: "the watchdog failed; it watches on" in caplog.text)
        worker.passing.clear()
        await send(settings, 500)
        await until("it ends", lambda: worker.ends)
    assert isinstance(worker.ends[0], StalledError)


async def test_nobody_ends_while_a_batch_computes_or_something_else_is_away(
    settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both change what the handler tells."""
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assigned", worker.app.is_assigned.is_set)
        worker.passing.clear()
        monkeypatch.setattr(Recorder, "signs", lambda self: time.monotonic())
        await send(settings, 10)
        await asyncio.sleep(LONG_SECONDS)
        assert not worker.ends
        monkeypatch.setattr(Recorder, "signs", lambda self: None)
        monkeypatch.setattr(Recorder, "patient_until", time.monotonic() + LONG_SECONDS)
        await asyncio.sleep(LONG_SECONDS - 0.5)
        assert not worker.ends
        await until("it ends", lambda: worker.ends)


async def test_who_takes_partitions_over_has_time_and_ends_if_nothing_comes_of_it(
    settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_topic(settings)
    monkeypatch.setattr(Recorder, "signs", lambda self: time.monotonic())
    async with running(settings) as worker:
        worker.loading.clear()
        await until("assigned", lambda: worker.assigned)
        await asyncio.sleep(LONG_SECONDS)
        assert not worker.ends
        monkeypatch.setattr(Recorder, "signs", lambda self: None)
        began = time.monotonic()
        await until("it ends", lambda: worker.ends)
        assert time.monotonic() - began >= 2 * LIMIT_SECONDS - 0.5
        assert "a rebalance: nothing came" in str(worker.ends[0])


async def test_who_waits_for_another_member_of_its_group_does_not_end(settings: ScorerSettings) -> None:
    """The first holds a batch, and with it the rebalance; its handler shows that it computes."""
    await make_topic(settings)
    await send(settings, 10)
    async with running(settings) as first:
        first.passing.clear()
        first.signs = lambda: time.monotonic()  # type: ignore[method-assign]
        async with running(settings) as second:
            await until("rebalance", lambda: first.app.rebalancing)
            await asyncio.sleep(LONG_SECONDS)
            assert (first.ends, second.ends) == ([], [])
            first.passing.set()
            await until("both own one", lambda: bool(second.assigned))


async def test_an_error_of_the_group_is_outlived(settings: ScorerSettings) -> None:
    """aiokafka keeps it until somebody asks, and Faust does not: the worker would have no heartbeat from then on."""
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assigned", worker.app.is_assigned.is_set)
        coordinator = client_of(thread_of(worker.app.consumer))._coordinator
        beat, failed = coordinator._do_heartbeat, []

        async def loading() -> bool:
            if len(failed) < 3:
                failed.append(time.monotonic())
                raise KafkaError("Unexpected exception in heartbeat task: GroupLoadInProgressError()")
            return bool(await beat())

        coordinator._do_heartbeat = loading
        await until("three errors", lambda: len(failed) == 3)
        since = time.monotonic()
        await until("a heartbeat", lambda: worker.app.consumer.last_heartbeat > since)
        await until("assigned", worker.app.is_assigned.is_set)
        await send(settings, 10)
        await until("records", lambda: len(worker.offsets) == 10)
        assert not worker.ends


async def test_an_error_of_the_group_that_will_not_pass_ends_the_worker(settings: ScorerSettings) -> None:
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assigned", worker.app.is_assigned.is_set)

        async def refused() -> bool:
            raise GroupAuthorizationFailedError("group")

        client_of(thread_of(worker.app.consumer))._coordinator._do_heartbeat = refused
        await until("it ends", lambda: worker.ends)
    assert isinstance(worker.ends[0], BrokerError)
    assert "this user lacks a right" in str(worker.ends[0])


@pytest.mark.parametrize("broken", ["_client.cluster.update_metadata", "_fetcher._get_actions_per_node"])
async def test_no_task_of_aiokafka_ends_unnoticed(settings: ScorerSettings, broken: str) -> None:
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assigned", worker.app.is_assigned.is_set)
        client = client_of(thread_of(worker.app.consumer))

        def breaks(*_: Any) -> None:
            raise AssertionError("a state that nobody thought of")

        *path, name = broken.split(".")
        owner: Any = client
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, name, breaks)
        thread_of(worker.app.consumer).thread_loop.call_soon_threadsafe(client._client.force_metadata_update)
        await until("it ends", lambda: worker.ends)
    assert "a task of aiokafka ended" in str(worker.ends[0])


async def test_no_outage_in_a_rebalance_is_too_long_to_join_again(settings: ScorerSettings) -> None:
    """aiokafka does not join again who has not fetched for `max_poll_interval_ms`; see `NEVER_SECONDS`."""
    await make_topic(settings)
    async with running(settings) as worker:
        await until("assigned", worker.app.is_assigned.is_set)
        assert client_of(thread_of(worker.app.consumer))._coordinator._max_poll_interval > 7 * 24 * 3600


@pytest.mark.needs("kafka")
@pytest.mark.variant
async def test_markers_and_deleted_records_are_nothing_to_do(tmp_path: Path) -> None:
    with Kafka(tmp_path) as broker:
        settings = ScorerSettings(
            kafka=broker.address,  # type: ignore[arg-type]
            session_seconds=LIMIT_SECONDS,
            heartbeat_seconds=0.5,
            stall_seconds=LIMIT_SECONDS,
            partitions=PARTITIONS,
            topics={"decisions": TOPIC, "transactions": "others"},  # type: ignore[arg-type]
        )
        await make_topic(settings)
        fencing = FencedProducer(settings)
        await ensure_topics(settings)
        await fencing.start(require_idempotence=True)
        async with running(settings) as worker:
            await send(settings, 10)
            await until("records", lambda: len(worker.offsets) == 10)
            await fencing.take_over([0, 1])
            await asyncio.sleep(LONG_SECONDS)
            assert not worker.ends
            hang_fetches(worker)
            await fencing.write(TOPIC, 0, [(b"k", b"v")])
            await until("it ends", lambda: worker.ends)
        await fencing.stop()
    assert isinstance(worker.ends[0], StalledError)
