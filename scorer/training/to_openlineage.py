"""Tells OpenLineage of a bundle: a run of job `scorer.train`, from the files that were read to what was made."""

from __future__ import annotations

import os
import uuid
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scorer.bundles.lineage import SourceFile
from scorer.bundles.manifest import Manifest
from scorer.errors import UserError

NAMESPACE, JOB = "shadow-scorer", "scorer.train"
PRODUCER = "https://pypi.org/project/shadow-scorer"
#: Seconds that a server may take.
SECONDS = 10.0
_IDS = uuid.UUID("6f1d9a52-3f0e-5c8e-9a55-3a0d7f0c5b11")


def library() -> Any:
    """OpenLineage's client. Raises UserError if it is not installed."""
    try:
        return import_module("openlineage.client")
    except ImportError:
        raise UserError(
            "sink openlineage: needs OpenLineage's client; install the extra `openlineage` (pip install "
            "'shadow-scorer[openlineage]')"
        ) from None


def send(uri: str, digest: str, manifest: Manifest, store: str) -> str:
    """Send the begin and the end of a training: to a server, or to the end of a file. Raises what the client raises.

    The run has the same id whenever it is sent, so whoever sends it again tells nothing twice.
    """
    client = library().OpenLineageClient(transport=_transport(uri))
    run = str(uuid.uuid5(_IDS, digest))
    for state in ("START", "COMPLETE"):
        client.emit(_event(state, run, digest, manifest, store))
    return f"openlineage: run {run}"


def _transport(uri: str) -> Any:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        of_file = import_module("openlineage.client.transport.file")
        return of_file.FileTransport(of_file.FileConfig(log_file_path=uri, append=True))
    http = import_module("openlineage.client.transport.http")
    more = {}
    key = os.environ.get("OPENLINEAGE_API_KEY")  # as the client itself has it
    if key:
        more["auth"] = http.ApiKeyTokenProvider({"apiKey": key})
    if parts.path.strip("/"):
        more["endpoint"] = parts.path.strip("/")
    server = f"{parts.scheme}://{parts.netloc}"
    return http.HttpTransport(http.HttpConfig(url=server, timeout=SECONDS, retry={"total": 1}, **more))


def _event(state: str, run: str, digest: str, manifest: Manifest, store: str) -> Any:
    v2 = import_module("openlineage.client.event_v2")
    facets = import_module("openlineage.client.facet_v2")
    facets.set_producer(PRODUCER)
    kind = facets.job_type_job.JobTypeJobFacet(processingType="BATCH", integration="SHADOW_SCORER", jobType="TRAINING")
    version = facets.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=digest)
    ended = state == "COMPLETE"
    return v2.RunEvent(
        eventType=getattr(v2.RunState, state),
        eventTime=manifest.created_at.isoformat(),
        producer=PRODUCER,
        run=v2.Run(runId=run, facets=_run_facets(digest, manifest)),
        job=v2.Job(namespace=NAMESPACE, name=JOB, facets={"jobType": kind}),
        inputs=[_input(v2, facets, source) for source in manifest.sources or ()],
        outputs=[v2.OutputDataset(namespace=store, name=f"bundles/{digest}", facets={"version": version})]
        if ended
        else [],
    )


def _input(v2: Any, facets: Any, source: SourceFile) -> Any:
    schema = facets.schema_dataset
    fields = [schema.SchemaDatasetFacetFields(name=name, type=kind) for name, kind in source.columns.items()]
    scheme, found, rest = source.name.partition("://")
    bucket, _, key = rest.partition("/")
    namespace, name = (f"{scheme}://{bucket}", key) if found else ("file", str(Path(source.name).absolute()))
    counted = facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
        rowCount=source.rows, size=source.bytes
    )
    return v2.InputDataset(
        namespace=namespace,
        name=name,
        inputFacets={"inputStatistics": counted},
        facets={
            "schema": schema.SchemaDatasetFacet(fields=fields),
            "version": facets.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=source.sha256),
        },
    )


def _run_facets(digest: str, manifest: Manifest) -> dict[str, Any]:
    """What OpenLineage knows of a run, and what only we know, under a name of our own."""
    facets = import_module("openlineage.client.facet_v2")
    tags = facets.tags_run
    known = {
        "digest": digest,
        "parent": manifest.parent,
        "made_by": manifest.made_by,
        "note": manifest.note,
        "view": manifest.view.id,
        "commit": None if manifest.lineage is None else manifest.lineage.code.commit,
        "lineage_doubt": None if manifest.lineage is None else manifest.lineage.doubt,
        "threshold": repr(manifest.threshold),
        **{f"parameter.{name}": str(value) for name, value in manifest.parameters.items()},
        **{
            f"metric.{name}": repr(value)
            for name, value in (manifest.metrics.get("overall") or {}).items()
            if value is not None
        },
    }
    listed = [
        tags.TagsRunFacetFields(key=f"scorer.{name}", value=value, source=NAMESPACE)
        for name, value in known.items()
        if value
    ]
    engine = facets.processing_engine_run.ProcessingEngineRunFacet(
        name="LightGBM", version=manifest.libraries.get("lightgbm", "unknown")
    )
    return {"tags": tags.TagsRunFacet(tags=listed), "processing_engine": engine}
