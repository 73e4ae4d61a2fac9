"""A test that needs a missing part is deselected by name with the reason; with REQUIRE=1 the part must be there."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from harness import image, kafka, registry
from harness.manifests import builder
from harness.places import ATTACK, CRDS, FAKETIME, HANDBOOK, ROOT

# what takes long on a busy machine is no fault of the code: speed is for the bench
settings.register_profile("patient", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=25)  # all day; `make check` draws four times as many
settings.load_profile("patient")

#: What a test may need, by name: whether it is here, and the mend.
PARTS: dict[str, tuple[Callable[[], object], str]] = {
    "redis": (lambda: shutil.which("redis-server"), "redis-server is not installed (Debian: redis-server)"),
    "kafka": (lambda: kafka.missing() is None, kafka.missing() or ""),
    "registry": (lambda: registry.missing() is None, registry.missing() or ""),
    "kcat": (lambda: shutil.which("kcat"), "kcat is not installed (Debian: kcat)"),
    "duckdb": (lambda: find_spec("duckdb"), "duckdb is not installed (make .venv/.dev)"),
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
    "attack": (
        (ATTACK / "bin" / "moto_server").is_file,
        "the attack's environment is not installed (make .venv/.attack)",
    ),
    "crds": (lambda: any(CRDS.glob("*.yaml")), f"no custom resource definitions in {CRDS.name}/ (folder CRDS)"),
    "strimzi": (lambda: any(CRDS.glob("strimzi-*.yaml")), f"no definitions of Strimzi in {CRDS.name}/ (folder CRDS)"),
    "image": (
        lambda: all(map(shutil.which, image.TOOLS)),
        "what builds and runs the image is not installed (Debian: buildah mmdebstrap bubblewrap)",
    ),
    "compose": (lambda: shutil.which("docker-compose"), "docker-compose is not installed (Debian: docker-compose)"),
    "data": (HANDBOOK.is_file, f"{HANDBOOK.name} is not in the folder DATA"),
}
TESTS = ROOT / "tests"
UNITS = TESTS / "unit"
#: Folders whose tests wait for processes, longest first: units fill the gaps where files of tests run side by side.
LONG = ("faults", "integration", "deploy", "page")
#: How many of the last lines of a process's log a test that fails shows.
LAST_LINES = 30
#: What pylignum says whenever a process ends, which would leave no room for what matters.
NOISE = ("nanobind:", "- leaked", "- ... skipped")
_DESELECTED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's job in the background; commands would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Of pytest-xdist, or of readline, which pytest imports and which tells the processes that we start, but not Python:
    # commands that a test starts write into a pipe, where lines stay whole.
    os.environ.pop("COLUMNS", None)
    os.unsetenv("COLUMNS")
    if config.option.markexpr == "quick":
        settings.load_profile("quick")
    config.addinivalue_line("markers", "needs(part, ...): parts that may be missing; see tests/conftest.py")
    config.addinivalue_line(
        "markers", "deploy: long checks of deploy/, as the image built and run; `make deploy-check` has these"
    )
    config.addinivalue_line("markers", "quick: unit tests that are not slow; marked by their folder")
    config.addinivalue_line("markers", "slow: takes seconds, as a simulation of error rates or a child process does")
    config.addinivalue_line("markers", "variant: other servers, or more rows; `make integration` runs these too")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    for item in items:
        if UNITS in item.path.parents and not any(item.iter_markers("slow")):
            item.add_marker(pytest.mark.quick)
    yield  # `-m` and `-k` select here: what they leave out needs nothing
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
    is_refused = bool(told) and os.environ.get("REQUIRE") == "1"
    config.stash[_DESELECTED] = told
    if hasattr(config, "workeroutput"):  # of pytest-xdist, whose controller collects nothing, and fails without tests
        config.workeroutput["deselected"] = told
    elif is_refused:
        raise pytest.UsageError("REQUIRE=1, but\n  " + "\n  ".join(told))
    items[:] = [] if is_refused else sorted(keep, key=_when)
    config.hook.pytest_deselected(items=without)


def _when(item: pytest.Item) -> int:
    """Place of an item's folder in the order of a run."""
    folder = item.path.relative_to(TESTS).parts[0] if TESTS in item.path.parents else ""
    return LONG.index(folder) if folder in LONG else len(LONG)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every process of pytest-xdist has left out the same."""
    node.config.stash[_DESELECTED] = getattr(node, "workeroutput", {}).get("deselected", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    told = config.stash.get(_DESELECTED, [])
    if told:
        terminalreporter.section("deselected: a part is missing")
        for line in told:
            terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what the processes that it started said last."""
    report = yield
    folders = {
        folder
        for value in getattr(item, "funcargs", {}).values()
        if isinstance(folder := getattr(value, "folder", value), Path) and folder.is_dir()
    }
    if report.failed:
        for log in sorted({log for folder in folders for log in folder.glob("*.log")}):
            lines = [
                line
                for line in log.read_text(errors="replace").splitlines()
                if not line.rpartition("|")[2].strip().startswith(NOISE)
            ]
            report.sections.append((f"the end of {log.name}", "\n".join(lines[-LAST_LINES:])))
    return report


@pytest.fixture
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio."""
    return "asyncio"
