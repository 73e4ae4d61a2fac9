"""A `shadow serve` that has looked at its slots, without anything behind it: a test states what was counted."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
import uvicorn
from fastapi.testclient import TestClient

from harness.changes import a_change, fold
from harness.patience import PATIENCE_SECONDS
from harness.samples import a_sample
from harness.stack import wait_for
from harness.tables import a_table
from harness.totals import RELEASE, a_run
from scorer.deployments.slots import Deployments
from shadow.comparison.outcome import Outcome
from shadow.comparison.sample import Contribution, ModelDecision, Sample
from shadow.comparison.totals import Run, RunTotals
from shadow.gate.judge import judge
from shadow.local.process import free_port
from shadow.release.look import Labels, Look
from shadow.serve.desk import Opened
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.web.app import build

#: Digests of the bundles in slots, as one character that is repeated.
BUNDLES = {"live": "a", "candidate": "b", "challenger": "d", "control": "c"}


def a_state(*slots: str, currency: str | None = "EUR") -> Deployments:
    """These slots filled, and a feature view that names the currency."""
    found = fold(*(a_change({name: BUNDLES[name]}, {name: 0}) for name in slots))
    if currency is not None:
        view = {"schema": 1, "names": [], "definitions": {}, "currency": {"code": currency, "digits": 2}}
        found.fold(b"view/v", orjson.dumps(view))
    return found


def a_look(slot: str, totals: RunTotals, control: RunTotals | None = None, **more: Any) -> Look:
    """What the gate sees of these sums."""
    floor = control or a_run()
    labels = Labels((), (), ())
    return Look(slot, totals, floor, judge(totals, floor, RELEASE, **more), labels)


def with_money(totals: RunTotals, each: int = 5_000) -> RunTotals:
    """The same with money: so many minor units of each transaction."""
    parts = {name: replace(part, minor=part.counts * each) for name, part in totals.segments.items()}
    return replace(totals, segments=parts)


def a_serve(state: Deployments, looks: Mapping[str, Look], trouble: str | None = None, **settings: Any) -> Serve:
    """`shadow serve` right after a look at all slots. trouble: why the gate cannot judge."""
    serve = Serve(ShadowSettings(**settings), RELEASE)
    serve._follower.deployments = state
    serve.looks, serve.trouble, serve.looked = dict(looks), trouble, time.monotonic()
    return serve


def a_client(serve: Serve) -> TestClient:
    """Somebody in front of a browser."""
    return TestClient(build(serve), base_url="http://localhost", headers={"accept": "text/html"})


@contextmanager
def on_a_port(serve: Serve) -> Iterator[str]:
    """The pages of a `shadow serve` for a browser, without its tasks; the address of the first."""
    port = free_port()
    config = uvicorn.Config(build(serve), port=port, lifespan="off", log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for("pages", lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)


def keeping(patch: pytest.MonkeyPatch, found: Mapping[str, list[Sample]]) -> None:
    """Let the explorer's desk have these samples, by slot, of run L1-C1."""

    async def opened(_: Any, deployments: Any, slot: str, *__: Any, **___: Any) -> Opened:
        table = a_table(found[slot])
        return Opened(slot, Run(1, 1), table, {}, np.arange(len(table)), None, None, 1.0)

    async def samples(_: Any, opened: Opened, rows: Any) -> AsyncIterator[Sample]:
        for row in rows.tolist():
            yield found[opened.slot][row]

    patch.setattr("shadow.serve.desk.Desk.open", opened)
    patch.setattr("shadow.serve.desk.Desk.samples", samples)


def a_kept(n: int, outcome: Outcome, score: float, id_: str | None = None) -> Sample:
    """The n-th transaction as one candidate kept it. id_: that of the transaction."""
    made = a_sample(n, outcome=outcome, transaction={"transaction_id": id_ or f"t{n}"}, segments=("all", "country=DE"))
    decision = "block" if outcome in (Outcome.BOTH_BLOCK, Outcome.CANDIDATE_ONLY) else "allow"
    why = (Contribution("amount", 12.5, 0.1, 1.3, 1.2),)
    return replace(made, hash=(n + 1) / 100, candidate=ModelDecision(score, 0.5, decision, "c" * 64, 1), why=why)
