"""The index of stored samples: 64 bytes for each, enough to filter, sort and count them without their bodies. Pure.

The index of an event day is a string of entries. What is no longer kept is marked by a later entry that names its
offset, so writing is appending, and the store compacts the string now and then. A whole run is read as arrays.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from shadow.comparison.outcome import DISAGREEMENTS, Outcome
from shadow.comparison.query import Bounds, Query
from shadow.comparison.sample import Sample
from shadow.comparison.sampling import sample_hashes

#: An entry: offset on `transactions`, hash of the transaction id, minor units, gap (NaN where there is none), when it
#: occurred and was scored (ms since 1970), its segments as bits, which list of segments they refer to, a tag of its
#: card, the form of the entry, and what it is: an outcome, or GONE. The last byte is also read by the scripts.
ENTRY = np.dtype(
    [
        ("offset", "<i8"),
        ("hash", "<f8"),
        ("minor", "<i8"),
        ("gap", "<f8"),
        ("occurred", "<i8"),
        ("scored", "<i8"),
        ("segments", "<u8"),
        ("names", "<u4"),
        ("card", "<u2"),
        ("form", "u1"),
        ("kind", "u1"),
    ]
)
_PACKED = struct.Struct("<qdqdqqQIHBB")
assert _PACKED.size == ENTRY.itemsize == 64  # noqa: S101 - two declarations of one form
FORM = 1
#: A kind beside the outcomes: the sample at this offset is no longer kept.
GONE = 254

Entries = npt.NDArray[np.void]
Rows = npt.NDArray[np.int64]


def names_digest(names: Sequence[str]) -> int:
    """Identifies a list of segments: 32 bits."""
    return int.from_bytes(hashlib.blake2b("\n".join(names).encode(), digest_size=4).digest(), "big")


def card_tag(card: str) -> int:
    """16 bits of a card: enough to look at few bodies instead of all, far too few to identify a card."""
    return zlib.crc32(card.encode()) & 0xFFFF


def entry_of(sample: Sample, positions: Sequence[int], names: int) -> bytes:
    """The entry of a sample. positions: of its segments in the list that `names_digest` gave `names` for."""
    gap = sample.gap
    return _PACKED.pack(
        sample.offset,
        sample.hash,
        sample.amount_minor,
        float("nan") if gap is None else gap,
        sample.occurred_ms,
        sample.scored_ms,
        sum(1 << position for position in set(positions)),
        names,
        card_tag(sample.card_id),
        FORM,
        int(sample.outcome),
    )


def unpacked(packed: bytes) -> Entries:
    """All entries, also of samples that are no longer kept. Raises ValueError for a form that a newer version wrote."""
    entries = np.frombuffer(packed, dtype=ENTRY)
    if (entries["form"] != FORM).any():
        raise ValueError("the index of samples was written by a newer version; update this one")
    return entries


def kept(entries: Entries) -> npt.NDArray[np.bool_]:
    """Which entries of one partition stand for samples that are kept: bool (n,)."""
    is_gone: npt.NDArray[np.bool_] = entries["kind"] == GONE
    is_kept = ~is_gone
    if is_gone.any():
        is_kept &= ~np.isin(entries["offset"], entries["offset"][is_gone])
    return is_kept


def matching(entries: Entries, query: Query, minor_per_unit: float, bits: Mapping[int, int]) -> npt.NDArray[np.bool_]:
    """Which entries match a query: bool (n,). Of a card, some more may match, as its tag is not only its own.

    entries: of one partition. bits: the position of the query's segment by list of segments; a list that does not have
    it is left out.
    """
    found = kept(entries)
    kind = entries["kind"]
    if query.direction is not None:
        found &= kind == Outcome[query.direction.upper()]
    elif not query.agreements:
        found &= kind >= min(DISAGREEMENTS)
    if query.segment is not None:
        has = np.zeros(len(entries), dtype=bool)
        for names, bit in bits.items():
            has |= (entries["names"] == names) & ((entries["segments"] >> np.uint64(bit)) & np.uint64(1)).astype(bool)
        found &= has
    bounds = Bounds.of(query)
    for field, unit, low, high in (
        ("minor", minor_per_unit, query.min_amount, query.max_amount),
        ("gap", 1.0, query.min_gap, query.max_gap),
        ("occurred", None, bounds.since, None),
        ("scored", None, bounds.scored_since, None),
    ):
        if low is not None or high is not None:
            values = entries[field] if unit is None else entries[field] / unit
            found &= True if low is None else values >= low
            found &= True if high is None else values <= high
    if bounds.until is not None:
        found &= entries["occurred"] < bounds.until
    if bounds.scored_until is not None:
        found &= entries["scored"] < bounds.scored_until
    if bounds.at is not None:
        found &= np.abs(entries["scored"] - bounds.at) <= query.within_seconds * 1000
    if query.card is not None:
        found &= entries["card"] == card_tag(query.card)
    if query.transaction is not None:
        found &= entries["hash"] == float(sample_hashes([query.transaction])[0])
    return found


def sort_keys(entries: Entries, query: Query) -> npt.NDArray[np.float64]:
    """What a query sorts by: float64 (n,)."""
    if query.sort == "gap":
        keys = np.fmax(np.abs(entries["gap"]), 0.0)  # NaN is 0
    else:
        keys = entries["minor" if query.sort == "amount" else "occurred"]
    return np.asarray(keys, dtype=np.float64)


def page_rows(keys: npt.NDArray[np.float64], hashes: npt.NDArray[np.float64], query: Query) -> Rows:
    """Positions of the page that a query asks for, in order. What is equal by `keys` goes by the hash, so that pages
    continue each other.

    keys, hashes: float64 (n,), of all that match.
    """
    end = min(len(keys), query.after + query.limit)
    return first(keys, hashes, end, query.ascending)[min(query.after, end) :]


def first(keys: npt.NDArray[np.float64], hashes: npt.NDArray[np.float64], n: int, ascending: bool) -> Rows:
    """Positions of the n that come first, in order."""
    signed = keys if ascending else -keys
    rows = np.arange(len(keys), dtype=np.int64)
    if n < len(keys) // 4:  # then finding the last of them is cheaper than sorting all
        rows = np.flatnonzero(signed <= np.partition(signed, n)[n])
    return rows[np.lexsort((hashes[rows] if ascending else -hashes[rows], signed[rows]))][:n]
