"""Renders what the code declares: settings.md, metrics.md, schemas/ and asyncapi.yaml; `--check` says what is stale."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from contracts import asyncapi, schemas
from scorer import metrics as scorer_metrics
from scorer.settings import CommonSettings, ScorerSettings
from shadow import metrics as shadow_metrics
from shadow.settings import ShadowSettings

HERE = Path(__file__).parent


def settings_page() -> str:
    """Markdown of every setting of both programs."""
    parts = [
        "# Settings\n",
        "Each setting is an environment variable: its name in capitals behind `SCORER_` for the `scorer` command and",
        "`SHADOW_` for the `shadow` command (`kafka` is `SCORER_KAFKA` and `SHADOW_KAFKA`). Objects are given as JSON.",
        "`SCORER_SETTINGS` and `SHADOW_SETTINGS` may name a YAML file of the same names; the environment wins over it.",
        "An unknown variable with one of these prefixes stops the start.\n",
    ]
    shared = list(CommonSettings.model_fields)
    tables: list[tuple[str, type[CommonSettings], list[str]]] = [
        ("Both programs", CommonSettings, shared),
        ("`scorer` only, or with a default of its own", ScorerSettings, _own(ScorerSettings)),
        ("`shadow` only, or with a default of its own", ShadowSettings, _own(ShadowSettings)),
    ]
    for title, kind, names in tables:
        parts += [f"\n## {title}\n", "| setting | type | default | meaning |", "|---|---|---|---|"]
        for name in names:
            field = kind.model_fields[name]
            meaning = field.description or ""
            parts.append(f"| `{name}` | {_type(field)} | {_default(field)} | {meaning} |")
    return "\n".join(parts) + "\n"


def _own(kind: type[CommonSettings]) -> list[str]:
    """Settings that are not shared, or that have another default than the shared one."""
    shared = CommonSettings.model_fields
    return [n for n, field in kind.model_fields.items() if n not in shared or _default(field) != _default(shared[n])]


def _type(field: Any) -> str:
    text = getattr(field.annotation, "__name__", None) or str(field.annotation)
    if "Literal" in str(field.annotation):
        text = "one of " + ", ".join(f"`{value}`" for value in field.annotation.__args__)
    elif "|" in str(field.annotation):
        text = str(field.annotation).split(" | ")[0].rpartition(".")[2]
    bounds = [
        f"{sign} {getattr(rule, attr):g}" for rule in field.metadata for attr, sign in _BOUNDS if hasattr(rule, attr)
    ]
    names = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
        "Path": "path",
        "dict": "object",
        "SecretStr": "secret text",
    }
    return ", ".join([names.get(text, "list" if text == "tuple" else text), *bounds])


_BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))


def _default(field: Any) -> str:
    if field.default_factory is not None:
        if field.annotation is str:
            return ""
        value = field.default_factory()
    else:
        value = field.default
    if value is PydanticUndefined or value is None:
        return ""
    if isinstance(value, BaseModel):
        return f"`{orjson.dumps(value.model_dump(mode='json')).decode()}`"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def metrics_page() -> str:
    """Markdown of every metric of all processes."""
    parts = [
        "# Metrics\n",
        "Every process answers `/metrics`, `/livez` and `/readyz`. Label values are bounded: never a card, a merchant",
        "or a transaction. A scorer has some 200 series and one for each partition, a shadow the same. `shadow serve`",
        "has a few for each criterion, segment and slot: with 50 segments and 3 slots at most 12,500.\n",
        "Rules, alerts and dashboards over them are in [deploy/prometheus](../deploy/prometheus/rules/alerts.yaml) and",
        "[deploy/grafana](../deploy/grafana/release.json), made by `make deploy-render`; what an alert means is in",
        "[deploy/runbooks](../deploy/runbooks/alerts.md).",
    ]
    registries: list[tuple[str, CollectorRegistry]] = [
        ("`scorer run`", scorer_metrics.REGISTRY),
        ("`scorer risk`", scorer_metrics.RISK_REGISTRY),
        ("`shadow run`", shadow_metrics.REGISTRY),
        ("`shadow serve`", shadow_metrics.SERVE_REGISTRY),
        ("`shadow archive run`", shadow_metrics.ARCHIVE_REGISTRY),
    ]
    for title, registry in registries:
        parts += [f"\n## {title}\n", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        for name, kind, labels, meaning in sorted(_declared(registry)):
            parts.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {meaning} |")
    return "\n".join(parts) + "\n"


def _declared(registry: CollectorRegistry) -> Iterable[tuple[str, str, tuple[str, ...], str]]:
    for collector in set(registry._collector_to_names):
        (family,) = collector.describe()
        labels = getattr(collector, "_labelnames", None)
        if labels is None:
            label = getattr(collector, "label", None)
            labels = (label,) if label else ()
        yield (
            f"{family.name}_total" if family.type == "counter" else family.name,
            family.type,
            tuple(labels),
            family.documentation,
        )


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "asyncapi.yaml": asyncapi.document,
}


def rendered() -> dict[str, str]:
    """Every page, by its path below docs/."""
    return {name: render() for name, render in PAGES.items()} | schemas.files()


def main() -> int:
    """Write the pages, or with `--check` compare them; returns the exit code."""
    pages, is_check = rendered(), "--check" in sys.argv
    stale = [f"{path.relative_to(HERE)}" for path in (HERE / "schemas").glob("*")]
    stale = [name for name in stale if name not in pages]
    for name, text in pages.items():
        path = HERE / name
        if not is_check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    for name in stale:
        if name not in pages and not is_check:
            (HERE / name).unlink()
        else:
            print(f"docs/{name} is not what the code declares; run `make docs`", file=sys.stderr)
    return 1 if stale and is_check else 0


if __name__ == "__main__":
    sys.exit(main())
