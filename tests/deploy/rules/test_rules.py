"""Recording rules and alerts do what they say: `promtool` runs the cases beside this file."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from monitoring.alerts import ALERTS
from monitoring.render import DEPLOY

HERE = Path(__file__).parent
RULES = DEPLOY / "prometheus" / "rules"
NAMES = [alert.name for alert in ALERTS]
#: These look back over hours, or a day.
LONG = dict.fromkeys(("LiveLatencyBudgetBurn", "LiveRejectsAboveNormal"), (pytest.mark.deploy))
pytestmark = pytest.mark.needs("prometheus")


def promtool(*argv: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["promtool", *map(str, argv)], cwd=HERE, capture_output=True, check=False)


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
