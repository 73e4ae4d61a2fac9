"""Nobody wonders for longer than two seconds: what waits for a server says so on a terminal."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.places import ROOT

#: What tells on standard error what is being done.
TELLING = {"waiting", "progressbar", "rounds_shown"}
#: Modules whose waits are told elsewhere, and where.
ELSEWHERE = {
    "scorer/cli/run.py": "a worker, which logs",
    "scorer/cli/risk.py": "a worker, which logs",
    "shadow/cli/run.py": "a worker, which logs",
    "shadow/cli/serve.py": "a worker, which logs",
    "shadow/cli/up.py": "says what is up, and what has stopped",
    "scorer/cli/decisions.py": "prints each decision at once",
    "scorer/cli/deploy.py": "inside of what it runs",
    "shadow/cli/disagreements.py": "inside of what it runs",
    "shadow/cli/backtest.py": "a bar inside of what it runs",
}
MODULES = [path for program in ("scorer", "shadow") for path in sorted((ROOT / program / "cli").glob("*.py"))]


def untold(tree: ast.AST, is_told: bool = False) -> Iterator[int]:
    """The lines on which something is run until a server answers, and nothing says so."""
    for node in ast.iter_child_nodes(tree):
        inside = is_told
        if isinstance(node, ast.With):
            called = {ast.unparse(item.context_expr).partition("(")[0].rpartition(".")[2] for item in node.items}
            inside = is_told or bool(called & TELLING)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "asyncio.run" and not is_told:
            yield node.lineno
        yield from untold(node, inside)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_whatever_waits_for_a_server_says_so(path: Path) -> None:
    lines = list(untold(ast.parse(path.read_text())))
    name = str(path.relative_to(ROOT))
    if name == "shadow/cli/archive.py":
        lines = lines[1:]  # `shadow archive run` is a worker, which logs
    if name in ELSEWHERE:
        told = any(f"{one}(" in path.read_text() for one in TELLING)
        assert told or not ELSEWHERE[name].endswith("what it runs")
    else:
        assert not lines, f"{name}: lines {lines}"
