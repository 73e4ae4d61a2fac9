"""A rotation: a candidate trained as the live bundle was, on newer data. What it is, whether it may begin, and what is
left to do of it. Pure.

What a rotation makes follows from what is written down when it begins. So whoever goes on with it, after whatever kill,
finds by its content what is there already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scorer.bundles.lineage import Lineage, Recipe, digest_of_json
from scorer.deployments.records import CANDIDATE, LIVE, Change, Digest, Judged, Rotation
from scorer.deployments.slots import Deployments
from scorer.errors import UserError

#: What a twin's seed adds to the seed of its original.
TWIN_STEP = 1_000_003
#: Largest seed that LightGBM takes.
MOST_SEED = 2**31 - 1
#: An unfinished rotation is gone on with for so long. Then its data are old, and another one begins.
RESUMED = timedelta(days=7)
#: How far clocks may be apart.
CLOCKS = timedelta(minutes=10)
#: Seconds that reading and training take for a decision and, of training, for a round; and that a backtest takes.
#: Measured on one core: docs/decisions/0024-lineage.md and 0029-a-backtest-tallies-in-a-store-of-its-own.md.
READ_SECONDS, ROUND_SECONDS, BACKTEST_SECONDS = 1e-5, 9e-8, 1e-4

StepName = Literal["train", "twin", "reproduce", "backtest", "deploy", "note"]
State = Literal["done", "to do", "left out"]


class Begun(BaseModel):
    """What is written down of a rotation before anything is done.

    parent: the live bundle. archive: the address that it learns from. by, at: who began it, and when.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    parent: Digest
    archive: str
    recipe: Recipe
    by: str = Field(min_length=1)
    at: str

    @model_validator(mode="after")
    def _has_times(self) -> Begun:
        if instant(self.recipe.labels_known_by) is None:
            raise ValueError("recipe: labels_known_by: expected a time")
        return self

    @property
    def key(self) -> str:
        """What tells it from other rotations: all that its outcome follows from."""
        return digest_of_json([self.parent, self.archive, self.recipe.model_dump(mode="json")])[:16]

    @property
    def as_of(self) -> datetime:
        return datetime.fromisoformat(str(self.recipe.labels_known_by))

    @property
    def day(self) -> str:
        """The time of its data, for people."""
        return told_time(self.as_of)


@dataclass(frozen=True)
class Archived:
    """What an archive has. first, last: event days. newest: when the broker got its newest decision, if it says so.

    rows: decisions. entries: ledger keys of entries that are archived.
    """

    first: str
    last: str
    newest: datetime | None
    rows: int
    entries: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Parent:
    """The live bundle. was_trained: whether its manifest says on what. archive: what it was trained on, if it was an
    archive."""

    digest: str
    lineage: Lineage | None
    was_trained: bool
    archive: str | None = None


@dataclass(frozen=True)
class Asked:
    """What somebody asks for; None for what follows from the live bundle. every: days from one rotation to the next.

    window, label_delay: seconds. parameters: of LightGBM, which win over the live bundle's.
    """

    archive: str | None = None
    as_of: datetime | None = None
    every: int = 14
    window: int | None = None
    label_delay: int | None = None
    seed: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """A rotation that has ended already. next_day: of the next one; None if somebody has asked for this one."""

    seq: str
    entry: Rotation
    next_day: str | None


@dataclass(frozen=True)
class Kept:
    """A bundle of the store, as far as a rotation has to know it. archive: that it was trained on, if it was one.

    made: when, for the order.
    """

    digest: str
    threshold: float
    parent: str | None
    recipe: Recipe | None
    archive: str | None
    made: datetime


@dataclass(frozen=True)
class Found:
    """What is there of a rotation. change: ledger key of the change that filled slot candidate with its candidate."""

    candidate: Kept | None = None
    twin: Kept | None = None
    is_reproduced: bool = False
    backtest: Judged | None = None
    change: str | None = None

    @property
    def is_rejected(self) -> bool:
        return self.backtest is not None and self.backtest.decision == "reject"


@dataclass(frozen=True)
class Step:
    """A step of a rotation. what: what it does or has done. seconds: about how long it takes, if it is to be done."""

    name: StepName
    state: State
    what: str
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {name: getattr(self, name) for name in ("name", "state", "what", "seconds")}


def require_rotatable(parent: Parent) -> None:
    """Raise UserError if nobody can tell how the live bundle was trained."""
    if parent.lineage is not None:
        return
    short = parent.digest[:12]
    if not parent.was_trained:
        raise UserError(
            f"live bundle {short}: was trained elsewhere, so it cannot be rotated here; train its successor there, and "
            "bring it with `scorer bundle create`"
        )
    raise UserError(
        f"live bundle {short}: its manifest has no lineage, as an earlier version trained it, so it cannot be rotated; "
        "train a candidate once with `scorer train`, and release that"
    )


def require_state(deployments: Deployments, archived: Archived, now: datetime) -> None:
    """Raise UserError if slots, archive or clock do not let a rotation begin."""
    live = deployments.slot(LIVE)
    if live.override is not None:
        raise UserError(
            f"slot live: the kill switch is on ({live.override}); rotate when `scorer deploy --resume` is done"
        )
    require_nothing_waits(deployments, now)
    if archived.entries and archived.entries.isdisjoint({line.seq for line in deployments.ledger}):
        raise UserError(
            "--from-archive: is that of another deployment: no entry of its ledger is on topic deployments here; name "
            "this deployment's"
        )
    if archived.newest is not None and now < archived.newest - CLOCKS:
        raise UserError(
            f"clock: this machine has {told_time(now)}, and the archive a decision of {told_time(archived.newest)}; "
            "set the clock"
        )


def require_nothing_waits(deployments: Deployments, now: datetime) -> None:
    """Raise UserError if people have to decide first."""
    waits = [line.seq for line in deployments.open_suggestions(now)]
    if waits:
        raise UserError(f"suggestion {waits[0]}: waits for a decision; approve or reject it, then rotate")
    approvals = [line.seq for line in deployments.open_approvals(now)]
    if approvals:
        raise UserError(f"approval {approvals[0]}: waits for a second person; decide it, then rotate")


def chosen(
    parent: Parent,
    asked: Asked,
    names: Collection[str],
    archived: Archived,
    begun: Iterable[Begun],
    deployments: Deployments,
    by: str,
    now: datetime,
) -> Begun | Ended:
    """The rotation to go on with, or to begin; or the one that makes it unnecessary.

    names: features of the feature view. begun: all that was ever written down. Raises UserError.
    """
    archive = archive_of(parent, asked)
    ended = {entry.rotation: (seq, entry) for seq, entry in deployments.rotations}

    def rotation(as_of: datetime) -> Begun:
        recipe = recipe_for(parent, asked, names, as_of)
        return Begun(parent=parent.digest, archive=archive, recipe=recipe, by=by, at=rfc3339(now))

    if asked.as_of is not None:
        if asked.as_of > now:
            raise UserError(f"--as-of {told_time(asked.as_of)}: lies ahead of now; nobody knows its labels yet")
        wanted = rotation(asked.as_of)
        known = ended.get(wanted.key)
        return _news(parent, wanted) if known is None else Ended(*known, None)
    open_ones = [
        one
        for one in begun
        if one.key not in ended and timedelta(0) <= now - one.as_of < RESUMED and rotation(one.as_of).key == one.key
    ]
    if open_ones:
        return max(open_ones, key=lambda one: one.as_of)
    newest = now if archived.newest is None else min(now, archived.newest)
    if now - newest >= timedelta(days=max(asked.every, 1)):
        raise UserError(
            f"--from-archive: has no decision since {told_time(newest)}; look whether `shadow archive run` runs, or "
            "say --as-of"
        )
    as_of = datetime.combine(newest.date(), time(), UTC)
    dated = [(at, seq, entry) for seq, entry in deployments.rotations if (at := instant(entry.as_of)) and at <= now]
    if dated:
        at, seq, last = max(dated, key=lambda one: one[:2])
        due = at.date() + timedelta(days=asked.every)
        if as_of.date() < due:
            return Ended(seq, last, due.isoformat())
    return _news(parent, rotation(as_of))


def _news(parent: Parent, begun: Begun) -> Begun:
    """A rotation that makes another bundle than live. Raises UserError for one that would make live itself."""
    assert parent.lineage is not None  # noqa: S101 - `require_rotatable` has refused it
    if parent.archive == begun.archive and parent.lineage.recipe == begun.recipe:
        raise UserError(f"--as-of {begun.day}: is what live was trained as of, so the candidate would be live itself")
    return begun


def archive_of(parent: Parent, asked: Asked) -> str:
    """The archive to learn from. Raises UserError if nobody says it."""
    archive = asked.archive or parent.archive
    if archive is None:
        raise UserError("--from-archive: is missing; live was trained on files: name the archive of its decisions")
    return archive.rstrip("/")


def recipe_for(parent: Parent, asked: Asked, names: Collection[str], as_of: datetime) -> Recipe:
    """The live bundle's recipe on newer data. names: features of the feature view. Raises UserError."""
    assert parent.lineage is not None  # noqa: S101 - `require_rotatable` has refused it
    before = parent.lineage.recipe
    gone = next((name for name in before.features if name not in names), None)
    if gone is not None:
        raise UserError(
            f"feature {gone}: the live bundle has it, and the feature view has not; set SCORER_VIEW to its view"
        )
    delay = asked.label_delay if asked.label_delay is not None else before.label_delay
    if not delay:
        raise UserError("--label-delay: is missing; say how long labels take to come, such as 7d")
    window = asked.window
    if window is None and parent.archive is not None and before.since and before.labels_known_by:
        window = int(
            (datetime.fromisoformat(before.labels_known_by) - datetime.fromisoformat(before.since)).total_seconds()
        )
    if window is not None and window <= delay:
        raise UserError(f"--window: has to be longer than the label delay of {delay / 86_400:g} d")
    changed: dict[str, Any] = {
        "labels_known_by": rfc3339(as_of),
        "since": None if window is None else rfc3339(as_of - timedelta(seconds=window)),
        "until": None,
        "label_delay": delay,
        "parameters": {**before.parameters, **asked.parameters},
    }
    if asked.seed is not None:
        changed["seed"] = asked.seed
    return Recipe.model_validate({**before.model_dump(), **changed})


def twin_recipe(recipe: Recipe) -> Recipe:
    """The recipe of the seed twin of what another recipe makes."""
    return recipe.model_copy(update={"seed": (recipe.seed + TWIN_STEP) % MOST_SEED})


def candidate_of(begun: Begun, kept: Iterable[Kept]) -> Kept | None:
    """The bundle of the store that a rotation has made; the oldest, if there are more.

    It may be one that somebody has made by hand of the same data: then it is the same.
    """
    return _oldest(one for one in kept if _is(one, begun.recipe, begun.archive))


def twin_of(begun: Begun, candidate: Kept, kept: Iterable[Kept]) -> Kept | None:
    """The twin of its candidate that a rotation has made."""
    recipe = twin_recipe(begun.recipe)
    return _oldest(one for one in kept if one.parent == candidate.digest and _is(one, recipe, begun.archive))


def _is(one: Kept, recipe: Recipe, archive: str) -> bool:
    return one.archive == archive and one.recipe == recipe


def _oldest(found: Iterable[Kept]) -> Kept | None:
    return min(found, key=lambda one: (one.made, one.digest), default=None)


def change_of(deployments: Deployments, candidate: Kept | None) -> str | None:
    """The ledger key of the change that put a candidate into its slot, whatever is in it now."""
    if candidate is None:
        return None
    for line in deployments.ledger:
        if isinstance(line.entry, Change) and not line.is_void:
            target = line.entry.slots.get(CANDIDATE)
            if target is not None and target.digest == candidate.digest:
                return line.seq
    return None


def steps(begun: Begun, found: Found, archived: Archived, rounds: int, is_tried: bool) -> tuple[Step, ...]:
    """The steps of a rotation in order. rounds: of its training. is_tried: whether there is to be a backtest."""
    read, training = archived.rows * READ_SECONDS, archived.rows * (READ_SECONDS + rounds * ROUND_SECONDS)
    candidate = "the candidate" if found.candidate is None else f"bundle {found.candidate.digest[:12]}"
    twin = "another seed" if found.twin is None else f"bundle {found.twin.digest[:12]}"
    made = "make" if found.candidate is None else candidate
    out = [
        Step("train", _state(found.candidate is not None), _trained(begun, made), training),
        Step("twin", _state(found.twin is not None), f"the seed twin of {candidate}: {twin}", training - read),
        Step("reproduce", _state(found.is_reproduced), f"{candidate} made once more gives the same digest", training),
    ]
    tried = f"judge {candidate} on archived decisions that it was not fitted on"
    if found.backtest is not None:
        out.append(Step("backtest", "done", f"{found.backtest.decision}: {found.backtest.reason}"))
    elif is_tried:
        out.append(Step("backtest", "to do", tried, archived.rows * BACKTEST_SECONDS))
    else:
        out.append(Step("backtest", "left out", "asked for by --no-backtest"))
    if found.change is not None:
        out.append(Step("deploy", "done", f"slot {CANDIDATE} was filled by entry {found.change}"))
    elif found.is_rejected:
        out.append(Step("deploy", "left out", "the backtest rejects the candidate"))
    else:
        out.append(
            Step(
                "deploy", "to do", f"{candidate} into slot {CANDIDATE}, with its twin; a twin of live into control", 1.0
            )
        )
    out.append(Step("note", "to do", "how it ended, onto the ledger", 1.0))
    return tuple(out)


def _state(is_done: bool) -> State:
    return "done" if is_done else "to do"


def _trained(begun: Begun, made: str) -> str:
    since = "" if begun.recipe.since is None else f" from {told_time(datetime.fromisoformat(begun.recipe.since))}"
    days = begun.recipe.label_delay / 86_400
    what = "a candidate" if made == "make" else made
    return f"{what} as live bundle {begun.parent[:12]}, on decisions{since} to {days:g} d before {begun.day}"


def control_of(deployments: Deployments, live_twins: Sequence[tuple[str, float]]) -> tuple[str, float] | None:
    """The twin of live to put into slot control: digest and threshold; None if one is there, or nobody knows any.

    live_twins: those in the store, oldest first.
    """
    named = deployments.twins.get(str(deployments.slot(LIVE).digest))
    known = ([] if named is None else [(named.digest, named.threshold)]) + list(live_twins)
    held = deployments.slot("control").digest
    return None if not known or any(digest == held for digest, _ in known) else known[0]


def instant(text: str | None) -> datetime | None:
    """A time in RFC 3339 in UTC; None if it is none, or has no time zone."""
    try:
        found = datetime.fromisoformat(str(text))
        return None if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def rfc3339(moment: datetime) -> str:
    """A time as manifests have it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def told_time(moment: datetime) -> str:
    """A time for people: a day, if it is the beginning of one."""
    at = moment.astimezone(UTC)
    return at.strftime("%Y-%m-%d") if at.time() == time() else at.strftime("%Y-%m-%d %H:%M UTC")


def told_long(seconds: float) -> str:
    """About how long something takes, for people.

    >>> [told_long(n) for n in (0.2, 20, 70, 4000)]
    ['seconds', 'seconds', 'about 2 min', 'about 1 h 7 min']
    """
    if seconds < 30:
        return "seconds"
    minutes = max(2, round(seconds / 60))
    return f"about {minutes} min" if minutes < 60 else f"about {minutes // 60} h {minutes % 60} min"
