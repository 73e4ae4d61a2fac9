"""`scorer reproduce`: make a bundle once more from its manifest, and say whether it is the same."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import orjson

from scorer.bundles.lineage import Data, differences
from scorer.bundles.manifest import Manifest, content_of
from scorer.bundles.store import BundleStore
from scorer.cli.train import cores, rounds_shown
from scorer.errors import UserError
from scorer.process.answers import answer, json_option
from scorer.settings import ScorerSettings, load
from scorer.training import environment
from scorer.training.making import Making, Material, again
from scorer.training.served import ServedMaking

#: Exit code of a bundle that came out otherwise.
DIFFERS = 1
#: Most characters of a value that a line shows.
_SHOWN = 40
#: What an input is called, by the beginning of its path in the manifest.
_INPUTS = {
    "lineage.data": "data", "training.fingerprint": "data", "lineage.reading": "settings", "libraries": "version",
    "code_version": "version", "parameters": "parameter",
}  # fmt: skip


@click.command()
@click.argument("name", metavar="DIGEST")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--from-archive",
    "archive",
    metavar="ADDRESS",
    help="The archive that it was made from, where it is now; default: where it was.",
)
@click.option("--threads", type=click.IntRange(1, 256), help="Threads to train with; the model does not depend on it.")
@json_option
def reproduce(name: str, files: tuple[Path, ...], archive: str | None, threads: int | None, as_json: bool) -> None:
    """Train a bundle once more from its manifest, and compare digests. Nothing is stored.

    DIGEST is a digest or its first digits. FILEs are the data that it was made of, wherever they lie now; default: the
    paths that it was made from. Mapping, rates, features and parameters are those of the manifest, not of the settings.

    Exits with 0 if the digest is the same; with 1 if it is not, and names each input that differs; with 2 if that
    cannot be tried.
    """
    settings = load(ScorerSettings)
    store = BundleStore(settings.store, settings.cache, settings.store_seconds)
    digest = store.resolve(name)
    made = store.fetch(digest)
    manifest, tell = made.manifest, partial(click.echo, err=True)
    making = again(manifest, digest, settings.token_bytes)
    lineage = manifest.lineage
    assert lineage is not None  # noqa: S101 - for mypy: `again` has refused it
    here = environment.versions()
    other = list(_others(manifest.libraries, here))
    material = _material(making, manifest, digest, files, archive, tell)
    other += list(_data_others(lineage.data, material.history.data, lineage.recipe.features))
    if any(what.startswith("data") for what in other):
        _end(digest, None, other, as_json)
    with rounds_shown(lineage.recipe, len(material.history.labels)) as progress:
        found = material.bundle(
            lineage.recipe,
            lineage.code,  # the repository is no input: what it could change is compared
            progress,
            threads or cores(),
            view_record=manifest.view.model_dump(),
            created_at=manifest.created_at,
        )
    if found.digest == digest:
        click.echo(f"the same: {digest}", err=as_json)
        if as_json:
            answer({"digest": digest, "same": True, "found": digest, "differences": []})
        return
    told = [content_of(orjson.loads(text)) for text in (made.manifest_bytes, found.manifest_bytes)]
    known = {what.partition(":")[0] for what in other}
    other += [what for what in _in_manifests(*told) if what.partition(":")[0] not in known]
    same = "" if found.model != made.model else "; the trees are the same, byte for byte"
    _end(digest, found.digest, other, as_json, same)


def _material(
    making: Making,
    manifest: Manifest,
    digest: str,
    files: tuple[Path, ...],
    archive: str | None,
    tell: Callable[[str], Any],
) -> Material:
    """The data that a bundle was made of. Raises UserError if they are not here."""
    sources = [source.name for source in manifest.sources or ()]
    if manifest.lineage is not None and manifest.lineage.is_of_archive:
        if files:
            raise UserError(f"{files[0]}: bundle {digest[:12]} was made from an archive; name it with --from-archive")
        if archive is None and not sources:
            raise UserError(f"--from-archive: is missing; name the archive that bundle {digest[:12]} was made from")
        served = ServedMaking(making.recipe, making.view, making.money)
        return served.read(archive or sources[0].rpartition("/")[0], tell)
    if archive is not None:
        raise UserError(f"--from-archive: bundle {digest[:12]} was made from files; name these")
    paths = files or tuple(map(Path, sources))
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None or not paths:
        raise UserError(f"{missing or 'FILE'}: is not here; name the files that bundle {digest[:12]} was made of")
    return making.read(paths, tell)


def _end(digest: str, found: str | None, other: list[str], as_json: bool, more: str = "") -> None:
    apart = list(dict.fromkeys(other))
    for what in apart:
        click.echo(f"differs: {what}", err=as_json)
    if as_json:
        answer({"digest": digest, "same": False, "found": found, "differences": apart})
    came = "was not trained, as the data are others" if found is None else f"came out as {found[:12]}"
    click.echo(f"not the same: bundle {digest[:12]} {came}{more}", err=True)
    sys.exit(DIFFERS)


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
