"""Every key in Redis. Keys of one script carry one tag, `{slot:partition}`, so that they share a cluster slot.

| key | type | holds |
|---|---|---|
| `<p>:slots` | set | slots that were ever opened |
| `<p>:<slot>:partitions` | set | partitions of a slot that were ever opened |
| `<p>:{slot:p}:fence` | hash | nonce, next (offset on `decisions`), source (highest offset), skipped, unreadable, gap |
| `<p>:{slot:p}:gaps` | list | ranges that retention took, as `from-to` |
| `<p>:{slot:p}:runs` | set | runs seen |
| `<p>:{slot:p}:run:<run>` | hash | digests, thresholds, first offset, duplicates, repeats, conflicts, marks |
| `<p>:{slot:p}:hours:<run>` | set | event hours with a comparison |
| `<p>:{slot:p}:resets:<run>` | set | what reset the clean period, as `<event hour>:<cause>` |
| `<p>:{slot:p}:t:<run>:<hour or total>:<segment>` | hash | counts c, money m a q, pairs p, errors e |
| `<p>:{slot:p}:h:<run>:<day or total>:<segment>` | string | score histograms, int64 (KINDS, BINS) of `shadow.bins` |
| `<p>:{slot:p}:f:<run>:<day>:<view>:<n>` | string | histogram of the n-th feature of a view, int64 (FEATURE_BINS,) |
| `<p>:{slot:p}:pairs:<run>:<day>` | set | hashes of cards with a discordant pair that day |
| `<p>:{slot:p}:s:<run>:<day>` | hash | bodies of samples, by source offset |
| `<p>:{slot:p}:r:<run>:<day>` | hash | in how many strata each sample is kept |
| `<p>:{slot:p}:why` | set | `<run>:<day>/<source offset>` of samples not explained yet |
| `<p>:{slot:p}:tau:<run>:<day>` | hash | smallest hash refused, by `<outcome>:<segment>` |
| `<p>:{slot:p}:z:<run>:<day>:<outcome>:<segment>` | sorted set | samples kept in a stratum, by hash |
| `<p>:labels` | set | months (30 days since 1970) that have labels |
| `<p>:{labels:b}:<month>` | hash | verdicts on a transaction by source and person, by its subject |
| `<p>:{labels:b}:fence` | hash | next offset on `labels` by partition: up to there the bucket has every label |
| `<p>:lease:<slot>:<transaction>` | string | who looks at a case for review right now |

Strings of sums are big-endian, and end with the last bin that was ever counted up. Rows of hours and days live 60 days.
In `s`, `r`, `tau` and `z` the day `run` stands for the whole run: its bodies are the cases that labels are joined to.
"""

from __future__ import annotations

from dataclasses import dataclass

TOTAL = "total"


def slots(prefix: str) -> str:
    return f"{prefix}:slots"


def partitions(prefix: str, slot: str) -> str:
    return f"{prefix}:{slot}:partitions"


def label_months(prefix: str) -> str:
    return f"{prefix}:labels"


def labels(prefix: str, bucket: int, month: int) -> str:
    return f"{prefix}:{{labels:{bucket}}}:{month}"


def label_fence(prefix: str, bucket: int) -> str:
    return f"{prefix}:{{labels:{bucket}}}:fence"


def lease(prefix: str, slot: str, transaction: str) -> str:
    return f"{prefix}:lease:{slot}:{transaction}"


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of one partition of one slot."""

    prefix: str
    slot: str
    partition: int

    @property
    def base(self) -> str:
        return f"{self.prefix}:{{{self.slot}:{self.partition}}}"

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

    def pairs(self, run: str, day: int) -> str:
        return f"{self.base}:pairs:{run}:{day}"

    def bodies(self, run: str, day: int | str) -> str:
        return f"{self.base}:s:{run}:{day}"

    def references(self, run: str, day: int | str) -> str:
        return f"{self.base}:r:{run}:{day}"

    def taus(self, run: str, day: int | str) -> str:
        return f"{self.base}:tau:{run}:{day}"

    def stratum(self, run: str, day: int | str, outcome: int, segment: str) -> str:
        return f"{self.base}:z:{run}:{day}:{outcome}:{segment}"
