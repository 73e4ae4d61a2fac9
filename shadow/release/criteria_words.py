"""Release criteria as sentences for people who do not read YAML. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shadow.comparison.totals import ALL
from shadow.gate.criteria import Limits, Release
from shadow.gate.shares import percent


@dataclass(frozen=True, slots=True)
class Part:
    """Sentences on one part of the criteria."""

    title: str
    sentences: tuple[str, ...]


def in_words(release: Release, currency: str = "") -> list[Part]:
    """All that the criteria ask for. currency: of amounts, if it is known."""
    segments = [name for name in release.segments.names if name != ALL]
    parts = [
        Part("Before anything is decided", tuple(_whole(release, currency))),
        Part("Over all traffic", tuple(_limits(release.overall, of_all=True))),
    ]
    if segments:
        rest = [name for name in segments if name not in release.exceptions]
        parts.append(Part(f"In each of {len(rest)} segments", (_named(rest), *_limits(release.per_segment))))
    for name, limits in release.exceptions.items():
        parts.append(Part(f"In segment {name}", tuple(_limits(limits))))
    excused = [f"{one} may lack evidence without holding a promotion." for one in release.may_stay_insufficient]
    if release.implied is not None:
        excused.append(f"Segment {release.implied} may lack evidence, as the file does not name it.")
    small = percent(release.maximum_other_share)
    excused.append(f"A segment “other” with less than {small} of the traffic and of live's blocks may lack evidence.")
    parts.append(Part("What may stay unknown", tuple(excused)))
    return parts


def _whole(release: Release, currency: str) -> list[str]:
    hours = release.minimum_covered_hours
    said = f"{hours:,} event hours without a fault must be covered"
    days, rest = divmod(hours, 24)
    found = [f"{said} ({days:,} days)." if not rest and days > 1 else f"{said}."]
    if release.tolerated_error_rate:
        tolerated = percent(release.tolerated_error_rate, 2)
        found.append(f"An hour counts as clean if the candidate fails to score at most {tolerated} of its decisions.")
    else:
        found.append("One decision that the candidate fails to score begins the clean period anew.")
    found += [
        f"A criterion whose limit is exceeded passes with a probability of at most {percent(release.promote_error)}, "
        "however often somebody looks.",
        f"A candidate within every limit is rejected with a probability of at most {percent(release.reject_error)}.",
        f"The money of a card on one day counts up to {release.amount_cap:,.0f} {currency}".rstrip() + ".",
        f"The last {release.recent_days} event days are judged apart, too.",
    ]
    if release.require_lineage:
        found.append(
            "The candidate's manifest must say how it was made, from a commit without further changes, so that it can "
            "be made again."
        )
    if release.better_factor > 1:
        found.append(
            "Where reviews show fraud gained and no more insults, the limits on more blocks and more blocked money are "
            f"multiplied by {release.better_factor:g}."
        )
    return found


def _limits(limits: Limits, of_all: bool = False) -> list[str]:
    found = [
        f"At least {limits.minimum_transactions:,} transactions must be compared, and "
        f"{percent(limits.minimum_coverage)} of all decisions.",
        f"The candidate may fail to score at most {percent(limits.maximum_candidate_error_rate, 2)} of the decisions.",
        _both("block", "blocks", limits.maximum_more_blocks, limits.maximum_fewer_blocks, "fewer"),
        _both(
            "block",
            "money, cut at the cap,",
            limits.maximum_more_blocked_amount,
            limits.maximum_fewer_blocked_amount,
            "less",
        ),
    ]
    more, less = limits.maximum_more_uncapped_amount, limits.maximum_fewer_uncapped_amount
    if more is not None:
        found.append(f"It may block at most {percent(more)} more whole money than live.")
    if less is not None:
        found.append(f"It may block at most {percent(less)} less whole money than live.")
    found += [
        f"It may lose fraud of at most {percent(limits.maximum_lost_fraud)} of live's blocks, and of at most "
        f"{percent(limits.maximum_lost_fraud_amount)} of the money that live blocks.",
        f"It may block honest customers in addition, at most {percent(limits.maximum_insults)} of live's blocks, and "
        f"{percent(limits.maximum_insults_amount)} of the money that live blocks.",
        f"The two may disagree beyond the A/A control on at most {percent(limits.maximum_excess_disagreement)} of "
        "live's blocks; more than that needs reviews.",
        f"In the last days, what one of them alone blocks may rise by at most {percent(limits.maximum_recent_rise)} of "
        "live's blocks.",
    ]
    if of_all:
        shift = limits.maximum_recent_score_shift
        found.append(f"In the last days, the candidate's scores may move at most {shift:g} beyond live's.")
    return found


def _both(verb: str, what: str, more: float, less: float, word: str) -> str:
    if more == less:
        return f"It may {verb} at most {percent(more)} more or {word} {what} than live."
    return f"It may {verb} at most {percent(more)} more {what} than live, and at most {percent(less)} {word}."


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:12])
    return f"These are {shown}{f' and {len(names) - 12} more' if len(names) > 12 else ''}."
