"""How many bytes a fetch waits for, so that a busy stream arrives in few batches and an idle one without delay.

Each batch costs the worker a fixed time, however few records it holds. If fetches waited for nothing, a busy worker
would spend most of its time on that, and small batches would queue. So a fetch waits for the bytes that arrive in half
of `fetch_wait_ms`. Near saturation a fetch costs time even if its records only join a batch that waits already, so
fetches gather for longer while the worker lags. See docs/decisions.
"""

from __future__ import annotations

#: Traffic is measured over the time of this many fetches.
WINDOW = 10
#: How many times larger records may be than the bytes that the broker counts, because a topic may be compressed.
LARGEST_RATIO = 16
#: How many times longer a fetch may gather for a worker that lags, and the factors by which that grows and shrinks.
SLOWEST, SLOWER, FASTER = 4.0, 1.5, 0.75
#: The worker lags if at least this share of a window's fetches found another waiting, and keeps up below the second.
BEHIND, AHEAD = 0.5, 0.2


class Pace:
    """Works out how many bytes a fetch should wait for, from recent traffic, so that one arrives every `every` seconds.

    A shorter time means more batches, a longer one more latency. A lone transaction never waits: where less than one
    record arrives in that time, 1 byte is enough. The first one after a busy time may wait as long as a fetch does.

    seconds: how long a fetch gathers for a worker that keeps up. most_bytes: upper limit, which must not exceed what
    the broker may send in one fetch: otherwise each fetch of a backlog waits for as long as it may, and an embedded
    broker never answers.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self.seconds, self.most_bytes = seconds, most_bytes
        self.every = seconds
        self.least_bytes = 1
        self._share = 1.0
        self._since, self._size, self._times, self._behind = 0.0, 0, 0, 0

    def came(self, size: int, now: float, is_behind: bool = False) -> int:
        """Note a fetch and return `least_bytes`, the bytes that the next one should wait for.

        size: bytes of its records. now: monotonic time in seconds. is_behind: whether an earlier fetch still waits for
        the worker.
        """
        self._size += size
        self._times += 1
        self._behind += is_behind
        took = now - self._since
        if took >= WINDOW * self.every:
            self._adapt(took / self._times, self._behind / self._times)
            self.least_bytes = min(max(1, int(self._size / took * self.every * self._share)), self.most_bytes)
            self._since, self._size, self._times, self._behind = now, 0, 0, 0
        return self.least_bytes

    def _adapt(self, between: float, behind: float) -> None:
        if between < self.every:
            self._share = min(self._share * 2, 1.0)
        elif between > 1.5 * self.every and behind < BEHIND:
            # Fetches wait too long although the worker keeps up: records are compressed, so the broker counts less.
            self._share = max(self._share / 2, 1 / LARGEST_RATIO)
        if behind >= BEHIND:
            self.every = min(self.every * SLOWER, self.seconds * SLOWEST)
        elif behind <= AHEAD:
            self.every = max(self.every * FASTER, self.seconds)
