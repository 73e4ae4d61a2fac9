"""Whether enough labels are mature to train on, and from when on they are likely to be. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt

from scorer.errors import UserError
from scorer.training.split import cut

DAY_MS = 86_400_000
#: Days that are looked ahead, and most rows that what was seen is repeated to for that.
AHEAD, ROWS = 730, 4_000_000

Times = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int8]


def require_mature(occurred_ms: Times, labels: Labels, share: float, delay_ms: int, as_of_ms: int) -> None:
    """Raise UserError, with the day from which on it should work, if a training as of a time cannot be cut.

    n transactions. share, delay_ms: as `cut` has them.
    """
    why = _why_not(occurred_ms, labels, share, delay_ms, as_of_ms)
    if why is None:
        return
    ready = ready_on(occurred_ms, labels, share, delay_ms, as_of_ms)
    when = "nobody can tell when that changes: give more history, or a shorter --label-delay"
    if ready is not None:
        when = f"as decisions and frauds come in so far, it works from {ready} on"
    raise UserError(f"--as-of: labels are not mature: {why.removeprefix('train: ').partition(';')[0]}; {when}")


def ready_on(occurred_ms: Times, labels: Labels, share: float, delay_ms: int, as_of_ms: int) -> date | None:
    """The first day as of which a training can be cut if traffic and frauds go on as they were; None if that is none of
    the days looked at.

    What was seen is repeated as if it came again. Frauds that are not known yet are not counted, so it may be earlier.
    """
    if not len(occurred_ms) or not labels.any():
        return None
    first, last = int(occurred_ms.min()), int(occurred_ms.max())
    span = max(last - first, DAY_MS)
    ahead_ms = max(as_of_ms - last, 0) + AHEAD * DAY_MS
    repeated = min(ahead_ms // span + 2, max(ROWS // len(occurred_ms), 2))
    times = np.concatenate([occurred_ms + span * again for again in range(repeated)])
    said = np.tile(labels, repeated)
    begin = datetime.fromtimestamp(as_of_ms / 1000, UTC).date() + timedelta(days=1)

    def works(days: int) -> bool:
        day = begin + timedelta(days=days)
        end = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
        seen = times <= end
        return _why_not(times[seen], said[seen], share, delay_ms, end) is None

    step = 1
    while step <= AHEAD and not works(step - 1):
        step *= 2
    if step > AHEAD:
        return None
    low, high = step // 2, step - 1  # it does not work on the day before `low`, and does on `high`
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle + 1, high)
    return begin + timedelta(days=high)


def _why_not(occurred_ms: Times, labels: Labels, share: float, delay_ms: int, as_of_ms: int) -> str | None:
    if not len(occurred_ms):
        return "there is no transaction"
    try:
        cut(occurred_ms, labels, share, delay_ms, as_of_ms)
    except UserError as error:
        return str(error)
    return None
