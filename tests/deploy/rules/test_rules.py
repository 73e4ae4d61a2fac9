"""Recording rules and alerts do what they say, in rule tests that notice what is broken."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.rules.mutants import Rule, mutants
from monitoring import rules
from monitoring.alerts import ALERTS
from monitoring.render import DEPLOY

HERE = Path(__file__).parent
RULES = DEPLOY / "prometheus" / "rules"
NAMES = [alert.name for alert in ALERTS]
#: These look back over hours, or a day.
LONG = dict.fromkeys(
    ("LiveLatencyBudgetBurn", "LiveRejectsAboveNormal"), (pytest.mark.deploy, pytest.mark.timeout(900))
)
pytestmark = pytest.mark.needs("prometheus")


def promtool(*argv: str | Path, cwd: Path = HERE) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["promtool", *map(str, argv)], cwd=cwd, capture_output=True, check=False)


def loaded() -> dict[str, dict[str, Any]]:
    return {name: yaml.safe_load((RULES / f"{name}.yaml").read_text()) for name in ("records", "alerts")}


def listed(file: dict[str, Any]) -> list[Rule]:
    return [rule for group in file["groups"] for rule in group["rules"]]


def test_prometheus_takes_the_rules_without_a_warning() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted(RULES.glob("*.yaml")))
    assert done.returncode == 0, done.stderr.decode()


def test_every_alert_has_a_test_of_its_own() -> None:
    tested = {path.stem for path in HERE.glob("*.yaml")} - {"records"}
    assert tested == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_in_every_way(name: str) -> None:
    """It fires, does not yet, recovers, stays silent where all is well, and where there are no series."""
    cases = yaml.safe_load((HERE / f"{name}.yaml").read_text())["tests"]
    told = [case["name"] for case in cases]
    assert any("absent series" in case for case in told)
    if name == "Watchdog":
        return
    assert any("healthy" in case for case in told)
    heights = [[len(check["exp_samples"]) for check in case["promql_expr_test"]] for case in cases]
    assert any(h[0] == 0 and h[-1] == 0 and max(h) > 0 for h in heights), "none is silent, fires and recovers"


@pytest.mark.parametrize("name", [pytest.param(name, marks=LONG.get(name, ())) for name in [*NAMES, "records"]])
def test_rules_do_what_their_tests_say(name: str) -> None:
    done = promtool("test", "rules", f"{name}.yaml")
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def survives(folder: Path, kind: str, at: int, broken: Rule, tests: list[Path]) -> bool:
    """Whether the tests pass although a rule is broken. Rules that they do not ask for are left out, to be quick."""
    folder.mkdir()
    files = loaded()
    listed(files[kind])[at].update(broken)
    asked = {test.stem for test in tests} if kind == "records" else {broken["alert"]}
    for name, file in files.items():
        for group in file["groups"]:
            group["rules"] = [r for r in group["rules"] if r.get("alert", name) in {*asked, "records"}]
        (folder / f"{name}.yaml").write_text(rules.dump(file))
    needed = "".join((folder / f"{name}.yaml").read_text() for name in files)
    file = files["records"]
    if "records" not in asked:
        for group in file["groups"]:
            group["rules"] = [r for r in group["rules"] if needed.count(r["record"]) > 1]
        (folder / "records.yaml").write_text(rules.dump(file))
    for test in tests:
        content = {**yaml.safe_load(test.read_text()), "rule_files": ["records.yaml", "alerts.yaml"]}
        (folder / f"test-{test.name}").write_text(yaml.safe_dump(content))
    return all(promtool("test", "rules", f"test-{test.name}", cwd=folder).returncode == 0 for test in tests)


@pytest.mark.deploy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["records", "alerts"])
def test_no_broken_rule_passes_the_tests(kind: str, tmp_path: Path) -> None:
    tried: list[tuple[str, int, Rule, list[Path]]] = []
    for at, rule in enumerate(listed(loaded()[kind])):
        name = rule.get("alert") or rule["record"]
        tests = [HERE / f"{name}.yaml"] if kind == "alerts" else users(name)
        tried += [(f"{name}: {told}", at, broken, tests) for told, broken in mutants(rule)]
    assert len(tried) > 30
    with ThreadPoolExecutor(2) as pool:
        left = list(pool.map(lambda one: survives(tmp_path / str(tried.index(one)), kind, *one[1:]), tried))
    assert [told for (told, *_), lives in zip(tried, left, strict=True) if lives] == []


def users(record: str) -> list[Path]:
    """The tests of the alerts that ask for a record, and of the records."""
    asking = [rule["alert"] for rule in listed(loaded()["alerts"]) if record in rule["expr"]]
    return [HERE / f"{name}.yaml" for name in ["records", *asking]]
