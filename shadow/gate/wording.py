"""The texts of findings: what was observed, the bound that decides, the limit, and what is still needed.

Shares carry a word for their direction instead of a sign: "3.0 % fewer", never "-3.0 % more".
"""

from __future__ import annotations

import math

from shadow.gate.clean_period import CleanPeriod
from shadow.gate.criteria import Criterion, Kind
from shadow.gate.findings import Verdict
from shadow.gate.origin import Origin
from shadow.gate.shares import percent

NO_CONTROL = "No A/A control to compare with; deploy a seed twin of live to slot control"
_END = {Verdict.FAIL: "lower bound", Verdict.PASS: "upper bound", Verdict.INSUFFICIENT: "upper bound so far"}
#: The text of each claim, and the words for the direction of its limit and for the opposite one.
_PHRASES = {
    Criterion.MORE_BLOCKS: ("Blocks {share} {word} than live", "more", "fewer"),
    Criterion.FEWER_BLOCKS: ("Blocks {share} {word} than live", "fewer", "more"),
    Criterion.MORE_BLOCKED_AMOUNT: ("Blocks {share} {word} money than live", "more", "less"),
    Criterion.FEWER_BLOCKED_AMOUNT: ("Blocks {share} {word} money than live", "less", "more"),
    Criterion.MORE_UNCAPPED_AMOUNT: ("Blocks {share} {word} money than live, no amount cut", "more", "less"),
    Criterion.FEWER_UNCAPPED_AMOUNT: ("Blocks {share} {word} money than live, no amount cut", "less", "more"),
    Criterion.LOST_FRAUD: ("Blocks {word} fraud than live, by {share} of live's blocks", "less", "more"),
    Criterion.LOST_FRAUD_AMOUNT: (
        "Blocks {word} fraudulent money than live, by {share} of the money live blocks",
        "less",
        "more",
    ),
    Criterion.INSULTS: ("Blocks {word} honest customers than live, by {share} of live's blocks", "more", "fewer"),
    Criterion.INSULTS_AMOUNT: (
        "Blocks {word} honest money than live, by {share} of the money live blocks",
        "more",
        "less",
    ),
    Criterion.EXCESS_DISAGREEMENT: (
        "Disagrees with live {word} often than the A/A control, by {share} of live's blocks",
        "more",
        "less",
    ),
}


def claim(criterion: Criterion, observed: float, bound: float, verdict: Verdict, limit: float) -> str:
    """A finding by evidence. observed, bound, limit: shares, positive in the direction of the limit.

    >>> claim(Criterion.FEWER_BLOCKS, 1.0, 0.942, Verdict.FAIL, 0.5)
    'Blocks 100.0 % fewer than live (lower bound 94.2 % fewer); limit 50.0 % fewer'
    """
    phrase, worse, better = _PHRASES[criterion]
    text = phrase.format(share=percent(abs(observed)), word=worse if observed >= 0 else better)
    return f"{text} ({_END[verdict]} {directed(criterion, bound)}); limit {directed(criterion, limit)}"


def directed(criterion: Criterion, share: float) -> str:
    """A share with a word for its direction, which is that of the criterion if it is positive.

    >>> directed(Criterion.FEWER_BLOCKS, -0.827), directed(Criterion.RECENT_LIVE_ONLY, 0.1)
    ('82.7 % more', '10.0 % more')
    """
    _, worse, better = _PHRASES.get(criterion, ("", "more", "less"))
    return f"{percent(abs(share))} {worse if share >= 0 else better}"


_SIDES = {
    Criterion.LOST_FRAUD: ("live", "live's blocks"),
    Criterion.LOST_FRAUD_AMOUNT: ("live", "the money live blocks"),
    Criterion.INSULTS: ("the candidate", "live's blocks"),
    Criterion.INSULTS_AMOUNT: ("the candidate", "the money live blocks"),
}


def side(criterion: Criterion, share: float, bound: float, limit: float, has_floor: bool, needed: bool) -> str:
    """A finding on harm from the size of the disagreement alone. needed: whether reviews are needed all the same.

    >>> side(Criterion.LOST_FRAUD, 0.01, 0.03, 0.05, has_floor=True, needed=False)
    "Live alone blocks 1.0 % of live's blocks beyond the A/A control (upper bound 3.0 %); limit 5.0 %; no review needed"
    """
    who, of = _SIDES[criterion]
    if not math.isfinite(share):
        return unknown(criterion)
    beyond = " beyond the A/A control" if has_floor else ""
    told = f"{who} alone blocks {percent(max(0.0, share))} of {of}{beyond} (upper bound {percent(max(0.0, bound))})"
    rest = "reviews needed, none yet" if needed else "no review needed"
    return f"{told[0].upper()}{told[1:]}; limit {percent(limit)}; {rest}"


RECENT_UNKNOWN = "Nothing is known of the last days"
_RECENT = {
    Criterion.RECENT_LIVE_ONLY: "In the last days live alone blocks {share} of its blocks {word} than before",
    Criterion.RECENT_CANDIDATE_ONLY: "In the last days the candidate alone blocks {share} of live's blocks {word} than "
    "before",
    Criterion.RECENT_ERRORS: "In the last days the candidate failed to score {share} of decisions",
    Criterion.RECENT_SCORES: "In the last days the candidate's scores moved {share} {word} than live's",
}


def recent(criterion: Criterion, observed: float, bound: float, verdict: Verdict, limit: float) -> str:
    """A finding on the last days. observed, bound, limit: shares.

    >>> recent(Criterion.RECENT_LIVE_ONLY, 0.31, 0.22, Verdict.FAIL, 0.15)
    'In the last days live alone blocks 31.0 % of its blocks more than before (lower bound 22.0 %); limit 15.0 %'
    """
    word = "more" if observed >= 0 else "less"
    text = _RECENT[criterion].format(share=percent(abs(observed)), word=word)
    end = percent(abs(bound)) + ("" if bound >= 0 else " less")
    return f"{text} ({_END[verdict]} {end}); limit {percent(limit)}"


def unknown(criterion: Criterion) -> str:
    """A finding by evidence where there is none.

    >>> unknown(Criterion.INSULTS), unknown(Criterion.MORE_BLOCKS)
    ('No case of this segment has been reviewed yet', 'Live has not blocked anything in this segment yet')
    """
    if criterion.kind is Kind.HARM:
        return "No case of this segment has been reviewed yet"
    return "Live has not blocked anything in this segment yet"


def needs(more: int | None, days: float | None, things: str, known: bool) -> str:
    """What an insufficient finding still needs.

    more: number of `things`, None if no number is enough. known: whether there is evidence enough to say so.

    >>> needs(1200, 3.5, "transactions", True)
    '; needs about 1,200 more transactions (about 3.5 days)'
    """
    if more is None or days is None:
        return "; not decidable at this traffic" if known else "; not enough data for an estimate"
    return f"; needs about {more:,} more {things} (about {days:g} days)"


def by_labels(verdict: Verdict, is_beyond: bool) -> str:
    """What labels say, or could say, of an excess that is not known to be small. is_beyond: it is known not to be."""
    if verdict is Verdict.PASS:
        return "; reviews show no harm beyond the limits"
    return "; only reviews can show that it does no harm" if is_beyond else "; reviews can decide it instead"


def if_good(verdict: Verdict, limit: float) -> str:
    """What reviews say, or could say, of a rise that is not known to keep to its limit. limit: what they allow.

    >>> if_good(Verdict.INSUFFICIENT, 0.5)
    '; up to 50.0 % more where reviews show little fraud lost, and few customers insulted for the fraud caught'
    """
    if verdict is Verdict.PASS:
        return f"; reviews show that it is good, which allows up to {percent(limit)} more"
    of = "where reviews show little fraud lost, and few customers insulted for the fraud caught"
    return f"; up to {percent(limit)} more {of}"


def support(criterion: Criterion, observed: float | None, decided: int, limit: float) -> str:
    """A finding by a plain threshold. observed: transactions, or a share of `decided`; None if nothing was decided.

    >>> support(Criterion.COVERAGE, 0.5, 2000, 0.99)
    '50.00 % of 2,000 decisions compared; at least 99.00 % required'
    """
    if observed is None:
        return "No decisions yet"
    match criterion:
        case Criterion.TRANSACTIONS:
            return f"{observed:,.0f} transactions compared; at least {limit:,.0f} required"
        case Criterion.COVERAGE:
            return f"{percent(observed, 2)} of {decided:,} decisions compared; at least {percent(limit, 2)} required"
        case _:
            return (
                f"{percent(observed, 4)} of {decided:,} decisions not scored by the candidate; "
                f"at most {percent(limit, 2)} allowed"
            )


def clean_hours(clean: CleanPeriod) -> str:
    """How much of the clean period is done, and what reset it last."""
    if clean.is_edited:
        return (
            "The release criteria changed within the run, and its evidence was gathered under others; begin a new run: "
            "deploy the candidate again"
        )
    since = f" since the last reset ({clean.resets[-1].cause})" if clean.resets else ""
    return f"{clean.hours:,} clean event hours{since}; {clean.needed:,} required"


def conflicts(n: int) -> str:
    """A finding on decisions that contradict each other.

    >>> conflicts(1)
    '1 transaction was decided twice with different scores'
    """
    many = f"{n:,} transactions were" if n > 1 else "1 transaction was" if n else "No transaction was"
    return f"{many} decided twice with different scores"


#: How a finding begins that doubts where a candidate comes from.
IN_DOUBT = "Nobody can tell what made the candidate"


def lineage(origin: Origin | None) -> str:
    """A finding on where the candidate comes from. origin: None if nobody has looked.

    >>> lineage(Origin("it was trained outside of a repository"))
    'Nobody can tell what made the candidate: it was trained outside of a repository; commit first, then train it again'
    """
    if origin is None:
        return f"{IN_DOUBT}: its manifest was not looked at"
    if origin.trouble is not None:
        return f"{IN_DOUBT}: its manifest cannot be read ({origin.trouble})"
    if origin.doubt is not None:
        return f"{IN_DOUBT}: {origin.doubt}; commit first, then train it again"
    return "The candidate's manifest says how it was made, from a commit without further changes"
