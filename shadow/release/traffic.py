"""What a plan reckons with: traffic as people state it or as the A/A control has seen it, and how fast labels come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from shadow.gate.criteria import Release
from shadow.gate.planning import Delay, Reviews, Traffic, label_delays, traffic_of
from shadow.gate.sums import Sums
from shadow.labels.label import REVIEW, answers
from shadow.release.look import present_run
from shadow.settings import ShadowSettings
from shadow.store.labels import LabelStore
from shadow.store.reader import TallyReader

#: Without a review to go by, an answer is expected after this many days.
REVIEW_DAYS = 1.0
#: A control that has seen less is no base for a plan: a whole day, so that every hour of the day is there.
LEAST_HOURS = 24


def stated(
    release: Release, transactions: float, block_rate: float, discordance: float, shares: Mapping[str, float]
) -> Traffic:
    """Traffic as people state it.

    transactions: a day. block_rate: live's. discordance: disagreements of a seed twin with live, as a share of live's
    blocks. shares: of all traffic, by segment; segments of a division that are not named share the rest evenly, but
    for `other` and what is above the cap, which get nothing. Raises UserError for a segment that is not declared, a
    share outside 0 to 1, and shares of one division that add up to more than 1.
    """
    for name, share in shares.items():
        if name not in release.segments.names:
            raise UserError(f"--share {name}={share:g}: release.yaml declares no segment {name}")
        if not 0 <= share <= 1:
            raise UserError(f"--share {name}={share:g}: expected a share from 0 to 1")
    parts = [1.0]
    for division, field in release.segments.root.items():
        names = [f"{division}={label}" for label in field.labels]
        told = sum(shares.get(name, 0.0) for name in names)
        nothing = (f"{division}=other", release.implied)
        silent = [name for name in names if name not in shares and name not in nothing]
        if told > 1 + 1e-9:
            raise UserError(f"--share: the segments of {division} add up to {told:g}; expected at most 1")
        rest = (1 - told) / len(silent) if silent else 0.0
        parts += [shares.get(name, rest if name in silent else 0.0) for name in names]
    volume = transactions * np.array(parts)
    return Traffic(volume, volume * block_rate, np.full(len(parts), discordance))


async def measured(
    redis: Any, deployments: Deployments, release: Release, settings: ShadowSettings
) -> tuple[Traffic, dict[str, Delay]]:
    """Traffic of the A/A control's current run, and how long labels took in all slots, by source.

    Raises UserError if the control is empty, or has seen less than a day or no block of live.
    """
    control = settings.control
    run = present_run(deployments, control)
    if run is None:
        raise UserError(
            f"slot {control}: is empty; state the traffic with --transactions, or fill it with a seed twin of live"
        )
    names = release.segments.names
    totals = await TallyReader(redis, control, names, settings.prefix).totals(run)
    sums = Sums.of(totals, names)
    if totals.hours < LEAST_HOURS or not sums.live_blocks[0]:
        raise UserError(
            f"slot {control}: has seen {totals.hours} hours with {int(sums.live_blocks[0])} blocks of live; "
            f"a plan needs at least {LEAST_HOURS} hours and one block; state the traffic with --transactions until then"
        )
    stores = [TallyReader(redis, slot, names, settings.prefix) for slot in sorted(deployments.slots)]
    cases = [case for store in stores for info in await store.runs() for case in await store.cases(info.run)]
    found = await LabelStore(redis, settings.prefix).of(subject for case in cases for subject in case.subjects)
    traffic = traffic_of(sums, totals.hours / 24)
    given = {subject: [answers(votes) for votes in several] for subject, several in found.items()}
    return traffic, label_delays(cases, given)


def reviews(delays: Mapping[str, Delay], per_day: float | None, days: float | None, excess: float) -> Reviews:
    """Reviews to expect: per_day and days as given, else as they came lately. excess: see `Reviews`."""
    lately = delays.get(REVIEW)
    if per_day is None:
        per_day = 0.0 if lately is None else lately.per_day
    if days is None:
        days = REVIEW_DAYS if lately is None else lately.median
    return Reviews(per_day=per_day, delay=days, excess=excess)
