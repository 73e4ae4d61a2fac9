"""checkov and hadolint have nothing to say but for what is skipped with a reason."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from harness.manifests import built
from harness.patience import PATIENCE_SECONDS
from harness.places import DEPLOY_BIN, ROOT

pytestmark = pytest.mark.needs("deploy")
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"


def checkov(manifests: list[dict[str, object]], config: str, folder: Path) -> str:
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(manifests))
    command = [str(DEPLOY_BIN / "checkov"), "--config-file", str(ROOT / "deploy" / config), "-f", str(path)]
    done = subprocess.run([*command, "--skip-download"], capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    told = done.stdout.decode()
    assert "Passed checks" in told or done.returncode == 0, told + done.stderr.decode()
    return told if done.returncode else ""


@pytest.mark.needs("kustomize")
@pytest.mark.parametrize(
    ("config", "chosen"),
    [("checkov-simple.yaml", ("simple",)), ("checkov.yaml", ("production", "monitoring", "keda", "argo"))],
)
def test_manifests_are_secure(config: str, chosen: tuple[str, ...], tmp_path: Path) -> None:
    assert checkov(built(*chosen), config, tmp_path) == ""


@pytest.mark.needs("kustomize")
def test_a_pod_that_may_more_is_told(tmp_path: Path) -> None:
    text = yaml.safe_dump_all(built("production")).replace("allowPrivilegeEscalation: false", "privileged: true")
    assert "CKV_K8S_16" in checkov(list(yaml.safe_load_all(text)), "checkov.yaml", tmp_path)


@pytest.mark.parametrize("config", ["checkov.yaml", "checkov-simple.yaml"])
def test_every_skipped_check_has_its_reason(config: str) -> None:
    lines = (ROOT / "deploy" / config).read_text().partition("skip-check:\n")[2].splitlines()
    assert lines
    assert all("# " in line for line in lines)


def hadolint(path: Path) -> str:
    command = [str(DEPLOY_BIN / "hadolint"), "--no-color", str(path)]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False).stdout.decode()


def test_the_dockerfile_is_clean() -> None:
    assert hadolint(DOCKERFILE) == ""


def test_a_careless_dockerfile_is_told(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text() + "\nCMD scorer run\nUSER root\n")
    assert "DL3025" in hadolint(tmp_path / "Dockerfile")


def test_every_rule_that_hadolint_passes_over_has_its_reason() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    for above, line in pairwise(lines):
        assert "hadolint ignore" not in line or above.startswith("# ")
