"""Tells MLflow of a bundle: a run of experiment `shadow-scorer` with parameters, measures, data and origin."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import orjson

from scorer.bundles.manifest import Manifest
from scorer.errors import UserError

EXPERIMENT = "shadow-scorer"
#: Tag by which a bundle is found again.
DIGEST = "scorer.digest"
#: How long a server may take, and that the library reports nothing to its makers. Whoever has set these is heard.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
#: Longest value of a parameter or tag, and of a digest of data, that MLflow takes.
_LONGEST, _DATA_DIGEST = 5000, 36


def library() -> Any:
    """MLflow. Raises UserError if it is not installed."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return import_module("mlflow")
    except ImportError:
        raise UserError(
            "sink mlflow: needs MLflow; install the extra `mlflow` (pip install 'shadow-scorer[mlflow]')"
        ) from None


def send(uri: str, digest: str, manifest: Manifest, store: str) -> str:
    """Make a run of a bundle at a tracking server, unless there is one. Raises what MLflow raises."""
    mlflow, entities = library(), import_module("mlflow.entities")
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = client.create_experiment(EXPERIMENT) if found is None else found.experiment_id
    there = client.search_runs(
        [experiment], f"tags.`{DIGEST}` = '{digest}' AND attributes.status = 'FINISHED'", max_results=1
    )
    if there:
        return f"mlflow: run {there[0].info.run_id} is there already"
    made = int(manifest.created_at.timestamp() * 1000)
    run = client.create_run(experiment, start_time=made, tags=_tags(digest, manifest, store), run_name=digest[:12])
    identity = run.info.run_id
    ended = "FAILED"  # what is half told is told again, as another run
    try:
        client.log_batch(
            identity,
            metrics=[entities.Metric(name, value, made, 0) for name, value in _metrics(manifest).items()],
            params=[entities.Param(name, value) for name, value in _parameters(manifest).items()],
        )
        client.log_inputs(identity, [_input(entities, source) for source in manifest.sources or ()])
        ended = "FINISHED"
    finally:
        client.set_terminated(identity, ended, made)
    return f"mlflow: run {identity}"


def _tags(digest: str, manifest: Manifest, store: str) -> dict[str, str]:
    code = None if manifest.lineage is None else manifest.lineage.code
    known = {
        DIGEST: digest,
        "scorer.store": store,
        "scorer.parent": manifest.parent,
        "scorer.view": manifest.view.id,
        "scorer.features": ",".join(manifest.features),
        "scorer.version": manifest.code_version,
        "scorer.packages": manifest.packages,
        "scorer.lineage_doubt": None if manifest.lineage is None else manifest.lineage.doubt,
        "mlflow.user": manifest.made_by,
        "mlflow.note.content": manifest.note,
        "mlflow.source.git.commit": None if code is None else code.commit,
        **{f"scorer.library.{name}": number for name, number in manifest.libraries.items()},
    }
    return {name: value[:_LONGEST] for name, value in known.items() if value}


def _metrics(manifest: Manifest) -> dict[str, float]:
    """Of the test part, with both ends of their intervals."""
    found = {name: value for name, value in (manifest.metrics.get("overall") or {}).items() if value is not None}
    for name, ends in manifest.metrics.get("intervals", {}).get("overall", {}).items():
        found |= {f"{name}_low": ends[0], f"{name}_high": ends[1]}
    return {**{name: float(value) for name, value in found.items()}, "threshold": manifest.threshold}


def _parameters(manifest: Manifest) -> dict[str, str]:
    recipe = None if manifest.lineage is None else manifest.lineage.recipe
    asked = {} if recipe is None else recipe.model_dump(mode="json", exclude={"parameters", "features", "seed"})
    told = {f"recipe.{name}": value for name, value in asked.items() if value is not None}
    return {
        name: (value if isinstance(value, str) else orjson.dumps(value).decode())[:_LONGEST]
        for name, value in {**manifest.parameters, **told}.items()
    }


def _input(entities: Any, source: Any) -> Any:
    about = {"uri": source.name, "sha256": source.sha256}
    schema = [{"name": name, "type": kind} for name, kind in source.columns.items()]
    dataset = entities.Dataset(
        name=source.name[-500:],
        digest=source.sha256[:_DATA_DIGEST],
        source_type="local",
        source=orjson.dumps(about).decode(),
        schema=orjson.dumps({"columns": schema}).decode(),
        profile=orjson.dumps({"num_rows": source.rows, "bytes": source.bytes}).decode(),
    )
    return entities.DatasetInput(dataset, [entities.InputTag("mlflow.data.context", "training")])
