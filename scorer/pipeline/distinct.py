"""Distinct values in a window: how many different ones a card has had, such as merchants.

A row keeps up to MOST values, each with the buckets of the ring that it was in, one bit for each place. If there are
more, it keeps those that were seen last, by bucket. So an event that is the newest of its row, or in the same bucket,
sees exactly how many there were, or MOST if there were more; a late one sees no more than there were, and exactly so
many while there were at most MOST in the ring.

A number is its own bits, a category its code, and a text a hash of 64 bits, the same on every machine: two of the texts
of a row have the same one in one of 10^16 rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from scorer.pipeline.window import BUCKETS, MOST

#: Of a row: the values, in no order, and their buckets; a value without a bucket is none.
VALUES, MASKS = ("values", "<u8", (MOST,)), ("masks", "<u2", (MOST,))
_BITS = (1 << np.arange(BUCKETS)).astype(np.uint16)

Values = npt.NDArray[np.uint64]
Masks = npt.NDArray[np.uint16]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def of_texts(texts: Sequence[str]) -> Values:
    """Values of n texts: uint64 (n,)."""
    known = {
        text: hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
        for text in dict.fromkeys(texts)
    }
    values: Values = np.frombuffer(b"".join([known[text] for text in texts]), dtype="<u8").astype(np.uint64)
    return values


def of_numbers(column: npt.NDArray[np.float64]) -> Values:
    """Values of n numbers: uint64 (n,); 0 and -0 are one."""
    values: Values = (column + 0.0).view(np.uint64)
    return values


def bits(places: Bools) -> Masks:
    """Some places of the rings as masks: uint16 (k,). places: bool (k, BUCKETS)."""
    masks: Masks = (places * _BITS).sum(axis=1).astype(np.uint16)
    return masks


def seen(masks: Masks, inside: Masks) -> Ints:
    """How many values each of k rows has had in some places of its ring: int64 (k,).

    masks: uint16 (k, MOST), of the rows. inside: uint16 (k,), the places.
    """
    counts: Ints = np.count_nonzero(masks & inside[:, None], axis=1)
    return counts


def add(values: Values, masks: Masks, fits: Bools, heads: Ints, now: Ints, value: Values) -> None:
    """Add a value to each row that it `fits`.

    values: uint64 (k, MOST), masks: uint16 (k, MOST), of the rows, which are changed. heads: int64 (k,), the newest
    bucket of each. now: int64 (k,), the value's bucket.
    """
    which = np.flatnonzero(fits)
    mine, wanted, bit = masks[which], value[which], _BITS[now[which] % BUCKETS]
    has = (values[which] == wanted[:, None]) & (mine != 0)
    is_known, is_free = has.any(axis=1), mine == 0
    has_room = is_known | is_free.any(axis=1)
    places = np.where(is_known, has.argmax(axis=1), is_free.argmax(axis=1))
    full = np.flatnonzero(~has_room)
    if len(full):
        ours = values[which[full]]
        newest = _newest(mine[full], heads[which[full]])
        last = newest == newest.min(axis=1)[:, None]
        places[full] = np.where(last, ours, np.iinfo(np.uint64).max).argmin(axis=1)  # of one bucket, the least value
        at = np.arange(len(full)), places[full]
        its, bucket = newest[at], now[which[full]]
        has_room[full] = (its < bucket) | ((its == bucket) & (ours[at] < wanted[full]))
    rows, places = which[has_room], places[has_room]
    masks[rows, places] = np.where(is_known[has_room], masks[rows, places], 0) | bit[has_room]
    values[rows, places] = wanted[has_room]


def _newest(masks: Masks, heads: Ints) -> Ints:
    """The newest bucket of each value, which has one: int64 (k, MOST). heads: int64 (k,), newest of each row."""
    age = (heads[:, None] - np.arange(BUCKETS)) % BUCKETS  # of each place: how many buckets it is behind the head
    ages = np.where((masks[:, :, None] & _BITS) != 0, age[:, None, :], BUCKETS).min(axis=2)
    newest: Ints = heads[:, None] - ages
    return newest
