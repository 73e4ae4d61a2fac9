"""Tables of settings and metrics, and schemas of topics, say what the code declares; pages lead to what is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from harness.places import ROOT
from shadow.gate.criteria import Limits, Release

PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "deploy").rglob("*.md"),
]
RENDER = ROOT / "docs" / "render.py"


def check(render: Path) -> subprocess.CompletedProcess[bytes]:
    """Have a copy of the renderer check the pages beside it."""
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'deploy'}"}
    return subprocess.run([sys.executable, str(render), "--check"], capture_output=True, env=env, check=False)


def test_tables_and_schemas_are_up_to_date() -> None:
    done = check(RENDER)
    assert done.returncode == 0, done.stderr.decode()


def test_what_is_stale_is_told(tmp_path: Path) -> None:
    docs = shutil.copytree(ROOT / "docs", tmp_path / "docs")
    stale = [
        "settings.md",
        "metrics.md",
        "asyncapi.yaml",
        "schemas/decisions.avsc",
        "schemas/decisions.json",
        "schemas/velocity.headers.json",
    ]
    for page in stale:
        lines = (docs / page).read_text().splitlines(keepends=True)
        (docs / page).write_text("".join(lines[:-1]))
    (docs / "schemas" / "labels.json").unlink()
    (docs / "schemas" / "former.json").touch()
    done = check(docs / "render.py")
    assert done.returncode == 1
    told = set(re.findall(r"^docs/(\S+) is not what the code declares", done.stderr.decode(), re.MULTILINE))
    assert told == {*stale, "schemas/labels.json", "schemas/former.json"}


def anchors(page: Path) -> set[str]:
    """What a link may name of a page: its headings, as GitHub writes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not link.startswith("https://"):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`((?:scorer|shadow|tests|deploy|docs|requirements)/[\w./-]+)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_floors_are_those_that_imports_are_held_to() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    held = {c["containers"][0]: [{*floor.split(" | ")} for floor in c["layers"]] for c in contracts if "layers" in c}
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| \d \| (.*?) \| \d \| (.*?) \|$", page, re.MULTILINE)
    told = [[set(re.findall(r"`(\w+)`", cell)) for cell in column] for column in zip(*rows, strict=True)]
    assert told == [held["scorer"], held["shadow"]]


def test_every_field_of_the_criteria_is_explained() -> None:
    page = (ROOT / "docs" / "release.md").read_text()
    fields = {field.alias or name for kind in (Release, Limits) for name, field in kind.model_fields.items()}
    fields = fields - {"schema_number"} | {"schema"}
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []


def test_hooks_before_a_commit_run_what_lint_runs() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    lines = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert [hook["entry"] for hook in local["hooks"]] == lines
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in local["hooks"])


#: What libraries and Redis log, as the runbook quotes it.
NOT_OURS = {"Heartbeat failed …", "Got error produce response …", "OOM command not allowed …"}


def test_every_log_line_of_the_runbook_is_one() -> None:
    code = "".join(path.read_text() for program in ("scorer", "shadow") for path in (ROOT / program).rglob("*.py"))
    page = (ROOT / "deploy" / "runbooks" / "failure-modes.md").read_text()
    quoted = [
        line for told in re.findall(r"\b[Ll]ogs?:? ([^|.]*)", page) for line in re.findall(r"`([^`]* [^`]*)`", told)
    ]
    lines = set(quoted) - NOT_OURS
    assert len(lines) >= 8
    parts = {part.strip(" ;") for line in lines for part in line.split("…")}
    assert [part for part in sorted(parts) if len(part) > 5 and part not in code] == []
