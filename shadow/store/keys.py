"""Every key in Redis. The keys of one script share a tag, `{slot:partition}`, and thus a slot of a cluster.

Tallies have a SCHEMA in their keys, so those of another version are never misread.

| key | type | holds |
|---|---|---|
| `<p>:salt` | string | the salt of the names under which cards are stored |
| `<p>:slots` | set | every slot ever opened |
| `<p>:<slot>:partitions` | set | every partition of a slot ever opened |
| `<t>:fence` | hash | nonce, first and next (on `decisions`), source, decided (ranges), skipped, unreadable, gap |
| `<t>:gaps` | list | ranges that retention deleted before they were read, as `from-to` |
| `<t>:runs` | set | runs of the partition |
| `<t>:run:<run>` | hash | digests, thresholds, first offset, duplicates, repeats, refunds, conflicts, marks, indexed |
| `<t>:hours:<run>` | set | event hours with a comparison |
| `<t>:resets:<run>` | set | resets of the clean period, as `<event hour>:<cause>` |
| `<t>:t:<run>:<hour or total>:<segment>` | hash | counts c, money m a, errors e |
| `<t>:d:<run>:<day or total>:<segment>` | hash | card-days k by kind, sums of their money c u, heaviest t |
| `<t>:h:<run>:<day or total>:<segment>` | string | score histograms, int64 (KINDS, BINS), see `bins` |
| `<t>:f:<run>:<day>:<view>:<n>` | string | histogram of the n-th feature of a view, int64 (FEATURE_BINS,) |
| `<t>:cards:<run>:<day>:<segments>` | hash | what each card has counted for that day, by a keyed digest |
| `<t>:s:<run>:<day>` | hash | bodies of samples, by source offset |
| `<t>:r:<run>:<day>` | hash | number of strata that keep each sample |
| `<t>:why` | set | `<run>:<day>/<source offset>` of samples not explained yet |
| `<t>:tau:<run>:<day>` | hash | smallest hash that each stratum refused, by `<outcome>:<segment>` |
| `<t>:z:<run>:<day>:<outcome>:<segment>` | sorted set | samples kept in a stratum, by hash |
| `<t>:x:<run>` | set | event days that have an index of their samples |
| `<t>:x:<run>:<day>` | string | index of the day's samples, 64 bytes each, see `comparison/index.py` |
| `<t>:names` | hash | lists of segments that indexes refer to, as JSON by digest |
| `<p>:labels` | set | months (30 days since 1970) that have labels |
| `<p>:{labels:b}:<month>` | hash | votes on each subject, as JSON by source and person |
| `<p>:{labels:b}:notes:<month>` | hash | notes on each subject, as JSON by source and person |
| `<p>:{labels:b}:fence` | hash | next offset on `labels` by partition; the bucket has every label before it |
| `<p>:lease:<slot>:<transaction>` | string | the person who is reviewing a case right now |
| `<p>:assigned:<slot>` | hash | to whom each transaction is assigned, by whom and when, as JSON |
| `<p>:complaints:<date>` | hash | reports of complaints about blocks of an event day, as `[count, segment]` by name |
| `<p>:told:<destination>` | hash | what a destination of messages was told last, by subject |

`<p>` is the prefix, `<t>` is `<p>:{slot:p}:<SCHEMA>`. Strings of sums are big-endian and end with the last bin that has
a count. Keys of hours and days live 60 days, `cards` until the eighth day after; `<segments>` is a digest of the
segments' names. An index lives as long as the samples of its day. In `s`, `r`, `tau` and `z` the day `run` stands for
the whole run: its bodies are the cases to which labels are joined.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

TOTAL = "total"
#: Version of the tallies. In the first one, agreed blocks were counted as transactions only.
SCHEMA = 2


def salt(prefix: str) -> str:
    return f"{prefix}:salt"


def slots(prefix: str) -> str:
    return f"{prefix}:slots"


def partitions(prefix: str, slot: str) -> str:
    return f"{prefix}:{slot}:partitions"


def label_months(prefix: str) -> str:
    return f"{prefix}:labels"


def labels(prefix: str, bucket: int, month: int) -> str:
    return f"{prefix}:{{labels:{bucket}}}:{month}"


def notes(prefix: str, bucket: int, month: int) -> str:
    return f"{prefix}:{{labels:{bucket}}}:notes:{month}"


def label_fence(prefix: str, bucket: int) -> str:
    return f"{prefix}:{{labels:{bucket}}}:fence"


def complaints(prefix: str, day: str) -> str:
    return f"{prefix}:complaints:{day}"


def told(prefix: str, destination: str) -> str:
    return f"{prefix}:told:{destination}"


def lease(prefix: str, slot: str, transaction: str) -> str:
    return f"{prefix}:lease:{slot}:{transaction}"


def assigned(prefix: str, slot: str) -> str:
    return f"{prefix}:assigned:{slot}"


@cache
def _named(segments: tuple[str, ...]) -> str:
    return hashlib.blake2b("\n".join(segments).encode(), digest_size=4).hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one partition of one slot."""

    prefix: str
    slot: str
    partition: int

    @property
    def base(self) -> str:
        return f"{self.prefix}:{{{self.slot}:{self.partition}}}:{SCHEMA}"

    @property
    def fence(self) -> str:
        return f"{self.base}:fence"

    @property
    def gaps(self) -> str:
        return f"{self.base}:gaps"

    @property
    def runs(self) -> str:
        return f"{self.base}:runs"

    @property
    def why(self) -> str:
        return f"{self.base}:why"

    @property
    def names(self) -> str:
        return f"{self.base}:names"

    def run(self, run: str) -> str:
        return f"{self.base}:run:{run}"

    def hours(self, run: str) -> str:
        return f"{self.base}:hours:{run}"

    def resets(self, run: str) -> str:
        return f"{self.base}:resets:{run}"

    def tally(self, run: str, hour: int | str, segment: str) -> str:
        return f"{self.base}:t:{run}:{hour}:{segment}"

    def scores(self, run: str, day: int | str, segment: str) -> str:
        return f"{self.base}:h:{run}:{day}:{segment}"

    def feature(self, run: str, day: int, view: str, position: int) -> str:
        return f"{self.base}:f:{run}:{day}:{view}:{position}"

    def card_sums(self, run: str, day: int | str, segment: str) -> str:
        return f"{self.base}:d:{run}:{day}:{segment}"

    def cards(self, run: str, day: int, segments: Sequence[str]) -> str:
        return f"{self.base}:cards:{run}:{day}:{_named(tuple(segments))}"

    def bodies(self, run: str, day: int | str) -> str:
        return f"{self.base}:s:{run}:{day}"

    def references(self, run: str, day: int | str) -> str:
        return f"{self.base}:r:{run}:{day}"

    def indexed_days(self, run: str) -> str:
        return f"{self.base}:x:{run}"

    def index(self, run: str, day: int | str) -> str:
        return f"{self.base}:x:{run}:{day}"

    def taus(self, run: str, day: int | str) -> str:
        return f"{self.base}:tau:{run}:{day}"

    def stratum(self, run: str, day: int | str, outcome: int, segment: str) -> str:
        return f"{self.base}:z:{run}:{day}:{outcome}:{segment}"
