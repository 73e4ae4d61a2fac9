"""`scorer train`: train a bundle on a file of labelled transactions."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
import orjson

from scorer.bundles.bundle import Bundle
from scorer.bundles.store import BundleStore
from scorer.bundles.view_file import load_view
from scorer.deployments.identity import maker
from scorer.errors import UserError
from scorer.pipeline.transaction import Reading
from scorer.pipeline.view import FeatureView
from scorer.process.signing import SAID
from scorer.settings import ScorerSettings, load
from scorer.sources.files import read_transactions, time_bound
from scorer.sources.source import Source
from scorer.training.history import read_history
from scorer.training.train import PARAMETERS
from scorer.training.train import train as fit

#: What a twin's seed adds to the seed of its original.
TWIN_STEP = 1_000_003


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
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
    "--block-rate",
    type=click.FloatRange(0, 1, min_open=True),
    help="Choose the threshold that blocks this share of transactions; default: 0.03.",
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Use this threshold.")
@click.option(
    "--calibrate",
    type=click.FloatRange(0.01, 0.9),
    default=0.2,
    show_default=True,
    help="Share of transactions, the latest ones, to keep for threshold and metrics.",
)
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A LightGBM parameter; repeatable.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the training.")
@click.option(
    "--twin",
    help="Digest of a bundle to make the seed twin of: same features, parameters and block rate, another seed.",
)
@click.option("--parent", help="Digest of the bundle that this one replaces, for the record.")
@click.option("--note", help="A remark, for the record.")
@click.option("--by", type=SAID, help="Your name, for the record. [default: that of your signing key or token, if any]")
def train(
    files: tuple[Path, ...],
    label: str | None,
    features: str | None,
    without: str | None,
    since: str | None,
    until: str | None,
    labels_known_by: str | None,
    block_rate: float | None,
    threshold: float | None,
    calibrate: float,
    params: tuple[str, ...],
    seed: int,
    twin: str | None,
    parent: str | None,
    note: str | None,
    by: str | None,
) -> None:
    """Train a model on FILEs, and put it into the store as a bundle. Prints the digest.

    FILEs are Parquet, CSV or JSON, or folders of them; docs/files.md says how they may be written.

    Threshold and metrics come from the latest transactions (--calibrate), which are not trained on.
    """
    settings = load(ScorerSettings)
    view = load_view(settings.view)
    store = BundleStore(settings.store, settings.cache, settings.store_seconds)
    mapping = settings.mapping if label is None else settings.mapping.model_copy(update={"label": label})
    names = _features(view, features, without)
    chosen = _parameters(params)
    model: Bundle | None = None
    if twin is not None:
        model = store.fetch(store.resolve(twin))
        names, chosen, seed, block_rate, threshold = _twin(model, block_rate, threshold)
    reading = Reading(settings.money, mapping, view.attributes, settings.card_number_fields)
    reading.check_formats()
    source = Source(mapping, settings.files, view.attributes, settings.token_bytes, needs_label=True)
    chunks = read_transactions(files, source, None, until, tell=partial(click.echo, err=True))
    data = read_history(chunks, view, reading, str(files[0]))
    if since is not None:
        data = data.between(time_bound(since, "--from"), None)
    rounds = int({**PARAMETERS, **chosen}["num_iterations"])
    with click.progressbar(
        length=rounds, label=f"training on {len(data.labels)}", show_pos=True, file=sys.stderr
    ) as bar:
        bundle = fit(
            data,
            names,
            block_rate,
            threshold,
            calibrate,
            chosen,
            seed,
            time_bound(labels_known_by, "--labels-known-by") if labels_known_by else None,
            bar.update,
            parent=store.resolve(parent) if parent else (model.digest if model is not None else None),
            note=note,
            made_by=maker(settings, by),
        )
    store.put(bundle)
    overall = bundle.manifest.metrics["overall"]
    told = ", ".join(f"{name} {overall[name]:.3f}" for name in ("average_precision", "recall", "block_rate"))
    click.echo(f"threshold {bundle.threshold:.4f}; on the latest {calibrate:.0%} of transactions: {told}", err=True)
    click.echo(bundle.digest)


def _features(view: FeatureView, only: str | None, without: str | None) -> tuple[str, ...]:
    asked = [name.strip() for text in (only, without) if text for name in text.split(",")]
    for name in asked:
        if name not in view.names:
            raise UserError(
                f"feature {name}: is not in feature view {view.id}; expected one of {', '.join(view.names)}"
            )
    chosen = [name.strip() for name in only.split(",")] if only else list(view.names)
    out = {name.strip() for name in without.split(",")} if without else set()
    return tuple(name for name in chosen if name not in out)


def _parameters(params: tuple[str, ...]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for text in params:
        key, found, value = text.partition("=")
        if not found:
            raise UserError(f"--param {text}: expected KEY=VALUE, such as num_leaves=31")
        try:
            chosen[key] = orjson.loads(value)
        except orjson.JSONDecodeError:
            chosen[key] = value
    return chosen


def _twin(
    model: Bundle, block_rate: float | None, threshold: float | None
) -> tuple[tuple[str, ...], dict[str, Any], int, float | None, float | None]:
    """Features, parameters, seed, block rate and threshold of the seed twin of a bundle."""
    manifest = model.manifest
    seed, rate = manifest.parameters.get("seed"), manifest.threshold_chosen.get("rate")
    if type(seed) is not int or not isinstance(rate, int | float | None):
        raise UserError(f"--twin {model.digest[:12]}: was trained elsewhere; train its twin there, with another seed")
    parameters = {key: value for key, value in manifest.parameters.items() if key != "seed"}
    if block_rate is None and threshold is None:
        block_rate = rate
        threshold = None if block_rate is not None else manifest.threshold
    return model.features, parameters, seed + TWIN_STEP, block_rate, threshold
