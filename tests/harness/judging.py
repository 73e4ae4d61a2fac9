"""Puts drawn releases before the gate: sums at every look, reviews as people do them, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.releases import LOOKS_A_DAY, Floats, Ints, World
from harness.releases import Release as Drawn
from shadow.comparison.totals import CAP_PARTS
from shadow.gate.criteria import Release
from shadow.gate.harm import LabelledPairs, harm_claims, label_claims, labels_wanted
from shadow.gate.measure import FAIL, OPEN, Measured, RunProgress, measure
from shadow.gate.recency import recent_of
from shadow.gate.sums import Sums
from study.card_days import card_days

CAP_MINOR, MEDIAN_MINOR = 50_000, 6_000


def positions(drawn: Drawn, release: Release) -> Ints:
    """Of each cluster's segments: all traffic, a declared one, and below or above the cap."""
    names = release.segments.names
    above = drawn.cards.amount * MEDIAN_MINOR >= CAP_MINOR
    band = np.where(above, names.index("amount=>=500"), names.index("amount=<500"))
    return np.stack([np.zeros(len(band), dtype=np.int64), 1 + drawn.cards.segment, band], axis=1)


def looks(drawn: Drawn) -> Ints:
    """The look that first sees each cluster."""
    return np.floor(drawn.cards.day * LOOKS_A_DAY).astype(np.int64)


def sums(drawn: Drawn, of: str, release: Release) -> Sums:
    """The sums of `candidate` or `control` at every look."""
    other = getattr(drawn, of)
    code = np.where(drawn.live, np.where(other, 1, 2), np.where(other, 3, 0))
    some = np.flatnonzero(code)
    n_looks, n = drawn.rest.shape[0], len(release.segments.names)
    at, code = looks(drawn)[some], code[some]
    where, size = positions(drawn, release)[some], drawn.cards.size[some].astype(np.float64)
    minor = np.ceil(drawn.cards.amount[some] * MEDIAN_MINOR)

    def by_look(weight: Floats) -> Floats:
        out = np.zeros((n_looks, n, 4))
        np.add.at(out, (at[:, None], where, code[:, None]), weight[:, None])
        return out.cumsum(axis=0)

    counts = by_look(size)
    counts[:, 0, 0] += drawn.rest.sum(axis=1).cumsum()
    counts[:, 1 : 1 + drawn.rest.shape[1], 0] += drawn.rest.cumsum(axis=0)
    below = release.segments.names.index("amount=<500")
    counts[:, below, 0] += drawn.rest.sum(axis=1).cumsum()
    capped = by_look(size * np.minimum(minor, CAP_MINOR))[..., 1:]
    parts = (size * np.ceil(minor * CAP_PARTS / CAP_MINOR)).astype(np.int64)
    cards = card_days(np.arange(len(some)), at, where, code - 1, parts, n_looks, n)
    return Sums(counts=counts, capped=capped, errors=np.zeros((n_looks, n)), **cards)


def at_look(path: Sums, look: int) -> Sums:
    """One look of a path."""
    return Sums(*(getattr(path, name)[look] for name in Sums.__dataclass_fields__))


def reviewed(
    drawn: Drawn, candidate: Sums, control: Sums | None, world: World, release: Release, rng: np.random.Generator
) -> LabelledPairs:
    """What is known of the disagreements at every look. At the end of each day people review cases, chosen by chance
    from the segments in which labels are asked for and not enough yet, the least settled first."""
    n = candidate.errors.shape[1]
    differs = np.flatnonzero(drawn.live != drawn.candidate)
    at, where = looks(drawn)[differs], positions(drawn, release)[differs]
    said = drawn.fraud[differs] ^ (rng.random(len(differs)) >= world.right)
    live_only = drawn.live[differs]
    kind = np.where(said, np.where(live_only, 0, 1), np.where(live_only, 2, 3))
    money = np.minimum(drawn.cards.amount[differs] * MEDIAN_MINOR, CAP_MINOR) / CAP_MINOR
    is_done = np.zeros(len(differs), dtype=bool)
    out = np.zeros((candidate.errors.shape[0], n, 6, 3))
    known = np.zeros((n, 6, 3))
    bar = -math.log(release.promote_error)
    for look in range(LOOKS_A_DAY - 1, len(out), LOOKS_A_DAY):
        ours, theirs = at_look(candidate, look), None if control is None else at_look(control, look)
        by_labels = label_claims(_pairs(known), ours, release)
        claims = harm_claims(by_labels, ours, theirs, release)
        open_by = np.min([np.maximum(c.log_within(), c.log_beyond()) for c in claims], axis=0)
        wanted = labels_wanted(claims, ours, release) & (open_by < bar)
        order = [s for s in np.argsort(open_by).tolist() if wanted[s]]
        left, chance = world.reviews, rng.random(len(differs))
        while left and order:
            each = max(1, left // len(order))
            for segment in list(order):
                waiting = np.flatnonzero(~is_done & (at <= look) & (where == segment).any(axis=1))
                some = waiting[np.argsort(chance[waiting])][: min(each, left)]
                is_done[some] = True
                left -= len(some)
                if len(some) < each:
                    order.remove(segment)
        for power in range(3):
            known[..., power] = 0
            np.add.at(known[..., power], (where[is_done], kind[is_done, None]), (money[is_done] ** power)[:, None])
        out[look + 1 :] = known
    return _pairs(out)


def _pairs(known: Floats) -> LabelledPairs:
    cases = known[..., 0]
    return LabelledPairs(cases, cases, known[..., 1], known[..., 2], cases.sum(axis=-1))


@dataclass(frozen=True)
class Judged:
    """The first look that promotes or rejects; `hold` where none does."""

    verdict: str
    day: float
    seen: Measured


def judged(drawn: Drawn, world: World, release: Release, rng: np.random.Generator, has_control: bool = True) -> Judged:
    """The gate's verdict on a release."""
    candidate = sums(drawn, "candidate", release)
    control = sums(drawn, "control", release) if has_control else None
    labels = reviewed(drawn, candidate, control, world, release, rng)
    n = len(candidate.errors)
    hours = np.arange(1, n + 1) * 24 // LOOKS_A_DAY
    progress = RunProgress(hours, np.zeros(n, np.int64), np.zeros(n, np.int64))
    claims = label_claims(labels, candidate, release)
    seen = measure(
        candidate,
        control,
        progress,
        release,
        claims,
        recent=recent_of(candidate, control, LOOKS_A_DAY, release),
    )
    decided = np.flatnonzero(seen.decisions != OPEN)
    if not len(decided):
        return Judged("hold", n / LOOKS_A_DAY, seen)
    first = int(decided[0])
    return Judged("reject" if seen.decisions[first] == FAIL else "promote", (first + 1) / LOOKS_A_DAY, seen)
