"""A thread that computes batches, and how much CPU time it has used."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


class Computing(ThreadPoolExecutor):
    """Runs one call after the other in a thread of its own. name: of the thread."""

    def __init__(self, name: str) -> None:
        super().__init__(1, thread_name_prefix=name, initializer=self._begin)
        self._stat: Path | None = None

    def _begin(self) -> None:
        self._stat = Path(f"/proc/self/task/{threading.get_native_id()}/stat")

    @property
    def cpu_ticks(self) -> int:
        """CPU time that the thread has used, in ticks of the kernel, mostly of 10 ms: a thread that hangs uses none.

        0 before its first call, and where there is no /proc. For any thread.
        """
        try:
            stat = self._stat.read_text() if self._stat is not None else ""
        except OSError:
            return 0
        fields = stat.rpartition(")")[2].split()  # of proc(5), from the third on: user time is the 14th
        return int(fields[11]) + int(fields[12]) if fields else 0
