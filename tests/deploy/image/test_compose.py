"""The compose file is one, its settings load, and the scorer in it knows nothing of Redis."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from scorer.cli import cli as scorer_cli
from scorer.errors import SettingsError
from scorer.settings import ScorerSettings, load
from shadow.cli import cli as shadow_cli
from shadow.settings import ShadowSettings

FOLDER = ROOT / "deploy" / "docker"
FILE = FOLDER / "compose.yaml"
PROMETHEUS = FOLDER / "prometheus.yaml"


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


def ours() -> dict[str, Any]:
    return {name: one for name, one in services().items() if one["image"].startswith("shadow-scorer")}


def config(path: Path) -> subprocess.CompletedProcess[bytes]:
    command = ["docker-compose", "-f", str(path), "config", "-q"]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False)


@pytest.mark.needs("compose")
def test_compose_reads_it() -> None:
    done = config(FILE)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.needs("compose")
def test_a_word_that_compose_does_not_know_is_told(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(FILE.read_text().replace("depends_on:", "depends_onn:"))
    assert b"depends_onn" in config(path).stderr


def loads(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SCORER_", "SHADOW_")):
            monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    load(ScorerSettings)
    load(ShadowSettings)


@pytest.mark.parametrize("name", ours())
def test_settings_load_and_the_command_is_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = ours()[name]
    with monkeypatch.context() as here:
        loads(service["environment"], here)
        with pytest.raises(SettingsError, match="no such setting"):
            loads({**service["environment"], "SCORER_KAFFKA": "a:1"}, here)
    program, command, *arguments = service["command"]
    group: click.Group = {"scorer": scorer_cli, "shadow": shadow_cli}[program]
    with click.Context(group) as context:
        found = group.get_command(context, command)
    assert found is not None
    found.make_context(command, arguments).close()


def test_the_scorer_is_told_nothing_of_the_shadow() -> None:
    assert set(ours()) == {"topics", "scorer", "shadow", "serve"}
    told = {
        name: value for name, value in ours()["scorer"]["environment"].items() if "redis" in f"{name}{value}".lower()
    }
    assert told == {}
    assert all(name.startswith("SCORER_") for name in ours()["scorer"]["environment"])


@pytest.mark.parametrize("name", ours())
def test_every_process_of_ours_is_locked_up(name: str) -> None:
    service = ours()[name]
    assert service["read_only"] is True
    assert service["user"] == "10001:10001"
    assert service["cap_drop"] == ["ALL"]


def test_what_is_mounted_and_waited_for_is_there() -> None:
    volumes = yaml.safe_load(FILE.read_text())["volumes"]
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
            is_built = source.endswith("build/bundles")
            assert source in volumes or is_built or (FOLDER / source).exists(), f"{name}: {volume}"
        assert set(service.get("depends_on", [])) <= set(services())
        address = service.get("environment", {}).get("SCORER_KAFKA", "kafka:9092").split(":")[0]
        assert address in services()


@pytest.mark.needs("prometheus")
def test_prometheus_reads_its_configuration_and_looks_at_every_process(tmp_path: Path) -> None:
    text = PROMETHEUS.read_text()
    path = tmp_path / "prometheus.yaml"
    path.write_text(text.replace("/etc/prometheus/rules", str(ROOT / "deploy" / "prometheus" / "rules")))
    done = subprocess.run(
        ["promtool", "check", "config", str(path)], capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, told
    assert "rules found" in told
    looked = {n for job in yaml.safe_load(text)["scrape_configs"] for sd in job["dns_sd_configs"] for n in sd["names"]}
    assert looked == set(ours()) - {"topics"}


def test_grafana_finds_the_dashboards() -> None:
    provider = yaml.safe_load((FOLDER / "grafana" / "dashboards" / "files.yaml").read_text())["providers"][0]
    mounts = dict(reversed(volume.split(":")[:2]) for volume in services()["grafana"]["volumes"])
    assert list((FOLDER / mounts[provider["options"]["path"]]).glob("*.json"))
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (FOLDER / mounts["/dashboards"] / Path(home).name).is_file()
