"""Random releases keep within the budget of each event day while workers are killed and partitions move."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from harness.models import BAD, REPEATED, STREAM, Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import PARTITIONS, Stack, by_source, wait_for
from scorer.pipeline.exploration import KEPT_DAYS

SENT = STREAM + REPEATED
#: In units of the reporting currency: a share of 15 for each partition and day.
BUDGET, MAXIMUM, PROBABILITY = 60, 12, 0.5
SECRET = "a secret of this test"
EXPLORE = {
    "SCORER_EXPLORE_PROBABILITY": str(PROBABILITY),
    "SCORER_EXPLORE_BUDGET": str(BUDGET),
    "SCORER_EXPLORE_MAXIMUM": str(MAXIMUM),
    "SCORER_EXPLORE_PARTITIONS": str(PARTITIONS),
    "SCORER_EXPLORE_KEY": SECRET,
}
#: Low, so that there is enough to block.
THRESHOLD = 0.01


def spent(decisions: Iterable[dict[str, Any]]) -> dict[tuple[int, str], Decimal]:
    """Money that was released, by partition and event day, from the text of what the customer pays: all in euros."""
    out: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
    for row in decisions:
        if row["decision"] == "allow" and row["score"] >= row["threshold"]:
            transaction = row["transaction"]
            assert transaction["currency"] == "EUR"
            amount = Decimal(str(transaction["amount"])).quantize(Decimal("0.01"))
            out[row["source"]["partition"], transaction["occurred_at"][:10]] += amount
    return dict(out)


def is_released(transaction: str) -> bool:
    key = hashlib.blake2b(SECRET.encode(), digest_size=32, person=b"exploration").digest()
    drawn = hashlib.blake2b(transaction.encode(), digest_size=8, key=key).digest()[::-1]
    return int(drawn.hex(), 16) / 2**64 < PROBABILITY


def accounts(stack: Stack) -> dict[tuple[int, str], Decimal]:
    """The last account of each partition on the changelog."""
    last = {record.partition: record.value for record in stack.read("velocity") if record.key == b"\xffreleased"}
    return {
        (partition, _date(int(day))): Decimal(minor) / 100
        for partition, value in last.items()
        for day, minor in json.loads(value)["days"].items()
    }


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def test_no_event_day_exceeds_its_budget_while_workers_are_killed_and_partitions_move(
    stack: Stack, models: Models
) -> None:
    stack.deploy(models.live, "live", THRESHOLD)
    stack.env |= {**EXPLORE, "SCORER_BATCH_RECORDS": "200"}
    chance = random.Random(26)
    workers = [stack.start("scorer", "run", ready=False) for _ in range(2)]
    stack.until_ready()
    assert "exploration is on: " in workers[0].log.read_text()
    sender = stack.begin("scorer", "replay", str(models.stream), "--rate", str(SENT / 20))
    seen = []
    for at in (0, 1, 0):
        before = len(stack.settled())
        wait_for("at work", lambda before=before: len(stack.settled()) > before + 300)
        workers[at].kill()
        seen.append(len(stack.settled()))
        if chance.random() < 0.5:
            wait_for("taken over", lambda before=seen[-1]: len(stack.settled()) > before + 100)
        workers[at] = stack.start("scorer", "run", ready=False)
    assert sender.wait(PATIENCE_SECONDS) == 0
    assert all(0 < found < SENT for found in seen), f"not in mid-stream: {seen}"
    stack.until_settled(SENT)
    stack.until_ready()  # or the last one cannot be told to stop yet
    assert [worker.stop() for worker in workers] == [0, 0]

    decisions = list(by_source(stack.decisions()).values())
    assert len(decisions) == SENT - BAD
    by_day: dict[str, Decimal] = defaultdict(Decimal)
    for (partition, day), found in spent(decisions).items():
        assert 0 < found <= Decimal(BUDGET) / PARTITIONS, (partition, day)
        by_day[day] += found
    assert max(by_day.values()) <= BUDGET
    money = spent(decisions)
    newest = {p: sorted(day for at, day in money if at == p)[-KEPT_DAYS:] for p in range(PARTITIONS)}
    expected = {(at, day): found for (at, day), found in money.items() if day in newest[at]}
    assert accounts(stack) == expected, "an account is not what its decisions say"
    drawn = [row for row in decisions if row["release_probability"] < 1]
    blocks = [row for row in decisions if row["score"] >= row["threshold"]]
    assert len(blocks) > len(drawn) > 50
    for row in decisions:
        if row["release_probability"] == 1:
            assert row["decision"] == ("block" if row["score"] >= row["threshold"] else "allow")
        else:
            assert row["release_probability"] == PROBABILITY
            assert row["score"] >= row["threshold"]
            assert 0 < row["amount_minor"] <= 100 * MAXIMUM
            name = row["transaction"]["transaction_id"]
            assert row["decision"] == ("allow" if is_released(name) else "block")
    # in each partition and day all are drawn until there is no room for the maximum, and none after that
    left: dict[tuple[int, str], int] = defaultdict(lambda: 100 * BUDGET // PARTITIONS)
    for row in sorted(blocks, key=lambda row: (row["source"]["partition"], row["source"]["offset"])):
        if not 0 < row["amount_minor"] <= 100 * MAXIMUM:
            continue
        at = row["source"]["partition"], row["transaction"]["occurred_at"][:10]
        assert (row["release_probability"] < 1) == (left[at] >= 100 * MAXIMUM), row["source"]
        left[at] -= row["amount_minor"] if row["decision"] == "allow" else 0
    assert any(money < 100 * MAXIMUM for money in left.values()), "no budget was ever spent: this shows little"


def test_switched_off_for_a_while_it_does_not_spend_a_budget_twice(stack: Stack, models: Models) -> None:
    stack.deploy(models.live, "live", THRESHOLD)
    lines = models.stream.read_text().splitlines(keepends=True)
    few = {"SCORER_BATCH_RECORDS": "20"}
    n = 0
    before: set[tuple[int, int]] = set()
    for part, env in enumerate(({**EXPLORE, **few}, few, {**EXPLORE, **few})):
        path = stack.folder / f"part-{part}.jsonl"
        path.write_text("".join(lines[n : n + 2000]))
        n += 2000
        worker = stack.start("scorer", "run", env=env)
        stack.run("scorer", "replay", str(path))
        stack.until_settled(n)
        assert worker.stop() == 0
        drawn = {_at(row) for row in stack.decisions() if row["release_probability"] < 1}
        assert drawn
        assert not part or drawn == before, "nobody can know what was released"
        before = drawn
    assert "it is not known what was released so far" in worker.log.read_text()


def _at(row: dict[str, Any]) -> tuple[int, int]:
    return row["source"]["partition"], row["source"]["offset"]


def test_a_declaration_that_does_not_fit_stops_the_start_in_one_line(stack: Stack) -> None:
    told = stack.fails("scorer", "run", **{**EXPLORE, "SCORER_EXPLORE_MAXIMUM": "15.01"})
    assert "explore_maximum: 15.01 EUR, but explore_budget 60 over 4 partitions is 15 in each" in told
