"""Reads from Redis what the runs of the slots have gathered: event hours and transactions."""

from __future__ import annotations

from scorer.deployments.evidence import Gathered
from scorer.deployments.records import LIVE
from scorer.deployments.slots import Deployments
from shadow.comparison.totals import ALL, Run
from shadow.release.look import present_run
from shadow.settings import ShadowSettings
from shadow.store.connection import connect, telling
from shadow.store.reader import TallyReader


async def gathered(settings: ShadowSettings, deployments: Deployments) -> list[Gathered]:
    """What every run of what the slots hold now has gathered, against the present and earlier epochs of live.

    A present run without a comparison is listed, too. Raises UserError if Redis cannot be reached.
    """
    redis = connect(settings.redis)
    with telling(settings.redis):
        try:
            out = []
            for name in sorted(deployments.slots.keys() - {LIVE}):
                present = present_run(deployments, name)
                if present is None:
                    continue
                reader = TallyReader(redis, name, (ALL,), settings.prefix)
                known = {info.run for info in await reader.runs()}
                for run in sorted({present, *(r for r in known if r.candidate_epoch == present.candidate_epoch)}):
                    out.append(await _of(reader, name, run))
            return out
        finally:
            await redis.aclose()


async def _of(reader: TallyReader, slot: str, run: Run) -> Gathered:
    totals = await reader.totals(run)
    return Gathered(
        slot=slot,
        live_epoch=run.live_epoch,
        epoch=run.candidate_epoch,
        hours=totals.hours,
        transactions=totals.compared,
    )
