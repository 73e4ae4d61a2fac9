"""Checks features in Python in a child process, as bundles are proven: one that hangs, ends the process, or takes all
memory must not do so to a worker that decides.

A worker checks all functions of its view before it begins, and before each bundle that becomes live those that it
uses, as they are installed by then: a bundle whose functions a new worker could not have is not put live. Run as a
module, this is the child.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from scorer.bundles.proof import ALONE, SECONDS
from scorer.errors import SettingsError
from scorer.pipeline.features import check_functions
from scorer.pipeline.view import FeatureView

#: Memory that a check may allocate, in bytes. What libraries map from their files does not count.
MEMORY = 2 << 30
#: How long a child whose parent has died may still stand still, in seconds.
ORPHANED = 5
#: The child's last word.
DONE = "done"


def prove_functions(view: FeatureView, names: Collection[str] | None = None, seconds: float = SECONDS) -> None:
    """Have a child process import and check functions of a view. names: of some; None for all.

    Raises SettingsError that names the function if it cannot be had, does not do what `check_functions` asks for, or
    does not end within limits on time and memory.
    """
    some = [function for function in view.functions if names is None or function.name in names]
    if not some:
        return
    asked = _only(view, [function.name for function in some])
    child = subprocess.Popen(
        [sys.executable, "-m", __name__, str(max(1, round(seconds)))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **ALONE, "PYTHONSAFEPATH": "1"},
        start_new_session=True,  # so that what it has started can be ended with it
    )
    is_late = False
    try:
        output, errors = child.communicate(asked.model_dump_json(exclude_none=True).encode(), timeout=seconds)
    except subprocess.TimeoutExpired as late:
        is_late, output, errors = True, late.stdout or b"", late.stderr or b""
    finally:
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    _heed([json.loads(line) for line in output.decode().splitlines()], child.returncode, is_late, seconds, errors)


def _heed(told: list[dict[str, str]], code: int, is_late: bool, seconds: float, errors: bytes) -> None:
    """Raise SettingsError for whatever a child did but say that all is well."""
    last = told[-1] if told else {}
    if DONE in last:
        return
    if "refused" in last:
        raise SettingsError(last["refused"])
    mend = "correct the package that declares it"
    name = f"feature {last['checking']}" if "checking" in last else "functions of the feature view"
    if is_late or -code in (signal.SIGALRM, signal.SIGXCPU):
        raise SettingsError(f"{name}: its check has not ended after {seconds:g} s; {mend}")
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    said = errors.decode(errors="replace").strip().splitlines()
    why = f" ({said[-1][:200]})" if said else ""
    raise SettingsError(f"{name}: its check ended the process with {how}{why}; {mend}")


def _only(view: FeatureView, names: Collection[str]) -> FeatureView:
    """A view with some of its functions."""
    fields = {name: getattr(view, name) for name in FeatureView.model_fields}
    return FeatureView(**{**fields, "functions": tuple(one for one in view.functions if one.name in names)})


def _child(seconds: int) -> None:
    """Check the functions of the view on standard input, one after the other; says on standard output what it does."""
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a function prints is no word of ours

    def say(what: str, text: str) -> None:
        print(json.dumps({what: text}), file=told, flush=True)

    signal.alarm(seconds + ORPHANED)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory is short, it goes first
    for kind, limit in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (limit, limit))
    view = FeatureView.model_validate_json(sys.stdin.buffer.read())
    for function in view.functions:
        say("checking", function.name)
        try:
            check_functions(_only(view, [function.name]))
        except SettingsError as error:
            say("refused", str(error))
            sys.exit(1)
    say(DONE, "")


if __name__ == "__main__":
    _child(int(sys.argv[1]))
