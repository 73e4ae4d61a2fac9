"""Runs commands of ours to their end, each in a process of its own that is forked from one with all modules loaded.

Loading them takes longer than what most commands do, and the tests run hundreds.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from harness.patience import PATIENCE_SECONDS
from scorer.cli import COMMANDS as SCORER
from shadow.cli import COMMANDS as SHADOW

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [*(f"scorer.cli.{module}" for module in SCORER.values()), *(f"shadow.cli.{module}" for module in SHADOW.values())]
)


def command(
    *argv: str, env: Mapping[str, str], folder: Path, seconds: float = PATIENCE_SECONDS
) -> subprocess.CompletedProcess[bytes]:
    """Run a command line of `scorer` or `shadow` with an environment in a folder.

    Raises TimeoutExpired once it has run for longer than it may; it is killed.
    """
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as errors:
        process = _FORKS.Process(target=_act, args=(argv, dict(env), folder, out.name, errors.name))
        process.start()
        process.join(seconds)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(argv, seconds)
        return subprocess.CompletedProcess(argv, code, out.read(), errors.read())


def _act(argv: tuple[str, ...], env: dict[str, str], folder: Path, out: str, errors: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    for stream, path in ((1, out), (2, errors)):
        to = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(to, stream)
        os.close(to)
    sys.argv = list(argv)
    sys.stdout = os.fdopen(1, "w")
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    if argv[0] == "scorer":
        from scorer.cli import main
    else:
        from shadow.cli import main
    main()
