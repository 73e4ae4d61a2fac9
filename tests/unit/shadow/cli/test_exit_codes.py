"""3 and 4 are verdicts of the gate, or of a backtest: no command but those, and `scorer rotate`, may end with them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from harness.places import ROOT
from shadow.cli.gate import EXIT

COMMANDS = [path for program in ("scorer", "shadow") for path in sorted((ROOT / program).rglob("*.py"))]


def exits(path: Path) -> list[ast.expr]:
    """What is passed to `sys.exit`, `os._exit` or SystemExit anywhere in a module."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if ast.unparse(call.func).rpartition(".")[2] in ("exit", "_exit", "SystemExit")]
    return [argument for call in named for argument in call.args]


@pytest.mark.parametrize("path", [p for p in COMMANDS if exits(p)], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_command_ends_with_0_1_or_2_or_by_a_signal(path: Path) -> None:
    for code in exits(path):
        numbers = [node.value for node in ast.walk(code) if isinstance(node, ast.Constant)]
        assert not {3, 4} & {n for n in numbers if isinstance(n, int)}, ast.unparse(code)
        assert "EXIT" not in ast.unparse(code) or path.name in ("gate.py", "backtest.py")


def test_the_gate_has_three_codes() -> None:
    assert {str(decision): code for decision, code in EXIT.items()} == {"promote": 0, "hold": 3, "reject": 4}
