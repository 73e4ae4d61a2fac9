"""The Kubernetes manifests as kustomize builds them, and the golden files that they are held against.

`python -m harness.manifests` writes the golden files anew.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from harness.places import ROOT

SOURCE = ROOT / "deploy" / "kubernetes"
GOLDEN = ROOT / "tests" / "deploy" / "kubernetes" / "golden"
#: What is built: each overlay alone, and with each component that it may have.
BUILDS = (
    ("simple",),
    ("simple", "monitoring"),
    ("production",),
    ("production", "monitoring"),
    ("production", "keda"),
    ("production", "argo"),
    ("production", "kafka-sasl"),
    ("production", "monitoring", "keda", "argo", "kafka-sasl"),
)
GOLDENS = BUILDS[:-1]
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
    done = subprocess.run([*command, str(folder)], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest is not None]


def build_with(source: Path, overlay: str, *components: str) -> list[Manifest]:
    """An overlay and components of a tree of manifests, as if the overlay named them."""
    folder = source / "overlays" / f"{overlay}-with"
    folder.mkdir(exist_ok=True)
    chosen = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "shadow-scorer",
        "resources": [f"../{overlay}"],
        "components": [f"../../components/{name}" for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(chosen))
    return build(folder)


@cache
def built(overlay: str, *components: str) -> list[Manifest]:
    """The same of the repository's own tree; not to be changed."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "kubernetes"
        shutil.copytree(SOURCE, copy)
        return build_with(copy, overlay, *components)


def name_of(manifest: Manifest) -> tuple[str, str]:
    """Kind and name, which are unique here."""
    return manifest["kind"], manifest["metadata"]["name"]


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Every workload with its pod template."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield manifest, manifest["spec"]["template"]


def find(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """One of them by kind and name."""
    return next(manifest for manifest in manifests if name_of(manifest) == (kind, name))


def container_of(template: Manifest, name: str) -> Manifest:
    """A container of a pod template, by name."""
    found: Manifest = next(c for c in template["spec"]["containers"] if c["name"] == name)
    return found


def golden_file(overlay: str, *components: str) -> Path:
    """Where the golden file of a build is."""
    return GOLDEN / f"{'-'.join((overlay, *components))}.yaml"


def golden_text(overlay: str, *components: str) -> str:
    """What a golden file says: an overlay whole, and with components what these add and change.

    Rules and dashboards are generated, and have tests of their own: only where they come from is said.
    """
    plain = {name_of(manifest): manifest for manifest in built(overlay)} if components else {}
    told = [_elided(m) for m in built(overlay, *components) if plain.get(name_of(m)) != m]
    return yaml.safe_dump_all(told, sort_keys=True, width=200)


def _elided(manifest: Manifest) -> Manifest:
    rules = ROOT / "deploy" / "prometheus" / "rules"
    if manifest["kind"] == "PrometheusRule":
        groups = [g for path in sorted(rules.glob("*.yaml")) for g in yaml.safe_load(path.read_text())["groups"]]
        by_name = {group["name"]: group for group in groups}
        same = {group["name"]: group for group in manifest["spec"]["groups"]} == by_name
        return {**manifest, "spec": {"groups": "those of deploy/prometheus/rules" if same else "others"}}
    if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].startswith("dashboard-"):
        boards = ROOT / "deploy" / "grafana"
        data = {
            name: f"that of deploy/grafana/{name}" if (boards / name).read_text() == text else "another"
            for name, text in manifest["data"].items()
        }
        return {**manifest, "data": data}
    return manifest


def main() -> None:
    """Write every golden file anew."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for stale in GOLDEN.glob("*.yaml"):
        stale.unlink()
    for chosen in GOLDENS:
        golden_file(*chosen).write_text(golden_text(*chosen))


if __name__ == "__main__":
    main()
