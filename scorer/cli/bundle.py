"""`scorer bundle`: wrap a model that was trained elsewhere, and show what a bundle says about its model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import orjson

from scorer.bundles import model_text
from scorer.bundles.agreement import check_scores
from scorer.bundles.answers import COMMON, mean_score
from scorer.bundles.bundle import Bundle
from scorer.bundles.card import Told, card, compared, table
from scorer.bundles.lineage import differences
from scorer.bundles.manifest import Checked, describe
from scorer.bundles.names import feature_names
from scorer.bundles.store import BundleStore, StoreError, files_in, proven
from scorer.bundles.view_file import load_view
from scorer.deployments.identity import maker
from scorer.errors import BundleError
from scorer.process.answers import answer, json_option
from scorer.process.screen import show as show_lines
from scorer.process.screen import width
from scorer.process.signing import SAID
from scorer.process.waiting import waiting
from scorer.settings import ScorerSettings, load
from scorer.sources.scored_rows import read_scored
from scorer.text_table import named
from scorer.training.sinks import sinks, told_of


@click.group()
def bundle() -> None:
    """Make and show bundles: a model with its features, threshold and origin, under the digest of its content."""


@bundle.command()
@click.option("--model", "model_file", required=True, type=click.Path(path_type=Path), help="LightGBM text model.")
@click.option(
    "--features",
    help="Names of the features in the model's order, separated by commas, or MODEL=VIEW pairs for those that the view "
    "names differently, or @FILE to read them; default: the model's own.",
)
@click.option("--threshold", required=True, type=click.FloatRange(0, 1), help="Score from which the model blocks.")
@click.option("--parent", help="Digest of the bundle that this one replaces, for the record.")
@click.option("--note", help="A remark, for the record.")
@click.option("--by", type=SAID, help="Your name, for the record. [default: that of your signing key or token, if any]")
@click.option(
    "--link",
    help="What the model answers if not probabilities: sigmoid for log-odds, LOW:HIGH for a scale such as 0:1000.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help='JSON file: {"kind": "platt", "slope": 1.2, "intercept": -0.3} or {"kind": "isotonic", "x": [], "y": []}.',
)
@click.option(
    "--check",
    "rows",
    type=click.Path(path_type=Path),
    help="CSV, JSON Lines or Parquet file of rows with the scores of your own code (column score or probability). The "
    "bundle is refused unless it gives the same.",
)
@click.option(
    "--common-class", is_flag=True, help="Accept a model whose training rows were mostly of the class it finds."
)
@json_option
def create(
    model_file: Path,
    features: str | None,
    threshold: float,
    parent: str | None,
    note: str | None,
    by: str | None,
    link: str | None,
    calibration: Path | None,
    rows: Path | None,
    common_class: bool,
    as_json: bool,
) -> None:
    """Wrap a LightGBM model that was trained elsewhere, and put the bundle into the store. Prints the digest."""
    settings = load(ScorerSettings)
    store = BundleStore(settings.store, settings.cache, settings.store_seconds)
    try:
        model = model_text.plain(model_file.read_bytes())
    except OSError as error:
        raise BundleError(f"--model {model_file}: {error.strerror}; name a LightGBM text model") from None
    text, view = model_text.read(model), load_view(settings.view)
    names = feature_names(text, _names(features) if features is not None else None)
    known: dict[str, Any] = {
        "threshold_chosen": {"method": "given"},
        "parent": store.resolve(parent) if parent else None,
        "note": note,
        "made_by": maker(settings, by),
        "link": _link(link),
        "calibration": _calibration(calibration),
    }
    made = proven(model, describe(text, names, view, threshold, **known))
    mean = mean_score(text, made.manifest.link)
    if mean is not None and mean > COMMON and not common_class:
        raise BundleError(
            f"--model {model_file}: its training rows score {mean:.2f} on average, so the class that it finds is "
            "hardly fraud; train with fraud as 1, or give --common-class if that is right"
        )
    if rows is not None:
        columns, digest = read_scored(rows)
        with waiting("comparing the scores"):
            checked = Checked(rows=check_scores(made, columns), digest=digest)
        created_at = made.manifest.created_at
        made = proven(model, describe(text, names, view, threshold, created_at, checked=checked, **known))
    store.put(made)
    if as_json:
        answer(Told(made.digest, made.manifest).to_json())
        return
    click.echo(made.digest)


def _link(text: str | None) -> dict[str, object] | None:
    """The link of an option. Raises BundleError."""
    if text is None or text == "sigmoid":
        return None if text is None else {"kind": "sigmoid"}
    low, _, high = text.partition(":")
    try:
        return {"kind": "identity", "low": float(low), "high": float(high)}
    except ValueError:
        raise BundleError(f"--link {text}: expected sigmoid, or LOW:HIGH such as 0:1000") from None


def _calibration(path: Path | None) -> object:
    """The calibration of a file. Raises BundleError."""
    if path is None:
        return None
    try:
        return orjson.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(f"--calibration {path}: {error.strerror}; name a JSON file") from None
    except orjson.JSONDecodeError as error:
        raise BundleError(f"--calibration {path}: not JSON ({error})") from None


def _names(text: str) -> tuple[str, ...]:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise BundleError(f"--features {text}: {error.strerror}; name a file of feature names") from None
    return tuple(name.strip() for name in text.replace("\n", ",").split(",") if name.strip())


@bundle.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as it is.")
def show(name: str, as_json: bool) -> None:
    """Check a bundle's digest and show its manifest. NAME is a digest, its first digits, or a folder."""
    found = _bundle(_opened(), name)
    if as_json:
        click.echo(found.manifest_bytes)
        return
    show_lines(named(_rows(found), width(), 10))


def _rows(found: Bundle) -> Iterator[tuple[str, str]]:
    manifest = found.manifest
    yield "digest", found.digest
    yield "made", f"{manifest.created_at:%Y-%m-%d %H:%M} UTC by version {manifest.code_version}"
    chosen = ", ".join(f"{k} {v}" for k, v in manifest.threshold_chosen.items())
    yield "threshold", f"{manifest.threshold:g} ({chosen})"
    for scale in (manifest.link, manifest.calibration):
        if scale is not None:
            said = ", ".join(f"{k} {v:g}" for k, v in scale if isinstance(v, float))
            yield "scale", f"{scale.kind}{': ' if said else ''}{said}"
    if manifest.checked is not None:
        yield "checked", f"{manifest.checked.rows} rows of the trainer's own scores, {manifest.checked.digest[:12]}"
    yield "view", manifest.view.id
    yield "features", f"{len(manifest.features)}: {', '.join(manifest.features)}"
    if manifest.training is not None:
        training = manifest.training
        yield (
            "trained on",
            f"{training.rows} transactions, {training.frauds} frauds, {training.first} to {training.last}",
        )
        yield "data", training.fingerprint
    if manifest.lineage is not None:
        yield "lineage", manifest.lineage.doubt or f"commit {manifest.lineage.code.commit}, without changes"
    for title, text in (("parent", manifest.parent), ("made by", manifest.made_by), ("note", manifest.note)):
        if text:
            yield title, text
    measures = {"overall": manifest.metrics.get("overall"), **manifest.metrics.get("segments", {})}
    for segment, measured in measures.items():
        if measured:
            numbers = ", ".join(f"{key} {value:.4g}" for key, value in measured.items() if value is not None)
            yield "measured", f"{segment}: {numbers}"


@bundle.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, with the whole digests.")
def list_bundles(as_json: bool) -> None:
    """List the bundles of the store, newest first."""
    store = _opened()
    found, broken = [], []
    for digest in store.digests():
        try:
            found.append(Told(digest, store.manifest(digest)))
        except StoreError:
            raise
        except BundleError as error:
            broken.append(str(error))
    found.sort(key=lambda one: (one.manifest.created_at, one.digest), reverse=True)
    if as_json:
        click.echo(orjson.dumps([one.to_json() for one in found], option=orjson.OPT_INDENT_2))
    else:
        show_lines(table(found, width()))
    for told in broken:
        click.echo(f"passed over: {told}", err=True)


@bundle.command()
@click.argument("a")
@click.argument("b")
@click.option("--json", "as_json", is_flag=True, help="Print what differs as JSON, by its place in the manifest.")
def diff(a: str, b: str, as_json: bool) -> None:
    """Show how two bundles differ: features, threshold, parameters, data, metrics. A and B are digests or folders."""
    store = _opened()
    found = [_bundle(store, name) for name in (a, b)]
    if as_json:
        contents = [orjson.loads(one.manifest_bytes) for one in found]
        places = {path: {"a": ours, "b": theirs} for path, ours, theirs in differences(*contents)}
        click.echo(orjson.dumps(places, option=orjson.OPT_INDENT_2))
        return
    a_told, b_told = (Told(one.digest, one.manifest, one.importance()) for one in found)
    show_lines(compared(a_told, b_told, width()))


@bundle.command("card")
@click.argument("name")
@json_option
def show_card(name: str, as_json: bool) -> None:
    """Print a model card in Markdown. NAME is a digest, its first digits, or a folder."""
    found = _bundle(_opened(), name)
    lines = list(card(Told(found.digest, found.manifest, found.importance())))
    if as_json:
        answer({"digest": found.digest, "markdown": "".join(f"{line}\n" for line in lines)})
        return
    show_lines(lines)


@bundle.command("export")
@click.argument("name")
@click.option(
    "--to",
    "texts",
    required=True,
    multiple=True,
    metavar="KIND=URI",
    help="mlflow=URI of a tracking server, or openlineage=URL of a server or a file; repeatable.",
)
@json_option
def export(name: str, texts: tuple[str, ...], as_json: bool) -> None:
    """Tell MLflow or OpenLineage how a bundle was made. NAME is a digest or its first digits.

    A sink that knows the bundle already is told nothing new. Exits with 1 if one could not be told.
    """
    to = sinks(texts)
    store = _opened()
    digest = store.resolve(name)
    took = told_of(to, digest, store.manifest(digest), store.uri, partial(click.echo, err=True))
    if as_json:
        answer({"digest": digest, "told": [one.kind for one in took]})
    if took != to:
        sys.exit(1)


def _opened() -> BundleStore:
    settings = load(ScorerSettings)
    return BundleStore(settings.store, settings.cache, settings.store_seconds)


def _bundle(store: BundleStore, name: str) -> Bundle:
    return proven(*files_in(Path(name))) if Path(name).is_dir() else store.fetch(store.resolve(name))
