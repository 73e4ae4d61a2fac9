"""Gathers how things stand from the ledger and the store of bundles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from scorer.bundles.manifest import Manifest
from scorer.deployments.records import LIVE
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from shadow.release.after_release import Afterwards
from shadow.release.automatic import intention, rules_of
from shadow.release.complaints import ComplaintLook
from shadow.release.look import present_run
from shadow.release.status import DataAge, SlotVerdict, Status, WatchSeen, data_age, status
from shadow.release.streak import streaks
from shadow.settings import ShadowSettings


def status_of(
    deployments: Deployments,
    manifest_of: Callable[[str], Manifest],
    verdicts: Mapping[str, SlotVerdict],
    trouble: str | None,
    settings: ShadowSettings,
    afterwards: Afterwards | None,
    complaints: ComplaintLook | None = None,
) -> Status:
    """How things stand now. manifest_of: a bundle's manifest by digest; what it raises as UserError is told.

    verdicts: by slot. trouble: why they are not known. afterwards, complaints: what the watch over live sees.
    May wait for the store.
    """
    runs = {name: present_run(deployments, name) for name in deployments.slots if name != LIVE}
    return status(
        deployments,
        _age(deployments.slot(LIVE).digest, manifest_of),
        {name: str(run) for name, run in runs.items() if run is not None},
        verdicts,
        datetime.now(UTC),
        trouble,
        None if afterwards is None else _watched(afterwards),
        [kind for kind, one in streaks(deployments, rules_of(settings)).items() if one.is_on],
        partial(intention, deployments, settings=settings),
        complaints,
    )


def _watched(seen: Afterwards) -> WatchSeen:
    return WatchSeen(seen.period.days(seen.at), seen.period.until, seen.is_harm, seen.reason)


def _age(digest: str | None, manifest_of: Callable[[str], Manifest]) -> DataAge:
    if digest is None:
        return DataAge(None, None, "no bundle is live")
    try:
        manifest = manifest_of(digest)
    except UserError as error:
        return DataAge(None, None, str(error))
    return data_age(None if manifest.training is None else manifest.training.last, manifest.created_at)
