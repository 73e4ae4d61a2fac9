"""What commands print for programs on a real broker and a real store: one object each, the same as over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.desk import Desk
from harness.models import Models
from harness.stack import Stack

SIGNED = ("--by", "Zoë", "--reason", "because")


@pytest.fixture
def desk(stack: Stack, models: Models) -> Desk:
    return Desk(stack, models)


def told(stack: Stack, *argv: str, expect: int = 0) -> Any:
    """The one object that a command prints on standard output."""
    done = stack._command((*argv, "--json"), None)
    assert done.returncode == expect, done.stderr.decode()
    assert done.stdout.count(b"\n") == 1, done.stdout.decode()
    found = orjson.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_release_by_programs_reads_the_same_as_over_http(desk: Desk, models: Models) -> None:
    stack = desk.stack
    topics = told(stack, "scorer", "topics")
    assert topics["partitions"] == 4
    assert topics["raised"] == {}
    assert topics["topics"]["decisions"] == "decisions"

    same = told(stack, "scorer", "deploy", models.candidate, "--slot", "candidate", *SIGNED)
    assert (same["state"], same["entry"], same["digest"], same["late"]) == ("unchanged", None, models.candidate, {})
    assert "its run goes on; to begin a new one, add --discard-evidence" in same["told"]

    seq = desk.suggest()
    said = told(stack, "shadow", "comment", seq, "looks good", "--by", "Zoë")
    assert said == {"suggestion": seq, "seq": desk.ledger("comment")[0]["seq"], "by": "Zoë"}

    page = told(stack, "shadow", "report", "--out", "r.html")
    gate = told(stack, "shadow", "gate")
    assert {name: page[name] for name in ("slot", "run", "decision", "reason", "criteria")} == {
        name: gate[name] for name in ("slot", "run", "decision", "reason", "criteria")
    }
    assert (stack.folder / page["page"]).exists()
    assert page["summary"] is None

    rejected = told(stack, "shadow", "reject", *SIGNED)
    assert (rejected["state"], rejected["by"], rejected["verified"]) == ("rejected", "Zoë", None)
    assert rejected["entry"] == desk.ledger("answer")[0]["seq"]
    assert rejected["live"]["digest"] == models.live

    approved = told(stack, "shadow", "approve", "--force", *SIGNED)
    assert approved["state"] == "released"
    assert approved["live"] == {"digest": models.candidate, "threshold": approved["live"]["threshold"], "epoch": 2}
    assert approved["late"] == {}
    assert any("every scorer" in line for line in approved["told"])

    back = told(stack, "shadow", "rollback", *SIGNED)
    assert (back["state"], back["live"]["digest"]) == ("rolled_back", models.live)
    last = told(stack, "scorer", "key", "last")
    assert last["entry"] == back["entry"]

    off = told(stack, "scorer", "deploy", "--block-all", *SIGNED)
    assert (off["state"], off["override"], off["slot"]) == ("changed", "block_all", "live")
    assert off["entry"] == told(stack, "scorer", "key", "last")["entry"]
    # what is refused says so on standard error alone
    refused = stack._command(("shadow", "approve", *SIGNED, "--json"), None)
    assert (refused.returncode, refused.stdout) == (2, b"")


def test_what_is_sent_and_loaded_is_counted(stack: Stack, models: Models, tmp_path: Path) -> None:
    sent = told(stack, "scorer", "replay", str(models.stream), "--limit", "50")
    assert sent["sent"] == 50
    assert told(stack, "scorer", "replay", "--rejected", "--dry-run") == {"dead_letters": []}
    assert told(stack, "scorer", "replay", "--rejected") == {"sent": 0, "refused": []}
    file = tmp_path / "labels.csv"
    file.write_text(
        "transaction_id,source,verdict,at,by\nt-1,chargeback,fraud,2026-02-01T00:00:00Z,bank\nt-2,chargeback,maybe,,\n"
    )
    assert told(stack, "shadow", "labels", "load", str(file), "--skip-bad") == {
        "file": str(file), "loaded": 1, "skipped": 1,
    }  # fmt: skip
    env = {"SHADOW_NOTIFY": "json://127.0.0.1:1/x"}
    done = stack._command(("shadow", "notify", "--json"), env)
    assert done.returncode == 1
    assert list(orjson.loads(done.stdout)["took"].values()) == [False]
