"""How much memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

#: Where Linux tells the limit of a container: control groups of version 2, then 1.
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_limit(files: tuple[Path, ...] = LIMITS) -> int:
    """The limit of this process's container, but at most all memory of the machine, in bytes."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in files:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        return min(int(text), machine) if text.isdigit() else machine  # `max` is no limit
    return machine
