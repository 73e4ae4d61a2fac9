"""One look at a slot: its present run out of Redis, beside the control's, held against the criteria."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from scorer.deployments import LIVE, PREVIOUS, Answer, Change, Deployments, Suggestion, Target
from scorer.errors import UserError
from shadow.clean import ERROR, Compared, begun_by, untolerated
from shadow.criteria import Release
from shadow.findings import Decision, Judgement
from shadow.gate import judge
from shadow.labellook import Labels, labels_of
from shadow.readback import TallyReader
from shadow.settings import ShadowSettings
from shadow.tally import ALL, Run, RunTotals
from shadow.viewlook import drift_of, second_view


@dataclass(frozen=True)
class Look:
    """What was seen. control: None without a control slot."""

    slot: str
    candidate: RunTotals
    control: RunTotals | None
    judgement: Judgement
    labels: Labels

    @property
    def label_segments(self) -> frozenset[str]:
        """Segments in which labels are asked for: there the candidate is not known to keep to the A/A floor."""
        of_labels = {claim.criterion for claim in self.labels.claims}
        return frozenset(f.segment for f in self.judgement.findings if f.criterion in of_labels and not f.excused)


def present_run(deployments: Deployments, slot: str) -> Run | None:
    """The run of a slot against the present live epoch; None while it is empty."""
    state = deployments.slot(slot)
    return None if state.is_empty else Run(deployments.slot(LIVE).epoch, state.epoch)


def judged_slots(deployments: Deployments, settings: ShadowSettings) -> list[str]:
    """Slots that hold a candidate: neither live, nor the control, nor the model before this one."""
    apart = {LIVE, PREVIOUS, settings.control}
    return sorted(name for name, slot in deployments.slots.items() if name not in apart and slot.digest is not None)


async def clean_totals(store: TallyReader, run: Run, release: Release) -> RunTotals:
    """A run's sums, with why it was begun, and without resets that the criteria tolerate."""
    totals = await store.totals(run)
    compared = {
        info.run: Compared((info.live_digest, info.candidate_digest), (info.live_threshold, info.candidate_threshold))
        for info in await store.runs()
    }
    before = max((other for other in compared if other < run), default=None)
    if before is not None and run in compared:
        totals = replace(totals, begun=begun_by(compared[before], compared[run]))
    if release.tolerated_error_rate and any(reset.cause == ERROR for reset in totals.resets):
        hourly = await store.hourly(run, ALL)
        errors = {hour: (part.errors, part.compared + part.errors) for hour, part in hourly.items()}
        totals = replace(totals, resets=untolerated(totals.resets, errors, release.tolerated_error_rate))
    return totals


async def control_totals(
    redis: Any, deployments: Deployments, release: Release, settings: ShadowSettings
) -> RunTotals | None:
    """What the A/A control has of its present run; None without one."""
    run = present_run(deployments, settings.control)
    if run is None:
        return None
    return await TallyReader(redis, settings.control, release.segments.names, settings.prefix).totals(run)


async def look(
    redis: Any,
    deployments: Deployments,
    slot: str,
    release: Release,
    settings: ShadowSettings,
    before: Look | None = None,
    control: RunTotals | None = None,
) -> Look:
    """Judge a slot now. Raises UserError if it is empty.

    before: the last look, if any: drift is news once a day. control: what the control has, if that was read just now.
    """
    run = present_run(deployments, slot)
    if run is None:
        raise UserError(f"slot {slot}: is empty; fill it with `scorer deploy BUNDLE --slot {slot} --by … --reason …`")
    control_run = present_run(deployments, settings.control)  # before any wait: the ledger goes on
    names = release.segments.names
    store = TallyReader(redis, slot, names, settings.prefix)
    totals = await clean_totals(store, run, release)
    labels = await labels_of(redis, store, totals, release, settings)
    beside = None
    if control_run is None or slot == settings.control:
        control = None
    else:
        reader = TallyReader(redis, settings.control, names, settings.prefix)
        if control is None or control.run != control_run:
            control = await reader.totals(control_run)
        beside = reader, control
    second = await second_view(store, totals, release, deployments.slot(slot).threshold, beside)
    if before is not None and _is_of_same_day(before.candidate, totals) and before.judgement.drift is not None:
        drift = before.judgement.drift
    else:
        drift = await drift_of(store, totals, release, deployments)
    judgement = judge(
        totals, control, release, 10.0**settings.minor_digits, labelled=labels.claims, matched=second, drift=drift
    )
    return Look(slot, totals, control, judgement, labels)


def _is_of_same_day(before: RunTotals, now: RunTotals) -> bool:
    """Whether no event day of the run has ended in between."""
    return before.run == now.run and {h // 24 for h in before.covered} == {h // 24 for h in now.covered}


def proposal(deployments: Deployments, seen: Look, release: Release, known: dict[str, Any]) -> Suggestion | None:
    """The suggestion that a look calls for; None unless it says promote, or one like it stands or was answered.

    known: what is on record of the bundle, for the dossier. A slot may have changed since it was looked at; then what
    was seen says nothing of it.
    """
    if seen.judgement.decision is not Decision.PROMOTE or present_run(deployments, seen.slot) != seen.candidate.run:
        return None
    state = deployments.slot(seen.slot)
    expects = {LIVE: deployments.slot(LIVE).epoch, seen.slot: state.epoch}
    answered = {
        line.entry.suggestion
        for line in deployments.ledger
        if isinstance(line.entry, Answer) or (isinstance(line.entry, Change) and not line.is_void)
    }
    for line in deployments.ledger:
        entry = line.entry
        if not isinstance(entry, Suggestion) or entry.slot != seen.slot or entry.expects != expects:
            continue
        if line.seq not in answered or entry.criteria == release.digest:
            return None
    return Suggestion(
        slot=seen.slot,
        target=Target(digest=state.digest, threshold=state.threshold),
        expects=expects,
        criteria=release.digest,
        evidence={
            "run": str(seen.candidate.run),
            "live": deployments.slot(LIVE).digest,
            "compared": seen.candidate.compared,
            "judgement": seen.judgement.to_json(),
            "bundle": known,
        },
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
