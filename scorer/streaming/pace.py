"""How many bytes a fetch waits for, so that a busy stream arrives in few batches and one with room without delay.

Each batch costs the worker a fixed time, however few records it holds. If fetches waited for nothing, a busy worker
would spend most of its time on that, and small batches would queue. So a fetch waits for the bytes that arrive in the
time that work for one fetch takes, divided by the share of time that may go into work: what a batch costs is measured,
and the busier the worker, the longer a fetch gathers, up to half of `fetch_wait_ms`. Near saturation a fetch costs time
even if its records only join a batch that waits already, so fetches gather for longer still while the worker lags. See
docs/decisions.
"""

from __future__ import annotations

#: Traffic and work are measured over the time of this many fetches.
WINDOW = 10
#: The share of time that work takes while fetches gather for less than they may.
FULL = 0.8
#: How many times larger records may be than the bytes that the broker counts, because a topic may be compressed.
LARGEST_RATIO = 16
#: How many times longer a fetch may gather for a worker that lags, and the factors by which that grows and shrinks.
SLOWEST, SLOWER, FASTER = 4.0, 1.5, 0.75
#: The worker lags if at least this share of a window's fetches found another waiting, and keeps up below the second.
BEHIND, AHEAD = 0.5, 0.2


class Pace:
    """Works out how many bytes a fetch should wait for, from recent traffic, so that one arrives every `every` seconds.

    A shorter time means more batches, a longer one more latency. A lone transaction never waits: where less than one
    record arrives in that time, 1 byte is enough. The first one after a busy time may wait for `longest` seconds.

    seconds: how long a fetch gathers for a worker that is busy and keeps up. most_bytes: upper limit, which must not
    exceed what the broker may send in one fetch: otherwise each fetch of a backlog waits for as long as it may, and an
    embedded broker never answers. is_eager: whether a worker with room gathers for less; nobody waits for a shadow.
    """

    def __init__(self, seconds: float, most_bytes: int, is_eager: bool = False) -> None:
        self.seconds, self.most_bytes, self.is_eager = seconds, most_bytes, is_eager
        self.every = seconds
        self.least_bytes = 1
        self._share, self._lag = 1.0, 1.0
        self._since, self._worked, self._size, self._times, self._behind = 0.0, 0.0, 0, 0, 0

    @property
    def longest(self) -> float:
        """Seconds that a fetch may wait: twice as long as it should gather. A quiet stream is asked less often."""
        return 2 * (self.every if self.least_bytes > 1 else max(self.every, self.seconds))

    def came(self, size: int, now: float, is_behind: bool = False, worked: float = 0.0) -> int:
        """Note a fetch and return `least_bytes`, the bytes that the next one should wait for.

        size: bytes of its records. now: monotonic time in seconds. is_behind: whether an earlier fetch still waits for
        the worker. worked: CPU seconds of this process so far.
        """
        self._size += size
        self._times += 1
        self._behind += is_behind
        took = now - self._since
        if took >= WINDOW * max(self.every, self.seconds):
            self._adapt(took / self._times, self._behind / self._times, (worked - self._worked) / self._times)
            self.least_bytes = min(max(1, int(self._size / took * self.every * self._share)), self.most_bytes)
            self._since, self._worked, self._size, self._times, self._behind = now, worked, 0, 0, 0
        return self.least_bytes

    def quiet(self) -> None:
        """Nothing has come for long: whatever comes next must not wait for more."""
        self.least_bytes = 1

    def _adapt(self, between: float, behind: float, work: float) -> None:
        """between: seconds from fetch to fetch. behind: share of fetches that found another one waiting. work: CPU
        seconds for each fetch."""
        if between < self.every:
            self._share = min(self._share * 2, 1.0)
        elif between > 1.5 * self.every and behind < BEHIND:
            # Fetches wait too long although the worker keeps up: records are compressed, so the broker counts less.
            self._share = max(self._share / 2, 1 / LARGEST_RATIO)
        if behind >= BEHIND:
            self._lag = min(self._lag * SLOWER, SLOWEST)
        elif behind <= AHEAD:
            self._lag = max(self._lag * FASTER, 1.0)
        has_room = self.is_eager and self._lag == 1.0
        self.every = min(work / FULL, self.seconds) if has_room else self.seconds * self._lag
