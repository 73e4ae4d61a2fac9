"""What streams bring: old heads deleted, dates of 2099, repeated ids, and more partitions than before."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson

from faults.arena import Arena, Member
from faults.scenario import scenario
from faults.scenarios.processes import kill_and_start


@scenario()
def retention_gap(arena: Arena) -> None:
    """The head of `decisions` is deleted under a stopped shadow, past its fence."""
    arena.scorer()
    shadow = arena.shadow()
    arena.ready()
    arena.strike(shadow.kill, backlog=arena.behind_shadow, part=3000)
    arena.send(6000)
    arena.until("decided", lambda: arena.behind_live() <= 0)
    records = arena.wire.read("decisions")["decisions"]
    fences = arena.fences("candidate")
    cut = {p: fences[p] + (rows[-1].offset + 1 - fences[p]) * 2 // 3 for p, rows in records.items()}
    assert all(cut[p] > fences[p] for p in cut), "nothing unread would be deleted"
    arena.deleted = {p: [row for row in rows if row.offset < cut[p]] for p, rows in records.items()}
    arena.gaps["candidate"] = {p: (fences[p], cut[p]) for p in cut}
    arena.wire.delete_before("decisions", cut)
    shadow.start()
    arena.ready()


@scenario(env={"SCORER_SESSION_SECONDS": "6", "SCORER_HEARTBEAT_SECONDS": "2"})
def retention_passes_scorer(arena: Arena) -> None:
    """The head of `transactions` is deleted beyond where a scorer is that stands still for a moment, and then beyond
    where one is that is down: what was never decided is said and counted, no more and no less."""
    scorer = arena.scorer()
    arena.shadow()
    arena.ready()
    arena.send(2000)
    arena.until("decided", lambda: arena.behind_live() <= 0)
    for is_down in (False, True):
        before = _ends(arena)
        if is_down:
            scorer.kill()
        else:
            scorer.alive.pause()
        arena.send(6000)
        rows = arena.wire.read("transactions")["transactions"]
        cut = {p: before[p] + (records[-1].offset + 1 - before[p]) * 2 // 3 for p, records in rows.items()}
        arena.wire.delete_before("transactions", cut)
        arena.faults += 1
        if is_down:
            scorer.start()
        else:
            scorer.alive.resume()
        arena.until("the last is decided", partial(_is_decided, arena, rows))
        _expect_said(arena, scorer, rows, cut)


def _is_decided(arena: Arena, rows: dict[int, list[Any]]) -> bool:
    """Whether the last of some records of each partition is decided."""
    return _ends(arena) == {p: records[-1].offset + 1 for p, records in rows.items()}


def _ends(arena: Arena) -> dict[int, int]:
    """Source offset after the last decision or dead letter of each partition."""
    found: dict[int, int] = {}
    for topic, partitions in arena.wire.read("decisions", "transactions.rejected").items():
        for p, records in partitions.items():
            found[p] = max([found.get(p, 0), *(arena.source_of(topic, record) + 1 for record in records)])
    return found


def _expect_said(arena: Arena, scorer: Member, rows: dict[int, list[Any]], cut: dict[int, int]) -> None:
    """What was deleted and is not decided is one range up to the cut; the scorer has logged and counted just that."""
    settled, said = arena.settled_sources(), dict[int, tuple[int, int]]()
    for p, start, end in re.findall(
        r"partition (\d+): retention took offsets (\d+) to (\d+) und", scorer.alive.log.read_text()
    ):
        said[int(p)] = int(start), int(end)
    gone = 0
    for p, records in rows.items():
        deleted = [record for record in records if record.offset < cut[p]]
        missing = [record.offset for record in deleted if (p, record.offset) not in settled]
        wanted = (missing[0], cut[p]) if missing else None
        if said.get(p) != wanted or len(missing) != (wanted[1] - wanted[0] if wanted else 0):
            arena.problems.append(f"partition {p}: said {said.get(p)}, deleted and undecided is {wanted}")
        if wanted:
            arena.undecided.setdefault(p, []).append(wanted)
        arena.expired.setdefault(p, []).extend(record for record in deleted if (p, record.offset) in settled)
        gone += len(missing)
    counted = scorer.alive.metric("scorer_missed_transactions_total")
    arena.notes.append(f"{gone} transactions expired undecided, {counted:.0f} counted")
    if not gone or counted != gone:
        arena.problems.append(f"{gone} transactions expired undecided, {counted:.0f} counted")


@scenario(clock="wall")
def future_record(arena: Arena) -> None:
    """Transactions that are dated 2099 come in between, and a kill; they complete no hour, and spoil no card."""
    scorer = arena.scorer()
    arena.shadow()
    arena.ready()
    arena.restamp()
    for at in range(500, 15_000, 50):
        card, value = arena.rows[at]
        arena.rows[at] = card, orjson.dumps({**orjson.loads(value), "occurred_at": "2099-12-31T23:59:59.000Z"})
    arena.strike(lambda: kill_and_start(scorer), times=3, part=2000)
    arena.send(4000)
    arena.until("decided", lambda: arena.behind_live() <= 0)
    if not scorer.alive.metric("scorer_untrusted_dates_total"):
        arena.problems.append("no transaction was counted as dated too far ahead")
    with arena.store.client() as client:
        hours = {int(h) for key in client.scan_iter("shadow:*:hours:*", count=1000) for h in client.smembers(key)}
    limit = datetime.now(UTC) + timedelta(hours=1)
    if any(hour * 3600 > limit.timestamp() for hour in hours):
        arena.problems.append("an hour of 2099 counts as covered")


@scenario()
def sender_repeats(arena: Arena) -> None:
    """Ids are sent twice, close together and far apart, across a kill of the scorer."""
    scorer = arena.scorer()
    arena.shadow()
    arena.ready()
    rows: list[tuple[bytes, bytes]] = []
    for at, row in enumerate(arena.rows):
        rows.append(row)
        if arena.rng.random() < 0.02:
            rows.append(row)
        if at >= 5000 and arena.rng.random() < 0.02:
            rows.append(arena.rows[at - 5000])
    arena.rows = rows
    arena.strike(lambda: kill_and_start(scorer), times=4, part=2000)
    arena.send(12_000)
    arena.until("decided", lambda: arena.behind_live() <= 0)
    _expect_marks(arena)


def _expect_marks(arena: Arena) -> None:
    """A decision is marked `repeat` just where its id is among the last four new ids of its card."""
    marked = {p: {} for p in range(4)}  # type: dict[int, dict[int, bool]]
    for p, records in arena.wire.read("decisions")["decisions"].items():
        for record in records:
            row = orjson.loads(record.value)
            marked[p][row["source"]["offset"]] = "repeat" in row
    for p, records in arena.wire.read("transactions")["transactions"].items():
        last: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=4))
        for record in records:
            row = orjson.loads(record.value)
            if record.offset not in marked[p]:
                continue
            ids = last[row["card_id"]]
            is_repeat = row["transaction_id"] in ids
            if not is_repeat:
                ids.append(row["transaction_id"])
            if is_repeat != marked[p][record.offset]:
                arena.problems.append(f"partition {p}: offset {record.offset} is marked wrongly")
    found = sum(is_repeat for offsets in marked.values() for is_repeat in offsets.values())
    arena.notes.append(f"{found} decisions marked as repeats")


@scenario()
def partition_count_changed(arena: Arena) -> None:
    """`transactions` gets more partitions while the workers are down: they decide the old ones, and the new ones once
    the other topics have as many."""
    scorer, shadow = arena.scorer(), arena.shadow()
    arena.ready()

    def down() -> None:
        scorer.kill()
        shadow.kill()

    arena.strike(down, part=3000)
    arena.wire.raise_partitions("transactions", 6)
    scorer.start()
    shadow.start()
    arena.ready()
    arena.send(3000)
    assert scorer.alive.metric("scorer_waiting_partitions") == 2
    told = arena.stack.run("scorer", "topics", "--add-partitions")
    assert told.count("has 6 partitions now, 4 before") == 4, told
    arena.until("taken up", lambda: scorer.alive.metric("scorer_waiting_partitions") == 0)
    arena.send(3000)
