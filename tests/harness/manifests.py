"""The Kubernetes manifests as kustomize builds them, and a golden file of each overlay.

`python -m harness.manifests` writes the golden files anew.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT

SOURCE = ROOT / "deploy" / "kubernetes"
GOLDEN = ROOT / "tests" / "deploy" / "kubernetes" / "golden"
OVERLAYS = ("simple", "production")
#: What is built: each overlay alone, and with each component that it may have.
BUILDS = (
    ("simple",),
    ("simple", "monitoring"),
    ("production",),
    ("production", "monitoring"),
    ("production", "keda"),
    ("production", "argo"),
    ("production", "kafka-sasl"),
    ("production", "strimzi"),
    ("production", "bundle-volume"),
    ("production", "signing"),
    ("production", "risk"),
    ("production", "monitoring", "keda", "argo", "kafka-sasl", "strimzi", "bundle-volume", "signing", "risk"),
)
Manifest = dict[str, Any]


def builder() -> list[str] | None:
    """The command that builds a kustomization, None where there is none."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


def build(folder: Path) -> list[Manifest]:
    """What a kustomization comes to. Fails with what kustomize says."""
    command = builder()
    assert command is not None, "no kustomize here"
    done = subprocess.run([*command, str(folder)], capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest is not None]


def build_with(source: Path, overlay: str, *components: str) -> list[Manifest]:
    """An overlay and components of a tree of manifests, as if the overlay named them."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        tree = os.path.relpath(source.resolve(), folder)  # kustomize takes no absolute path
        chosen = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "shadow-scorer",
            "resources": [f"{tree}/overlays/{overlay}"],
            "components": [f"{tree}/components/{name}" for name in components],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(chosen))
        return build(folder)


@cache
def built(overlay: str, *components: str) -> list[Manifest]:
    """The same of the repository's own tree; not to be changed."""
    return build_with(SOURCE, overlay, *components)


def name_of(manifest: Manifest) -> tuple[str, str]:
    """Kind and name, which are unique here."""
    return manifest["kind"], manifest["metadata"]["name"]


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Every workload with its pod template."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield manifest, manifest["spec"]["template"]
        if manifest["kind"] == "CronJob":
            yield manifest, manifest["spec"]["jobTemplate"]["spec"]["template"]


def find(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """One of them by kind and name."""
    return next(manifest for manifest in manifests if name_of(manifest) == (kind, name))


def container_of(template: Manifest, name: str) -> Manifest:
    """A container of a pod template, by name."""
    found: Manifest = next(c for c in template["spec"]["containers"] if c["name"] == name)
    return found


def golden_text(overlay: str) -> str:
    """What the golden file of an overlay says."""
    return yaml.safe_dump_all(built(overlay), sort_keys=True, width=200)


if __name__ == "__main__":
    for name in OVERLAYS:
        (GOLDEN / f"{name}.yaml").write_text(golden_text(name))
