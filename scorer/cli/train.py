"""`scorer train`: train a bundle on files of labelled transactions."""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from scorer.bundles.card import Told
from scorer.bundles.function_proof import prove_functions
from scorer.bundles.lineage import ByCost, ByPrecision, ByRate, Given, Recipe, Rule
from scorer.bundles.store import BundleStore
from scorer.bundles.twin import why_not_twin
from scorer.bundles.view_file import load_view
from scorer.cli import tuned
from scorer.deployments.identity import maker
from scorer.errors import BundleError, UserError
from scorer.pipeline.instants import instant_ms
from scorer.pipeline.view import FeatureView
from scorer.process.answers import answer, json_option
from scorer.process.signing import SAID
from scorer.settings import ScorerSettings, load
from scorer.training import environment
from scorer.training.fraud_share import of_history, of_manifest, require_near
from scorer.training.making import Making, rfc3339
from scorer.training.parameters import PARAMETERS, checked
from scorer.training.rotation import MOST_SEED, twin_recipe
from scorer.training.served import ServedMaking
from scorer.training.sinks import sinks, told_of
from scorer.training.tuning import MOST_TRIALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scorer.bundles.bundle import Bundle

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,6})([smhd])", re.ASCII)


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--from-archive",
    "archive",
    metavar="ADDRESS",
    help="Instead of FILEs: train on the snapshots that live has decided on, and on the labels that came, as an "
    "archive keeps them (a folder or the address of a store of objects).",
)
@click.option("--as-of", help="With --from-archive: use what the archive had at this time (RFC 3339 or a date).")
@click.option(
    "--label",
    help="Field that says what is fraud: 1 or 0, true or false, yes or no, or nothing if it is not known; default: the "
    "setting mapping.label, or is_fraud without one.",
)
@click.option("--features", help="Features of the view to use, separated by commas; default: all.")
@click.option("--without", help="Features of the view to leave out, separated by commas.")
@click.option(
    "--from",
    "since",
    help="Train on transactions from this time on (RFC 3339 or a date); earlier ones only count in velocity.",
)
@click.option("--to", "until", help="Use only transactions before this time.")
@click.option(
    "--labels-known-by", help="Use only labels that were known by this time; other frauds count as legitimate."
)
@click.option(
    "--label-delay",
    metavar="DURATION",
    help="How long labels take to become known, such as 7d: so much time is left out before the latest transactions, "
    "which set the threshold and test, and at their end; default: 0d.",
)
@click.option(
    "--block-rate",
    type=click.FloatRange(0, 1, min_open=True),
    help="Choose the threshold that blocks this share of transactions; default: 0.03.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Use this threshold.")
@click.option(
    "--precision",
    type=click.FloatRange(0, 1, min_open=True),
    help="Choose the lowest threshold at which this share of what is blocked is fraud.",
)
@click.option(
    "--insult-cost",
    type=click.FloatRange(0, min_open=True),
    metavar="AMOUNT",
    help="Choose the threshold at which least is lost, if to block an honest transaction costs this much, and a fraud "
    "that passes its amount.",
)
@click.option(
    "--calibrate",
    type=click.FloatRange(0.01, 0.9),
    help="Share of transactions, the latest ones, that is not fitted on: the first half of it sets the threshold, the "
    "second half is tested on; default: 0.2.",
)
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A LightGBM parameter; repeatable.")
@click.option(
    "--class-weight", metavar="WEIGHT", help="Weight of a fraud; `balanced` for as many times as there are others."
)
@click.option(
    "--monotone",
    "monotone",
    multiple=True,
    metavar="FEATURE=+1|-1",
    help="A feature with which the score must rise (+1) or fall (-1); repeatable.",
)
@click.option(
    "--early-stopping",
    type=click.IntRange(1),
    metavar="ROUNDS",
    help="End the training after so many rounds without a better average precision on what sets the threshold.",
)
@click.option(
    "--tune",
    "trials",
    type=click.IntRange(2, MOST_TRIALS),
    metavar="TRIALS",
    help="Try so many sets of parameters, and take the one with the best average precision on what sets the threshold; "
    "what --param gives stays. Needs the extra `tune`.",
)
@click.option("--seed", type=click.IntRange(0, MOST_SEED), default=1, show_default=True, help="Seed of the training.")
@click.option(
    "--twin",
    help="Digest of a bundle to make the seed twin of: same data, features, parameters and rule, another seed.",
)
@click.option("--threads", type=click.IntRange(1, 256), help="Threads to train with; the model does not depend on it.")
@click.option("--parent", help="Digest of the bundle that this one replaces, for the record.")
@click.option("--by", type=SAID, help="Your name, for the record. [default: that of your signing key or token, if any]")
@click.option("--note", help="A remark, such as why, for the record.")
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="KIND=URI",
    help="Tell of the bundle there, too: mlflow=URI of a tracking server, openlineage=URL of a server or a file; "
    "repeatable. If it fails, the bundle is made all the same. Needs the extra `mlflow` or `openlineage`.",
)
@json_option
def train(
    files: tuple[Path, ...],
    archive: str | None,
    as_of: str | None,
    label: str | None,
    features: str | None,
    without: str | None,
    since: str | None,
    until: str | None,
    labels_known_by: str | None,
    label_delay: str | None,
    block_rate: float | None,
    threshold: float | None,
    precision: float | None,
    insult_cost: float | None,
    calibrate: float | None,
    params: tuple[str, ...],
    class_weight: str | None,
    monotone: tuple[str, ...],
    early_stopping: int | None,
    trials: int | None,
    seed: int,
    twin: str | None,
    threads: int | None,
    parent: str | None,
    by: str | None,
    note: str | None,
    exports: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train a model on FILEs, and put it into the store as a bundle. Prints the digest.

    FILEs are Parquet, CSV or JSON, or folders of them; docs/files.md says how they may be written.

    Threshold and metrics come from the latest transactions (--calibrate), which are not trained on.
    """
    _check_data(files, archive, as_of, label, labels_known_by, label_delay, twin)
    to = sinks(exports)
    settings = load(ScorerSettings)
    view = load_view(settings.view)
    prove_functions(view)
    store = BundleStore(settings.store, settings.cache, settings.store_seconds)
    mapping = settings.mapping if label is None else settings.mapping.model_copy(update={"label": label})
    rule = _rule(block_rate, threshold, precision, insult_cost)
    names = _features(view, features, without)
    asked: dict[str, Any] = {
        "since": rfc3339(since, "--from"),
        "until": rfc3339(until, "--to"),
        "labels_known_by": rfc3339(as_of, "--as-of") or rfc3339(labels_known_by, "--labels-known-by"),
        "calibrate": calibrate,
        "label_delay": None if label_delay is None else duration(label_delay, "--label-delay"),
        "threshold": rule,
    }
    said = {name: value for name, value in asked.items() if value is not None}
    model: Bundle | None = None
    if twin is not None:
        model = store.fetch(store.resolve(twin))
        recipe = _twin(model, said, archive)
        _check_same(recipe, checked(parameters_of(params)), names if features or without else None)
    else:
        recipe = Recipe(
            features=names,
            parameters=checked(parameters_of(params)),
            seed=seed,
            class_weight=_weight(class_weight),
            monotone=_monotone(monotone, names),
            early_stopping=early_stopping,
            **said,
        )
    if recipe.since is not None and recipe.until is not None and recipe.since >= recipe.until:
        raise UserError(f"--from {since}: is not before --to {until}; give an earlier one")
    tuned.check(trials, recipe, model is not None)
    its_parent = store.resolve(parent) if parent else (model.digest if model is not None else None)
    who = maker(settings, by)
    tell = partial(click.echo, err=True)
    if archive is not None:
        material = ServedMaking(recipe, view, settings.money).read(archive, tell)
        if parent is not None and its_parent is not None:
            found = of_history(material.history, recipe.label_delay * 1000, instant_ms(str(recipe.labels_known_by)))
            require_near(found, of_manifest(store.manifest(its_parent)), its_parent, settings.fraud_share_factor)
    else:
        making = Making(
            recipe, view, mapping, settings.files, settings.money, settings.card_number_fields, settings.token_bytes
        )
        material = making.read(files, tell)
    recipe, search = tuned.tuned(material.history, recipe, trials, threads or cores(), tell)
    with rounds_shown(recipe, len(material.history.labels)) as progress:
        bundle = material.bundle(
            recipe,
            environment.code(),
            progress,
            threads or cores(),
            tell,
            parent=its_parent,
            made_by=who,
            note=note,
            tuned=search,
        )
    if model is not None:
        why = why_not_twin(model.manifest, bundle.manifest)
        if why is not None:
            raise UserError(f"--twin {model.digest[:12]}: what was trained is no twin of it: {why}; nothing is stored")
    _store(store, bundle, tell)
    overall = bundle.manifest.metrics["overall"]
    told = ", ".join(f"{name} {overall[name]:.3f}" for name in ("average_precision", "recall", "block_rate"))
    tell(f"threshold {bundle.threshold:.4f}; on the latest {overall['transactions']} transactions: {told}")
    told_of(to, bundle.digest, store.manifest(bundle.digest), store.uri, tell)
    if as_json:
        answer(Told(bundle.digest, bundle.manifest).to_json())
        return
    click.echo(bundle.digest)


def _check_data(
    files: tuple[Path, ...],
    archive: str | None,
    as_of: str | None,
    label: str | None,
    known_by: str | None,
    delay: str | None,
    twin: str | None,
) -> None:
    """Raise UserError for options that do not say where the data are, or that do not go together."""
    if archive is None:
        if as_of is not None:
            raise UserError("--as-of: is of an archive; give --from-archive, or --labels-known-by for files")
        if not files:
            raise UserError("FILE: is missing; name files of labelled transactions, or an archive (--from-archive)")
        return
    if files:
        raise UserError(f"--from-archive: {files[0]} is given, too; train on files or on an archive")
    for option, value in (("--label", label), ("--labels-known-by", known_by)):
        if value is not None:
            raise UserError(f"{option}: is of files; labels of an archive count as of --as-of; leave it out")
    if twin is None and as_of is None:
        raise UserError("--as-of: is missing; say at what time the archive is looked at, such as 2026-01-31")
    if twin is None and delay is None:
        raise UserError(
            "--label-delay: is missing; say how long labels take to come, such as 7d: until then nobody knows that a "
            "transaction was legitimate"
        )


def _store(store: BundleStore, bundle: Bundle, tell: Callable[[str], Any]) -> None:
    try:
        there = store.manifest(bundle.digest)
    except BundleError:
        store.put(bundle)
        return
    store.put(bundle)
    tell(
        f"bundle {bundle.digest[:12]} is there already, made {there.created_at:%Y-%m-%d %H:%M} UTC: the same training "
        "gives the same digest, and what was said beside it then stays"
    )


@contextmanager
def rounds_shown(recipe: Recipe, transactions: int) -> Iterator[Callable[[int], None]]:
    """A bar of the rounds of a training on standard error."""
    rounds = int({**PARAMETERS, **checked(recipe.parameters)}["num_iterations"])
    title = f"training on {transactions}"
    with click.progressbar(length=rounds, label=title, show_pos=True, file=sys.stderr) as bar:
        yield bar.update


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def _features(view: FeatureView, only: str | None, without: str | None) -> tuple[str, ...]:
    asked = [name.strip() for text in (only, without) if text for name in text.split(",")]
    for name in asked:
        if name not in view.names:
            raise UserError(
                f"feature {name}: is not in feature view {view.id}; expected one of {', '.join(view.names)}"
            )
    chosen = [name.strip() for name in only.split(",")] if only else list(view.names)
    twice = next((name for at, name in enumerate(chosen) if name in chosen[:at]), None)
    if twice is not None:
        raise UserError(f"--features: {twice} is named twice; name it once")
    out = {name.strip() for name in without.split(",")} if without else set()
    left = tuple(name for name in chosen if name not in out)
    if not left:
        raise UserError("--without: leaves no feature; leave fewer out")
    return left


def parameters_of(params: tuple[str, ...]) -> dict[str, Any]:
    """The values of --param by name. Raises UserError."""
    chosen: dict[str, Any] = {}
    for text in params:
        key, found, value = text.partition("=")
        if not found:
            raise UserError(f"--param {text}: expected KEY=VALUE, such as num_leaves=31")
        if key in chosen:
            raise UserError(f"--param {key}: is given twice; give it once")
        try:
            chosen[key] = orjson.loads(value)
        except orjson.JSONDecodeError:
            chosen[key] = _number(value)
    return chosen


def _number(text: str) -> Any:
    """A number as people write it, such as .1; the text itself if it is none."""
    try:
        return float(text)
    except ValueError:
        return text


def _rule(
    block_rate: float | None, threshold: float | None, precision: float | None, insult_cost: float | None
) -> Rule | None:
    given: dict[str, Rule] = {}
    if block_rate is not None:
        given["--block-rate"] = ByRate(rate=block_rate)
    if threshold is not None:
        given["--threshold"] = Given(threshold=threshold)
    if precision is not None:
        given["--precision"] = ByPrecision(precision=precision)
    if insult_cost is not None:
        given["--insult-cost"] = ByCost(insult=_finite(insult_cost))
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: each chooses a threshold; give one of them")
    return next(iter(given.values()), None)


def _finite(number: float) -> float:
    if not number < float("inf"):
        raise UserError(f"--insult-cost {number}: expected an amount")
    return number


def duration(text: str, option: str) -> int:
    """Seconds. Raises UserError that names the option."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{option} {text}: expected a number with s, m, h or d, such as 7d")
    return int(found[1]) * _UNITS[found[2]]


def _weight(text: str | None) -> Any:
    if text is None or text == "balanced":
        return text
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise UserError(f"--class-weight {text}: expected balanced, or a number above 0")
    return weight


def _monotone(texts: tuple[str, ...], names: tuple[str, ...]) -> Any:
    found: dict[str, int] = {}
    for text in texts:
        name, _, direction = text.rpartition("=")
        if direction not in ("+1", "1", "-1") or not name:
            raise UserError(f"--monotone {text}: expected FEATURE=+1 or FEATURE=-1")
        if name not in names:
            raise UserError(f"--monotone {name}: is none of the features to train on; expected {', '.join(names)}")
        if name in found:
            raise UserError(f"--monotone {name}: is named twice; name it once")
        found[name] = int(direction)
    return found


def _check_same(recipe: Recipe, parameters: dict[str, Any], names: tuple[str, ...] | None) -> None:
    """Raise UserError for what a twin cannot have of its own."""
    other = next((name for name, value in parameters.items() if recipe.parameters.get(name) != value), None)
    if other is not None:
        raise UserError(f"--param {other}: a twin has the parameters of its original; leave the option out")
    if names is not None and names != recipe.features:
        raise UserError("--features: a twin has the features of its original; leave the option out")


def _twin(model: Bundle, said: dict[str, Any], archive: str | None) -> Recipe:
    """The recipe of the seed twin of a bundle."""
    lineage = model.manifest.lineage
    if lineage is None:
        if model.manifest.training is None:
            raise UserError(
                f"--twin {model.digest[:12]}: was trained elsewhere; train its twin there, with another seed"
            )
        raise UserError(
            f"--twin {model.digest[:12]}: was trained by an earlier version, which did not say all that it takes; "
            "train it again, then its twin"
        )
    if lineage.is_of_archive != (archive is not None):
        other = "files; name these" if archive is not None else "an archive; name it with --from-archive"
        raise UserError(f"--twin {model.digest[:12]}: was trained on {other}")
    return twin_recipe(lineage.recipe).model_copy(update=said)
