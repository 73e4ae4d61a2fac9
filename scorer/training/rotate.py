"""Carries a rotation out, step by step.

What a step has made is in the store of bundles or on the ledger before the next one begins, so whoever goes on after a
kill repeats nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from scorer.bundles.bundle import Bundle
from scorer.bundles.lineage import Recipe
from scorer.bundles.manifest import Manifest
from scorer.bundles.store import BundleStore, StoreError
from scorer.bundles.twin import why_not_twin
from scorer.deployments.ledger import read
from scorer.deployments.records import LIVE, Judged
from scorer.deployments.slots import Deployments
from scorer.errors import BundleError, UserError
from scorer.people import Who
from scorer.pipeline.instants import instant_ms
from scorer.pipeline.view import FeatureView
from scorer.settings import ScorerSettings
from scorer.training import elsewhere, environment, fraud_share
from scorer.training.making import Material
from scorer.training.maturity import require_mature
from scorer.training.parameters import PARAMETERS, checked
from scorer.training.remaking import Shown, remake
from scorer.training.rotation import (
    Archived,
    Asked,
    Begun,
    Ended,
    Found,
    Kept,
    Parent,
    Step,
    archive_of,
    candidate_of,
    change_of,
    chosen,
    require_rotatable,
    require_state,
    steps,
    twin_of,
    twin_recipe,
)
from scorer.training.rotation_ledger import Ledger
from scorer.training.served import ServedMaking

#: Folder of the store of bundles with what is written down of rotations.
FOLDER = "rotations"
#: Most lines of what stands against a rejected candidate that the ledger keeps.
AGAINST = 10

Note = TypeVar("Note", bound=BaseModel)
Tell = Callable[[str], Any]


class Reproduced(BaseModel):
    """What is written down when a candidate came out the same once more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str


class Tried(BaseModel):
    """What is written down of a backtest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate: str
    verdict: Judged


@dataclass(frozen=True)
class Planned:
    """What a look has found: a rotation and what is left to do of it. has_control: whether a twin of live is known.

    is_begun: whether it is written down, which it is once its labels were looked at.
    """

    begun: Begun
    found: Found
    steps: tuple[Step, ...]
    archived: Archived
    live_twins: tuple[tuple[str, float], ...]
    ledger: Ledger
    has_control: bool
    is_begun: bool


@dataclass
class Rotate:
    """A rotation of the live bundle. shown: shows a training. is_tried: with a backtest. reason: None for its own."""

    settings: ScorerSettings
    view: FeatureView
    store: BundleStore
    asked: Asked
    who: Who
    reason: str | None
    threads: int
    discard: bool
    is_tried: bool
    shown: Shown
    tell: Tell
    _material: tuple[str, Material] | None = field(default=None, init=False)

    def look(self) -> Planned | Ended:
        """What there is to do. Changes nothing. Raises UserError if it must not be done."""
        now = datetime.now(UTC)
        deployments = asyncio.run(read(self.settings))
        live, manifest = self._live(deployments)
        require_rotatable(live)
        given = self.asked.archive
        asked = replace(self.asked, archive=None if given is None else _absolute(given))
        archived = elsewhere.looks()(archive_of(live, asked))
        notes = [self._note(name, Begun) for name in self.store.names(FOLDER) if name.endswith(".begun.json")]
        begun = [one for one in notes if one is not None]
        wanted = chosen(live, asked, self.view.names, archived, begun, deployments, self.who.name, now)
        if isinstance(wanted, Ended):
            return wanted
        known = {one.key: one for one in begun}
        wanted = known.get(wanted.key, wanted)
        kept, live_twins = self._kept(manifest)
        found = self._found(wanted, kept, deployments)
        reason = self.reason or f"rotation as of {wanted.day}"
        ledger = Ledger(
            self.settings, wanted, self.who, reason, frozenset(seq for seq, _ in deployments.rotations), self.discard
        )
        if found.change is None and not found.is_rejected:
            require_state(deployments, archived, now)
            ledger.require_free(deployments, live_twins)
        has_control = bool(live_twins) or live.digest in deployments.twins
        if self.is_tried and found.backtest is None:
            elsewhere.tries()
        is_begun = wanted.key in known
        return self._planned(Planned(wanted, found, (), archived, live_twins, ledger, has_control, is_begun))

    def _planned(self, before: Planned) -> Planned:
        rounds = int({**PARAMETERS, **checked(before.begun.recipe.parameters)}["num_iterations"])
        listed = steps(before.begun, before.found, before.archived, rounds, self.is_tried)
        return replace(before, steps=listed)

    def _live(self, deployments: Deployments) -> tuple[Parent, Manifest]:
        digest = deployments.slot(LIVE).digest
        if digest is None:
            raise UserError(
                "slot live: is empty, and a rotation follows what is live; fill it with `scorer deploy` first"
            )
        if digest not in self.store.digests():
            raise UserError(
                f"store {self.store.uri}: has not the live bundle {digest[:12]}; set SCORER_STORE to the store of this "
                "deployment"
            )
        manifest = self.store.manifest(digest)
        return Parent(digest, manifest.lineage, manifest.training is not None, _archive_of(manifest)), manifest

    def _kept(self, live: Manifest) -> tuple[list[Kept], tuple[tuple[str, float], ...]]:
        """Every bundle of the store, and the twins of live among them, oldest first."""
        kept: list[Kept] = []
        twins: list[Kept] = []
        for digest in self.store.digests():
            try:
                manifest = self.store.manifest(digest)
            except StoreError:
                raise
            except BundleError:
                continue  # damaged, or of a later version: `scorer bundle list` tells of it
            lineage = manifest.lineage
            recipe = None if lineage is None else lineage.recipe
            one = Kept(digest, manifest.threshold, manifest.parent, recipe, _archive_of(manifest), manifest.created_at)
            kept.append(one)
            if why_not_twin(live, manifest) is None:
                twins.append(one)
        twins.sort(key=lambda one: (one.made, one.digest))
        return kept, tuple((one.digest, one.threshold) for one in twins)

    def _found(self, begun: Begun, kept: Sequence[Kept], deployments: Deployments) -> Found:
        candidate = candidate_of(begun, kept)
        if candidate is None:
            return Found()
        again = self._note(f"{begun.key}.reproduced.json", Reproduced)
        tried = self._note(f"{begun.key}.backtest.json", Tried)
        return Found(
            candidate,
            twin_of(begun, candidate, kept),
            again is not None and again.digest == candidate.digest,
            tried.verdict if tried is not None and tried.candidate == candidate.digest else None,
            change_of(deployments, candidate),
        )

    def _note(self, name: str, kind: type[Note]) -> Note | None:
        """What is written down under a name; None if nothing is. Raises UserError if it is damaged."""
        try:
            text = self.store.kept(f"{FOLDER}/{name}")
        except StoreError:
            raise
        except BundleError:
            return None
        try:
            return kind.model_validate_json(text)
        except ValidationError:
            raise UserError(
                f"store {self.store.uri}: {FOLDER}/{name}: is damaged; remove it, and rotate again"
            ) from None

    def _keep(self, name: str, note: BaseModel) -> None:
        self.store.keep(f"{FOLDER}/{name}", note.model_dump_json().encode())

    def require_learnable(self, planned: Planned) -> None:
        """Raise UserError if the labels of a rotation that is not begun are not mature, or say of another share of
        transactions than live's did that they are fraud. Reads the archive."""
        if planned.is_begun or planned.found.change is not None:
            return
        begun, candidate = planned.begun, planned.found.candidate
        if candidate is None:
            self._read(begun)
            return
        found = fraud_share.of_manifest(self.store.manifest(candidate.digest))  # somebody has made it by hand
        assert found is not None  # noqa: S101 - it was found by its lineage
        self._require_near(begun, found)

    def _require_near(self, begun: Begun, found: fraud_share.Labelled) -> None:
        of_live = fraud_share.of_manifest(self.store.manifest(begun.parent))
        fraud_share.require_near(found, of_live, begun.parent, self.settings.fraud_share_factor)

    def go(self, planned: Planned) -> tuple[Planned, str]:
        """Do what is left to do; what there is then, and the ledger key of its note. Raises UserError."""
        self.require_learnable(planned)  # what is refused is not begun: it would be gone on with for days
        self._keep(f"{planned.begun.key}.begun.json", planned.begun)
        for number, name in enumerate([step.name for step in planned.steps[:-1]], 1):
            step = next(one for one in planned.steps if one.name == name)
            mark = "" if step.state == "to do" else f" ({step.state})"
            self.tell(f"{number}/{len(planned.steps)} {name}{mark}: {step.what}")
            if step.state == "to do":
                found = getattr(self, f"_{name}")(planned)
                planned = self._planned(replace(planned, found=found))
        self.tell(f"{len(planned.steps)}/{len(planned.steps)} note: how it ended, onto the ledger")
        return planned, planned.ledger.note(planned.found, self._doubt(planned.found))

    def _doubt(self, found: Found) -> str | None:
        assert found.candidate is not None  # noqa: S101 - it is trained by now
        lineage = self.store.manifest(found.candidate.digest).lineage
        return None if lineage is None else lineage.doubt

    def _train(self, planned: Planned) -> Found:
        begun = planned.begun
        bundle = self._made(begun, begun.recipe, begun.parent)
        if bundle.manifest.lineage is not None and bundle.manifest.lineage.doubt is not None:
            self.tell(f"its lineage is in doubt: {bundle.manifest.lineage.doubt}")
        self.store.put(bundle)
        return replace(planned.found, candidate=_as_kept(bundle, begun))

    def _twin(self, planned: Planned) -> Found:
        begun, candidate = planned.begun, planned.found.candidate
        assert candidate is not None  # noqa: S101 - it is trained by now
        bundle = self._made(begun, twin_recipe(begun.recipe), candidate.digest)
        why = why_not_twin(self.store.manifest(candidate.digest), bundle.manifest)
        if why is not None:
            raise UserError(
                f"archive {begun.archive}: is another since the candidate was trained ({why}); rotate as of a later "
                "day (--as-of)"
            )
        self.store.put(bundle)
        return replace(planned.found, twin=_as_kept(bundle, begun))

    def _made(self, begun: Begun, recipe: Recipe, parent: str) -> Bundle:
        material = self._read(begun)
        with self.shown(recipe, len(material.history.labels)) as progress:
            return material.bundle(
                recipe, environment.code(), progress, self.threads, self.tell,
                parent=parent, made_by=self.who.name, note=self.reason or f"rotation as of {begun.day}",
            )  # fmt: skip

    def _read(self, begun: Begun) -> Material:
        """What the archive had then, if its labels are mature. It is read once for both seeds."""
        if self._material is not None and self._material[0] == begun.key:
            return self._material[1]
        recipe = begun.recipe
        self.tell(f"reading {begun.archive}")
        material = ServedMaking(recipe, self.view, self.settings.money).read(begun.archive, self.tell)
        since_ms = None if recipe.since is None else instant_ms(recipe.since)
        history = material.history.between(since_ms, None)
        as_of_ms = instant_ms(str(recipe.labels_known_by))
        delay_ms = recipe.label_delay * 1000
        self._require_near(begun, fraud_share.of_history(history, delay_ms, as_of_ms))
        require_mature(history.occurred_ms, history.labels, recipe.calibrate, delay_ms, as_of_ms)
        self._material = begun.key, material
        return material

    def _reproduce(self, planned: Planned) -> Found:
        self._material = None  # read anew: that is what is checked
        candidate = planned.found.candidate
        assert candidate is not None  # noqa: S101 - it is trained by now
        made, archive = self.store.fetch(candidate.digest), planned.begun.archive
        again = remake(made, (), archive, self.settings.token_bytes, self.threads, self.shown, self.tell, self._view)
        if not again.is_same:
            raise NotReproducedError(candidate.digest, again.others)
        self._keep(f"{planned.begun.key}.reproduced.json", Reproduced(digest=candidate.digest))
        return replace(planned.found, is_reproduced=True)

    def _view(self) -> FeatureView:
        return self.view

    def _backtest(self, planned: Planned) -> Found:
        candidate = planned.found.candidate
        assert candidate is not None  # noqa: S101 - it is trained by now
        lineage = self.store.manifest(candidate.digest).lineage
        assert lineage is not None  # noqa: S101 - it was found by it
        first = datetime.fromisoformat(lineage.split.calibration.first).date()
        last = datetime.fromisoformat(lineage.split.test.last).date()
        first = min(first + timedelta(days=1), last)  # on the first of these days others were fitted on
        controls = planned.live_twins
        verdict = elsewhere.tries()(
            planned.begun.archive,
            self.store.uri,
            candidate.digest,
            controls[0][0] if controls else None,
            first,
            planned.begun.as_of,
        )
        verdict = verdict.model_copy(update={"against": verdict.against[:AGAINST]})
        self._keep(f"{planned.begun.key}.backtest.json", Tried(candidate=candidate.digest, verdict=verdict))
        return replace(planned.found, backtest=verdict)

    def _deploy(self, planned: Planned) -> Found:
        found = planned.found
        assert found.candidate is not None and found.twin is not None  # noqa: S101, PT018
        return replace(found, change=planned.ledger.fill(found.candidate, found.twin, planned.live_twins))


class NotReproducedError(Exception):
    """A candidate came out otherwise once more. others: what differs, one line each."""

    def __init__(self, digest: str, others: Sequence[str]) -> None:
        super().__init__(digest)
        self.digest, self.others = digest, tuple(others)


def _absolute(address: str) -> str:
    """An address without what depends on the folder that a command is run in."""
    return address.rstrip("/") if "://" in address else str(Path(address).resolve())


def _archive_of(manifest: Manifest) -> str | None:
    """The archive that a bundle was trained on; None if it was none."""
    if manifest.lineage is None or not manifest.lineage.is_of_archive or not manifest.sources:
        return None
    return _absolute(manifest.sources[0].name.rpartition("/")[0])


def _as_kept(bundle: Bundle, begun: Begun) -> Kept:
    manifest = bundle.manifest
    recipe = None if manifest.lineage is None else manifest.lineage.recipe
    return Kept(bundle.digest, bundle.threshold, manifest.parent, recipe, begun.archive, manifest.created_at)
