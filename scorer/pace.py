"""How much a fetch waits for, so that a busy stream comes in few batches and an idle one at once.

A batch costs the worker about 3 ms whatever it holds. At half of saturation, with fetches that wait for nothing, that
is most of what it does, and batches queue for the core: a decision took 27 ms in the middle and 78 at the 99th
percentile; with fetches that wait for what comes in 10 ms, 17 and 45.
"""

from __future__ import annotations

#: Fetches that traffic is measured over.
WINDOW = 10
#: A topic may be compressed: records can be so much larger than what the broker counts.
LARGEST_RATIO = 16


class Pace:
    """Bytes that a fetch should wait for, so that a busy stream comes every `seconds`, from what came lately.

    Less costs more batches, more is latency itself. A lone transaction never waits: below one record in that time, one
    is enough. After a busy time the first one can wait for as long as a fetch does.

    most_bytes: never wait for more. A broker that may not send what it should wait for lets each fetch of a backlog
    wait for as long as it can; the embedded one then never sends anything.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self.seconds, self.most_bytes = seconds, most_bytes
        self.least_bytes = 1
        self._share = 1.0
        self._since, self._size, self._times = 0.0, 0, 0

    def came(self, size: int, now: float) -> int:
        """Note that a fetch brought so many bytes of records, at a time in seconds; returns `least_bytes`."""
        self._size += size
        self._times += 1
        took = now - self._since
        if took >= WINDOW * self.seconds:
            every = took / self._times
            if every > 1.5 * self.seconds:  # it waits for longer than it should: the broker counts fewer bytes
                self._share = max(self._share / 2, 1 / LARGEST_RATIO)
            elif every < self.seconds:
                self._share = min(self._share * 2, 1.0)
            self.least_bytes = min(max(1, int(self._size / took * self.seconds * self._share)), self.most_bytes)
            self._since, self._size, self._times = now, 0, 0
        return self.least_bytes
