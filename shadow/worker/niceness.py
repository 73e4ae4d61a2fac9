"""Lowers the priority of a process, so that others on the machine come first."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def stand_back(niceness: int) -> None:
    """Raise the niceness of this process by 0 to 19, and of its session if the process leads one.

    If Linux groups processes by session (`sched_autogroup_enabled`, on in most distributions), niceness counts only
    within a session, and sessions share a core evenly. A process that a supervisor starts usually leads its session, so
    it sets the session's niceness, too. In a control group with CPU shares of its own, as in a container, these count
    instead.
    """
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # the kernel may have no autogroups
            Path("/proc/self/autogroup").write_text(str(niceness))
