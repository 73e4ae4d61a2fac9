"""From drawn rows to what the gate is given at each look: all that these shapes know of the product's sums.

Card-days and money are counted as the store counts them; a test holds this against the store itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from shadow.comparison.totals import CAP_PARTS
from shadow.gate.criteria import Criterion, Kind
from shadow.gate.harm import KINDS as KINDS_OF_ANSWERS
from shadow.gate.harm import LabelledPairs, harm_claims, label_claims, labels_wanted
from shadow.gate.sums import Sums
from shadow.release.criteria_file import load_release
from study.card_days import card_days
from study.shapes.traffic import TYPICAL_MINOR, Rows
from study.shapes.world import CHANNELS, COUNTRIES, Array, Bools
from study.verdicts import Outcome, through_the_gate

RELEASE = load_release(Path(__file__).with_name("release.yaml"))
NAMES = RELEASE.segments.names
#: Minor units in the unit of the reporting currency.
UNIT = 100.0
CAP = RELEASE.cap_minor(UNIT)
#: Looks in a day. The gate looks every minute, but three hours change what it has seen by very little.
A_DAY = 8
#: Kinds of answers, as `shadow.gate.harm.KINDS` has them.
KINDS = len(KINDS_OF_ANSWERS)
#: Limits by criterion and segment, for whoever computes a truth.
LIMITS = {str(c): RELEASE.limit(c) for c in Criterion if c.kind in (Kind.CHANGE, Kind.HARM)}


def assigned(country: Array, channel: Array, minor: Array) -> Array:
    """The product's segments of each transaction: positions in NAMES, (n, 1 + divisions)."""
    columns = {
        "country": np.array(COUNTRIES, dtype=object)[country].tolist(),
        "channel": np.array(CHANNELS, dtype=object)[channel].tolist(),
        "amount": (minor / UNIT).tolist(),
    }
    return RELEASE.segments.assign(columns, len(minor))


@dataclass(frozen=True)
class Seen:
    """What a shadow has seen of a release. rows: in order of time. segments: from `assigned`. candidate, control: sums
    up to each look; control: None if it is known to be no twin of live. days: of the release."""

    rows: Rows
    segments: Array
    candidate: Sums
    control: Sums | None
    days: int

    @classmethod
    def of(cls, rows: Rows, days: int, is_twin: bool = True) -> Seen:
        segments = assigned(rows.country, rows.channel, rows.minor)
        quiet = _quiet(rows, days)
        candidate = _sums(rows, rows.candidate, segments, quiet)
        control = _sums(rows, rows.control, segments, quiet) if is_twin else None
        return cls(rows, segments, candidate, control, days)

    def on_the_first_day(self) -> Outcome | None:
        """What becomes of the release before anybody has reviewed anything; None if it goes on."""
        found = self.judged(pairs_of(np.zeros((self.days * A_DAY, len(NAMES), KINDS, 3))), slice(0, A_DAY))
        return None if found.verdict == "hold" else found

    def judged(self, labels: LabelledPairs, looks: slice = slice(None)) -> Outcome:
        """What becomes of the release. labels: known at every look.

        Segments are named as a person finds them a day after a rejection, if it was for all traffic alone at first.
        """
        found = self._through(labels, looks)
        if found.verdict == "reject" and found.named == NAMES[:1]:
            later = min(round((found.day + 1) * A_DAY), self.days * A_DAY) - 1
            then = self._through(labels, slice(later, later + 1))
            if then.verdict == "reject":
                return replace(found, named=then.named)
        return found

    def _through(self, labels: LabelledPairs, looks: slice) -> Outcome:
        candidate = at_looks(self.candidate, looks)
        control = None if self.control is None else at_looks(self.control, looks)
        claims = label_claims(at_looks(labels, looks), candidate, RELEASE)
        return through_the_gate(candidate, control, RELEASE, claims, A_DAY)


def _quiet(rows: Rows, days: int) -> Array:
    """Transactions that everybody allows, up to each look: (looks, S)."""
    assert rows.quiet is not None
    cells = np.indices(rows.quiet.shape[1:]).reshape(3, -1)
    member = np.zeros((cells.shape[1], len(NAMES)))
    for column in assigned(cells[0], cells[1], TYPICAL_MINOR[cells[2]]).T:
        member[np.arange(len(column)), column] = 1
    by_look = rows.quiet.reshape(days * A_DAY, 24 // A_DAY, -1).sum(axis=1)
    return np.asarray((by_look @ member).cumsum(axis=0))


def _sums(rows: Rows, other: Bools, segments: Array, quiet: Array) -> Sums:
    """The sums of the candidate or the control at every look. quiet: from `_quiet`."""
    code = np.where(rows.live, np.where(other, 1, 2), np.where(other, 3, 0))
    some = np.flatnonzero(code)
    look, code, mine = rows.hour[some] * A_DAY // 24, code[some], segments[some]
    amount = np.minimum(rows.minor[some], CAP)

    def by_look(which: Array | slice, weight: Array | None = None) -> Array:
        at = ((look[which, None] * len(NAMES) + mine[which]) * 4 + code[which, None]).ravel()
        each = None if weight is None else np.repeat(weight[which], mine.shape[1])
        shape = len(quiet), len(NAMES), 4
        return np.bincount(at, each, int(np.prod(shape))).reshape(shape).cumsum(axis=0).astype(np.float64)

    everything = slice(None)
    counts = by_look(everything)
    counts[..., 0] += quiet
    card_day = rows.card[some] * 128 + rows.hour[some] // 24
    parts = -(-rows.minor[some] * CAP_PARTS // CAP)
    return Sums(
        counts=counts,
        capped=by_look(everything, amount)[..., 1:],
        errors=np.zeros(counts.shape[:2]),
        **card_days(card_day, look, mine, code - 1, parts, len(quiet), len(NAMES)),
    )


Looks = TypeVar("Looks", Sums, LabelledPairs)


def at_looks(path: Looks, looks: slice | int) -> Looks:
    """Some looks of a path, or one of them."""
    return type(path)(*(getattr(path, name)[looks] for name in type(path).__dataclass_fields__))


def asked(candidate: Sums, control: Sums | None, pairs: LabelledPairs, bar: float) -> list[int]:
    """Segments that wait for labels, the least settled first, at one look."""
    claims = harm_claims(label_claims(pairs, candidate, RELEASE), candidate, control, RELEASE)
    wanted = labels_wanted(claims, candidate, RELEASE)
    settled = np.min([np.clip(np.maximum(c.log_within(), c.log_beyond()), 0, bar) for c in claims], axis=0)
    return [at for at in np.argsort(settled, kind="stable").tolist() if wanted[at] and settled[at] < bar]


def pairs_of(known: Array) -> LabelledPairs:
    """Labels in the gate's form, of sums (..., S, 6, 3): cases, their amounts as shares of the cap, and squares."""
    cases, money, squares = known[..., 0], known[..., 1], known[..., 2]
    return LabelledPairs(cases, cases, money, squares, cases.sum(axis=-1))
