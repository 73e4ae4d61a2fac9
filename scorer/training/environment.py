"""What a training runs in: the user's repository, the installed packages, and the versions that make the numbers."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, distributions, version

from scorer.bundles.lineage import Code

#: Libraries that read, compute or fit.
LIBRARIES = ("lightgbm", "numpy", "pyarrow")
#: Longest wait for one answer of git, in seconds.
SECONDS = 20.0


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that a model depends on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def packages() -> str:
    """SHA-256 of the names and versions of all installed packages, as hex."""
    lines = {f"{one.metadata['Name'].lower()}=={one.version}" for one in distributions() if one.metadata["Name"]}
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def code() -> Code:
    """The repository that this command runs in, if it runs in one and git can tell."""
    commit = _git("rev-parse", "--verify", "HEAD")
    if commit is None:
        return Code()
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return Code(commit=commit, dirty=None if changed is None else bool(changed))


def _git(*arguments: str) -> str | None:
    """What git says; None if it cannot. It runs nothing that the repository names, and writes nothing."""
    quiet = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    try:
        done = subprocess.run(
            ["git", *quiet, *arguments],  # noqa: S607 - whichever git the user has
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
