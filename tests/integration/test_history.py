"""How things stand, and how they came to, from a real ledger: by command, over HTTP and as a page."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import orjson

from harness.models import Models
from harness.stack import Stack, get

SIGNED = ("--by", "ann", "--reason", "board meeting")


def now() -> str:
    """Between two changes, as the ledger has milliseconds."""
    time.sleep(0.01)
    told = datetime.now(UTC).isoformat(timespec="milliseconds")
    time.sleep(0.01)
    return told


def test_who_was_live_then_and_who_said_so(stack: Stack, models: Models) -> None:
    (stack.folder / "release.yaml").write_text("schema: 1\nminimum_covered_hours: 24\n")
    stack.env |= {"SHADOW_RELEASE": str(stack.folder / "release.yaml"), "SHADOW_READ_TOKEN": "reads"}
    before = now()
    stack.deploy(models.candidate, "candidate")
    stack.start("scorer", "run")
    serve = stack.start("shadow", "serve")
    serve.token = "reads"
    at = now()
    stack.run("shadow", "approve", "--force", *SIGNED)
    after = now()
    stack.run("scorer", "deploy", "--block-all", "--by", "bob", "--reason", "serves nonsense")

    def ask(path: str) -> Any:
        return orjson.loads(get(f"http://127.0.0.1:{serve.port}{path}", "reads") or b"null")

    # one query each
    (was,) = stack.run("shadow", "history", "--slot", "live", "--at", at).splitlines()
    assert was.startswith(f"live: bundle {models.live[:12]} at ")
    (then,) = stack.run("shadow", "history", "--slot", "live", "--at", after).splitlines()
    assert then.startswith(f"live: bundle {models.candidate[:12]} at ")
    assert ", by ann (name not verified) since " in then
    assert "(FORCED: board meeting)" in then
    assert "candidate: " not in stack.run("shadow", "history", "--at", before)

    rows = [orjson.loads(line) for line in stack.run("shadow", "history", "--json").splitlines()]
    assert [row["kind"] for row in rows] == ["deploy", "deploy", "forced", "kill_switch_on"]
    forced = rows[2]
    assert forced["forced"]
    assert forced["by"] == "ann"
    assert forced["verdict"]["decision"] == "hold"
    assert forced["verdict"]["against"]
    (live,) = [one for one in forced["fillings"] if one["slot"] == "live"]
    assert live["ended_by"] == rows[3]["seq"]
    assert 0 < live["seconds"] < 300
    told = stack.run("shadow", "history")
    assert "kill switch on by bob: live bundle" in told
    assert "    against: " in told

    assert ask("/api/history") == rows
    assert ask("/api/history?limit=1") == rows[-1:]
    assert ask("/api/history?limit=2&skip=1") == rows[1:3]
    assert ask(f"/api/history?slot=candidate&until={at[:23]}Z") == rows[1:2]
    assert ask(f"/api/history?slot=live&at={after[:23]}Z") == [forced]
    assert get(f"http://127.0.0.1:{serve.port}/api/history") is None, "without the token"
    page = get(f"http://127.0.0.1:{serve.port}/history", "reads") or b""
    assert b"kill switch on by bob" in page
    assert b"ON (block_all)" in page
    assert b"candidate" not in (get(f"http://127.0.0.1:{serve.port}/history?slot=nobody", "reads") or b"")

    line = stack.fails("shadow", "history", "--slot", "candidat")
    assert "slot candidat: was never filled; did you mean candidate?" in line
    assert "--at 'noon': is no time" in stack.fails("shadow", "history", "--at", "noon")

    shown = stack.run("shadow", "status")
    assert len(shown.splitlines()) <= 12
    assert f"bundle {models.candidate[:12]}" in shown
    assert "FORCED by ann (name not verified): board meeting" in shown
    assert "ON (block_all) since" in shown
    assert "by bob (name not verified): serves nonsense" in shown
    assert "days old: training data ended at " in shown
    found = orjson.loads(stack.run("shadow", "status", "--json"))
    over_http = ask("/api/status")
    for part in ("live", "kill_switch", "waiting", "forced"):
        assert over_http[part] == found[part]
    assert found["slots"]["previous"]["digest"] == models.live

    stack.store.stop()
    assert "verdicts and reviews cannot be seen: " not in shown
    stack.run("shadow", "status")  # nothing is judged, so nothing is asked of Redis
    stack.deploy(models.control, "candidate")
    told = stack.run("shadow", "status")
    assert "verdicts and reviews cannot be seen: " in told
    assert f"bundle {models.control[:12]}" in told
