"""Every metric that a rule, a panel or a runbook names is exported by a process, with such labels; and every exported
one is named by a rule or a panel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from deploy.grafana.shown import BOARDS, fill, load, panels
from harness.places import ROOT
from monitoring.alerts import ALERTS
from monitoring.records import RECORDS
from scorer import metrics as scorer_metrics
from shadow import metrics as shadow_metrics

#: Labels that Prometheus gives, beside those of the processes.
GIVEN = {"namespace", "instance", "job", "pod"}
RUNBOOKS = ROOT / "deploy" / "runbooks"
RULES = [
    rule
    for name in ("records", "alerts")
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules" / f"{name}.yaml").read_text())["groups"]
    for rule in group["rules"]
]


def exported(registry: CollectorRegistry) -> Iterator[tuple[str, set[str]]]:
    """Names as they are scraped, with their labels."""
    for collector in set(registry._collector_to_names):
        (family,) = collector.describe()
        label = getattr(collector, "label", None)
        labels = set(getattr(collector, "_labelnames", (label,) if label else ()))
        if family.type == "histogram":
            for part in ("bucket", "count", "sum"):
                yield f"{family.name}_{part}", labels | ({"le"} if part == "bucket" else set())
        else:
            yield f"{family.name}_total" if family.type == "counter" else family.name, labels


EXPORTED = {
    name: labels
    for registry in (
        scorer_metrics.REGISTRY,
        scorer_metrics.RISK_REGISTRY,
        shadow_metrics.REGISTRY,
        shadow_metrics.SERVE_REGISTRY,
        shadow_metrics.ARCHIVE_REGISTRY,
    )
    for name, labels in exported(registry)
}


def walk(node: Any) -> Iterator[Any]:
    """A node of an expression and all below it."""
    yield node
    for below in (
        *(getattr(node, name, None) for name in ("lhs", "rhs", "expr")),
        *(getattr(node, "args", None) or ()),
    ):
        if below is not None:
            yield from walk(below)


def labels_of(expr: str, known: dict[str, set[str]]) -> set[str]:
    """Labels that the result of an expression may have."""
    node = promql_parser.parse(expr)
    return _labels(node, known)


def _labels(node: Any, known: dict[str, set[str]]) -> set[str]:
    if isinstance(node, promql_parser.AggregateExpr):
        return set(node.modifier.labels) if node.modifier is not None else set()
    if isinstance(node, promql_parser.VectorSelector):
        return known[node.name] | GIVEN
    found: set[str] = set()
    for name in ("lhs", "rhs", "expr", "vector_selector", "vs"):
        below = getattr(node, name, None)
        if below is not None:
            found |= _labels(below, known)
    for below in getattr(node, "args", None) or ():
        found |= _labels(below, known)
    return found


KNOWN = dict(EXPORTED)
for _record in RULES:
    if "record" in _record:
        KNOWN[_record["record"]] = labels_of(_record["expr"], KNOWN)


def selectors(expr: str) -> Iterator[Any]:
    for node in walk(promql_parser.parse(expr)):
        if isinstance(node, promql_parser.VectorSelector):
            yield node
        elif isinstance(node, promql_parser.MatrixSelector):
            yield node.vector_selector


EXPRESSIONS = [(str(rule.get("alert") or rule["record"]), rule["expr"]) for rule in RULES] + [
    (f"{board}: {panel['title']}", fill(target["expr"]))
    for board in BOARDS
    for panel in panels(board)
    for target in panel["targets"]
]


@pytest.mark.parametrize(("where", "expr"), EXPRESSIONS)
def test_every_name_and_label_of_an_expression_is_exported_or_recorded(where: str, expr: str) -> None:
    for selector in selectors(expr):
        assert selector.name in KNOWN, f"{where}: {selector.name}"
        used = {matcher.name for matcher in selector.matchers.matchers}
        assert used <= KNOWN[selector.name] | GIVEN, f"{where}: {selector.name}: {used}"
    for node in walk(promql_parser.parse(expr)):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= _labels(node.expr, KNOWN), f"{where}: by {node.modifier.labels}"


def test_every_exported_metric_is_in_a_rule_or_a_panel() -> None:
    used = {selector.name for _, expr in EXPRESSIONS for selector in selectors(expr)}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in EXPORTED if name not in used}
    unused = {f for f in families if not any(re.fullmatch(rf"{f}(_bucket|_count|_sum)?", name) for name in used)}
    assert unused == set()


def test_every_record_is_asked_for() -> None:
    used = {selector.name for _, expr in EXPRESSIONS for selector in selectors(expr)}
    assert {record.name for record in RECORDS} <= used


@pytest.mark.parametrize("page", sorted(path.name for path in RUNBOOKS.glob("*.md")))
def test_every_metric_of_a_runbook_is_exported_or_recorded(page: str) -> None:
    text = (RUNBOOKS / page).read_text()
    names = set(re.findall(r"`[^`]*`", text))
    metrics = {m for code in names for m in re.findall(r"\b(?:[a-z_]+:)?(?:scorer|shadow)_[a-z_]+(?::[a-z_]+)?", code)}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in KNOWN}
    unknown = {m for m in metrics if m not in KNOWN and m not in families}
    assert unknown - {"namespace:scorer_late"} == set(), page


def test_each_alert_has_a_section_with_everything_that_somebody_on_call_needs() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", (RUNBOOKS / "alerts.md").read_text(), re.M | re.S))
    assert set(sections) == {alert.name for alert in ALERTS}
    for name, text in sections.items():
        asked = re.findall(r"^\* \*\*(.+?)\*\*", text, re.M)
        wanted = ["Meaning.", "How bad.", "First query.", "First command.", "Mend.", "It worked"]
        assert asked == wanted, name
        alert = next(alert for alert in ALERTS if alert.name == name)
        told = re.search(r"\*\*How bad\.\*\* (\w+)", text)
        assert told is not None
        if alert.severity != "none":
            assert told[1].lower() == alert.severity, name


@pytest.mark.parametrize("rule", [rule for rule in RULES if "alert" in rule], ids=lambda rule: str(rule["alert"]))
def test_an_alert_leads_to_its_runbook_and_dashboard(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (ROOT / page.split("/shadow-scorer/")[1]).is_file()
    assert anchor == rule["alert"].lower()
    uid = rule["annotations"]["dashboard_url"].split("/d/")[1].split("?")[0]
    assert uid in {load(board)["uid"] for board in BOARDS}
    assert rule["annotations"]["summary"]
    templated = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) - {"namespace"}
    assert templated <= labels_of(rule["expr"], KNOWN) | {"process"}


def test_failure_modes_name_alerts_that_there_are() -> None:
    told = re.findall(r"Alert: ([^|]*)", (RUNBOOKS / "failure-modes.md").read_text())
    named = {name for text in told for name in re.findall(r"`([A-Z]\w+)`", text)}
    assert len(named) >= 8
    assert named <= {alert.name for alert in ALERTS}
