"""Functions are checked in a child process: whatever one does there, it is one line here."""

from __future__ import annotations

import os
import time
from pathlib import Path
from textwrap import dedent

import pytest

from harness.patience import PATIENCE_SECONDS
from scorer.bundles.function_proof import prove_functions
from scorer.bundles.proof import SECONDS
from scorer.errors import SettingsError
from scorer.pipeline.view import FeatureView

HEAD = """
import numpy as np
from scorer.pipeline.function import Feature
"""
GOOD = 'cents = Feature("1", lambda columns: np.round(columns.features["amount"] * 100) % 100)\n'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two features, which children find."""
    info = tmp_path / "shop_features-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-features\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[scorer.features]\ncents = shop_cents:cents\nother = shop_other:other\n")
    (tmp_path / "shop_other.py").write_text(HEAD + GOOD.replace("cents =", "other ="))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def view(*names: str) -> FeatureView:
    return FeatureView.model_validate(
        {"name": "t", "functions": [{"name": name, "version": "1", "uses": ["amount"]} for name in names]}
    )


def doing(package: Path, code: str) -> None:
    lines = dedent(code).strip().splitlines()
    body = "\n".join(f"    {line}" for line in lines)
    (package / "shop_cents.py").write_text(
        f'{HEAD}def compute(columns):\n{body}\n    return columns.features["amount"] * 1.0\n'
        'cents = Feature("1", compute)\n'
    )


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import time; time.sleep(1000)", "its check has not ended after 15 s"),
        (
            "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 32)))\nwhile True: pass",
            "has not ended",
        ),
        ("import os; os._exit(0)", "its check ended the process with exit code 0"),
        ("import os; os._exit(7)", "its check ended the process with exit code 7"),
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("import os; os.kill(os.getpid(), 11)", "its check ended the process with SIGSEGV"),
        ("import os; os.kill(os.getppid(), 0); raise KeyboardInterrupt", "exit code|SIGINT"),
        pytest.param("kept = []\nwhile True: kept.append(np.ones(1 << 24))", "MemoryError", marks=pytest.mark.slow),
        pytest.param(
            "kept = []\nwhile True: kept.append('x' * 1000 + str(len(kept)))", "MemoryError", marks=pytest.mark.slow
        ),
        ("raise ValueError('no rate')", "ValueError: no rate"),
        ('print(\'{"done": ""}\', flush=True); import os; os._exit(0)', "exit code 0"),
        pytest.param(
            "import sys; sys.setrecursionlimit(10**6)\ndef f(): return f()\nf()",
            "RecursionError|SIGSEGV|MemoryError",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_whatever_a_function_does_is_one_line_that_names_it(package: Path, code: str, says: str) -> None:
    doing(package, code)
    with pytest.raises(SettingsError, match=says) as error:
        prove_functions(view("other", "cents"), seconds=15 if "has not ended" in says else SECONDS)
    assert str(error.value).startswith("feature cents: ")
    assert "correct the package" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_it_has_started_ends_with_it(package: Path, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = "import os, time\npid = os.fork()\nif not pid:\n    time.sleep(1000)\n"
    doing(package, f"{code}with open({str(pids)!r}, 'a') as told: told.write(f'{{pid}} ')")
    prove_functions(view("cents"), seconds=15)
    started = pids.read_text().split()
    assert started
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(is_there(pid) for pid in started):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_there(pid: str) -> bool:
    """Whether a process runs still."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_those_that_do_are_taken_and_only_those_that_are_asked_for(package: Path) -> None:
    doing(package, "raise ValueError")
    prove_functions(view("other"))
    prove_functions(view("cents", "other"), ("other", "amount"))
    prove_functions(view("cents"), ())
    doing(package, "print('a word')")
    prove_functions(view("cents", "other"))
