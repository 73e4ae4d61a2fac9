"""What Redis must hold of one partition of a slot, counted anew from the wire, one decision at a time.

None of the product's counting is used: the rules are written down here once more, plainly, so that the two can differ.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import orjson
import yaml

from faults.ledger import Filling

HOUR_MS = 3_600_000
#: Bins of scores in log-odds: in steps of 1/2 from -8 to -5, of 1/32 to 5, of 1/2 to 8. Five kinds of sums in a row.
ODDS = [-8 + i / 2 for i in range(6)] + [-5 + i / 32 for i in range(320)] + [5 + i / 2 for i in range(7)]
EDGES = [1 / (1 + math.exp(-odds)) for odds in ODDS]
#: Features are tallied of one transaction in four: missing, zero, then 44 octaves of four bins from 2 ** -10, by sign.
EVERY, SIZES = 4, 176
#: Where amounts are cut, if the criteria say nothing, and minor units in one.
AMOUNT_CAP, MINOR_PER_UNIT = 500.0, 100
KEEP = {0: 5, 1: 5, 2: 50, 3: 50}

Score = Callable[[list[dict[str, Any]]], list[float]]


@dataclass
class Counted:
    """Of one partition. tallies, histograms: by key after the base, then field or cell. strata: (run, day, outcome,
    segment) to the kept (hash, source offset); taus: to the smallest hash refused. counters: by run. scores: of
    compared decisions."""

    tallies: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    histograms: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    strata: dict[tuple[str, int | str, int, str], list[tuple[float, int]]] = field(default_factory=dict)
    taus: dict[tuple[str, int | str, int, str], float] = field(default_factory=dict)
    counters: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    scores: dict[int, float] = field(default_factory=dict)
    skipped: int = 0


def candidate_scores(store: Path, filling: Filling, views: dict[str, dict[str, Any]]) -> Score:
    """How a bundle scores decisions from their snapshots on the wire; NaN where it cannot."""
    folder = store / filling.digest
    try:
        manifest = orjson.loads((folder / "manifest.json").read_bytes())
        model = lightgbm.Booster(model_str=(folder / "model.txt").read_text())
    except (OSError, lightgbm.basic.LightGBMError, ValueError):
        return lambda rows: [math.nan] * len(rows)

    def score(rows: list[dict[str, Any]]) -> list[float]:
        names = views[rows[0]["view"]]["names"]
        if any(name not in names for name in manifest["features"]):
            return [math.nan] * len(rows)
        at = [names.index(name) for name in manifest["features"]]
        matrix = np.array([[row["features"][i] for i in at] for row in rows], dtype=np.float64)
        return [float(found) for found in model.predict(matrix, num_threads=1)]

    return score


def feature_bin(value: float | None) -> int:
    """Where a feature is counted."""
    if value is None or math.isnan(value):
        return 0
    if value == 0:
        return 1
    at = min(SIZES - 1, max(0, math.floor((math.log2(abs(value)) + 10) * 4)))
    return (2 if value > 0 else 2 + SIZES) + at


def segments_of(row: dict[str, Any], release: dict[str, Any]) -> list[str]:
    """`all`, and one segment of each declared division."""
    found = ["all"]
    for name, part in release["segments"].items():
        if "values" in part:
            cell = row["transaction"].get(part["field"])
            found.append(f"{name}={cell if cell in part['values'] else 'other'}")
        else:
            number = row["amount_minor"] / 100 if part["field"] == "amount" else row["transaction"].get(part["field"])
            edges = part["bands"]
            if part["field"] == "amount":  # what is above the cap is a band of its own
                edges = sorted({*edges, release.get("amount_cap", AMOUNT_CAP)})
            at = bisect.bisect_right(edges, number)
            labels = [f"<{edges[0]:g}", *(f"{a:g}-{b:g}" for a, b in pairwise(edges))]
            found.append(f"{name}={[*labels, f'>={edges[-1]:g}'][at]}")
    return found


def milliseconds(text: str) -> int:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def sample_hash(transaction_id: str) -> float:
    digest = hashlib.blake2b(transaction_id.encode(), digest_size=8, person=b"samples").digest()
    return (int.from_bytes(digest, "little") >> 11) / 2.0**53


def recount(
    records: Sequence[Any],
    filling_at: Callable[[int], Filling | None],
    score_with: Callable[[Filling], Score],
    is_unscored: Callable[[int], bool],
    release_file: Path,
) -> Counted:
    """Count decisions of a partition, in log order. filling_at: what the slot held when an offset was read.
    is_unscored: whether the fault kept the candidate from scoring an offset."""
    release = yaml.safe_load(release_file.read_text())
    cap = int(release.get("amount_cap", AMOUNT_CAP) * MINOR_PER_UNIT)
    counted, first = Counted(), dict[int, tuple[float | None, int]]()
    cards: dict[tuple[str, int, str, str], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    offers: dict[tuple[str, int | str, int, str], list[tuple[float, int]]] = defaultdict(list)
    highest = -1
    rows = [(record.offset, orjson.loads(record.value)) for record in records]
    scores = _scores(rows, filling_at, score_with)
    for offset, row in rows:
        source, filling = row["source"]["offset"], filling_at(offset)
        is_extra = source <= highest
        highest = max(highest, source)
        before = first.setdefault(source, (row["score"], row["epoch"]))
        if filling is None:
            counted.skipped += 1
            continue
        run = f"L{row['epoch']}-C{filling.epoch}"
        if is_extra:
            counted.counters[run]["duplicates"] += 1
            counted.counters[run]["conflicts"] += before[1] == row["epoch"] and before[0] != row["score"]
            continue
        if row.get("repeat"):
            counted.counters[run]["repeats"] += 1
            continue
        score = counted.scores[source] = math.nan if is_unscored(offset) else scores[offset]
        occurred, scored = milliseconds(row["transaction"]["occurred_at"]), milliseconds(row["scored_at"])
        is_near = scored - 48 * HOUR_MS <= occurred <= scored + 5 * 60_000
        hour = occurred // HOUR_MS if is_near else -1
        day, of = (hour // 24 if hour >= 0 else -1), segments_of(row, release)
        keys = [f"t:{run}:{when}:{segment}" for when in (hour, "total") for segment in of]
        if source % EVERY == 0:
            for n, value in enumerate(row["features"]):
                counted.histograms[f"f:{run}:{day}:{row['view']}:{n}"][feature_bin(value)] += 1
        if not 0 <= score <= 1:
            for key in keys:
                counted.tallies[key]["e"] += 1
            continue
        live, mine = row["decision"] == "block", score >= filling.threshold
        outcome = int(live) if live == mine else 2 if live else 3
        for key in keys:
            sums = counted.tallies[key]
            sums[f"c{outcome}"] += 1
            sums[f"m{outcome}"] += row["amount_minor"]
            cut = min(row["amount_minor"], cap)
            if outcome >= 1:
                sums[f"a{outcome}"] += cut
        bins = len(EDGES) + 1
        for key in (f"h:{run}:{when}:{segment}" for when in (day, "total") for segment in of):
            cells, at = counted.histograms[key], bisect.bisect_right(EDGES, score)
            if row["score"] is not None:
                cells[bisect.bisect_right(EDGES, row["score"])] += 1
            cells[(1 + live) * bins + at] += 1
            cells[(3 + live) * bins + at] += row["amount_minor"]
        if outcome >= 1:
            for segment in of:
                seen = cards[run, day, segment, row["transaction"]["card_id"]]
                seen[outcome].append(-(-row["amount_minor"] * 1000 // cap))
        for segment in of:
            one = sample_hash(row["transaction"]["transaction_id"]), source
            offers[run, day, outcome, segment].append(one)
            if outcome >= 2:  # once more, for labels
                offers[run, "run", outcome, segment].append(one)
    for (run, day, segment, _), amounts in cards.items():
        for when in (day, "total"):
            _add_card(counted.tallies[f"d:{run}:{when}:{segment}"], [amounts[outcome] for outcome in (1, 2, 3)])
    for stratum, offered in offers.items():
        offered.sort()
        most = KEEP[stratum[2]]
        counted.strata[stratum] = offered[:most]
        if len(offered) > most:
            counted.taus[stratum] = offered[most][0]
    return counted


def _add_card(sums: dict[str, int], amounts: list[list[int]]) -> None:
    """Add a card's day: amounts, in thousandths of the cap, that both block, live alone, and the candidate alone."""
    sums[f"k{sum(min(len(mine), 1) << at for at, mine in enumerate(amounts))}"] += 1
    both, live, candidate = (sum(mine) for mine in amounts)
    for at, (name, most) in enumerate((("c", 1000), ("u", 2**24))):
        b, one, other = (min(money, 2**24) for money in (both, live, candidate))
        tops = (min(other, most), min(one, most), min(b + one, most if name == "c" else 2**62))
        if name == "c" and (whole := b + one + other) > most:
            b, one, other = (-(-money * most // whole) for money in (b, one, other))
        d, t = other - one, b + one
        held = min(t, 64_000)
        products = (d * d, d * t, t * t, d * held, held * held, one, one * one, other * other)
        for column, value in enumerate((d, t, held, *products)):
            sums[f"{name}{column}"] += value
        for column, value in enumerate(tops):
            field = f"t{3 * at + column}"
            sums[field] = max(sums[field], value)


def _scores(
    rows: list[tuple[int, dict[str, Any]]],
    filling_at: Callable[[int], Filling | None],
    score_with: Callable[[Filling], Score],
) -> dict[int, float]:
    """Scores by offset on `decisions`, one call for each filling and view."""
    groups: dict[tuple[Filling, str], list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for offset, row in rows:
        filling = filling_at(offset)
        if filling is not None:
            groups[filling, row["view"]].append((offset, row))
    found: dict[int, float] = {}
    for (filling, _), members in groups.items():
        scored = score_with(filling)([row for _, row in members])
        found |= dict(zip((offset for offset, _ in members), scored, strict=True))
    return found
