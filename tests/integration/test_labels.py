"""Labels from a file or a reviewer to the gate, with real processes on every broker."""

from __future__ import annotations

import math
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import orjson
import pytest
import redis

from harness.models import BAD, REPEATED, STREAM, Models
from harness.stack import Stack, Worker, get, wait_for, write_lines

SENT = STREAM + REPEATED
TOKENS = {"SHADOW_READ_TOKEN": "reads", "SHADOW_OPERATOR_TOKEN": "writes"}
RELEASE = """schema: 1
segments:
  channel: {field: channel, values: [pos, contactless, online]}
minimum_covered_hours: 24
overall: {minimum_transactions: 1000}
per_segment: {minimum_transactions: 200}
"""


@dataclass
class Streamed:
    """A stack on which the whole stream was compared."""

    stack: Stack
    serve: Worker
    fraud: set[str]

    def ask(self, path: str, body: dict[str, Any] | None = None, token: str = "reads") -> Any:
        """JSON of an endpoint, or the code of its refusal."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.serve.port}{path}",
            data=None if body is None else orjson.dumps(body),
            headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return orjson.loads(answer.read())
        except HTTPError as error:
            return error.code


@pytest.fixture
def streamed(stack: Stack, models: Models) -> Streamed:
    (stack.folder / "release.yaml").write_text(RELEASE)
    stack.env |= {"SHADOW_RELEASE": str(stack.folder / "release.yaml"), **TOKENS}
    stack.deploy(models.candidate, "candidate")
    stack.start("scorer", "run", ready=False)
    stack.start("shadow", "run", "--slot", "candidate", ready=False)
    serve = stack.start("shadow", "serve", ready=False)
    stack.until_ready()
    stack.run("scorer", "replay", str(models.stream))
    stack.until_settled(SENT)
    good = STREAM + REPEATED - BAD - REPEATED
    streamed = Streamed(stack, serve, frauds(models.history))
    page = "/api/runs?slot=candidate"
    wait_for("comparisons", lambda: sum(run["compared"] for run in streamed.ask(page)) == good)
    return streamed


def frauds(history: Path) -> set[str]:
    """Ids of what was fraud in truth."""
    from scorer.sources.tables import read_parquet

    table = read_parquet(history).select(["transaction_id", "is_fraud"]).to_pydict()
    return {str(name) for name, is_fraud in zip(table["transaction_id"], table["is_fraud"], strict=True) if is_fraud}


def next_cases(stack: Stack, by: str, count: int) -> list[dict[str, Any]]:
    """What somebody is handed."""
    told = stack.run("shadow", "review", "next", "--by", by, "--count", str(count), "--output", "jsonl")
    return [orjson.loads(line) for line in told.splitlines()]


def test_labels_and_reviews_reach_the_gate(streamed: Streamed) -> None:
    stack, serve = streamed.stack, streamed.serve
    before = orjson.loads(stack.run("shadow", "gate", "--json", expect=3))
    open_ones = [f for f in before["findings"] if f["criterion"] == "lost_fraud" and f["segment"] == "all"]
    assert [f["verdict"] for f in open_ones] == ["insufficient"]

    # two people are never handed the same case, and neither sees what the models said
    anns, bobs = next_cases(stack, "ann", 3), next_cases(stack, "bob", 3)
    assert len({case["transaction_id"] for case in (*anns, *bobs)}) == 6
    assert all("models" not in case and case["transaction"] and case["features"] for case in anns)
    assert {case["transaction_id"] for case in next_cases(stack, "ann", 3)} == {c["transaction_id"] for c in anns}
    shown = stack.run("shadow", "review", "next", "--by", "ann", "--show-models")
    assert "blocked by" in shown
    assert "blocked by" not in stack.run("shadow", "review", "next", "--by", "ann")

    # a mark counts at once; marked again, it corrects; the topic has both
    case = anns[0]["transaction_id"]
    stack.run("shadow", "review", "mark", case, "legit", "--by", "ann")
    stack.run("shadow", "review", "mark", case, "fraud", "--by", "ann", "--reason", "stolen card")
    assert stack.run("shadow", "labels", "show", case) == f"{case}: review: fraud (ann says fraud)"
    assert case not in {c["transaction_id"] for c in next_cases(stack, "ann", 3)}
    said = [orjson.loads(record.value) for record in stack.read("labels")]
    assert [label["verdict"] for label in said] == ["legit", "fraud"]
    assert said[1]["reason"] == "stolen card"

    # a file of truths: everything that waits is answered, and the gate knows who is right
    waiting = streamed.ask("/api/review")["waiting"]
    assert waiting > 20
    everybody = next_cases(stack, "cat", 100) + bobs + anns[1:]
    rows = [
        {
            "transaction_id": name,
            "verdict": "fraud" if name in streamed.fraud else "legit",
            "source": "review",
            "at": "2026-03-01T12:00:00Z",
            "by": "desk",
        }
        for name in {case["transaction_id"] for case in everybody}
    ]
    file = write_lines(stack.folder / "reviews.jsonl", rows)
    assert stack.run("shadow", "labels", "load", str(file)) == f"loaded {len(rows)} labels"
    wait_for("labels", lambda: serve.metric("shadow_labels_total") == len(rows) + 2)
    reviewed = streamed.ask("/api/review")
    answered = sum(count for state, count in reviewed["cases"].items() if state in ("fraud", "legit"))
    assert answered == len(rows) + 1
    after = orjson.loads(stack.run("shadow", "gate", "--json", expect=3))
    (lost,) = [f for f in after["findings"] if f["criterion"] == "lost_fraud" and f["segment"] == "all"]
    assert lost["observed"] is not None
    assert not math.isclose(lost["evidence"], open_ones[0]["evidence"])

    # the report shows the same, with nothing from outside of it
    told = stack.run("shadow", "report", "--out", "page.html", "--markdown", "page.md")
    page, summary = (stack.folder / "page.html").read_text(), (stack.folder / "page.md").read_text()
    assert after["reason"].startswith("hold: ")
    assert told.startswith("On hold. ")
    assert "https:" not in page
    assert page.count('<tr><th scope="row" data-name="transaction">') == 10
    assert summary.startswith(f"**{told.splitlines()[0]}**")
    assert "name another file" in stack.fails("shadow", "report", "--out", "nowhere/page.html")

    # loaded twice, nothing changes
    stack.run("shadow", "labels", "load", str(file))
    wait_for("labels again", lambda: serve.metric("shadow_labels_total") == 2 * len(rows) + 2)
    assert streamed.ask("/api/review")["cases"] == reviewed["cases"]


def test_labels_survive_a_wiped_store_and_a_killed_serve(streamed: Streamed) -> None:
    stack = streamed.stack
    cases = [case["transaction_id"] for case in next_cases(stack, "ann", 5)]
    for case in cases:
        stack.run("shadow", "review", "mark", case, "fraud", "--by", "ann")
    streamed.serve.kill()
    client = redis.Redis(port=stack.store.port)
    for key in client.keys("shadow:{labels:*"):
        client.delete(key)
    assert "pending" in stack.run("shadow", "labels", "show", cases[0])
    serve = stack.start("shadow", "serve")
    wait_for("labels", lambda: serve.metric("shadow_labels_total") == 5)
    assert "fraud" in stack.run("shadow", "labels", "show", cases[0])
    (lost,) = client.keys("shadow:{labels:3}:fence")
    client.delete(lost)  # while it runs, and nothing comes
    wait_for("labels again", lambda: serve.metric("shadow_labels_total") == 10)
    wait_for("mended", lambda: client.exists(lost))
    client.close()


def test_the_api_wants_its_tokens(streamed: Streamed) -> None:
    wanted = {"by": "ann", "count": 2}
    assert streamed.ask("/api/review", token="other") == 401
    assert streamed.ask("/api/review/next", wanted, token="reads") == 401
    assert streamed.ask("/api/review/next", {**wanted, "slot": "nobody"}, token="writes") == 404
    cases = streamed.ask("/api/review/next", wanted, token="writes")
    assert len(cases) == 2
    assert "models" not in cases[0]
    (shown,) = streamed.ask("/api/review/next", {"by": "bob", "show_models": True}, token="writes")
    assert shown["models"]["blocked_by"] in ("live", "candidate")
    said = {"transaction_id": cases[0]["transaction_id"], "verdict": "legit", "by": "ann"}
    assert streamed.ask("/api/review/mark", {**said, "verdict": "perhaps"}, token="writes") == 422
    assert streamed.ask("/api/review/mark", said, token="reads") == 401
    assert streamed.ask("/api/review/mark", said, token="writes") == said
    assert streamed.ask("/api/review")["cases"]["legit"] == 1


def test_bad_rows_are_told_and_nothing_of_their_file_is_loaded(stack: Stack) -> None:
    file = stack.folder / "chargebacks.csv"
    file.write_text("transaction_id,at\nt-1,2026-02-01T12:00:00Z\n,2026-02-01T12:00:00Z\nt-3,soon\n")
    given = ("--source", "chargeback", "--verdict", "fraud", "--by", "bank")
    line = stack.fails("shadow", "labels", "load", str(file), *given)
    assert "row 2: label: transaction_id is missing" in line
    assert "(and 1 more bad rows); nothing was loaded" in line
    assert stack.read("labels") == []
    told = stack.run("shadow", "labels", "load", str(file), *given, "--skip-bad")
    assert told == "loaded 1 labels, skipped 2 bad rows"
    (record,) = stack.read("labels")
    assert record.key == b"t-1"
    assert "OURS=THEIRS" in stack.fails("shadow", "labels", "load", str(file), "--field", "at")


def test_nothing_can_be_written_over_http_without_an_operator_token(stack: Stack) -> None:
    serve = stack.start("shadow", "serve", env={"SHADOW_GATE_SECONDS": "60"})
    assert get(f"http://127.0.0.1:{serve.port}/api/review/next") is None
    streamed = Streamed(stack, serve, set())
    assert streamed.ask("/api/review/mark", {"transaction_id": "t", "verdict": "fraud", "by": "ann"}) == 403
