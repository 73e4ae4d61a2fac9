"""What the READMEs beside the manifests say can be done."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from harness.manifests import SOURCE, Manifest, build, built, container_of, find
from harness.places import ROOT
from harness.references import problems
from rights.users import users
from scorer.cli import cli as scorer_cli
from shadow.cli import cli as shadow_cli

README, SIMPLE = SOURCE / "README.md", SOURCE / "overlays" / "simple" / "README.md"
PROGRAMS: dict[str, click.Group] = {"scorer": scorer_cli, "shadow": shadow_cli}


def commands(page: Path) -> list[str]:
    """Lines of shell, whole, and commands within sentences."""
    text = page.read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in [*lines, *re.findall(r"`((?:kubectl|scorer|shadow) [^`]+)`", text)] if line]


@pytest.mark.parametrize("page", [README, SIMPLE], ids=["all", "simple"])
def test_every_command_of_ours_is_one(page: Path) -> None:
    tried = 0
    for line in commands(page):
        argv = shlex.split(line)
        argv = argv[argv.index("--") + 1 :] if "--" in argv else argv
        if argv[0] not in PROGRAMS or "…" in argv or len(argv) < 3:
            continue
        group = PROGRAMS[argv[0]]
        with click.Context(group) as context:
            command = group.get_command(context, argv[1])
        assert command is not None, line
        command.make_context(argv[1], argv[2:]).close()
        tried += 1
    assert tried


@pytest.mark.parametrize("page", [README, SIMPLE], ids=["all", "simple"])
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link


@pytest.mark.needs("kustomize")
def test_what_is_applied_builds_and_what_is_looked_at_is_there() -> None:
    lines = commands(README) + commands(SIMPLE)
    folders = {found[1] for line in lines if (found := re.search(r"-k (\S+)", line))}
    assert folders
    for folder in folders:
        assert build(ROOT / folder), folder
    objects = {m["kind"].lower() + "/" + m["metadata"]["name"] for m in built("production")}
    short = {"deploy": "deployment", "svc": "service", "job": "job"}
    for kind, name in re.findall(r" (deploy|svc|job)/([a-z-]+)\b(?!/)", " ".join(lines)):
        assert f"{short[kind]}/{name}" in objects


@pytest.mark.needs("kustomize")
def test_the_slot_that_is_added_to_simple_changes_nothing_else(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes" / "overlays" / "simple"
    edit = re.search(r"```yaml\n(.*?)```", SIMPLE.read_text(), re.DOTALL)
    assert edit is not None
    kustomization = overlay / "kustomization.yaml"
    text = kustomization.read_text()
    kustomization.write_text(text.replace("  - path: pod.yaml\n", "  - path: pod.yaml\n" + edit[1]))
    manifests = build(overlay)
    assert problems(manifests) == []

    def shadow(of: list[Manifest]) -> Manifest:
        return container_of(find(of, "Deployment", "scorer")["spec"]["template"], "shadow")

    before = shadow(built("simple"))["args"]
    assert before == ["shadow", "run", "--slot", "candidate", "--slot", "control", "--slot", "previous"]
    (user,) = [one for one in users(slots=[".".join(before[3::2])]) if one.name.startswith("shadow-")]
    assert shadow(manifests)["envFrom"][1]["secretRef"]["name"] == user.secret
    assert shadow(manifests)["args"] == [*before, "--slot", "challenger"]
    shadow(manifests)["args"] = before
    assert find(manifests, "Deployment", "scorer") == find(built("simple"), "Deployment", "scorer")


def test_the_versions_that_are_named_are_those_that_are_checked() -> None:
    oldest = re.search(r"Kubernetes (1\.\d+) or newer", README.read_text())
    source = (Path(__file__).parent / "test_manifests.py").read_text()
    assert oldest is not None
    assert f'VERSIONS = ("{oldest[1]}",' in source
