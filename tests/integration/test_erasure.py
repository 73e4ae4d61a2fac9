"""`shadow erase` has the scorers forget a card: once, whoever owns its partition, and whoever dies meanwhile."""

from __future__ import annotations

import asyncio
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
