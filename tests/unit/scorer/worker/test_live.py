"""The kill switch works at once, whatever becomes of bundles and their store; what runs is reported."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from aiokafka.errors import KafkaConnectionError

from harness.patience import PATIENCE_SECONDS
from scorer.bundles.bundle import Bundle, create
from scorer.bundles.predictor import FAST, LIGHTGBM, PREDICTORS, Wanted
from scorer.bundles.store import BundleStore, StoreError
from scorer.deployments.records import Change, Prepare, Target, WorkerReport, encode
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.metrics import REGISTRY
from scorer.pipeline.view import FeatureView
from scorer.worker import live
from scorer.worker.live import LiveLoader

VIEW = FeatureView(name="v")
AT = "2026-01-01T00:00:00Z"


def a_bundle(seed: int) -> Bundle:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(300, 1))
    fit = {"objective": "binary", "verbosity": -1, "num_leaves": 4}
    booster = lightgbm.train(fit, lightgbm.Dataset(matrix, (matrix[:, 0] > 0).astype(int)), 3)
    return create(booster.model_to_string().encode(), ("amount",), VIEW, 0.5, note=str(seed))


ONE, OTHER = a_bundle(1), a_bundle(2)


class Slow(BundleStore):
    """A store that answers when it is told to, and then with an error if it has one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder / "store"), folder / "cache")
        self.answers = threading.Event()
        self.answers.set()
        self.error: Exception | None = None
        self.asked: list[str] = []

    def fetch(self, digest: str) -> Bundle:
        self.asked.append(digest)
        assert self.answers.wait(20)
        if self.error is not None:
            raise self.error
        return {ONE.digest: ONE, OTHER.digest: OTHER}[digest]


class Ledger:
    """A topic that holds what a test appends."""

    def __init__(self) -> None:
        self.state = Deployments()

    def append(self, entry: Any) -> Deployments:
        self.state.fold(f"ledger/{self.state.next_seq('a1b2c3d4')}".encode(), encode(entry))
        return self.state

    def live(self, digest: str | None, override: Any = None) -> Deployments:
        target = Target(digest=digest, threshold=0.25, override=override)
        expects = {"live": self.state.slot("live").epoch}
        change = {"slots": {"live": target}, "expects": expects, "by": "a", "reason": "b", "cause": "deploy", "at": AT}
        return self.append(Change.model_validate(change))


@pytest.fixture
def store(tmp_path: Path) -> Slow:
    return Slow(tmp_path)


@pytest.fixture
def loader(store: Slow) -> LiveLoader:
    return LiveLoader(store, VIEW)


async def until(what: str, is_so: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not is_so():
            await asyncio.sleep(0.01)


def test_an_override_applies_at_once_while_the_store_hangs(loader: LiveLoader, store: Slow) -> None:
    async def story() -> None:
        ledger = Ledger()
        loader.note(ledger.live(ONE.digest))
        await loader.load()
        store.answers.clear()
        running = asyncio.create_task(loader.run())
        loader.note(ledger.live(OTHER.digest))
        await until("asked", lambda: OTHER.digest in store.asked)
        loader.note(ledger.live(OTHER.digest, "block_all"))
        assert loader.require().override == "block_all"
        assert loader.report is not None
        assert (loader.report.runs, loader.report.status) == (3, "loaded")
        store.answers.set()
        await asyncio.sleep(0.1)
        assert loader.require().override == "block_all", "what was loaded meanwhile did not lift it"
        loader.note(ledger.live(OTHER.digest))
        await until("resumed", lambda: loader.require().override is None)
        assert loader.require().digest == OTHER.digest
        running.cancel()

    asyncio.run(story())


def test_an_override_needs_no_store_and_no_bundle_at_all(loader: LiveLoader, store: Slow) -> None:
    store.error = StoreError("store: 503")
    ledger = Ledger()
    loader.note(ledger.live(None, "allow_all"))
    assert loader.require().override == "allow_all"
    assert store.asked == []


def test_the_end_of_an_override_over_the_same_bundle_asks_no_store(loader: LiveLoader, store: Slow) -> None:
    ledger = Ledger()
    loader.note(ledger.live(ONE.digest))
    asyncio.run(loader.load())
    store.error = StoreError("store: 503")
    loader.note(ledger.live(ONE.digest, "block_all"))
    loader.note(ledger.live(ONE.digest))
    assert (loader.require().override, loader.require().epoch) == (None, 3)
    assert loader.require().score is not None
    assert store.asked == [ONE.digest]


def test_a_bundle_that_cannot_be_loaded_is_reported_and_tried_again(
    loader: LiveLoader, store: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RETRY_SECONDS", 0.05)

    async def story() -> None:
        ledger = Ledger()
        loader.note(ledger.live(ONE.digest))
        await loader.load()
        store.error = StoreError("store: 503")
        running = asyncio.create_task(loader.run())
        loader.note(ledger.live(OTHER.digest))
        await until("behind", lambda: loader.is_behind)
        assert loader.require().digest == ONE.digest
        assert loader.report is not None
        assert (loader.report.status, loader.report.runs, loader.report.epoch) == ("failed", 1, 2)
        store.error = None
        await until("caught up", lambda: loader.require().digest == OTHER.digest)
        assert not loader.is_behind
        assert loader.report.runs == 2
        running.cancel()

    asyncio.run(story())


def test_a_start_without_the_store_goes_on_with_the_newest_copy_that_was_live(tmp_path: Path) -> None:
    ledger = Ledger()
    ledger.live(ONE.digest)
    state = ledger.live(OTHER.digest)
    ONE.write(tmp_path / "cache")
    loader = LiveLoader(BundleStore("http://127.0.0.1:9/gone", tmp_path / "cache", 2), VIEW)
    loader.note(state)
    asyncio.run(loader.load())
    assert loader.require().digest == ONE.digest
    assert loader.is_behind
    empty = LiveLoader(BundleStore("http://127.0.0.1:9/gone", tmp_path / "nothing", 2), VIEW)
    empty.note(state)
    with pytest.raises(UserError, match="store http"):
        asyncio.run(empty.load())


@pytest.mark.slow
def test_the_predictor_is_told_in_log_and_metric(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wanted: dict[Wanted, str] = {"auto": FAST, "lightgbm": LIGHTGBM}
    for setting, name in wanted.items():
        store = BundleStore(str(tmp_path / "store"), tmp_path / "cache", predictor=setting)
        store.put(ONE)
        loader = LiveLoader(store, VIEW)
        loader.note(Ledger().live(ONE.digest))
        with caplog.at_level(logging.INFO):
            asyncio.run(loader.load())
        assert f"bundle {ONE.digest[:12]}, epoch 1, override none, predictor {name}" in caplog.text
        shown = {one: REGISTRY.get_sample_value("scorer_predictor", {"predictor": one}) for one in PREDICTORS}
        assert shown == {FAST: name == FAST, LIGHTGBM: name == LIGHTGBM}
        model = loader.require()
        assert model.score is not None
        snapshots = np.random.default_rng(3).normal(size=(200, len(VIEW.names)))
        amounts = np.ascontiguousarray(snapshots[:, [VIEW.names.index("amount")]])
        assert model.score(snapshots).tobytes() == ONE.score(amounts).tobytes()


def test_a_report_is_written_again_until_the_topic_takes_it(
    loader: LiveLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "RETRY_SECONDS", 0.02)
    written: list[WorkerReport] = []
    tries = 0

    async def write(report: WorkerReport) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise KafkaConnectionError("away")
        written.append(report)

    async def story() -> None:
        telling = asyncio.create_task(loader.tell(write))
        loader.note(Ledger().live(None, "block_all"))
        await until("told", lambda: written)
        telling.cancel()

    asyncio.run(story())
    assert [report.runs for report in written] == [1]
    assert tries == 3


def test_what_is_prepared_swaps_without_the_store(loader: LiveLoader, store: Slow) -> None:
    async def story() -> None:
        ledger = Ledger()
        loader.note(ledger.live(ONE.digest))
        await loader.load()
        loader.note(ledger.append(Prepare(digest=OTHER.digest, by="ann", at=AT)))
        await loader.load()
        assert loader.report is not None
        assert (loader.report.digest, loader.report.request is not None, loader.report.runs) == (OTHER.digest, True, 1)
        store.error = StoreError("store: 503")
        loader.note(ledger.live(OTHER.digest))
        assert loader.require().digest == OTHER.digest

    asyncio.run(story())
