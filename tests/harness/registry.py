"""A real Schema Registry, Apicurio's, on loopback and in memory; spoken to by Confluent's protocol."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.places import ROOT
from harness.stack import get, wait_for
from shadow.local.process import die_with_parent, free_port

VERSION = "2.6.13.Final"
JARS = ROOT / "build" / f"registry-{VERSION}"
JAR = f"apicurio-registry-app-{VERSION}-runner.jar"


def missing() -> str | None:
    """What has to be installed before a registry can run, None if nothing has."""
    if not shutil.which("java"):
        return "no Java here for a Schema Registry (Debian: default-jre-headless)"
    if not (JARS / JAR).is_file() and not shutil.which("mvn"):
        return "no Maven here to fetch a Schema Registry (Debian: maven)"
    return None


def fetch_jars() -> None:
    """Have Maven copy the registry, unless it is here. Of several test runs at once, the first does it."""
    JARS.parent.mkdir(exist_ok=True)
    with JARS.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (JARS / JAR).is_file():
            return
        folder = JARS.with_suffix(".zip.d")
        artifact = f"io.apicurio:apicurio-registry-app:{VERSION}:zip:all"
        argv = ["mvn", "-B", "-q", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
        subprocess.run(argv, check=True, timeout=600)
        (archive,) = folder.glob("*.zip")
        with zipfile.ZipFile(archive) as files:
            files.extractall(JARS)
        shutil.rmtree(folder)


@dataclass
class Registry:
    """A registry whose log is in a folder. Its port stays the same across restarts; its schemas do not. options: of
    Java, beside ours."""

    folder: Path
    port: int = field(default_factory=free_port)
    options: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    def __enter__(self) -> Registry:
        fetch_jars()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        with (self.folder / "registry.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xmx320m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dquarkus.http.port={self.port}",
                 "-Dquarkus.http.host=127.0.0.1", *self.options, "-jar", JAR],
                cwd=JARS, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip
        wait_for("registry", lambda: get(f"{self.address}/subjects") is not None)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def register(self, subject: str, schema: str, kind: str = "AVRO", references: Sequence[dict[str, Any]] = ()) -> int:
        """Register a schema; returns its id."""
        body = {"schema": schema, "schemaType": kind, "references": list(references)}
        request = urllib.request.Request(
            f"{self.address}/subjects/{subject}/versions",
            json.dumps(body).encode(),
            {"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(json.loads(answer.read())["id"])
