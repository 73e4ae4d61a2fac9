"""Puts the shapes through the gate, and sums up what it made of them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from scipy.special import betaincinv

from study.shapes.catalogue import SHAPES, Shape, Trial
from study.shapes.reviewing import labels_by_look, reviewed
from study.shapes.seen import A_DAY, LIMITS, Seen
from study.shapes.traffic import draw
from study.shapes.truth import NAMES, Truth, truth_of
from study.shapes.world import Array
from study.verdicts import Outcome, names_right, summary

#: Releases that share a scene, and so its truth; draws of a scene until its truth is what the shape means.
OF_A_SCENE, TRIES = 5, 60
#: Days after which the gate looks for the first time. Most have been decided by then, and need no more reviews.
HALF = 15
#: The truth of an innocent segment against its limits, at most.
INNOCENT = 0.5


@dataclass(frozen=True)
class Judged:
    """A release, its truth and what became of it. worst: the largest ratio of truth and limit. broken: what has it."""

    outcome: Outcome
    right: bool | None
    worst: float
    broken: str
    about: str


def scene_of(shape: Shape, number: int, seed: int) -> tuple[Trial, Truth]:
    """A scene whose truth is what the shape means. Raises AssertionError if none is found."""
    rng = np.random.default_rng([seed, list(SHAPES).index(shape.name), number])
    low, high = shape.worst
    for _ in range(TRIES):
        trial = shape.make(rng)
        truth = truth_of(trial.scene, rng, trial.since)
        worst = truth.worst(LIMITS)
        aimed = [worst[NAMES.index(name)] for name in trial.aims]
        if low <= worst.max() <= high and (not aimed or not shape.harmful or max(aimed) >= 1):
            return trial, truth
    raise AssertionError(f"{shape.name}: no scene has a truth from {low} to {high} times a limit")


def releases_of(name: str, number: int, n: int, seed: int) -> list[Judged]:
    """n releases of a scene of a shape."""
    shape = SHAPES[name]
    trial, truth = scene_of(shape, number, seed)
    worst, ratios = truth.worst(LIMITS), truth.ratios(LIMITS)
    broken = max(ratios, key=lambda what: float(ratios[what][int(worst.argmax())]))
    told = f"{broken} of {NAMES[int(worst.argmax())]}: {worst.max():.2f} of the limit"
    world = trial.scene.world
    about = f"{world.crowd} {world.per_day:.0f} blocked {world.blocked:.4f} aims {' '.join(trial.aims)}"
    out = []
    for at in range(n):
        rng = np.random.default_rng([seed, list(SHAPES).index(name), number, at])
        outcome = judged(trial, rng)
        innocent = {one for one, ratio in zip(NAMES, worst, strict=True) if ratio <= INNOCENT}
        right = names_right(trial.aims, innocent, outcome) if trial.aims else None
        if right is not None and outcome.verdict == "promote":
            right = False  # to name it as not judged stops nobody
        out.append(Judged(outcome, right, float(worst.max()), told, about))
    return out


def judged(trial: Trial, rng: np.random.Generator) -> Outcome:
    """Draw a release and let the gate look at it, again and again."""
    seen = Seen.of(draw(trial.scene, rng), trial.scene.world.days, trial.is_twin)
    early = seen.on_the_first_day()
    if early is not None:
        return early
    days, known = reviewed(seen, trial.reviews, rng), list[Array]()
    for until in (HALF, seen.days):
        known += islice(days, until - len(known))
        # A day less, since segments may be named a day after a rejection.
        looks = slice(0, None if until == seen.days else (until - 1) * A_DAY)
        found = seen.judged(labels_by_look(known), looks)
        if found.verdict != "hold":
            break
    return found


def shapes(pool: Executor, share: float, seed: int, names: Sequence[str] = tuple(SHAPES)) -> dict[str, list[Judged]]:
    """All releases of the shapes, by shape. share: of their number."""
    found: dict[str, list[Judged]] = defaultdict(list)
    started, waiting, left = time.monotonic(), {}, {}
    for name in names:
        n = max(1, round(SHAPES[name].n * share))
        scenes = -(-n // OF_A_SCENE) if share >= 1 else min(n, max(3, -(-n // OF_A_SCENE)))
        parts = [n // scenes + (at < n % scenes) for at in range(scenes)]
        left[name] = len(parts)
        for at, part in enumerate(parts):
            waiting[pool.submit(releases_of, name, at, part, seed)] = name
    for done in as_completed(waiting):
        name = waiting[done]
        found[name] += done.result()
        left[name] -= 1
        if not left[name]:
            print(f"{name:28} {told(SHAPES[name], found[name])}  {time.monotonic() - started:.0f} s", flush=True)
    return {name: found[name] for name in names}


def told(shape: Shape, found: Sequence[Judged]) -> dict[str, Any]:
    """The counts of a shape, as in build/study.json."""
    return summary([(one.outcome, one.right) for one in found]) | {"harmful": shape.harmful}


def most(events: int, n: int) -> float:
    """The upper 95 % bound of a share. Source: Clopper and Pearson (1934)."""
    return 1.0 if events >= n else float(betaincinv(events + 1, n - events, 0.95))


def totals(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The figures that are promised, of the counts by shape."""

    def total(what: str, names: Sequence[str]) -> int:
        return sum(rows[name][what] for name in names)

    harmful = [name for name in rows if SHAPES[name].harmful]
    harmless = [name for name in rows if not SHAPES[name].harmful]
    aimed = [name for name in rows if rows[name]["right_segment"] is not None]
    out: dict[str, Any] = {"harmful": total("n", harmful)}
    if harmful:
        promoted = total("promote", harmful)
        out["harmful_promoted"] = promoted / out["harmful"]
        out["harmful_promoted_at_most"] = most(promoted, out["harmful"])
        out["worst_shape"] = max((rows[name]["promote"] / rows[name]["n"], name) for name in harmful)
        out["harmful_held"] = total("hold", harmful) / out["harmful"]
    if harmless:
        out["false_rejections"] = total("reject", harmless) / total("n", harmless)
    if aimed:
        out["right_segment"] = total("right_segment", aimed) / total("n", aimed)
    out["power"] = {name: rows[name]["promote"] / rows[name]["n"] for name in rows if SHAPES[name].power is not None}
    return out
