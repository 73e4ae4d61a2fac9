"""`scorer bundle`: wrap a model trained elsewhere, and look at what is on record of a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from scorer.bundle import Bundle, model_features
from scorer.bundle import create as make
from scorer.errors import BundleError
from scorer.settings import ScorerSettings, load
from scorer.store import BundleStore
from scorer.view import FeatureView


@click.group()
def bundle() -> None:
    """Bundles: a model, what it needs, and where it comes from, under the digest of its content."""


@bundle.command()
@click.option("--model", "model_file", required=True, type=click.Path(path_type=Path), help="LightGBM text model.")
@click.option("--features", help="Their names in the model's order, by commas or as @FILE; default: the model's own.")
@click.option("--threshold", required=True, type=click.FloatRange(0, 1), help="A score equal to it blocks.")
@click.option("--parent", help="Digest of the bundle that this one is to follow, for the record.")
@click.option("--note", help="A remark, for the record.")
def create(model_file: Path, features: str | None, threshold: float, parent: str | None, note: str | None) -> None:
    """Wrap a LightGBM model that was trained elsewhere, and put it into the store. Prints the digest."""
    settings = load(ScorerSettings)
    store = BundleStore(settings.store, settings.cache)
    try:
        model = model_file.read_bytes()
    except OSError as error:
        raise BundleError(f"--model {model_file}: {error.strerror}") from None
    names = _names(features) if features is not None else model_features(model)
    made = make(
        model,
        names,
        FeatureView.load(settings.view),
        threshold,
        threshold_chosen={"method": "given"},
        parent=store.resolve(parent) if parent else None,
        note=note,
    )
    store.put(made)
    click.echo(made.digest)


def _names(text: str) -> tuple[str, ...]:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except OSError as error:
            raise BundleError(f"--features {text}: {error.strerror}") from None
    return tuple(name.strip() for name in text.replace("\n", ",").split(",") if name.strip())


@bundle.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The manifest as it is.")
def show(name: str, as_json: bool) -> None:
    """Say what is on record of a bundle: NAME is a digest, its first digits, or a folder. Verifies the digest."""
    settings = load(ScorerSettings)
    store = BundleStore(settings.store, settings.cache)
    found = Bundle.load(Path(name)) if Path(name).is_dir() else store.fetch(store.resolve(name))
    if as_json:
        click.echo(found.manifest_bytes)
        return
    manifest = found.manifest
    click.echo(f"digest      {found.digest}")
    click.echo(f"made        {manifest.created_at:%Y-%m-%d %H:%M} UTC by version {manifest.code_version}")
    click.echo(
        f"threshold   {manifest.threshold:g} ({', '.join(f'{k} {v}' for k, v in manifest.threshold_chosen.items())})"
    )
    click.echo(f"view        {manifest.view.id}")
    click.echo(f"features    {len(manifest.features)}: {', '.join(manifest.features)}")
    if manifest.training is not None:
        training = manifest.training
        click.echo(
            f"trained on  {training.rows} transactions, {training.frauds} frauds, {training.first} to {training.last}"
        )
        click.echo(f"            data {training.fingerprint}")
    for title, text in (("parent", manifest.parent), ("note", manifest.note)):
        if text:
            click.echo(f"{title:<11} {text}")
    for segment, measured in {
        "overall": manifest.metrics.get("overall"),
        **manifest.metrics.get("segments", {}),
    }.items():
        if measured:
            numbers = ", ".join(f"{key} {value:.4g}" for key, value in measured.items() if value is not None)
            click.echo(f"measured    {segment}: {numbers}")
