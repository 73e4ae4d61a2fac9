"""Filled slots on a real broker and a real store, of which a test states the tallies, and what people decide there."""

from __future__ import annotations

import asyncio
import subprocess
from typing import Any

import orjson

from harness.models import Models
from harness.stack import Stack, Worker, get
from harness.tallied import fill
from scorer.deployments.deploy import now
from scorer.deployments.ledger import append
from scorer.deployments.records import Answer, Suggestion, Target, Withdrawal
from shadow.comparison.totals import Run
from shadow.gate.criteria import parse

RELEASE = "schema: 1\nminimum_covered_hours: 24\n"
RUN = Run(1, 1)
#: By outcome in each hour: both allow, both block, live alone, the candidate alone.
TWIN, GOOD, BAD = (1000, 60, 3, 3), (1000, 60, 4, 4), (1000, 30, 33, 400)


class Desk:
    """Filled slots whose tallies deserve a promotion, and a scorer that would carry it out."""

    def __init__(self, stack: Stack, models: Models) -> None:
        self.stack, self.models = stack, models
        self.criteria = stack.folder / "release.yaml"
        self.criteria.write_text(RELEASE)
        stack.env["SHADOW_RELEASE"] = str(self.criteria)
        stack.deploy(models.candidate, "candidate")
        stack.deploy(models.control, "control")
        self.scorer = stack.start("scorer", "run")
        self.count("control", TWIN)
        self.count("candidate", GOOD)

    def count(self, slot: str, outcomes: tuple[int, ...], hours: int = 48, run: Run = RUN) -> None:
        """Put more into the tallies of a slot."""
        fill(self.stack.store.address, slot, run, hours, [outcomes], parse(RELEASE).segments)

    def serve(self) -> Worker:
        return self.stack.start("shadow", "serve")

    def ledger(self, kind: str) -> list[dict[str, Any]]:
        """Entries of a kind, in log order."""
        bodies = [orjson.loads(r.value) | {"seq": r.key.decode()[7:]} for r in self.stack.read("deployments")
                  if r.key.startswith(b"ledger/")]  # fmt: skip
        return [body for body in bodies if body["kind"] == kind]

    def suggest(self, at: str | None = None, live: int = 1) -> str:
        """Write what `shadow serve` writes; the ledger key. live: the epoch of live."""
        suggestion = Suggestion(
            slot="candidate",
            target=Target(digest=self.models.candidate, threshold=0.5),
            expects={"live": live, "candidate": 1},
            criteria=parse(self.criteria.read_text()).digest,
            evidence={},
            at=at or now(),
        )
        return self.write(suggestion)

    def write(self, entry: Suggestion | Withdrawal | Answer) -> str:
        line, _ = asyncio.run(append(self.stack.settings(), lambda _: entry))
        return line.seq

    def approve(self, by: str = "ann") -> subprocess.Popen[bytes]:
        return self.stack.begin("shadow", "approve", "--by", by, "--reason", "clean")

    def refused(self) -> str:
        return self.stack.fails("shadow", "approve", "--by", "ann", "--reason", "clean")

    def live(self) -> Any:
        (*_, newest) = [r for r in self.stack.read("deployments") if r.key == b"slot/live"]
        return orjson.loads(newest.value)


def suggestions(serve: Worker) -> list[Any]:
    found: list[Any] = orjson.loads(get(f"http://127.0.0.1:{serve.port}/api/suggestions") or b"[]")
    return found
