"""Decides a batch of transactions: returns the decisions, rejections and card states to write, and writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from scorer.errors import ModelFailedError
from scorer.pipeline import changelog
from scorer.pipeline.batch import (
    Incoming,
    LiveModel,
    Matrix,
    Part,
    Published,
    Record,
    Rules,
    Scores,
    Settled,
    Unreadable,
    Whole,
    joined,
)
from scorer.pipeline.card_states import CardStates
from scorer.pipeline.carried import carried
from scorer.pipeline.decode import Decoded, decode
from scorer.pipeline.encode import DecisionWriter, rejections
from scorer.pipeline.encode_avro import AvroDecisionWriter
from scorer.pipeline.events import Events
from scorer.pipeline.exploration import account
from scorer.pipeline.exploring import Explored, explored
from scorer.pipeline.features import observe, risk_keys, snapshot
from scorer.pipeline.transaction import LONGEST_VALUE, Reading
from scorer.pipeline.velocity import Seen

#: Field of a dead letter whose record made the scorer raise.
RAISED = "raised"
#: Records that are decided at once. What is decoded from more does not fit into the processor's caches.
CHUNK = 1000


def settle(
    incoming: Incoming,
    states: CardStates,
    published: Published,
    model: LiveModel,
    rules: Rules,
    now_ms: int | None,
) -> Settled:
    """`settle_all` for a batch of one partition."""
    return settle_all([Part(incoming, states, published)], model, rules, now_ms)[0]


def settle_all(parts: Sequence[Part], model: LiveModel, rules: Rules, now_ms: int | None) -> list[Settled]:
    """Decide a batch of each of several partitions; returns what to write for each, in that order.

    now_ms: time to stamp, milliseconds since 1970; None stamps each decision with its transaction's own time.

    Advances the parts' card states, and changes nothing else. A record that is published already only updates its card.
    A score that is not a probability turns its record into a rejection. Takes all partitions together, because each
    call has a fixed cost, but at most CHUNK records at a time.
    """
    settled: list[list[Settled]] = [[] for _ in parts]
    changed: list[list[str]] = [[] for _ in parts]
    for turn in _turns(parts):
        found = _settle_whatever_comes([piece for _, piece in turn], model, rules, now_ms)
        for (at, _), (one, cards) in zip(turn, found, strict=True):
            settled[at].append(one)
            changed[at] += cards
    return [
        _with_states(part, _merged(several), cards, rules.exploration is not None)
        for part, several, cards in zip(parts, settled, changed, strict=True)
    ]


def _with_states(part: Part, settled: Settled, cards: Sequence[str], explores: bool) -> Settled:
    """Add the card states to write, those to drop, and the steps of the clock. cards: whose states changed. explores:
    whether to add the account of what was released."""
    n = len(part.incoming.values)
    stood, steps = part.states.steps()
    # windows first: whoever finds the row of a card finds those of its windows
    states: list[Record] = list(part.states.windows.packed())
    if cards:
        states += part.states.packed(cards)
    if explores and n:
        part.budget.through = max(part.budget.through, int(part.incoming.offsets[-1]))
        states.append(account(part.budget.spending, part.budget.through))
    settled.clock = [changelog.clock(stood, steps)] if steps else []
    settled.states = states
    settled.dropped = changelog.swept(part.states, n, int(part.incoming.offsets[-1]) + 1) if n else []
    return settled


def _turns(parts: Sequence[Part]) -> Iterator[list[tuple[int, Part]]]:
    """Cut parts into pieces, and group these into turns of at most CHUNK records; an empty part yields an empty piece.

    Each piece comes with its part's position.
    """
    turn: list[tuple[int, Part]] = []
    room = CHUNK
    for at, part in enumerate(parts):
        start, n = 0, len(part.incoming.values)
        while True:
            end = min(n, start + room)
            is_whole = end - start == n
            turn.append((at, part if is_whole else replace(part, incoming=part.incoming.cut(slice(start, end)))))
            room -= end - start
            start = end
            if room == 0:
                yield turn
                turn, room = [], CHUNK
            if start == n:
                break
    if turn:
        yield turn


def _settle_whatever_comes(
    parts: Sequence[Part], model: LiveModel, rules: Rules, now_ms: int | None
) -> list[tuple[Settled, list[str]]]:
    """`_settle`, of which no record can take the others down: the last resort against a fault that nobody foresaw.

    Where it raises, the records are halved until the one at fault is alone; that one becomes a dead letter that names
    the exception. Raises ModelFailedError: a model that cannot score is nobody's record's fault.
    """
    try:
        return _settle(parts, model, rules, now_ms)
    except ModelFailedError:
        raise
    except Exception as error:
        n = sum(len(part.incoming.values) for part in parts)
        if n == 1:
            return [_raised(part, error, rules.reading, now_ms) for part in parts]
        halves = [_settle_whatever_comes(half, model, rules, now_ms) for half in _halved(parts, n // 2)]
        return [
            (_merged([one for one, _ in several]), [card for _, cards in several for card in cards])
            for several in zip(*halves, strict=True)
        ]


def _halved(parts: Sequence[Part], first: int) -> tuple[list[Part], list[Part]]:
    """The parts with only the first so many records, and with only the others."""
    halves: tuple[list[Part], list[Part]] = ([], [])
    for part in parts:
        n = len(part.incoming.values)
        cut = min(n, first)
        first -= cut
        for half, rows in zip(halves, (slice(0, cut), slice(cut, n)), strict=True):
            half.append(replace(part, incoming=part.incoming.cut(rows)))
    return halves


def _raised(part: Part, error: Exception, reading: Reading, now_ms: int | None) -> tuple[Settled, list[str]]:
    """A part of one record, or none, that cannot be decided."""
    try:
        return _told(part, error, reading, now_ms)
    except Exception:  # masking it raises, too: then nobody may see it, and it is found by its offset
        nothing: list[bytes | None] = [None] * len(part.incoming.values)
        unseen = replace(part, incoming=replace(part.incoming, keys=nothing, values=nothing, headers=()))
        return _told(unseen, error, reading, now_ms)


def _told(part: Part, error: Exception, reading: Reading, now_ms: int | None) -> tuple[Settled, list[str]]:
    """`_raised`, which may raise where a record cannot even be masked."""
    whole = joined([part.incoming])
    reason = f"raised: {type(error).__name__}; a fault of the scorer, please report it with this record's shape"
    refused = [(at, RAISED, reason) for at in range(len(whole.values))]
    letters, headers, fields = rejections(whole, refused, part, reading, now_ms)
    nothing = np.empty(0)
    settled = Settled(
        decisions=[],
        rejected=letters,
        headers=headers,
        states=[],
        scores=nothing,
        blocks=nothing.astype(bool),
        appended_ms=nothing.astype(np.int64),
        fields=fields,
    )
    return settled, []


def _merged(several: Sequence[Settled]) -> Settled:
    """Join what was decided of consecutive pieces of one partition."""
    if len(several) == 1:
        return several[0]
    merged: dict[str, Any] = {}
    has_headers = any(one.carried for one in several)
    for name in Settled.__dataclass_fields__:
        values = [getattr(one, name) for one in several]
        if name == "carried" and has_headers:  # one for each decision, or none at all
            values = [one.carried or [[] for _ in one.decisions] for one in several]
        if isinstance(values[0], np.ndarray):
            merged[name] = np.concatenate(values)
        else:
            merged[name] = sum(values) if isinstance(values[0], int) else [cell for value in values for cell in value]
    return Settled(**merged)


def _settle(
    parts: Sequence[Part], model: LiveModel, rules: Rules, now_ms: int | None
) -> list[tuple[Settled, list[str]]]:
    """Decide parts of at most CHUNK records in all; returns what to write for each, and its changed cards.

    The card states to write are left out: a card may change again in the next turn.
    """
    whole = joined([part.incoming for part in parts])
    short = [b"" if v is not None and (len(v) > LONGEST_VALUE or type(v) is Unreadable) else v for v in whole.values]
    decoded = decode(short, rules.reading, whole.keys, whole.headers, whole.appended_ms)
    events, positions = decoded.events, decoded.positions
    trusted = _trusted(events, whole.appended_ms[positions], rules.ahead_ms)
    refunds = _refunds(events, rules.reading)
    cuts = [slice(a, b) for a, b in pairwise(np.searchsorted(positions, whole.bounds).tolist())]
    counts = trusted if refunds is None else trusted & ~refunds
    seen = observe([part.states for part in parts], cuts, events, whole.offsets[positions], counts, rules.view)
    if refunds is not None:
        seen = replace(seen, repeat=seen.repeat & ~refunds)  # which may bear the id of what they refund
    try:
        return _decide(parts, whole, decoded, cuts, seen, trusted, refunds, model, rules, now_ms)
    except BaseException:
        seen.undo()  # what is not decided is settled again
        raise


def _decide(
    parts: Sequence[Part],
    whole: Whole,
    decoded: Decoded,
    cuts: Sequence[slice],
    seen: Seen,
    trusted: npt.NDArray[np.bool_],
    refunds: npt.NDArray[np.bool_] | None,
    model: LiveModel,
    rules: Rules,
    now_ms: int | None,
) -> list[tuple[Settled, list[str]]]:
    """What to write for each part, and its changed cards. cuts: which of the events are the part's. refunds: which
    events are refunds: bool (n,); None for none."""
    events, positions = decoded.events, decoded.positions
    risk = None
    if rules.view.risk is not None and rules.risk is not None:
        risk = rules.risk.find(risk_keys(rules.view.risk, events), events.occurred_ms)
    failed: Counter[str] = Counter()
    matrix = snapshot(rules.view, events, seen, None if risk is None else risk.features, failed)
    offsets = whole.offsets[positions]
    decided = np.repeat([part.published.decisions for part in parts], [cut.stop - cut.start for cut in cuts])
    rejected = np.repeat([part.published.rejected for part in parts], [cut.stop - cut.start for cut in cuts])
    fresh = offsets > np.minimum(decided, rejected)
    scores, usable = np.full(len(events), np.nan), np.ones(len(events), dtype=bool)
    blocks = np.zeros(len(events), dtype=bool)
    asked = fresh if refunds is None else fresh & ~refunds
    if asked.all():
        scores, blocks, usable = _verdicts(model, matrix)
    elif asked.any():
        scores[asked], blocks[asked], usable[asked] = _verdicts(model, matrix[asked])
    if refunds is not None:
        blocks[refunds] = model.override == "block_all"
    is_decision = fresh & usable & (offsets > decided)
    found: Explored | None = None
    if rules.exploration is not None and not model.override:
        found = explored(rules.exploration, parts, cuts, events, blocks & is_decision & trusted)
        blocks = blocks & ~found.released
    refused = [(r.position, r.field, r.reason) for r in decoded.refusals]
    refused += [(int(positions[i]), "score", f"score: {scores[i]} is no probability") for i in np.flatnonzero(~usable)]
    headers_of = carried(whole.headers, rules.carried)
    marks = {"repeat": seen.repeat} if refunds is None else {"repeat": seen.repeat, "refund": refunds}
    given = whole, positions, events, matrix, scores, blocks, marks, model, rules, now_ms, found, risk
    schema = rules.decision_schema
    decisions = (
        DecisionWriter(*given)
        if schema is None
        else AvroDecisionWriter(*given, schema=schema, has_risk=rules.view.risk is not None)
    )
    out = []
    # what is the same for all partitions is asked once: with many, most have a record or two
    decided_rows, at_of, its_ms = np.flatnonzero(is_decision), positions.tolist(), whole.appended_ms[positions]
    begins = np.searchsorted(decided_rows, [cut.start for cut in cuts] + [len(events)]).tolist()
    is_absorbed, is_untrusted, is_repeat = seen.absorbed.any(), not trusted.all(), seen.repeat.any()
    for part, cut, (first, end), (begin, until) in zip(
        parts, cuts, pairwise(whole.bounds), pairwise(begins), strict=True
    ):
        rows = decided_rows[begin:until]
        mine = [refusal for refusal in refused if first <= refusal[0] < end] if refused else []
        letters, headers, fields = rejections(whole, mine, part, rules.reading, now_ms)
        changed = list(events.cards[cut])
        if is_absorbed:
            changed = [card for card, was in zip(changed, seen.absorbed[cut].tolist(), strict=True) if not was]
        drawn, released, released_minor = (0, 0, 0) if found is None else found.counts(events, cut)
        keys = zip(at_of[cut], events.cards[cut], strict=True)
        out.append(
            (
                Settled(
                    decisions=decisions.of(part.incoming.partition, rows),
                    rejected=letters,
                    headers=headers,
                    states=[],
                    scores=scores[rows],
                    blocks=blocks[rows],
                    appended_ms=its_ms[rows],
                    fields=fields,
                    repeats=int(seen.repeat[rows].sum()) if is_repeat else 0,
                    miskeyed=sum(whole.keys[at] != card.encode() for at, card in keys),
                    untrusted=int((~trusted[cut]).sum()) if is_untrusted else 0,
                    refunds=0 if refunds is None else int(refunds[rows].sum()),
                    drawn=drawn,
                    released=released,
                    released_minor=released_minor,
                    carried=[headers_of[at] for at in positions[rows].tolist()] if headers_of else [],
                    riskless=0 if risk is None else sum(risk.versions[row] is None for row in rows.tolist()),
                    failed=list(failed.elements()) if part is parts[0] else [],
                    skipped=_skipped(whole, decoded, part, first, end) if decoded.skipped else [],
                ),
                changed,
            )
        )
    if found is not None:
        found.commit(parts)  # last: until then a fault changes nothing
    return out


def _skipped(whole: Whole, decoded: Decoded, part: Part, first: int, end: int) -> list[str]:
    """What a part's records are that the mapping passes over. first, end: its positions. Those that an earlier owner of
    the partition has passed over and counted are left out, as far as can be told."""
    done = max(part.published.decisions, part.published.rejected)
    return [what for at, what in decoded.skipped.items() if first <= at < end and int(whole.offsets[at]) > done]


def _trusted(events: Events, appended_ms: npt.NDArray[np.int64], ahead_ms: int | None) -> npt.NDArray[np.bool_]:
    """Which events may count in velocity: bool (n,). One dated far ahead would push out all buckets of its card."""
    if ahead_ms is None:
        return np.ones(len(events), dtype=bool)
    return (appended_ms < 0) | (events.occurred_ms <= appended_ms + ahead_ms)


def _refunds(events: Events, reading: Reading) -> npt.NDArray[np.bool_] | None:
    """Which events are refunds: bool (n,); None if there are none."""
    if reading.mapping.negative != "refund":
        return None
    refunds: npt.NDArray[np.bool_] = events.amount < 0
    return refunds if refunds.any() else None


def _verdicts(model: LiveModel, matrix: Matrix) -> tuple[Scores, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Score, verdict (True blocks) and whether the score is a probability, of each row: three arrays (n,).

    Under an override scores are NaN and all verdicts are the same.
    """
    n = len(matrix)
    if model.override or model.score is None or model.threshold is None:
        return np.full(n, np.nan), np.full(n, model.override == "block_all"), np.ones(n, dtype=bool)
    try:
        scores = model.score(matrix) if n else np.empty(0)
    except Exception as error:
        raise ModelFailedError(f"bundle {str(model.digest)[:12]}: cannot score ({error})") from error
    if scores.shape != (n,):
        raise ModelFailedError(f"bundle {str(model.digest)[:12]}: {scores.shape} scores for {n} transactions")
    return scores, scores >= model.threshold, (scores >= 0) & (scores <= 1)
