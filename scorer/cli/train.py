"""`scorer train`: a bundle from a file of labelled transactions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from scorer.bundle import Bundle
from scorer.errors import UserError
from scorer.events import Reading
from scorer.files import read_transactions, time_bound
from scorer.settings import ScorerSettings, load
from scorer.store import BundleStore
from scorer.train import PARAMETERS, read_history
from scorer.train import train as fit
from scorer.view import FeatureView

#: Added to the seed of the model that a twin is made of.
TWIN_STEP = 1_000_003


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--label", help="Field that is 1 for fraud, 0 else; default: that of the setting mapping, or is_fraud.")
@click.option("--features", help="Features of the view to use, separated by commas; default: all.")
@click.option("--without", help="Features of the view to leave out, separated by commas.")
@click.option("--from", "since", help="Learn from what is from this time on (RFC 3339 or a date); "
              "what is before counts in velocity only.")  # fmt: skip
@click.option("--to", "until", help="Only transactions before this time.")
@click.option("--labels-known-by", help="Use labels only as they were known at this time.")
@click.option(
    "--block-rate", type=click.FloatRange(0, 1, min_open=True), help="Choose the threshold so (default 0.03)."
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="Use this threshold.")
@click.option(
    "--calibrate", type=click.FloatRange(0.01, 0.9), default=0.2, show_default=True, help="Last share of time."
)
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="A LightGBM parameter; repeatable.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--twin", help="Make the seed twin of this bundle: its features, parameters and block rate, another seed."
)
@click.option("--parent", help="Digest of the bundle that this one is to follow, for the record.")
@click.option("--note", help="A remark, for the record.")
def train(
    file: Path,
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
) -> None:
    """Train a model on FILE (Parquet, CSV, JSON Lines), wrap it into a bundle and put it into the store.

    The last part of the time (--calibrate) is not trained on: the threshold and the metrics come from it. Prints the
    digest.
    """
    settings = load(ScorerSettings)
    view = FeatureView.load(settings.view)
    store = BundleStore(settings.store, settings.cache)
    mapping = settings.mapping if label is None else settings.mapping.model_copy(update={"label": label})
    names = _features(view, features, without)
    chosen = _parameters(params)
    model: Bundle | None = None
    if twin is not None:
        model = store.fetch(store.resolve(twin))
        names, chosen, seed, block_rate, threshold = _twin(model, block_rate, threshold)
    reading = Reading(settings.money, attributes=view.attributes)
    data = read_history(read_transactions(file, mapping, None, until), view, reading, str(file))
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
        )
    store.put(bundle)
    overall = bundle.manifest.metrics["overall"]
    told = ", ".join(f"{name} {overall[name]:.3f}" for name in ("average_precision", "recall", "block_rate"))
    click.echo(f"threshold {bundle.threshold:.4f}; on the last {calibrate:.0%} of the time: {told}", err=True)
    click.echo(bundle.digest)


def _features(view: FeatureView, only: str | None, without: str | None) -> tuple[str, ...]:
    asked = [name.strip() for text in (only, without) if text for name in text.split(",")]
    for name in asked:
        if name not in view.names:
            raise UserError(f"feature {name}: is not in view {view.id}; it has {', '.join(view.names)}")
    chosen = [name.strip() for name in only.split(",")] if only else list(view.names)
    out = {name.strip() for name in without.split(",")} if without else set()
    return tuple(name for name in chosen if name not in out)


def _parameters(params: tuple[str, ...]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for text in params:
        key, found, value = text.partition("=")
        if not found:
            raise UserError(f"--param {text}: expected KEY=VALUE")
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
    if "seed" not in manifest.parameters:
        raise UserError(f"--twin {model.digest[:12]}: was trained elsewhere; train its twin there, with another seed")
    parameters = {key: value for key, value in manifest.parameters.items() if key != "seed"}
    if block_rate is None and threshold is None:
        block_rate = manifest.threshold_chosen.get("rate")
        threshold = None if block_rate is not None else manifest.threshold
    return model.features, parameters, int(manifest.parameters["seed"]) + TWIN_STEP, block_rate, threshold
