"""A test that needs a missing part is deselected by name with the reason; with REQUIRE=1 the part must be there."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

from harness import image, kafka
from harness.manifests import builder
from harness.places import CRDS, FAKETIME, HANDBOOK, ROOT

# what takes long on a busy machine is no fault of the code: speed is for the bench
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

#: What a test may need, by name: whether it is here, and the mend.
PARTS = {
    "redis": (lambda: shutil.which("redis-server"), "redis-server is not installed (Debian: redis-server)"),
    "kafka": (lambda: kafka.missing() is None, kafka.missing() or ""),
    "openssl": (lambda: shutil.which("openssl"), "openssl is not installed (Debian: openssl)"),
    "browser": (
        lambda: shutil.which("chromium") and shutil.which("chromedriver"),
        "no browser to open a page in (Debian: chromium chromium-driver)",
    ),
    "faketime": (FAKETIME.is_file, "libfaketime is not installed (Debian: libfaketime)"),
    "prometheus": (lambda: shutil.which("promtool"), "promtool is not installed (Debian: prometheus)"),
    "alertmanager": (
        lambda: shutil.which("prometheus-alertmanager"),
        "Alertmanager is not installed (Debian: prometheus-alertmanager)",
    ),
    "bench": ((ROOT / ".venv" / ".peers").is_file, "the bench's peers are not installed (make .venv/.peers)"),
    "kustomize": (builder, "neither kustomize nor kubectl is installed (Go: sigs.k8s.io/kustomize/kustomize/v5)"),
    "deploy": ((ROOT / ".venv" / ".deploy").is_file, "the checks of deploy/ are not installed (make .venv/.deploy)"),
    "crds": (lambda: any(CRDS.glob("*.yaml")), f"no custom resource definitions in {CRDS.name}/ (folder CRDS)"),
    "image": (
        lambda: all(map(shutil.which, image.TOOLS)),
        "what builds and runs the image is not installed (Debian: buildah mmdebstrap bubblewrap)",
    ),
    "compose": (lambda: shutil.which("docker-compose"), "docker-compose is not installed (Debian: docker-compose)"),
    "data": (HANDBOOK.is_file, f"{HANDBOOK.name} is not in the folder DATA"),
}
_DESELECTED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(part, ...): parts that may be missing; see tests/conftest.py")
    config.addinivalue_line(
        "markers", "deploy: long checks of deploy/, as the image built and run; `make deploy-check` has these"
    )
    config.addinivalue_line("markers", "variant: the same promise on other servers; `make integration` runs these too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = {name: reason for name, (is_here, reason) in PARTS.items() if not is_here()}
    keep, without, told = [], [], []
    for item in items:
        needed = [part for mark in item.iter_markers("needs") for part in mark.args]
        reasons = [missing[part] for part in needed if part in missing]
        if reasons:
            without.append(item)
            told.append(f"{item.nodeid}: {reasons[0]}")
        else:
            keep.append(item)
    if told and os.environ.get("REQUIRE") == "1":
        raise pytest.UsageError("REQUIRE=1, but\n  " + "\n  ".join(told))
    items[:] = keep
    config.hook.pytest_deselected(items=without)
    config.stash[_DESELECTED] = told


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    told = config.stash.get(_DESELECTED, [])
    if told:
        terminalreporter.section("deselected: a part is missing")
        for line in told:
            terminalreporter.line(line)


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio."""
    return "asyncio"
