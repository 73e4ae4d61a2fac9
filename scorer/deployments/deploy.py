"""Fills, empties or overrides a slot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scorer.bundles.bundle import Bundle
from scorer.bundles.store import BundleStore
from scorer.bundles.twin import why_not_twin
from scorer.bundles.view_file import load_view
from scorer.deployments.ask_shadow import Ask, gathered
from scorer.deployments.changes import Action, deployment, emptying, switch
from scorer.deployments.evidence import Gathered, ended, lost, necessary, told, told_lost, unseen
from scorer.deployments.ledger import append, read
from scorer.deployments.pending import told as told_first
from scorer.deployments.pending import two_or_one
from scorer.deployments.records import CONTROL, LIVE, Approval, Change, Override, Twin
from scorer.deployments.slots import Deployments, Slot
from scorer.errors import BundleError, UserError
from scorer.kafka.topics import ensure_topics
from scorer.people import Who
from scorer.settings import ScorerSettings

#: What else can be done than to throw evidence away, and how to do it.
DISCARD = "fill another slot, or add --discard-evidence"

_OVERRIDES: dict[Action, Override | None] = {"allow_all": "allow_all", "block_all": "block_all", "resume": None}


def now() -> str:
    """The present time as records of the deployments topic write it: RFC 3339, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of a slot. ended: the runs that this ended, see `evidence.ended`. told: what is lost with them; None
    if nothing is, or nobody has asked yet. twin: of the bundle in it, if it is known. waits: what to say if somebody
    else has to approve it first, as nothing is changed until then. entry: what is on the ledger for it; None if that is
    nothing."""

    state: Slot
    is_changed: bool = True
    ended: dict[str, tuple[int, int]] = field(default_factory=dict)
    told: str | None = None
    twin: str | None = None
    waits: str | None = None
    entry: str | None = None

    def to_json(self, slot: str) -> dict[str, Any]:
        """For machines. `state` is what has come of it: changed, unchanged, or waits for a second person."""
        held = self.state
        return {
            "slot": slot,
            "state": "waits" if self.waits is not None else "changed" if self.is_changed else "unchanged",
            "entry": self.entry,
            "digest": held.digest,
            "threshold": held.threshold,
            "override": held.override,
            "epoch": held.epoch,
            "twin": self.twin,
        }


class _UnchangedError(Exception):
    """The slot is as it is wanted already."""


async def fill(
    settings: ScorerSettings,
    slot: str,
    bundle: str | None,
    threshold: float | None,
    action: Action | None,
    who: Who | str,
    reason: str,
    discard: bool = False,
    ask: Ask = gathered,
    anew: bool = False,
    twin: str | None = None,
) -> Filled:
    """Change a slot, unless it is as wanted already.

    bundle: digest, its first digits, or a folder; None if there is an action instead. threshold: None for the bundle's
    own. who, reason: for the record; a text is a name that nobody has verified. discard: even if runs end that have
    gathered evidence. ask: what runs have gathered. anew: begin a new run in a slot other than live even if it holds
    this bundle already. Turning the kill switch waits for nothing: ask afterwards what is lost with the runs that it
    `ended`. twin: digest, its first digits, or folder of the bundle's seed twin; to name it changes no slot.

    Creates missing topics. Raises UserError if the bundle cannot be used, evidence would be lost, nothing is to resume,
    or another change came first.
    """
    chosen = _bundle(settings, bundle) if bundle is not None else None
    paired = None if twin is None or chosen is None else _twin(settings, chosen, twin)
    runs: dict[str, tuple[int, int]] = {}
    who = Who.called(who) if isinstance(who, str) else who
    by = who.name

    def build(deployments: Deployments) -> Change:
        change = wanted(deployments)
        if not (anew and slot != LIVE and chosen is not None):
            spared = necessary(deployments, change)
            if spared is None:
                raise _UnchangedError
            change = spared
        runs.clear()
        runs.update(ended(deployments, change))
        return change

    def wanted(deployments: Deployments) -> Change:
        if chosen is not None:
            own = chosen.threshold if threshold is None else threshold
            return deployment(deployments, slot, chosen.digest, own, by, reason, now(), paired)
        if action not in _OVERRIDES:
            return emptying(deployments, slot, by, reason, now())
        try:
            return switch(deployments, _OVERRIDES[action], by, reason, now())
        except ValueError as error:
            raise UserError(f"--{action}: {error}") from None

    def checked(deployments: Deployments) -> Change:
        change = build(deployments)
        if not discard:
            require_nothing_lost(slot, runs, seen, unknown)
        return change

    def written(deployments: Deployments) -> Change | Approval:
        change = build(deployments) if is_switch else checked(deployments)
        return two_or_one(deployments, change, who, settings.four_eyes, now())

    is_switch = action in _OVERRIDES
    # whatever is wrong with the other topics must not hold up the kill switch
    await ensure_topics(settings, settings.topics.deployments if is_switch else None)
    seen: list[Gathered] = []
    unknown: str | None = None
    try:
        if not is_switch:
            build(await read(settings))
            if runs:
                seen, unknown = await asked(ask)
        line, after = await append(settings, written)
    except _UnchangedError:
        return Filled((await read(settings)).slot(slot), is_changed=False)
    if isinstance(line.entry, Approval):
        return Filled(after.slot(slot), is_changed=False, waits=told_first(line), entry=line.seq)
    is_changed = isinstance(line.entry, Change) and slot in line.entry.slots
    known = after.twins.get(str(after.slot(slot).digest))
    its_twin = None if known is None else known.digest
    return Filled(
        after.slot(slot),
        is_changed,
        twin=its_twin,
        ended=runs,
        told=None if is_switch else told_lost(runs, seen, unknown),
        entry=line.seq,
    )


def require_nothing_lost(
    slot: str, runs: dict[str, tuple[int, int]], seen: list[Gathered], unknown: str | None, mend: str = DISCARD
) -> None:
    """Raise UserError if runs that a change of a slot ends have gathered evidence, or nobody can tell.

    seen: what runs have gathered. unknown: why that cannot be seen. mend: what else can be done.
    """
    gone, missing = lost(runs, seen), unseen(runs, seen)
    if gone:
        raise UserError(f"slot {slot}: this would throw away the evidence of {told(gone)}; {mend}")
    if missing:
        why = unknown or "its slots have changed since; repeat the command"
        raise UserError(
            f"slot {slot}: what the run of slot {', '.join(missing)} has gathered, which this would throw away, "
            f"cannot be seen ({why}); {mend}"
        )


async def asked(ask: Ask = gathered) -> tuple[list[Gathered], str | None]:
    """What runs have gathered, and why that cannot be seen."""
    try:
        return await ask(), None
    except UserError as error:
        return [], str(error)


def told_of(slot: str, filled: Filled, is_turned: bool = False) -> Iterator[str]:
    """What to tell people of a slot that was filled, line by line. is_turned: the kill switch was turned."""
    if filled.waits is not None:
        yield f"slot {slot}: {filled.waits}"
        return
    state = filled.state
    held = f"bundle {state.digest[:12]} at threshold {state.threshold:g}" if state.digest else "empty"
    if is_turned and state.override is not None:
        held = state.override
    yield f"slot {slot}: {'' if filled.is_changed else 'unchanged; '}{held}, epoch {state.epoch}"
    if filled.twin is not None and not is_turned:
        yield f"its twin is bundle {filled.twin[:12]}, which takes slot {CONTROL} when it is promoted"
    still = None if is_turned or slot != LIVE else kept_on(state)
    if still is not None:
        yield still
    if filled.told is not None:
        yield filled.told


def kept_on(live: Slot) -> str | None:
    """What to say of a kill switch that a change of live leaves on; None if it is off."""
    if live.override is None:
        return None
    resume = "`scorer deploy --resume --by … --reason …`"
    return f"the kill switch stays on ({live.override}): no model is asked until {resume}"


def _twin(settings: ScorerSettings, bundle: Bundle, name: str) -> Twin:
    """The seed twin of a bundle by its digest or folder. Raises BundleError if it is none or cannot be used."""
    twin = _bundle(settings, name)
    why = why_not_twin(bundle.manifest, twin.manifest)
    if why is not None:
        raise BundleError(
            f"--twin {twin.digest[:12]}: is no twin of bundle {bundle.digest[:12]}: {why}; make one with "
            f"`scorer train FILE --twin {bundle.digest[:12]}`"
        )
    return Twin(digest=twin.digest, threshold=twin.threshold)


def _bundle(settings: ScorerSettings, name: str) -> Bundle:
    """The bundle of a digest or a folder, once it is in the store. Raises BundleError if it does not fit the view."""
    store = BundleStore(settings.store, settings.cache, settings.store_seconds)
    bundle = store.adopt(Path(name)) if Path(name).is_dir() else store.fetch(store.resolve(name))
    bundle.columns(load_view(settings.view))
    bundle.warm()
    return bundle
