"""`scorer reproduce`: make a bundle once more from its manifest, and say whether it is the same."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from scorer.bundles.store import BundleStore
from scorer.bundles.view_file import load_view
from scorer.cli.train import cores, rounds_shown
from scorer.process.answers import answer, json_option
from scorer.settings import ScorerSettings, load
from scorer.training.remaking import remake

#: Exit code of a bundle that came out otherwise.
DIFFERS = 1


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
    made = store.fetch(store.resolve(name))
    tell = partial(click.echo, err=True)
    found = remake(
        made,
        files,
        archive,
        settings.token_bytes,
        threads or cores(),
        rounds_shown,
        tell,
        partial(load_view, settings.view),
    )
    if found.is_same:
        click.echo(f"the same: {made.digest}", err=as_json)
    for what in found.others:
        click.echo(f"differs: {what}", err=as_json)
    if as_json:
        others = list(found.others)
        answer({"digest": made.digest, "same": found.is_same, "found": found.digest, "differences": others})
    if found.is_same:
        return
    came = "was not trained, as the data are others" if found.digest is None else f"came out as {found.digest[:12]}"
    same = "; the trees are the same, byte for byte" if found.has_same_trees else ""
    click.echo(f"not the same: bundle {made.digest[:12]} {came}{same}", err=True)
    sys.exit(DIFFERS)
