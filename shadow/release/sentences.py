"""A judgement in plain sentences: the verdict, the one thing that holds a release, what helps, and what the two models
do in numbers. Pages, the report and the command line say these. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from shadow.comparison.outcome import Outcome
from shadow.comparison.resets import AGAIN
from shadow.comparison.totals import ALL, RunTotals, SegmentTotals
from shadow.gate import wording
from shadow.gate.clean_period import CleanPeriod
from shadow.gate.criteria import Criterion, Kind
from shadow.gate.findings import EITHER, Decision, Finding, Judgement, Verdict
from shadow.gate.judge import ENOUGH
from shadow.gate.shares import percent

#: Criteria that look at one number from its two sides. What is said of one says all of both.
PAIRS = (
    (Criterion.MORE_BLOCKS, Criterion.FEWER_BLOCKS),
    (Criterion.MORE_BLOCKED_AMOUNT, Criterion.FEWER_BLOCKED_AMOUNT),
    (Criterion.MORE_UNCAPPED_AMOUNT, Criterion.FEWER_UNCAPPED_AMOUNT),
)
#: What each criterion is about, for people. Both of a pair have the same name.
NAMES = {
    Criterion.COVERED_HOURS: "clean period",
    Criterion.DECISION_CONFLICTS: "decided twice",
    Criterion.LINEAGE: "lineage",
    Criterion.TRANSACTIONS: "transactions",
    Criterion.COVERAGE: "compared",
    Criterion.CANDIDATE_ERROR_RATE: "not scored",
    Criterion.MORE_BLOCKS: "blocks",
    Criterion.FEWER_BLOCKS: "blocks",
    Criterion.MORE_BLOCKED_AMOUNT: "blocked money",
    Criterion.FEWER_BLOCKED_AMOUNT: "blocked money",
    Criterion.MORE_UNCAPPED_AMOUNT: "blocked money, no amount cut",
    Criterion.FEWER_UNCAPPED_AMOUNT: "blocked money, no amount cut",
    Criterion.LOST_FRAUD: "fraud caught",
    Criterion.LOST_FRAUD_AMOUNT: "fraud caught, money",
    Criterion.INSULTS: "honest customers blocked",
    Criterion.INSULTS_AMOUNT: "honest customers blocked, money",
    Criterion.EXCESS_DISAGREEMENT: "beyond noise",
    Criterion.RECENT_LIVE_ONLY: "last days: live alone",
    Criterion.RECENT_CANDIDATE_ONLY: "last days: candidate alone",
    Criterion.RECENT_ERRORS: "last days: not scored",
    Criterion.RECENT_SCORES: "last days: scores",
}
#: Event hours of a week: from then on money is told for a week.
WEEK = 7 * 24
_RANK = {Verdict.FAIL: 0, Verdict.INSUFFICIENT: 1, Verdict.PASS: 2}
#: What a headline leaves out.
_BOUNDS, _AND = re.compile(r" \((?:lower|upper) bound[^)]*\)"), ", and "
_NEVER = wording.needs(None, None, "", known=True)


#: The command that makes a candidate again, from a commit.
RETRAIN = "scorer train FILE --by …"


class Help(Enum):
    """What takes an obstacle away."""

    DATA = "compare"
    TRAIN = "commit and train again"
    NEW_RUN = "deploy again"
    CONTROL = "a control"
    REVIEWS = "reviews"
    TIME = "time"
    PLAN = "more traffic, or other criteria"
    CHANGE = "another candidate"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What holds a release: where, and why. days: until it is gone at the present rate, None if nobody knows."""

    segment: str
    name: str
    reason: str
    help: Help
    is_failure: bool
    days: float | None = None

    @property
    def told(self) -> str:
        """A sentence for people."""
        return self._placed(self.reason)

    @property
    def short(self) -> str:
        """The same without bounds and what is still needed, for a headline."""
        if self.is_clean_period:
            return self.reason.partition(_AND)[0]
        return self._placed("; ".join(_BOUNDS.sub("", self.reason).split("; ")[:2]))

    @property
    def is_clean_period(self) -> bool:
        return self.name == NAMES[Criterion.COVERED_HOURS]

    def _placed(self, reason: str) -> str:
        return reason if self.is_clean_period else f"{place(self.segment)}: {reason[:1].lower()}{reason[1:]}"


@dataclass(frozen=True, slots=True)
class Step:
    """What a person can do next. command: that helps, if there is one."""

    text: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """A number of both models, side by side. Shares are of the larger one."""

    name: str
    live: str
    candidate: str
    live_share: float
    candidate_share: float


def place(segment: str) -> str:
    """A segment as people say it.

    >>> place("all"), place("country=DE"), place("amount=>=500")
    ('All traffic', 'country DE', 'amount ≥500')
    """
    if segment == ALL:
        return "All traffic"
    name, _, value = segment.partition("=")
    value = f"≥{value[2:]}" if value.startswith(">=") else value
    return f"{name} {value}" if value else name


def named(findings: Sequence[Finding]) -> list[Finding]:
    """Of two findings that look at one number from its two sides, only the worse one; the order stays."""
    kept: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = (NAMES[finding.criterion], finding.segment)
        there = kept.get(key)
        if there is None or _badness(finding) < _badness(there):
            kept[key] = finding
    chosen = set(map(id, kept.values()))
    return [finding for finding in findings if id(finding) in chosen]


def _badness(finding: Finding) -> tuple[int, bool, float, float]:
    """The smaller the worse: by verdict, then what takes longer, then what is more in the direction of its limit."""
    waits = 0.0 if finding.days is None else finding.days
    return _RANK[finding.verdict], finding.excused, -waits, -(finding.observed or 0.0)


def reason_of(finding: Finding, live_blocks: int | None = None) -> str:
    """Why a finding is what it is. live_blocks: of its segment; with too few of them no share is told, as a bound of
    thousands of percent says nothing."""
    of_blocks = finding.criterion.kind in (Kind.CHANGE, Kind.HARM, Kind.FLOOR, Kind.RECENT)
    if (
        live_blocks is None
        or live_blocks >= ENOUGH
        or finding.verdict is not Verdict.INSUFFICIENT
        or not of_blocks
        or (finding.observed is None and finding.bound is None)
    ):
        return finding.reason
    many = "1 transaction" if live_blocks == 1 else f"{live_blocks:,} transactions"
    told = f"Too few to compare: live has blocked {many} here" if live_blocks else "Live has blocked nothing here yet"
    return told + wording.needs(finding.more, finding.days, finding.things, known=False)


def obstacles(judgement: Judgement, totals: RunTotals | None = None) -> list[Obstacle]:
    """What holds a release, the one thing first: what failed, or else what takes longest. Each is told once.

    totals: of the run, so that what rests on a few blocks is not told in percent.
    """
    findings = [f for f in judgement.findings if f.verdict is not Verdict.PASS and not f.excused]
    if judgement.decision is Decision.REJECT:
        findings = [f for f in findings if f.verdict is Verdict.FAIL]
    parts = {} if totals is None else totals.segments
    blocks = {name: part.live_blocks for name, part in parts.items()}
    found = (_obstacle(finding, judgement, blocks.get(finding.segment)) for finding in named(findings))
    once = {one.told: one for one in sorted(found, key=_order, reverse=True)}
    return sorted(once.values(), key=_order)


def _obstacle(finding: Finding, judgement: Judgement, live_blocks: int | None) -> Obstacle:
    clean = judgement.clean
    reason = reason_of(finding, live_blocks)
    if finding.criterion is Criterion.COVERED_HOURS and clean is not None and not clean.is_edited:
        reason = clean_days(clean)
    return Obstacle(
        finding.segment,
        NAMES[finding.criterion],
        reason,
        _help(finding, judgement),
        finding.verdict is Verdict.FAIL,
        finding.days,
    )


def _help(finding: Finding, judgement: Judgement) -> Help:
    clean = judgement.clean
    if finding.verdict is Verdict.FAIL:
        return Help.CHANGE
    if finding.criterion is Criterion.COVERED_HOURS:
        return Help.NEW_RUN if clean is not None and clean.is_edited else Help.TIME
    if finding.criterion is Criterion.LINEAGE:
        return Help.DATA if finding.observed is None else Help.TRAIN
    if finding.criterion is Criterion.EXCESS_DISAGREEMENT and finding.observed is None and not _is_empty(finding):
        return Help.CONTROL
    if finding.things == "reviews" or finding.reason.endswith(wording.by_labels(Verdict.INSUFFICIENT, True)):
        return Help.REVIEWS
    if finding.criterion.kind is Kind.HARM and finding.observed is not None:
        return Help.REVIEWS
    if _NEVER in finding.reason:
        return Help.PLAN
    return Help.TIME


def _is_empty(finding: Finding) -> bool:
    """Whether live has blocked nothing, so that no share of its blocks is known, with or without a control."""
    return finding.reason.startswith(wording.unknown(finding.criterion))


def _order(one: Obstacle) -> tuple[bool, int, bool, float]:
    """Failures; what a person has to mend; what takes longest. What nobody can foresee comes after what is known."""
    mend = {Help.TRAIN: 0, Help.NEW_RUN: 1, Help.CONTROL: 2, Help.PLAN: 3}.get(one.help, 4)
    return not one.is_failure, mend, one.days is None, -(one.days or 0.0)


def verdict(judgement: Judgement, found: Sequence[Obstacle], is_backtest: bool = False) -> str:
    """The verdict in one sentence. found: its obstacles. is_backtest: whether it is one of a backtest, which promotes
    nothing."""
    if judgement.decision is Decision.PROMOTE:
        left = f"; not judged: {', '.join(map(place, judgement.not_judged))}" if judgement.not_judged else ""
        if is_backtest:
            return f"Nothing stands against it so far: {judgement.passed:,} checks pass, none fails{left}."
        return f"Ready to release: {judgement.passed:,} checks pass, none fails{left}. A person decides."
    if not found:
        return "On hold: nothing was compared yet."
    more = len(found) - 1
    if judgement.decision is Decision.REJECT:
        also = f" {more:,} more {'limit is' if more == 1 else 'limits are'} exceeded." if more else ""
        return f"Rejected. {_sentence(found[0].short)}{also}"
    also = f" {more:,} more {'check waits' if more == 1 else 'checks wait'}." if more else ""
    return f"On hold. {_sentence(found[0].short)}{also}"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def clean_days(clean: CleanPeriod) -> str:
    """How much of the clean period is done, in days."""
    if not clean.missing:
        return f"All {clean.needed / 24:g} clean days are done" if clean.needed > 24 else "The clean day is done"
    told = f"{clean.hours / 24:.1f} of {clean.needed / 24:g} clean days are done"
    if clean.missing and clean.ends is not None:
        told += f"{_AND}the last can be full at {hour(clean.ends + 1)} at the earliest"
    return told


def clean_told(clean: CleanPeriod) -> str:
    """How full the clean period is, what reset it, and when it can be full at the earliest."""
    told = f"clean period: {clean.hours:,} clean event hours, {clean.needed:,} required"
    if clean.missing and clean.ends is not None:
        told += f", {clean.missing} to go: full at {hour(clean.ends + 1)} at the earliest"
    restarts = restarted(clean)
    return "; ".join([told, *restarts])


def restarted(clean: CleanPeriod) -> list[str]:
    """What began the clean period anew."""
    found = []
    if clean.begun:
        found.append(_begun(clean.begun))
    if clean.resets:
        last = clean.resets[-1]
        many = f"reset {len(clean.resets)} times, last" if len(clean.resets) > 1 else "reset"
        found.append(f"{many} at {hour(last.hour)} by {last.cause}")
    return found


def _begun(causes: Sequence[str]) -> str:
    """Why the run before this one ended."""
    if AGAIN in causes:
        return "the run restarted because a slot was redeployed"
    return f"the run restarted because of a {' and a '.join(causes)}"


def hour(at: int) -> str:
    """An event hour, since 1970, for people."""
    return datetime.fromtimestamp(at * 3600, UTC).strftime("%Y-%m-%d %H:%M UTC")


def to_try(slot: str, threshold: float) -> str:
    """The command that takes another threshold."""
    return f"scorer deploy BUNDLE --slot {slot} --threshold {threshold:.4g} --by … --reason …"


def steps(
    slot: str, judgement: Judgement, found: Sequence[Obstacle], reviews: int, suggestion: str | None, why_none: str
) -> list[Step]:
    """What to do next, the most useful first. reviews: cases that wait. suggestion: the ledger key of the one that
    waits for a person; why_none: why there is none."""
    out: list[Step] = []
    if judgement.decision is Decision.PROMOTE:
        if suggestion is None:
            return [Step(why_none)]
        approve = f"shadow approve --slot {slot} --by … --reason …"
        return [
            Step("Release it, if you agree:", approve),
            Step("Or say no:", f"shadow reject --slot {slot} --by … --reason …"),
        ]
    helps = {one.help for one in found}
    if judgement.decision is Decision.REJECT:
        # of what is blocked, another threshold may mend it; of errors it cannot
        of_rate = {NAMES[c] for pair in PAIRS for c in pair}
        if judgement.suggested_threshold is not None and found and found[0].name in of_rate:
            told = f"Try it at {judgement.suggested_threshold:.4g}, where it blocks as much as live (a new run begins):"
            out.append(Step(told, to_try(slot, judgement.suggested_threshold)))
        return [*out, Step("See which transactions differ, and why; then train or choose another candidate.")]
    if not found:
        return [Step("Check that a shadow runs for this slot:", f"shadow run --slot {slot}")]
    if Help.TRAIN in helps:
        out.append(Step("Commit all changes, train the candidate again and deploy it (a new run begins):", RETRAIN))
    if Help.NEW_RUN in helps:
        out.append(Step("Begin a new run:", f"scorer deploy BUNDLE --slot {slot} --by … --reason …"))
    if Help.CONTROL in helps:
        out.append(
            Step("Deploy a twin of live as the A/A control:", "scorer deploy TWIN --slot control --by … --reason …")
        )
    if reviews:
        many = "1 case waits" if reviews == 1 else f"{reviews:,} cases wait"
        out.append(Step(f"Review: {many} for a person.", f"shadow review next --slot {slot} --by …"))
    if Help.PLAN in helps:
        out.append(Step("See what would settle what this traffic cannot:", "shadow plan"))
    days = max((one.days for one in found if one.days is not None), default=None)
    if days is not None:
        meanwhile = "" if out else "; nothing else is needed from you meanwhile"
        out.append(Step(f"Wait about {_days(days)} at the present rate{meanwhile}."))
    elif not out:
        out.append(Step("Wait: nobody can say yet how long."))
    return out


def _days(days: float) -> str:
    return "1 day" if days == 1 else f"{days:,.1f} days"


def differ(part: SegmentTotals) -> str:
    """How often the two differ, who blocks, exactly counted."""
    if not part.compared:
        return "Nothing was compared yet."
    live, candidate = int(part.counts[Outcome.LIVE_ONLY]), int(part.counts[Outcome.CANDIDATE_ONLY])
    share = percent((live + candidate) / part.compared, 2)
    return (
        f"They differ on {live + candidate:,} of {part.compared:,} transactions ({share}): live alone blocks {live:,}, "
        f"the candidate alone {candidate:,}."
    )


def noise(judgement: Judgement) -> str:
    """Whether they differ by more than two equal models would."""
    found = [f for f in judgement.findings if f.criterion is Criterion.EXCESS_DISAGREEMENT and f.segment == ALL]
    if not found or found[0].observed is None:
        return f"Not known: {found[0].reason if found else wording.NO_CONTROL}."
    rate = next((one for one in judgement.rates if (one.segment, one.outcome) == (ALL, EITHER)), None)
    if rate is not None and rate.low > 0:
        return f"Yes. {found[0].reason}."
    if rate is not None and found[0].verdict is Verdict.PASS:
        return f"No more than the limit allows. {found[0].reason}."
    return f"Not shown. {found[0].reason}."


def good_or_bad(judgement: Judgement, reviews: int) -> list[str]:
    """What is known of fraud caught and of honest customers, in all traffic. reviews: cases that wait."""
    by_name = {f.criterion: f for f in judgement.findings if f.segment == ALL}
    wanted = (Criterion.LOST_FRAUD, Criterion.INSULTS, Criterion.LOST_FRAUD_AMOUNT, Criterion.INSULTS_AMOUNT)
    known = [by_name[c].reason for c in wanted if c in by_name and by_name[c].observed is not None]
    if known:
        return [f"{one}." for one in known]
    if reviews:
        return [f"Not known yet: {reviews:,} {'case waits' if reviews == 1 else 'cases wait'} for a review."]
    sides = [by_name[c].reason for c in wanted[:2] if c in by_name]
    return [f"{one}." for one in sides] or ["Not known: nothing was reviewed."]


def money(minor: float, minor_per_unit: float, currency: str) -> str:
    """An amount with its currency.

    >>> money(1234550, 100, "EUR"), money(1234550, 100, "")
    ('EUR 12,346', '12,346 (no currency known)')
    """
    told = f"{minor / minor_per_unit:,.0f}"
    return f"{currency} {told}" if currency else f"{told} (no currency known)"


def span(hours: int) -> str:
    """What money of so many event hours is told for.

    >>> span(336), span(30), span(1)
    ('a week', 'in 30 hours', 'in 1 hour')
    """
    return "a week" if hours >= WEEK else "in 1 hour" if hours == 1 else f"in {hours:,} hours"


def in_span(minor: float, hours: int) -> float:
    """Money of so many event hours, as of a week once there is one."""
    return minor * WEEK / hours if hours >= WEEK else minor


def a_week(minor: float, hours: int, minor_per_unit: float, currency: str) -> str:
    """Money of so many event hours, for a week once there is one.

    >>> a_week(200, 336, 1, "EUR"), a_week(200, 30, 1, "EUR")
    ('EUR 100 a week', 'EUR 200 in 30 hours')
    """
    return f"{money(in_span(minor, hours), minor_per_unit, currency)} {span(hours)}"


def sides(part: SegmentTotals, hours: int, minor_per_unit: float, currency: str) -> list[Side]:
    """What both models do, side by side. hours: event hours that were compared."""
    counts, minor = part.counts, part.minor
    by_live = int(counts[Outcome.BOTH_BLOCK] + counts[Outcome.LIVE_ONLY])
    by_candidate = int(counts[Outcome.BOTH_BLOCK] + counts[Outcome.CANDIDATE_ONLY])
    total = max(1, part.compared)
    of_live = float(minor[Outcome.BOTH_BLOCK] + minor[Outcome.LIVE_ONLY])
    of_candidate = float(minor[Outcome.BOTH_BLOCK] + minor[Outcome.CANDIDATE_ONLY])
    rate = Side(
        "Blocks",
        f"{percent(by_live / total, 2)} ({by_live:,})",
        f"{percent(by_candidate / total, 2)} ({by_candidate:,})",
        *_of_larger(by_live, by_candidate),
    )
    told = [a_week(value, hours, minor_per_unit, currency) for value in (of_live, of_candidate)]
    return [rate, Side("Blocked money", told[0], told[1], *_of_larger(of_live, of_candidate))]


def _of_larger(live: float, candidate: float) -> tuple[float, float]:
    most = max(live, candidate, 1e-12)
    return live / most, candidate / most


def change_in_money(part: SegmentTotals, hours: int, minor_per_unit: float, currency: str) -> str:
    """What the difference comes to, in money."""
    live, candidate = float(part.minor[Outcome.LIVE_ONLY]), float(part.minor[Outcome.CANDIDATE_ONLY])
    net = candidate - live
    each = [money(in_span(value, hours), minor_per_unit, currency) for value in (abs(net), candidate, live)]
    word = f"{each[0]} {'more' if net > 0 else 'less'} than" if net else "as much money as"
    when = "In a week" if hours >= WEEK else span(hours).capitalize()
    return f"{when} the candidate blocks {word} live: {each[1]} that live allows, less {each[2]} that only live blocks."
