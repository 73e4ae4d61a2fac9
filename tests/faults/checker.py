"""Looks at topics and Redis from the outside after a scenario: what was lost, doubled, miscounted or at odds?"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from faults.arena import Arena
from faults.ledger import Filling, History, fold
from faults.recount import Counted, Score, candidate_scores, recount
from faults.replay import Replayed, replay
from scorer.pipeline.card_row import ROW

TOPICS = ("transactions", "decisions", "transactions.rejected", "velocity", "deployments")


@dataclass
class Verdict:
    """What is wrong, in numbers and in words. stall: longest time in which a partition's backlog did not move."""

    transactions: int = 0
    lost: int = 0
    duplicated: int = 0
    miscounted: int = 0
    conflicts: int = 0
    extras: int = 0
    live_stall_s: float = 0.0
    dropped: int = 0  # cards, as the changelog tells
    told: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.duplicated or self.miscounted or self.conflicts)

    def tell(self, what: str) -> None:
        """Note a finding in words, but not thousands of them."""
        if len(self.told) < 20:
            self.told.append(what)


@dataclass
class Evidence:
    """What is on the topics after a scenario."""

    topics: dict[str, dict[int, list[Any]]]
    history: History
    decisions: dict[int, list[tuple[Any, dict[str, Any]]]]


def check(arena: Arena) -> Verdict:
    """Everything that must be true."""
    topics = arena.wire.read(*TOPICS)
    for p, records in arena.deleted.items():
        topics["decisions"][p] = records + topics["decisions"][p]
    for p, records in arena.expired.items():
        topics["transactions"][p] = records + topics["transactions"][p]
    decisions = {p: [(r, orjson.loads(r.value)) for r in records] for p, records in topics["decisions"].items()}
    seen = Evidence(topics, fold(topics["deployments"].get(0, [])), decisions)
    verdict = Verdict(transactions=arena.sent)
    if sum(len(records) for records in topics["transactions"].values()) != arena.due:
        arena.problems.append("transactions are missing on their topic")
    for told in arena.problems:
        verdict.miscounted += 1
        verdict.tell(told)
    _check_decisions(arena, seen, verdict)
    if arena.expects_drops and not verdict.dropped:
        verdict.miscounted += 1
        verdict.tell("no card was dropped")
    for slot in arena.slots:
        _check_slot(arena, seen, slot, verdict)
    verdict.live_stall_s = round(max(_stalls(topics), default=0.0), 3)
    return verdict


def _check_decisions(arena: Arena, seen: Evidence, verdict: Verdict) -> None:
    """Each source offset has one decision or dead letter, in order, equal to an undisturbed replay; so is velocity."""
    is_event = arena.clock == "event"
    for p, records in seen.topics["transactions"].items():
        replays = _Replays(arena, seen.history, p, records)
        refused = _refused(arena, seen.topics["transactions.rejected"].get(p, []), p, verdict)
        last, firsts = -1, dict[int, dict[str, Any]]()
        for _, row in seen.decisions.get(p, []):
            at = row["source"]["offset"]
            if at in firsts:
                _check_extra(arena, verdict, p, firsts[at], row)
                continue
            firsts[at] = row
            if at < last:
                verdict.miscounted += 1
                verdict.tell(f"decisions {p}: source {at} comes after {last}")
            last = max(last, at)
            expected = replays.of(row["epoch"]).decisions.get(at)
            if expected is None or not _equal(expected, row, is_event):
                verdict.miscounted += 1
                verdict.tell(f"decisions {p}: source {at} is not what an undisturbed run decides")
        clean = replays.of(min(replays.epochs))
        for record in records:
            times = (record.offset in firsts) + refused[record.offset]
            if times == 0:
                verdict.lost += 1
                verdict.tell(f"transactions {p}: offset {record.offset} has no decision and no dead letter")
            if times > 1:
                verdict.duplicated += times - 1
                verdict.tell(f"transactions {p}: offset {record.offset} has {times} decisions and dead letters")
            if (record.offset in clean.refused) != (refused[record.offset] > 0):
                verdict.miscounted += 1
                verdict.tell(f"transactions {p}: offset {record.offset} is refused where it ought not to be, or not")
        _check_velocity(seen.topics["velocity"].get(p, []), clean, p, verdict)


def _refused(arena: Arena, letters: Sequence[Any], p: int, verdict: Verdict) -> Counter[int]:
    """Dead letters by source offset. A zombie may have written one again, equal to the first but for when."""
    firsts, count = dict[int, Any](), Counter[int]()
    for letter in letters:
        if letter.value is None:
            continue  # the mark of a replay
        at = int(dict(letter.headers)["offset"])
        if at not in firsts or not arena.allows_extras:
            firsts[at] = letter
            count[at] += 1
            continue
        verdict.extras += 1
        if _letter(letter) != _letter(firsts[at]):
            verdict.conflicts += 1
            verdict.tell(f"transactions.rejected {p}: source {at} is refused twice, and otherwise")
    return count


def _letter(record: Any) -> tuple[Any, ...]:
    return record.key, record.value, [(name, told) for name, told in record.headers if name != "rejected_at"]


def _equal(one: dict[str, Any], other: dict[str, Any], with_stamp: bool, but: tuple[str, ...] = ()) -> bool:
    ignored = {*but} | (set() if with_stamp else {"scored_at"})
    return {k: v for k, v in one.items() if k not in ignored} == {k: v for k, v in other.items() if k not in ignored}


def _check_extra(arena: Arena, verdict: Verdict, p: int, first: dict[str, Any], extra: dict[str, Any]) -> None:
    """A second decision for a transaction: a zombie's, which must equal the first but for when and under whom."""
    at = extra["source"]["offset"]
    verdict.extras += 1
    if not arena.allows_extras:
        verdict.duplicated += 1
        verdict.tell(f"decisions {p}: source {at} is decided twice")
    model = ("epoch", "bundle", "threshold", "score", "decision")
    if not _equal(first, extra, False, () if first["epoch"] == extra["epoch"] else model):
        verdict.conflicts += 1
        verdict.tell(f"decisions {p}: source {at} is decided twice, and otherwise")


def _check_velocity(records: Sequence[Any], clean: Replayed, p: int, verdict: Verdict) -> None:
    """Of the rows of each card, the one with the highest source offset is what a clean replay leaves; it is dropped at
    an offset as high only if the card is idle."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for record in records:
        if record.key == b"":
            continue  # steps of the clock
        if record.value is None:
            offset = int(dict(record.headers)["offset"])
            verdict.dropped += 1
        else:
            offset = int(np.frombuffer(record.value, dtype=ROW, count=1)["offset"][0])
        if offset >= found.get(record.key, (-1, b""))[0]:
            found[record.key] = offset, record.value or b""
    for card in found.keys() | clean.states.keys():
        if card not in clean.idle and found.get(card, (0, b""))[1] != clean.states.get(card):
            verdict.miscounted += 1
            verdict.tell(f"velocity {p}: the state of a card is not what a clean replay leaves")


@dataclass
class _Replays:
    """Replays of one partition under each epoch of live, made when they are asked for."""

    arena: Arena
    history: History
    partition: int
    records: Sequence[Any]
    _made: dict[int, Replayed] = field(default_factory=dict)

    @property
    def epochs(self) -> dict[int, Filling]:
        return self.history.fillings["live"]

    def of(self, epoch: int) -> Replayed:
        if epoch not in self._made:
            store = _folder_of(self.arena, self.epochs[epoch].digest)
            is_event = self.arena.clock == "event"
            env = self.arena.models.env
            self._made[epoch] = replay(self.partition, self.records, self.epochs[epoch], store, env, is_event)
        return self._made[epoch]


def _folder_of(arena: Arena, digest: str) -> Path:
    """The store that has a bundle unspoiled: the one of all scenarios, else the arena's own."""
    shared = Path(arena.models.env["SCORER_STORE"])
    return shared if (shared / digest).is_dir() else Path(arena.stack.env["SCORER_STORE"])


def _check_slot(arena: Arena, seen: Evidence, slot: str, verdict: Verdict) -> None:
    """Tallies, counters, samples and gaps of a slot, partition by partition, against a recount."""
    release = Path(arena.models.env["SHADOW_RELEASE"])
    fillings, gaps = seen.history.fillings.get(slot, {}), arena.gaps.get(slot, {})
    cannot = arena.unscored.get(slot, lambda partition, offset: False)

    @cache
    def score_with(filling: Filling) -> Score:
        return candidate_scores(_folder_of(arena, filling.digest), filling, seen.history.views)

    with arena.store.client() as client:
        for p, records in seen.topics["decisions"].items():
            base = f"shadow:{{{slot}:{p}}}:2"
            fence = {k.decode(): v.decode() for k, v in client.hgetall(f"{base}:fence").items()}
            told_gaps = [gap.decode() for gap in client.lrange(f"{base}:gaps", 0, -1)]
            wanted = [f"{gaps[p][0]}-{gaps[p][1]}"] if p in gaps else []
            if told_gaps != wanted:
                verdict.miscounted += 1
                verdict.tell(f"slot {slot} partition {p}: gaps are {told_gaps}, deleted was {wanted}")
            ranges = _ranges(client, base)

            def filling_at(offset: int, ranges: list[tuple[int, int, int]] = ranges) -> Filling | None:
                return next((fillings[epoch] for first, after, epoch in ranges if first <= offset < after), None)

            first, after = gaps.get(p, (0, 0))
            due = [r for r in records if not first <= r.offset < after]
            within = [r for r in due if r.offset < int(fence.get("next", 0))]
            if len(within) < len(due):
                verdict.lost += len(due) - len(within)
                verdict.tell(f"slot {slot} partition {p}: {len(due) - len(within)} decisions were not read")
            counted = recount(within, filling_at, score_with, partial(cannot, p), release)
            if counted.skipped != int(fence.get("skipped", 0)):
                verdict.miscounted += 1
                verdict.tell(f"slot {slot} partition {p}: skipped {fence.get('skipped')}, recounted {counted.skipped}")
            in_no_run, too_early = _around(within, ranges, fillings)
            if slot not in seen.history.emptied and in_no_run:
                verdict.lost += in_no_run
                verdict.tell(f"slot {slot} partition {p}: {in_no_run} decisions are in no run")
            if too_early:
                verdict.miscounted += too_early
                verdict.tell(f"slot {slot} partition {p}: {too_early} runs begin before their slot was filled")
            _compare_tallies(client, base, f"slot {slot} partition {p}", counted, verdict)
            _compare_samples(client, base, f"slot {slot} partition {p}", counted, verdict)


def _around(
    records: Sequence[Any], ranges: list[tuple[int, int, int]], fillings: dict[int, Filling]
) -> tuple[int, int]:
    """How many decisions are in no run, although they were made after the slot was filled for the run that follows; and
    how many runs begin with one that was made before. ranges: from `_ranges`."""
    in_no_run = 0
    for record in records:
        if any(first <= record.offset < after for first, after, _ in ranges):
            continue
        epoch = next((epoch for first, _, epoch in ranges if first > record.offset), max(fillings, default=0))
        in_no_run += epoch not in fillings or record.timestamp >= fillings[epoch].since_ms
    begun = {record.offset: record.timestamp for record in records}
    return in_no_run, sum(first in begun and begun[first] < fillings[epoch].since_ms for first, _, epoch in ranges)


def _ranges(client: Any, base: str) -> list[tuple[int, int, int]]:
    """First offset, offset after the last, and candidate epoch of each run, in order."""
    found = []
    for run in client.smembers(f"{base}:runs"):
        meta = client.hgetall(f"{base}:run:{run.decode()}")
        epoch = int(run.decode().split("-C")[1])
        found.append((int(meta[b"first_offset"]), int(meta[b"next_offset"]), epoch))
    return sorted(found)


def _compare_tallies(client: Any, base: str, where: str, counted: Counted, verdict: Verdict) -> None:
    there = {
        key.decode().removeprefix(f"{base}:"): {
            field.decode(): int(count) for field, count in client.hgetall(key).items() if int(count)
        }
        for kind in "td"
        for key in client.scan_iter(f"{base}:{kind}:*", count=5000)
    }
    histograms = {
        key.decode().removeprefix(f"{base}:"): {
            at: count for at, (count,) in enumerate(struct.iter_unpack(">q", client.get(key))) if count
        }
        for kind in "hf"
        for key in client.scan_iter(f"{base}:{kind}:*", count=5000)
    }
    for key in sorted(histograms.keys() | counted.histograms.keys()):
        cells, due = histograms.get(key, {}), {at: n for at, n in counted.histograms[key].items() if n}
        if cells != due:
            verdict.miscounted += 1
            wrong_cells = {
                at: (cells.get(at, 0), due.get(at, 0)) for at in {*cells, *due} if cells.get(at) != due.get(at)
            }
            verdict.tell(f"{where}: {key} (tallied, recounted): {dict(list(wrong_cells.items())[:4])}")
    for key in sorted(there.keys() | counted.tallies.keys()):
        has, wants = there.get(key, {}), {name: n for name, n in counted.tallies.get(key, {}).items() if n}
        if has == wants:
            continue
        if key.startswith("t:") and key.endswith(":total:all"):
            more = sum(_compared(has)) - sum(_compared(wants))
            verdict.duplicated += max(0, more)
            verdict.lost += max(0, -more)
        verdict.miscounted += 1
        wrong = {
            name: (has.get(name, 0), wants.get(name, 0)) for name in {*has, *wants} if has.get(name) != wants.get(name)
        }
        verdict.tell(f"{where}: {key} (tallied, recounted): {dict(list(wrong.items())[:4])}")
    for run in {key.split(":")[1] for key in there} | set(counted.counters):
        meta = {k.decode(): v.decode() for k, v in client.hgetall(f"{base}:run:{run}").items()}
        verdict.conflicts += int(meta.get("conflicts", 0))
        for name in ("duplicates", "repeats", "conflicts"):
            if int(meta.get(name, 0)) != counted.counters[run][name]:
                verdict.miscounted += 1
                verdict.tell(f"{where}: {run} {name}: {meta.get(name, 0)}, recounted {counted.counters[run][name]}")


def _compared(sums: dict[str, int]) -> list[int]:
    return [sums.get(name, 0) for name in ("c0", "c1", "c2", "c3", "e")]


def _compare_samples(client: Any, base: str, where: str, counted: Counted, verdict: Verdict) -> None:
    kept: dict[tuple[str, int | str], set[int]] = {}
    strata = {key.decode().removeprefix(f"{base}:z:") for key in client.scan_iter(f"{base}:z:*", count=5000)}
    wanted = {f"{run}:{day}:{outcome}:{segment}" for run, day, outcome, segment in counted.strata}
    wrong = len(strata ^ wanted)
    for (run, day, outcome, segment), members in counted.strata.items():
        found = client.zrange(f"{base}:z:{run}:{day}:{outcome}:{segment}", 0, -1, withscores=True)
        tau = client.hget(f"{base}:tau:{run}:{day}", f"{outcome}:{segment}")
        wrong += sorted((value, int(member)) for member, value in found) != sorted(members)
        wrong += (None if tau is None else float(tau)) != counted.taus.get((run, day, outcome, segment))
        kept.setdefault((run, day), set()).update(source for _, source in members)
    for (run, day), sources in kept.items():
        bodies = {int(k): orjson.loads(v) for k, v in client.hgetall(f"{base}:s:{run}:{day}").items()}
        wrong += len(bodies.keys() ^ sources)
        if day != "run":  # what is kept of a whole run is for labels, and has no scores
            wrong += sum(bodies[s]["candidate"]["score"] != counted.scores[s] for s in bodies.keys() & sources)
    if wrong:
        verdict.miscounted += wrong
        verdict.tell(f"{where}: {wrong} differences between samples and the deterministic selection")


def stalls(arena: Arena) -> list[float]:
    """Longest stall of each partition, in seconds."""
    return _stalls(arena.wire.read(*TOPICS[:3]))


def _stalls(topics: dict[str, dict[int, list[Any]]]) -> list[float]:
    found = []
    for p, records in topics["transactions"].items():
        through = [*topics["decisions"].get(p, []), *topics["transactions.rejected"].get(p, [])]
        found.append(_stall([record.timestamp for record in records], [record.timestamp for record in through]))
    return found


def _stall(came: list[int], settled: list[int]) -> float:
    """Longest time, in seconds, in which something waited and nothing was settled. Both in milliseconds."""
    longest, since, waiting, done = 0, None, 0, 0
    events = sorted([(t, 0) for t in came] + [(t, 1) for t in settled])
    for at, kind in events:
        if kind == 0:
            waiting += 1
            since = at if since is None else since
        else:
            done += 1
            if since is not None:
                longest = max(longest, at - since)
            since = at if waiting > done else None
    return longest / 1000.0
