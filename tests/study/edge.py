"""The edge of a plan's support: the least traffic at which `shadow plan` says that all that can be judged settles."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np

from shadow.gate.criteria import Criterion, Release
from shadow.gate.planning import Reviews, Traffic, plan
from study.model import ABOVE_CAP, CHANNEL_SHARE, DAYS, REGION_SHARE, TRANSACTIONS_A_DAY, UNSUPPORTED
from study.simulated import RELEASE, is_right, release_of
from study.tallies import REVIEWS_A_DAY, RIGHT
from study.verdicts import summary

#: Kinds that are tried there: to be promoted, and to be stopped.
KINDS = ("same", "better", "worse_in_one_segment", "dead_in_one_segment")
#: Traffic that is tried, as shares of the study's.
SHARES = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015)
#: What the study draws, on the average: block rate, disagreement of a seed twin, transactions of a disagreement.
BLOCK_RATE, DISCORDANCE, CROWDING = 0.0055, 0.165, 1.5
PLAN_RUNS = 100


def settling(shares: Sequence[float] = SHARES, release: Release = RELEASE, seed: int = 7) -> float:
    """The smallest share of the traffic at which every segment settles that is not excused; 1 if only that does."""
    parts = np.array([1.0, *REGION_SHARE, 0.0, *CHANNEL_SHARE, 0.0, 1 - ABOVE_CAP, ABOVE_CAP, 0.0])
    people = Reviews(per_day=REVIEWS_A_DAY, right=RIGHT)
    least = shares[0]
    for share in shares:
        volume = TRANSACTIONS_A_DAY * share * parts
        traffic = Traffic(volume, volume * BLOCK_RATE, np.full(len(parts), DISCORDANCE), CROWDING)
        forecasts = plan(traffic, release, DAYS, PLAN_RUNS, np.random.default_rng(seed), people)
        if not all(f.settles for f in forecasts if not release.excuses(Criterion.TRANSACTIONS, f.segment)):
            break
        least = share
    return least


def edge(pool: Executor, n: int, seed: int) -> dict[str, Any]:
    """n releases of each kind at that traffic, through the gate."""
    share = settling()
    kinds = {}
    for kind in KINDS:
        found = list(pool.map(partial(release_of, kind, seed=seed, traffic=share), range(n), chunksize=5))
        kinds[kind] = summary([(outcomes["gate"], is_right(truth, outcomes["gate"])) for truth, outcomes in found])
        print(f"edge, {kind:22} {kinds[kind]}", flush=True)
    smallest = min(part for at, part in enumerate(REGION_SHARE) if at != UNSUPPORTED)
    return {
        "transactions_a_day": round(TRANSACTIONS_A_DAY * share),
        "blocks_a_day_in_smallest": round(float(TRANSACTIONS_A_DAY * share * smallest * BLOCK_RATE), 1),
        "kinds": kinds,
    }
