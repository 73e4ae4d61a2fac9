"""The API by its own OpenAPI document, against a running `shadow serve` with real samples behind it.

Schemathesis makes the requests: all that the document allows, and much that it does not.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from attack.counts import Counts
from harness.places import ATTACK
from harness.stack import Stack, get

#: In an environment of its own, see the Makefile: it pins what we pin.
PROGRAM = ATTACK / "bin" / "schemathesis"
TOKEN = "operator-token-of-the-attack"
CHECKS = "not_a_server_error,content_type_conformance,response_schema_conformance"
#: Longest time for one answer, and for everything.
ANSWER_SECONDS, SECONDS = 20, 1500


def attack(stack: Stack, port: int, requests: int, seed: int, counts: Counts) -> None:
    """Make at most so many requests to each operation."""
    address = f"http://127.0.0.1:{port}"
    har = Path(stack.folder) / "requests.har"
    argv = [
        str(PROGRAM), "run", f"{address}/api/openapi.json", "--url", address, "--checks", CHECKS, "--mode", "all",
        "--max-examples", str(requests), "--seed", str(seed), "--phases", "examples,coverage,fuzzing", "--no-shrink",
        "--continue-on-failure", "--header", f"Authorization: Bearer {TOKEN}", "--suppress-health-check", "all",
        "--request-timeout", str(ANSWER_SECONDS), "--report", "har", "--report-har-path", str(har), "--warnings", "off",
        "--exclude-path", "/readyz",
    ]  # fmt: skip
    try:
        done = subprocess.run(argv, cwd=stack.folder, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        counts.hang(f"not through after {SECONDS} s")
        return
    told = done.stdout.decode(errors="replace")
    entries = json.loads(har.read_text())["log"]["entries"] if har.exists() else []
    counts.tried = len(entries)
    for entry in entries:
        status = entry["response"]["status"]
        counts.saw(f"{status // 100}xx")
        shown = f"{entry['request']['method']} {entry['request']['url']}"
        if status >= 500:
            counts.crash(f"{shown}: {status}")
        elif status <= 0:
            counts.hang(f"{shown}: no answer")
    if done.returncode and not (counts.crashes or counts.hangs):
        counts.mistake(f"schemathesis ended with {done.returncode}: {told[-1500:]}")
    if get(f"{address}/livez") is None:
        counts.crash("serve does not answer after it")
