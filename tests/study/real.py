"""Real data: models trained on one window and judged on the next, some damaged on purpose; their effect is measured.

Nothing is drawn here but the seeds of the models and the reviewers' mistakes. What a candidate does to each segment is
counted on the labels of its shadow window, and called harm where it is beyond a margin of the criteria.
"""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scorer.bundles.bundle import Bundle
from scorer.pipeline.instants import HOUR_MS
from shadow.gate.criteria import Criterion, Release
from shadow.gate.harm import label_claims
from shadow.gate.planning import plan, traffic_of
from shadow.gate.remedies import advice
from shadow.local import embedded
from shadow.release.criteria_file import load_release
from study.baselines import disagreement_limit, mcnemar_daily, psi_limit
from study.handbook import BLOCK_RATE, MERCHANT, NAMES, VIEW, WINDOWS, Handbook
from study.model import DAYS
from study.shadowed import MINOR_PER_UNIT, Pairs, Shadowed, Stream, shadow
from study.tallies import at_hour
from study.verdicts import Outcome, names_right, summary, through_the_gate

RELEASE = load_release(Path(__file__).with_name("real.yaml"))
VELOCITY = tuple(name for name in VIEW.names if name.startswith("card_"))
#: In the order in which they are told; the first two are not damaged.
KINDS = ("same", "retrained", "features_dropped", "threshold_moved", "labels_flipped", "older_model")
#: Block rates of a moved threshold, as shares of live's.
MOVED = (0.5, 1.6)
PLAN_RUNS = 100
#: Days of the control's run that `shadow plan` is asked after.
PLAN_AFTER = 7


@dataclass(frozen=True)
class Candidate:
    """A model that asks to be promoted. window: that of its shadow. told: what was done to it."""

    kind: str
    window: int
    told: str
    bundle: Bundle
    threshold: float


@dataclass(frozen=True)
class Effect:
    """What a candidate did to a segment, counted on all labels of the window: shares of live's blocks, of card and
    amount alike. beyond: criteria whose limit that is beyond."""

    blocks: float
    lost_fraud: float
    insults: float
    live_blocks: int
    beyond: tuple[str, ...]


def candidates(handbook: Handbook, window: int, lives: list[Bundle], rounds: int | None) -> Iterator[Candidate]:
    """Those that are judged in the shadow of a window; lives: of the windows before it, the last one is live."""
    past, seed = window - 1, 1000 * window

    def made(kind: str, told: str, **how: Any) -> Candidate:
        bundle = handbook.train(past, rounds=rounds, **how)
        return Candidate(kind, window, told, bundle, bundle.threshold)

    for number in (10, 11, 12):
        yield made("same", f"seed {number}", seed=seed + number)
    for number in (20, 21):
        yield made("retrained", "on all weeks before", seed=seed + number, all_before=True)
    for name, without in (("merchant", MERCHANT), ("velocity", VELOCITY)):
        yield made("features_dropped", f"without {name} features", seed=seed + 30, without=without)
    for share in MOVED:
        told = f"threshold for {share:g} of the blocks"
        yield made("threshold_moved", told, seed=seed + 10, block_rate=BLOCK_RATE * share)
    for group in (NAMES[window % len(NAMES)], NAMES[(window + 2) % len(NAMES)]):
        yield made("labels_flipped", f"labels flipped in terminals={group}", seed=seed + 40, flipped=group)
    for age, old in enumerate(reversed(lives[:-1]), start=2):
        yield Candidate("older_model", window, f"trained {age} windows before", old, old.threshold)


def effects(pairs: Pairs, fraud: dict[str, bool], release: Release) -> dict[str, Effect]:
    """What a candidate did to every segment in which live blocked anything."""
    is_fraud = np.array([fraud[name] for name in pairs.names])
    cut = np.minimum(pairs.minor, release.cap_minor(MINOR_PER_UNIT)).astype(np.float64)
    gone, new = pairs.live & ~pairs.candidate, pairs.candidate & ~pairs.live
    found = {}
    for at, name in enumerate(release.segments.names):
        mine = (pairs.segments == at).any(axis=1)
        beyond: list[str] = []
        told: dict[str, float] = {}
        for suffix, weight in (("", np.ones(len(cut))), ("_amount", cut)):

            def share(what: Any, weight: Any = weight, mine: Any = mine) -> float:
                return float(weight[mine & what].sum() / weight[mine & pairs.live].sum())

            if not (mine & pairs.live).any():
                break
            shift = share(new) - share(gone)
            lost = share(gone & is_fraud) - share(new & is_fraud)
            insults = share(new & ~is_fraud) - share(gone & ~is_fraud)
            blocks = "blocks" if not suffix else "blocked_amount"
            harm = {f"more_{blocks}": shift, f"fewer_{blocks}": -shift}
            harm |= {f"lost_fraud{suffix}": lost, f"insults{suffix}": insults}
            limits = release.limits(name)
            beyond += [c for c, value in harm.items() if value > getattr(limits, f"maximum_{c}")]
            told = told or {"blocks": shift, "lost_fraud": lost, "insults": insults}
        if told:
            found[name] = Effect(**told, live_blocks=int((mine & pairs.live).sum()), beyond=tuple(beyond))
    return found


def judged(seen: Shadowed, control: Shadowed, release: Release) -> dict[str, Outcome]:
    """What each rule makes of a candidate."""
    names = release.segments.names
    claims = label_claims(seen.labels, seen.path, release)
    return {
        "gate": through_the_gate(seen.path, control.path, release, claims),
        "mcnemar_daily": mcnemar_daily(seen.path, names[:1]),
        "psi_0.2": psi_limit(*seen.scores, names),
        "disagreement_limit": disagreement_limit(seen.path, names),
    }


def study(source: Path, folder: Path, seed: int, pairs: int = WINDOWS - 1, rounds: int | None = None) -> dict[str, Any]:
    """The table of every rule, and what became of each candidate. pairs, rounds: fewer, to try things out."""
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    handbook = Handbook.read(source, folder)
    gc.freeze()  # millions of texts that stay: looking through them again and again takes longer than the rest
    stream = Stream(handbook)
    stream.pass_over(handbook.bounds(1)[0])
    lives = [handbook.train(0, seed=seed, rounds=rounds)]
    found: dict[tuple[str, str], list[tuple[Outcome, bool | None]]] = defaultdict(list)
    releases, windows = [], []
    with embedded.store() as store:
        for window in range(1, 1 + pairs):
            live = lives[-1]
            days = stream.decide(handbook.bounds(window), live, window)
            first = handbook.bounds(window)[0] // HOUR_MS

            def through(bundle: Bundle, threshold: float, beside: Shadowed | None, number: int) -> Shadowed:
                rng = np.random.default_rng([seed, window, number])  # noqa: B023
                path = None if beside is None else beside.path
                address = f"redis://{store.address}/0"
                return shadow(days, bundle, threshold, window, first, RELEASE, address, handbook.fraud, path, rng)  # noqa: B023

            twin = handbook.train(window - 1, seed=seed + 1_000_003, rounds=rounds)
            control = through(twin, twin.threshold, None, 0)
            release, told_of = _planned(window, live, control, seed)
            windows.append(told_of)
            print(f"real, window {window}: {windows[-1]['transactions']} transactions", flush=True)
            for number, candidate in enumerate(candidates(handbook, window, lives, rounds), start=1):
                seen = through(candidate.bundle, candidate.threshold, control, number)
                did = effects(seen.pairs, handbook.fraud, RELEASE)
                harmed = [name for name, effect in did.items() if effect.beyond]
                outcomes = judged(seen, control, release)
                for rule, outcome in outcomes.items():
                    found[rule, candidate.kind].append((outcome, names_right(harmed, (), outcome)))
                releases.append(_told(candidate, outcomes, did, harmed, release))
                gate = outcomes["gate"]
                reviews = int(seen.labels.reviewed[-1].max())
                told = f"{gate.verdict} on day {gate.day:.1f} ({', '.join(gate.named[:3])}), {reviews} reviews"
                print(f"  {candidate.kind:17} {candidate.told:40} {told}; harmed: {', '.join(harmed)}", flush=True)
            if window < pairs:
                lives.append(handbook.train(window, seed=seed, rounds=rounds))
    rules = {rule for rule, _ in found}
    table = {rule: {kind: summary(found[rule, kind]) for kind in KINDS if found[rule, kind]} for rule in rules}
    return {
        "kinds": table["gate"],
        "baselines": {rule: table[rule] for rule in sorted(rules - {"gate"})},
        "by_effect": {rule: _by_effect(releases, rule) for rule in sorted(rules)},
        "windows": windows,
        "releases": releases,
        "wall_s": round(time.monotonic() - started, 1),
    }


def _planned(window: int, live: Bundle, control: Shadowed, seed: int) -> tuple[Release, dict[str, Any]]:
    """Criteria of a window, and what it is like. What `shadow plan` says will never settle, asked after the control's
    first week, need not be known: a promotion names it as not judged."""
    week = at_hour(control.path, PLAN_AFTER * 24 - 1)
    traffic = traffic_of(week, PLAN_AFTER)
    lines = advice(plan(traffic, RELEASE, DAYS, PLAN_RUNS, np.random.default_rng(seed)), RELEASE)
    release = RELEASE.model_copy(update={"may_stay_insufficient": (*RELEASE.may_stay_insufficient, *lines)})
    blocks = control.path.counts[-1, 0, 1:3].sum()
    return release, {
        "window": window,
        "transactions": int(control.path.compared[-1, 0]),
        "live_blocks": int(blocks),
        "twin_disagrees": round(float(control.path.counts[-1, 0, 2:].sum() / blocks), 3),
        "live": {name: live.manifest.metrics["overall"][name] for name in ("average_precision", "recall")},
        "never_settle": [line.removeprefix("*: ") for line in lines],
    }


def _told(
    candidate: Candidate, outcomes: dict[str, Outcome], did: dict[str, Effect], harmed: list[str], release: Release
) -> dict[str, Any]:
    judged_ones = [name for name in harmed if not release.excuses(Criterion.TRANSACTIONS, name)]
    return {
        "kind": candidate.kind,
        "window": candidate.window,
        "told": candidate.told,
        "harmed": harmed,
        "effect": "harmful" if judged_ones else "harmful where not judged" if harmed else "harmless",
        "verdicts": {
            rule: {"verdict": o.verdict, "day": round(o.day, 1), "named": o.named} for rule, o in outcomes.items()
        },
        "effects": {
            name: {
                "blocks": round(effect.blocks, 3),
                "lost_fraud": round(effect.lost_fraud, 3),
                "insults": round(effect.insults, 3),
                "live_blocks": effect.live_blocks,
                "beyond": effect.beyond,
            }
            for name, effect in did.items()
        },
    }


def _by_effect(releases: list[dict[str, Any]], rule: str) -> dict[str, dict[str, int]]:
    """Verdicts by what was measured: whether a segment was harmed beyond a margin, and whether it is one that the plan
    says can be judged."""
    out: dict[str, dict[str, int]] = {}
    for effect in ("harmful", "harmful where not judged", "harmless"):
        mine = [r["verdicts"][rule]["verdict"] for r in releases if r["effect"] == effect]
        out[effect] = {"n": len(mine)} | {verdict: mine.count(verdict) for verdict in ("promote", "hold", "reject")}
    return out
