"""A slot's candidate comes with the predictor that the setting asks for; which one is told in log and metric."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.bundles import BUNDLE, FEATURES, VIEW
from harness.patience import PATIENCE_SECONDS
from scorer.bundles.bundle import Bundle
from scorer.bundles.predictor import FAST, LIGHTGBM, PREDICTORS, Wanted
from scorer.bundles.store import BundleStore, StoreError
from scorer.deployments.records import Change, PublishedView, Target, encode
from scorer.deployments.slots import Deployments
from scorer.errors import UnavailableError
from scorer.pipeline.money import Currency
from shadow.metrics import REGISTRY
from shadow.worker.candidate import CLOCKS_MS, SlotFollower

pytestmark = pytest.mark.slow  # each starts a child process


def fill(state: Deployments, digest: str | None) -> Deployments:
    """The slot filled, or emptied."""
    change = {
        "slots": {"candidate": None if digest is None else Target(digest=digest, threshold=0.25)},
        "expects": {"candidate": state.slot("candidate").epoch},
        "by": "a", "reason": "b", "cause": "deploy", "at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    state.fold(f"ledger/{state.next_seq('a1b2c3d4')}".encode(), encode(Change.model_validate(change)))
    return state


@pytest.mark.parametrize(("setting", "name"), [("auto", FAST), ("lightgbm", LIGHTGBM)])
def test_the_predictor_is_told_in_log_and_metric(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, setting: Wanted, name: str
) -> None:
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache", predictor=setting)
    store.put(BUNDLE)
    follower, state = SlotFollower("candidate", store), Deployments()
    with caplog.at_level(logging.INFO):
        asyncio.run(follower.follow(fill(state, BUNDLE.digest)))
    assert f"slot candidate: bundle {BUNDLE.digest[:12]}, predictor {name}, epoch" in caplog.text

    def shown(of: str) -> float | None:
        return REGISTRY.get_sample_value("shadow_predictor", {"slot": "candidate", "predictor": of})

    assert [shown(of) for of in PREDICTORS] == [of == name for of in PREDICTORS]
    candidate = follower.candidate
    assert candidate is not None
    assert candidate.bundle is not None
    snapshots = np.random.default_rng(1).normal(size=(300, len(VIEW.names)))
    currency = Currency(code="EUR", digits=2)
    view = PublishedView(names=VIEW.names, definitions=VIEW.definitions(VIEW.names), currency=currency)
    columns = np.ascontiguousarray(snapshots[:, [VIEW.names.index(feature) for feature in FEATURES]])
    assert replace(candidate, views={"v": view}).score("v", snapshots).tobytes() == BUNDLE.score(columns).tobytes()
    asyncio.run(follower.follow(fill(state, None)))
    assert [shown(of) for of in PREDICTORS] == [None, None], "an empty slot shows none"


def test_a_bundle_that_cannot_be_had_just_now_is_tried_again_and_nothing_is_compared_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that is away, and a proof that a busy machine did not finish."""
    monkeypatch.setattr("shadow.worker.candidate.AGAIN_SECONDS", 0.01)
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache")
    store.put(BUNDLE)
    fetch, away = store.fetch, [StoreError("store: is away"), UnavailableError("bundle: took more than 60 s to prove")]

    def fetched(digest: str) -> Bundle:
        if away:
            raise away.pop(0)
        return fetch(digest)

    monkeypatch.setattr(store, "fetch", fetched)
    follower = SlotFollower("candidate", store)

    async def run() -> None:
        again = asyncio.create_task(follower.try_again())
        await follower.follow(fill(Deployments(), BUNDLE.digest))
        assert not follower.is_current.is_set()
        assert REGISTRY.get_sample_value("shadow_model_broken", {"slot": "candidate"}) == 1
        await asyncio.wait_for(follower.is_current.wait(), PATIENCE_SECONDS)
        again.cancel()

    asyncio.run(run())
    assert follower.candidate is not None
    assert follower.candidate.bundle is not None
    assert REGISTRY.get_sample_value("shadow_model_broken", {"slot": "candidate"}) == 0
    assert caplog.text.count("its transactions wait") == 2


def test_nothing_counts_from_before_a_slot_was_filled_or_while_it_is_empty_from_before_now(tmp_path: Path) -> None:
    follower = SlotFollower("candidate", BundleStore(str(tmp_path), tmp_path / "cache"))
    empty, filled = Deployments(), fill(Deployments(), "a" * 64)
    now = int(time.time() * 1000)

    async def since(deployments: Deployments) -> int:
        await follower.follow(deployments)  # its bundle is missing
        return follower.since_ms()

    assert now - CLOCKS_MS <= asyncio.run(since(empty)) <= time.time() * 1000 - CLOCKS_MS
    assert asyncio.run(since(filled)) == 1_767_225_600_000, "2026-01-01, whether its bundle can be had or not"
    filled.slots["candidate"] = replace(filled.slot("candidate"), since="no time")
    assert now <= asyncio.run(since(filled)) <= time.time() * 1000


def test_a_slot_that_is_emptied_meanwhile_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache")

    def away(_: str) -> Bundle:
        raise StoreError("store: is away")

    monkeypatch.setattr(store, "fetch", away)
    follower, state = SlotFollower("candidate", store), Deployments()

    async def run() -> None:
        await follower.follow(fill(state, BUNDLE.digest))
        assert not follower.is_current.is_set()
        await follower.follow(fill(state, None))
        assert follower.is_current.is_set()

    asyncio.run(run())
    assert follower.candidate is None
