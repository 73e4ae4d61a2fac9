"""A process that stands back takes the session that it leads with it, where sessions are what shares a core."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOLD = """
import os
from shadow.worker.niceness import stand_back
stand_back(7)
print(os.getpriority(os.PRIO_PROCESS, 0))
print(open('/proc/self/autogroup').read().split()[-1])
"""
pytestmark = pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel groups no sessions")


@pytest.mark.parametrize(("leads", "session"), [(True, "7"), (False, "0")])
def test_only_a_session_of_its_own_is_made_nice(leads: bool, session: str) -> None:
    # the inner shell is there so that whoever does not lead has a session that is nobody else's
    command = [sys.executable, "-c", TOLD] if leads else ["sh", "-c", f'"{sys.executable}" -c "$0"; exit $?', TOLD]
    done = subprocess.run(command, start_new_session=True, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["7", session]
