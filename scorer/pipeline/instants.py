"""Converts RFC 3339 texts to milliseconds since 1970, one at a time or a whole column."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: How each millisecond of a second ends a text.
_MILLISECONDS = tuple(f".{ms:03}Z" for ms in range(1000))


def instant_ms(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time with an offset. Raises ValueError for anything else.

    T and Z may be lower case, and a blank may stand for the T.

    >>> instant_ms("1970-01-01T01:00:00.5+01:00")
    500
    """
    if not INSTANT.fullmatch(text):
        raise ValueError("expected RFC 3339 with an offset, such as 2026-01-31T12:00:00Z")
    delta = datetime.fromisoformat(text.upper()) - _EPOCH  # which knows no z
    return delta.days * 86_400_000 + delta.seconds * 1000 + delta.microseconds // 1000


def instants_ms(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """`instant_ms` of each text: int64 (n,). Raises ValueError if any is not such a time.

    Converts all at once, several times faster, if they are in UTC and of one shape, as one sender writes them.
    """
    if texts and len(texts[0]) in _SHAPES:
        quick = _utc_ms(texts, len(texts[0]))
        if quick is not None:
            return quick
    return np.fromiter(map(instant_ms, texts), np.int64, len(texts))


#: A time in UTC with every digit 0, and by how much each character may exceed that: 9 for a digit, else 0.
_SHAPE = np.frombuffer(b"0000-00-00T00:00:00.000Z", dtype=np.uint8)
_ABOVE = np.where(ord("0") == _SHAPE, 9, 0).astype(np.uint8)
#: Both by length of the text, with a fraction of three digits and without one.
_SHAPES = {len(_SHAPE): (_SHAPE, _ABOVE), 20: (np.delete(_SHAPE, slice(19, 23)), np.delete(_ABOVE, slice(19, 23)))}
#: First and last millisecond of the years 1 to 9999, since 1970.
FIRST_MS = int(np.datetime64("0001-01-01", "ms").astype(np.int64))
LAST_MS = int(np.datetime64("9999-12-31T23:59:59.999", "ms").astype(np.int64))


def _utc_ms(texts: Sequence[str], length: int) -> npt.NDArray[np.int64] | None:
    """`instants_ms` of texts of one length, int64 (n,); None if any has not the shape of that length, or is no time."""
    blob = "".join(texts).encode()
    if len(blob) != length * len(texts) or any(len(text) != length for text in texts):
        return None
    shape, above = _SHAPES[length]
    if (np.frombuffer(blob, dtype=np.uint8).reshape(-1, length) - shape > above).any():
        return None
    try:  # without the Z: numpy takes a time without a zone for UTC, and warns of any zone
        times = np.frombuffer(blob, dtype=f"S{length}").astype(f"S{length - 1}").astype("datetime64[ms]")
    except ValueError:
        return None
    ms: npt.NDArray[np.int64] = times.astype(np.int64)
    return ms if (ms >= FIRST_MS).all() else None


def stamps(ms: npt.NDArray[np.int64]) -> list[str]:
    """Times in RFC 3339, UTC, to the millisecond. ms: int64 (n,), milliseconds since 1970, in the years 1 to 9999."""
    seconds, rest = np.divmod(ms, 1000)
    every = seconds.tolist()
    few = list(set(every))  # a batch is of few seconds, and numpy takes longest to write them
    texts = dict(zip(few, np.datetime_as_string(np.array(few, "datetime64[s]")).tolist(), strict=True))
    return [texts[second] + _MILLISECONDS[ms] for second, ms in zip(every, rest.tolist(), strict=True)]
