"""The examples for GitHub and GitLab run commands that there are, and fail unless the gate says promote."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from shadow.cli import cli

CI = ROOT / "deploy" / "ci"


def steps(name: str) -> list[str]:
    told = yaml.safe_load((CI / f"{name}.yaml").read_text())
    if name == "gitlab":
        return list(told["gate"]["script"])
    return [step["run"] for step in told["jobs"]["gate"]["steps"] if "run" in step]


@pytest.mark.parametrize("name", ["github", "gitlab"])
def test_every_command_and_option_is_there_and_the_gate_has_the_last_word(name: str) -> None:
    ours = [shlex.split(step.replace('"$SLOT"', "candidate")) for step in steps(name) if step.startswith("shadow ")]
    assert [argv[1] for argv in ours] == ["report", "gate"]
    assert steps(name)[-1].startswith("shadow gate ")
    for argv in ours:
        told = CliRunner().invoke(cli, [argv[1], "--help"]).output
        assert {part for part in argv if part.startswith("--")} <= set(told.split())


def test_the_comment_on_gitlab_is_the_report(tmp_path: Path) -> None:
    heard: list[tuple[str, str | None, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append((self.path, self.headers["PRIVATE-TOKEN"], json.loads(body)))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (tmp_path / "report.md").write_text('**hold** "x"\n')
        (comment,) = (step for step in steps("gitlab") if step.startswith("python3 -c "))
        env = {
            "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
            "CI_PROJECT_ID": "7",
            "GITLAB_TOKEN": "t",
        }
        env |= {"CI_MERGE_REQUEST_IID": "3", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-ec", comment], cwd=tmp_path, env=env, check=True, timeout=PATIENCE_SECONDS)
        server.shutdown()
    assert heard == [("/api/v4/projects/7/merge_requests/3/notes", "t", {"body": '**hold** "x"\n'})]
