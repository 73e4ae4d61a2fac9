"""Lineage that is told elsewhere: what arrives at a tracking database, a file and a server, and what a failure does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.places import ROOT
from scorer.bundles.bundle import Bundle
from scorer.cli.bundle import export
from scorer.cli.train import train
from scorer.errors import UserError
from scorer.training import to_mlflow
from scorer.training.sinks import Sink, sinks

VIEW = (
    "name: v\nattributes:\n- {name: device_age_days, kind: number}\n"
    "- {name: country, kind: category, values: [DE, ES, FR, GB]}\n"
)
ROUNDS = ("--param", "num_iterations=4")


class Server(ThreadingHTTPServer):
    """Takes events as OpenLineage's API does; answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 201

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == "/api/v1/lineage"
        self.server.events.append(json.loads(body))
        self.server.headers.append(dict(self.headers))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *what: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


class Place:
    def __init__(self, folder: Path, history: Path) -> None:
        self.folder, self.history = folder, history
        (folder / "features.yaml").write_text(VIEW)
        self.env = {
            "SCORER_VIEW": str(folder / "features.yaml"),
            "SCORER_STORE": str(folder / "store"),
            "SCORER_CACHE": str(folder / "cache"),
        }

    def train(self, *argv: str, **env: str) -> Result:
        return CliRunner().invoke(train, [str(self.history), *ROUNDS, *argv], env={**self.env, **env})

    def export(self, *argv: str) -> Result:
        return CliRunner().invoke(export, argv, env=self.env)

    def bundle(self, digest: str) -> Bundle:
        return Bundle.load(self.folder / "store" / digest, digest)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, history: Path) -> Place:
    return Place(tmp_path_factory.mktemp("sinks"), history)


@pytest.fixture(scope="module")
def made(place: Place) -> str:
    done = place.train("--by", "ann", "--note", "weekly")
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_a_tracking_database_of_mlflow_has_one_run_of_a_bundle_however_often_it_is_told(
    place: Place, made: str, tmp_path: Path
) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    uri = f"sqlite:///{tmp_path / 'tracking.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_mlflow, "_input", lambda entities, source: 1 / 0)
        assert place.export(made, "--to", f"mlflow={uri}").exit_code == 1, "half of it is told"
    for _ in range(2):
        done = place.export(made[:12], "--to", f"mlflow={uri}", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout) == {"digest": made, "told": ["mlflow"]}
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("shadow-scorer")
    found = {run.info.status: run for run in client.search_runs([experiment.experiment_id])}
    assert found.keys() == {"FAILED", "FINISHED"}
    assert len(client.search_runs([experiment.experiment_id])) == 2
    run = found["FINISHED"]
    manifest = place.bundle(made).manifest
    assert run.data.tags["scorer.digest"] == made
    assert (run.data.tags["mlflow.user"], run.data.tags["mlflow.note.content"]) == ("ann", "weekly")
    overall = manifest.metrics["overall"]
    assert run.data.metrics["average_precision"] == overall["average_precision"]
    assert run.data.metrics["recall_low"] == manifest.metrics["intervals"]["overall"]["recall"][0]
    assert run.data.params["num_iterations"] == "4"
    assert json.loads(run.data.params["recipe.threshold"]) == {"method": "block_rate", "rate": 0.03}
    (dataset,) = [one.dataset for one in run.inputs.dataset_inputs]
    source = (manifest.sources or ())[0]
    assert json.loads(dataset.source) == {"uri": source.name, "sha256": source.sha256}


def test_a_server_of_openlineage_gets_the_begin_and_the_end_of_a_run_and_the_same_run_again(
    place: Place, made: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openlineage.client")
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "a key")
    for _ in range(2):
        done = place.export(made, "--to", f"openlineage={server.url}")
        assert done.exit_code == 0, done.output
    began, ended = server.events[:2]
    assert [began["eventType"], ended["eventType"]] == ["START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in server.events}) == 1
    assert all(headers["Authorization"] == "Bearer a key" for headers in server.headers)
    assert (ended["job"]["namespace"], ended["job"]["name"]) == ("shadow-scorer", "scorer.train")
    (output,) = ended["outputs"]
    assert output["name"] == f"bundles/{made}"
    assert began["outputs"] == []
    (source,) = ended["inputs"]
    known = (place.bundle(made).manifest.sources or ())[0]
    assert source["name"] == known.name
    assert source["facets"]["version"]["datasetVersion"] == known.sha256
    assert source["inputFacets"]["inputStatistics"]["rowCount"] == known.rows
    assert {field["name"] for field in source["facets"]["schema"]["fields"]} == set(known.columns)
    tags = {tag["key"]: tag["value"] for tag in ended["run"]["facets"]["tags"]["tags"]}
    assert (tags["scorer.digest"], tags["scorer.made_by"]) == (made, "ann")
    assert float(tags["scorer.metric.recall"]) == place.bundle(made).manifest.metrics["overall"]["recall"]


def test_a_training_tells_a_file_and_its_digest_is_what_it_is_without(place: Place, made: str, tmp_path: Path) -> None:
    pytest.importorskip("openlineage.client")
    done = place.train("--by", "ben", "--export", f"openlineage={tmp_path / 'events.jsonl'}")
    assert done.stdout.strip() == made
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    tags = {tag["key"]: tag["value"] for tag in events[1]["run"]["facets"]["tags"]["tags"]}
    assert tags["scorer.made_by"] == "ann", "what stands in the store, which somebody else said"


def test_a_sink_that_fails_is_told_and_the_bundle_is_made(place: Place, server: Server, tmp_path: Path) -> None:
    pytest.importorskip("openlineage.client")
    pytest.importorskip("mlflow")
    server.status = 422
    sick = (
        f"openlineage=http://ann:secret@{server.url.removeprefix('http://')}",
        f"openlineage={tmp_path / 'no' / 'folder.jsonl'}",
        "mlflow=http://ann:secret@127.0.0.1:9",
    )
    done = place.train("--seed", "3", *(word for one in sick for word in ("--export", one)))
    assert done.exit_code == 0, done.output
    digest = done.stdout.strip()
    assert place.bundle(digest).digest == digest
    told = [line for line in done.stderr.splitlines() if "is not told of there" in line]
    assert [line.partition(":")[0] for line in told] == ["openlineage", "openlineage", "mlflow"]
    assert all(f"`scorer bundle export {digest[:12]} --to" in line for line in told)
    assert "secret" not in done.output
    again = place.export(digest, "--to", sick[1], "--to", f"openlineage={tmp_path / 'events.jsonl'}", "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["told"] == ["openlineage"]


@pytest.mark.parametrize(
    "text", ["", "mlflow", "mlflow=", "wandb=http://x", "http://tracking:5000", "=x", "openlineage= "]
)
def test_what_is_no_sink_is_refused_before_anything_is_read(text: str) -> None:
    with pytest.raises(UserError, match=r"^sink .*: expected mlflow=URI, such as .*, or openlineage=URI"):
        sinks((text,))


def test_a_sink_is_told_once_and_a_secret_in_one_that_is_none_is_not_repeated() -> None:
    assert Sink.parse("mlflow=http://a?x=1") == Sink("mlflow", "http://a?x=1")
    with pytest.raises(UserError, match="wandb=http://…@host") as error:
        sinks(("wandb=http://ann:secret@host",))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("kind", "module"), [("mlflow", "mlflow"), ("openlineage", "openlineage.client")])
def test_a_missing_library_is_one_line_that_names_the_extra(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = place.train("--export", f"{kind}=x")
    assert isinstance(done.exception, UserError)
    assert f"install the extra `{kind}`" in str(done.exception)
    assert "\n" not in str(done.exception)


def test_nothing_of_it_is_imported_unless_it_is_asked_for() -> None:
    code = (
        "import sys, scorer.cli.train, scorer.cli.bundle\n"
        "sys.exit(len({'optuna', 'mlflow', 'openlineage'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), capture_output=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
