"""A `shadow serve` that has looked at its slots, without anything behind it: a test states what was counted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from fastapi.testclient import TestClient

from harness.changes import a_change, fold
from harness.totals import RELEASE, a_run
from scorer.deployments.slots import Deployments
from shadow.comparison.totals import RunTotals
from shadow.gate.judge import judge
from shadow.release.look import Labels, Look
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
