"""How a process leaves the machine to others."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def stand_back(niceness: int) -> None:
    """Be nice to every other process of the machine, 0 to 19.

    Where Linux groups processes by session (`sched_autogroup_enabled`, the default of most distributions), niceness and
    scheduling policy count only within a session, and sessions share a core evenly. So a process that leads a session,
    as one does that a supervisor started, makes its session as nice as itself. In a control group that has shares of
    its own, as in a container, those count instead.
    """
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # a kernel without it
            Path("/proc/self/autogroup").write_text(str(niceness))
