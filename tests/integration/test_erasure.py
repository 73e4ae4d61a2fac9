"""`shadow erase` has the scorers forget a card: once, whoever owns its partition, and whoever dies meanwhile; and
leaves an entry on the ledger, without the card."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson

from harness.models import REPEATED, STREAM, Models
from harness.stack import PARTITIONS, Stack, wait_for, write_lines
from scorer.kafka.producer import BatchProducer
from scorer.pipeline.batch import Record
from scorer.pipeline.erasure import ErasureAnswer, ErasureRequest, read
from scorer.pipeline.view import VELOCITY_FEATURES


def last_state(stack: Stack, card: str) -> Any:
    """The last record of a card on the changelog."""
    return [record for record in stack.read("velocity") if record.key == card.encode()][-1]


def answers(stack: Stack) -> Counter[str]:
    """How many partitions have answered each request."""
    said: Counter[str] = Counter()
    for record in stack.read("erasures"):
        with suppress(ValueError):
            name, one = read(record.key, record.value)
            said[name] += isinstance(one, ErasureAnswer)
    return said


def seen_of(stack: Stack, models: Models, card: str, name: str, n: int) -> int:
    """Send one more transaction of a card; how many of its own it saw in 30 days."""
    last = orjson.loads(models.stream.read_bytes().splitlines()[-1])
    row = {**last, "card_id": card, "transaction_id": name}
    stack.run("scorer", "replay", str(write_lines(stack.folder / f"{name}.jsonl", [row])))
    stack.until_settled(n)
    (decision,) = [d for d in stack.decisions() if d["transaction"]["transaction_id"] == name]
    return int(decision["features"][3 + VELOCITY_FEATURES.index("card_count_30d")])


def entries(stack: Stack) -> list[dict[str, Any]]:
    """What erasures have left on the ledger."""
    said = [orjson.loads(record.value) for record in stack.read("deployments") if record.key.startswith(b"ledger/")]
    return [one for one in said if one["kind"] == "erasure"]


def write(stack: Stack, topic: str, partition: int, records: list[Record]) -> None:
    async def go() -> None:
        producer = BatchProducer(stack.settings())
        await producer.start(require_idempotence=False)
        await producer.write(topic, partition, records)
        await producer.stop()

    asyncio.run(go())


def test_an_erased_card_counts_as_new_also_after_a_kill_and_is_erased_once(
    stacks: Callable[[], Stack], models: Models
) -> None:
    stack, n = stacks(), STREAM + REPEATED
    scorer = stack.start("scorer", "run")
    stack.run("scorer", "replay", str(models.stream))
    stack.until_settled(n)
    counts = Counter(orjson.loads(line).get("card_id") for line in models.stream.read_bytes().splitlines())
    (one, _), (two, _), (three, _) = counts.most_common(3)

    told = stack.run("shadow", "erase", "--card", one)
    assert "erased its state in partition" in told
    record = last_state(stack, one)
    assert record.value is None
    assert f"partition {record.partition}" in told
    assert scorer.metric("scorer_cards_dropped_total") == 1
    assert set(answers(stack).values()) == {PARTITIONS}
    assert "hold no state" in stack.run("shadow", "erase", "--card", "nobody")

    # The next owner knows it from the topic, and an answer that was lost does not erase the card again.
    assert seen_of(stack, models, one, "first", n + 1) == 0
    request = dict(record.headers)["erasure"]
    scorer.kill()
    again = ErasureRequest.of(one, "2026-01-01T00:00:00Z").encode()
    write(stack, "erasures", record.partition, [(request, again)])
    scorer = stack.start("scorer", "run")
    wait_for("answered again", lambda: answers(stack)[request.decode()] == PARTITIONS + 1)
    assert seen_of(stack, models, one, "second", n + 2) == 1

    # Nobody is there: the request waits, and records that are none do no harm.
    scorer.kill()
    assert "pending in partition 0, 1, 2, 3" in stack.run("shadow", "erase", "--card", two, "--wait", "1", expect=1)
    hostile = [
        (None, b"{}"),
        (b"x", again),
        (b"0" * 16, b"[" * 2000),
        (b"1" * 16, b'{"card_id": 5}'),
        (b"2" * 16, b"{"),
    ]
    write(stack, "erasures", 0, hostile)
    scorers = [stack.start("scorer", "run", ready=False) for _ in range(2)]
    wait_for("both erased", lambda: last_state(stack, two).value is None)
    wait_for("all answered", lambda: sorted(answers(stack).values())[0] == PARTITIONS)
    assert max(scorer.metric("scorer_foreign_records_total") for scorer in scorers) == len(hostile)
    assert last_state(stack, three).value is not None
    assert seen_of(stack, models, two, "third", n + 3) == 0


def test_a_card_number_is_not_asked_for(stacks: Callable[[], Stack]) -> None:
    stack = stacks()
    told = stack.fails("shadow", "erase", "--card", "4111111111111111")
    assert "looks like a card number" in told
    assert "4111111111111111" not in told
    assert stack.read("erasures") == []
    assert entries(stack) == []


def test_an_erasure_is_on_the_ledger_and_the_card_is_not(stack: Stack, models: Models) -> None:
    stack.deploy(models.candidate, "candidate")
    stack.start("scorer", "run")
    shadow = stack.start("shadow", "run", "--slot", "candidate")
    stack.run("scorer", "replay", str(models.stream), "--limit", "2000")
    stack.until_settled(2000)
    wait_for("compared", lambda: shadow.metric("shadow_comparisons_total") > 1900)
    counts = Counter(orjson.loads(line).get("card_id") for line in models.stream.read_bytes().splitlines()[:2000])
    (card, _), (other, _) = counts.most_common(2)
    told = orjson.loads(
        stack.run("shadow", "erase", "--card", card, "--by", "ann", "--reason", "request 17", "--json").splitlines()[-1]
    )
    assert told["samples"] > 0
    (entry,) = entries(stack)
    assert {**entry, "at": None} == {
        "schema": 1, "kind": "erasure", "request": told["request"], "partitions": PARTITIONS, "by": "ann",
        "samples": told["samples"], "cases": told["cases"], "labels": told["labels"], "reason": "request 17",
        "verified": None, "at": None,
    }  # fmt: skip
    assert all(card.encode() not in record.value for record in stack.read("deployments") if record.value)
    line = next(line for line in stack.run("shadow", "history").splitlines() if "erasure of a card" in line)
    assert f"by ann: {told['samples']:,} samples" in line
    assert "(name not verified)" in line
    assert "1 erasure of a card was asked for" in stack.run("shadow", "status")

    # what names the card is refused before anything is deleted, and so is whoever may not
    held = len(stack.read("erasures"))
    assert "--reason: names the card" in stack.fails("shadow", "erase", "--card", other, "--reason", f"is {other}!")
    assert "--by: names the card" in stack.fails("shadow", "erase", "--card", other, "--by", other.upper())
    assert "card number" in stack.fails("shadow", "erase", "--card", other, "--reason", "4111 1111 1111 1111")
    people = {"eve": {"token": hashlib.sha256(b"of-eve").hexdigest(), "role": "reviewer"}}
    known = {"SHADOW_PEOPLE": orjson.dumps(people).decode()}
    assert "token: is missing" in stack.fails("shadow", "erase", "--card", other, **known)
    assert "needs the role releaser" in stack.fails("shadow", "erase", "--card", other, **known, SHADOW_TOKEN="of-eve")
    public = stack.run("scorer", "key", "new", "bob", "--out", str(stack.folder / "bob.pem"))
    last = [record.key.decode().partition("/")[2] for record in stack.read("deployments") if b"ledger/" in record.key]
    trusted = stack.folder / "trusted.yaml"
    trusted.write_text(f"deployment: d\nunsigned_until: {last[-1]}\n{public}\n")
    signed = {"SHADOW_TRUSTED_KEYS": str(trusted)}
    assert "this would not count, as it is not signed" in stack.fails("shadow", "erase", "--card", other, **signed)
    assert len(stack.read("erasures")) == held
    assert len(entries(stack)) == 1
    again = orjson.loads(stack.run("shadow", "erase", "--card", other, "--json").splitlines()[-1])
    assert again["samples"] > 0, "nothing of it was deleted before"
    assert entries(stack)[-1]["by"] == "shadow erase (nobody was asked)"
    stack.run("shadow", "erase", "--card", other, env={**signed, "SHADOW_SIGNING_KEY": str(stack.folder / "bob.pem")})
    assert entries(stack)[-1]["by"] == "bob"


def test_whoever_dies_while_the_scorers_are_waited_for_has_left_the_entry(stack: Stack) -> None:
    process = stack.begin("shadow", "erase", "--card", "gone", "--by", "ann", "--wait", "600")
    wait_for("asked", lambda: stack.read("erasures"))
    process.kill()
    process.communicate()
    (entry,) = entries(stack)
    asked = {record.key.removeprefix(b"archive/").decode() for record in stack.read("erasures")}
    assert asked == {entry["request"]}
