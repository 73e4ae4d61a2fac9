"""How much a fetch waits for, so that a busy stream comes in few batches and an idle one at once.

A batch costs the worker about 3 ms whatever it holds. At half of saturation, with fetches that wait for nothing, that
is most of what it does, and batches queue for the core: a decision took 27 ms in the middle and 78 at the 99th
percentile; with fetches that wait for what comes in 10 ms, 17 and 45. Near saturation even that is too often, for a
fetch costs a millisecond even if its records only join those that wait: while most have to, fetches gather for longer.
"""

from __future__ import annotations

#: Fetches that traffic is measured over.
WINDOW = 10
#: A topic may be compressed: records can be so much larger than what the broker counts.
LARGEST_RATIO = 16
#: How many times longer a fetch may gather for a worker that is behind, and how fast it gets there and back.
SLOWEST, SLOWER, FASTER = 4.0, 1.5, 0.75
#: Share of a window's fetches that wait for their turn from which a worker is behind, and up to which it is not.
BEHIND, AHEAD = 0.5, 0.2


class Pace:
    """Bytes that a fetch should wait for, so that a busy stream comes every `every` seconds, from what came lately.

    Less costs more batches, more is latency itself. A lone transaction never waits: below one record in that time, one
    is enough. After a busy time the first one can wait for as long as a fetch does.

    seconds: how long a fetch gathers for a worker that keeps up, at least. most_bytes: never wait for more. A broker
    that may not send what it should wait for lets each fetch of a backlog wait for as long as it can; the embedded one
    then never sends anything.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self.seconds, self.most_bytes = seconds, most_bytes
        self.every = seconds
        self.least_bytes = 1
        self._share = 1.0
        self._since, self._size, self._times, self._behind = 0.0, 0, 0, 0

    def came(self, size: int, now: float, is_behind: bool = False) -> int:
        """Note that a fetch brought so many bytes of records, at a time in seconds; returns `least_bytes`.

        is_behind: the one before still waits for its turn.
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
            # it waits for longer than it should, and not for its worker: the broker counts fewer bytes
            self._share = max(self._share / 2, 1 / LARGEST_RATIO)
        if behind >= BEHIND:
            self.every = min(self.every * SLOWER, self.seconds * SLOWEST)
        elif behind <= AHEAD:
            self.every = max(self.every * FASTER, self.seconds)
