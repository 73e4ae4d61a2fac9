"""Makes a bundle once more from its manifest, and says which input differs if it does not come out the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from scorer.bundles.bundle import Bundle
from scorer.bundles.lineage import Data, Recipe, differences
from scorer.bundles.manifest import Manifest, content_of
from scorer.errors import UserError
from scorer.pipeline.view import FeatureView
from scorer.training import environment
from scorer.training.making import Making, Material, again
from scorer.training.served import ServedMaking

#: Shows the rounds of a training with a recipe on so many transactions: gives what is called with 1 after each.
Shown = Callable[[Recipe, int], AbstractContextManager[Callable[[int], None]]]
#: Most characters of a value that a line shows.
_SHOWN = 40
#: What an input is called, by the beginning of its path in the manifest.
_INPUTS = {
    "lineage.data": "data", "training.fingerprint": "data", "lineage.reading": "settings", "libraries": "version",
    "code_version": "version", "parameters": "parameter",
}  # fmt: skip


@dataclass(frozen=True)
class Remade:
    """What came of it. digest: None if nothing was trained, as the data are others. others: what differs, one line
    each. has_same_trees: byte for byte."""

    is_same: bool
    digest: str | None = None
    others: tuple[str, ...] = ()
    has_same_trees: bool = False


def remake(
    made: Bundle,
    files: tuple[Path, ...],
    archive: str | None,
    token_key: bytes | None,
    threads: int,
    shown: Shown,
    tell: Callable[[str], Any],
    own_view: Callable[[], FeatureView],
) -> Remade:
    """Train a bundle once more. files, archive: the data that it was made of, wherever they are now; nothing for where
    they were. token_key, own_view: of this machine's settings. Raises BundleError or UserError if that cannot be
    tried."""
    manifest, digest = made.manifest, made.digest
    making = again(manifest, digest, token_key)
    lineage = manifest.lineage
    assert lineage is not None  # noqa: S101 - for mypy: `again` has refused it
    other = list(_others(manifest.libraries, environment.versions()))
    material = _material(making, manifest, digest, files, archive, tell, own_view)
    other += list(_data_others(lineage.data, material.history.data, lineage.recipe.features))
    if any(what.startswith("data") for what in other):
        return Remade(False, None, tuple(dict.fromkeys(other)))
    with shown(lineage.recipe, len(material.history.labels)) as progress:
        found = material.bundle(
            lineage.recipe,
            lineage.code,  # the repository is no input: what it could change is compared
            progress,
            threads,
            view_record=manifest.view.model_dump(),
            created_at=manifest.created_at,
        )
    if found.digest == digest:
        return Remade(True, digest)
    told = [content_of(orjson.loads(text)) for text in (made.manifest_bytes, found.manifest_bytes)]
    known = {what.partition(":")[0] for what in other}
    other += [what for what in _in_manifests(*told) if what.partition(":")[0] not in known]
    return Remade(False, found.digest, tuple(dict.fromkeys(other)), found.model == made.model)


def _material(
    making: Making,
    manifest: Manifest,
    digest: str,
    files: tuple[Path, ...],
    archive: str | None,
    tell: Callable[[str], Any],
    own_view: Callable[[], FeatureView],
) -> Material:
    """The data that a bundle was made of. Raises UserError if they are not here."""
    sources = [source.name for source in manifest.sources or ()]
    if manifest.lineage is not None and manifest.lineage.is_of_archive:
        if files:
            raise UserError(f"{files[0]}: bundle {digest[:12]} was made from an archive; name it with --from-archive")
        if archive is None and not sources:
            raise UserError(f"--from-archive: is missing; name the archive that bundle {digest[:12]} was made from")
        served = ServedMaking(making.recipe, _served_view(making, manifest, digest, own_view), making.money)
        return served.read(archive or sources[0].rpartition("/")[0], tell)
    if archive is not None:
        raise UserError(f"--from-archive: bundle {digest[:12]} was made from files; name these")
    paths = files or tuple(map(Path, sources))
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None or not paths:
        raise UserError(f"{missing or 'FILE'}: is not here; name the files that bundle {digest[:12]} was made of")
    return making.read(paths, tell)


def _served_view(making: Making, manifest: Manifest, digest: str, own_view: Callable[[], FeatureView]) -> FeatureView:
    """The view that live served on. A manifest has no more of it than the features that the model uses. Raises
    UserError."""
    if making.view.id == manifest.view.id:
        return making.view
    view = own_view()
    if view.id != manifest.view.id:
        raise UserError(
            f"bundle {digest[:12]}: was made from decisions on feature view {manifest.view.id}, and uses some of its "
            f"features only; set SCORER_VIEW to the file of that view, instead of {view.id}"
        )
    return view


def _others(theirs: dict[str, str], here: dict[str, str]) -> Iterator[str]:
    for name, then, now in differences(theirs, here):
        yield f"version of {name}: {then or 'not there'} then, {now or 'not there'} now"


def _data_others(then: Data, now: Data, features: tuple[str, ...]) -> Iterator[str]:
    """What differs in what was read. Attributes that no feature is of do not count."""
    for path, was, is_now in differences(then.model_dump(exclude={"content"}), now.model_dump(exclude={"content"})):
        yield f"data: {path}: {was} then, {is_now} now"
    for name, digest in then.content.items():
        if now.content.get(name) != digest:
            yield f"data: content of {name}: SHA-256 {digest[:12]} then, {str(now.content.get(name))[:12]} now"


def _in_manifests(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for path, was, is_now in differences(then, now):
        if path.startswith("metrics"):
            continue  # which follow from the rest
        kind = next((what for begin, what in _INPUTS.items() if path.startswith(begin)), "outcome")
        yield f"{kind}: {path}: {_short(was)} then, {_short(is_now)} now"


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
