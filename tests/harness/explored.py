"""A whole product with differences to explore: a real stream, scored by live, a candidate and a control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from harness.models import Models
from harness.stack import Stack, Worker, get, wait_for, write_lines

#: What merchants may be called by whoever names them.
NASTY = (
    '<script>alert("m")</script>',
    '"><img src=x onerror=alert(1)>',
    "a=b%3D&c",
    "{{7*7}}",
    "=HYPERLINK(1)",
    "\u202eevil",
    "Müller & Söhne",
)
#: Transactions of the stream.
STREAM = 6_000


def stream(models: Models, out: Path, n: int = STREAM) -> Path:
    """Transactions of the models' stream, some of merchants with such names."""
    rows: list[dict[str, Any]] = []
    for line in models.stream.read_bytes().splitlines()[:n]:
        row = orjson.loads(line)
        if row["amount"] > 0:
            at = len(rows) % 20
            rows.append({**row, "merchant_id": NASTY[at]} if at < len(NASTY) else row)
    return write_lines(out, rows)


def explored(stack: Stack, models: Models, challenger: float | None = None, **env: str) -> Worker:
    """`shadow serve` of a stack in which all of the stream was compared, and every sample explained. challenger: the
    threshold of the candidate in another slot of that name, None for none."""
    stack.deploy(models.live, "live")
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    slots = ["candidate", "control"]
    if challenger is not None:
        slots.append("challenger")
        stack.deploy(models.candidate, "challenger", challenger)
    stack.start("scorer", "run", ready=False)
    for slot in slots:
        stack.start("shadow", "run", "--slot", slot, ready=False)
    stack.until_ready()
    sent = stream(models, stack.folder / "explored.jsonl")
    stack.run("scorer", "replay", str(sent))
    stack.until_settled(len(sent.read_bytes().splitlines()))
    serve = stack.start("shadow", "serve", env=env)

    def is_explained() -> bool:
        for slot in slots:
            answer = get(f"http://127.0.0.1:{serve.port}/api/drivers?slot={slot}", serve.token)
            told = orjson.loads(answer or b"{}")
            if not told or told["samples"] < 20 or told["explained"] < told["samples"]:
                return False
        return True

    wait_for("every sample explained", is_explained)
    return serve
