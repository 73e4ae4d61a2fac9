"""What a person decides of a release, from wherever it comes: the command line, the API, or a page. One path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from scorer.deployments.arrival import Arrival, arrived
from scorer.deployments.deploy import kept_on
from scorer.deployments.ledger import read
from scorer.deployments.pending import told as told_first
from scorer.deployments.records import CANDIDATE, LIVE, Answer, Approval, Change
from scorer.deployments.slots import Deployments, LedgerLine
from scorer.errors import BrokerError, UserError
from scorer.people import NOT_VERIFIED, Who
from shadow.release import promotion
from shadow.settings import ShadowSettings

Action = Literal["approve", "reject", "rollback"]
#: What has come of it: `waits` for a second person.
State = Literal["released", "waits", "rejected", "rolled_back"]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants. slot: of the candidate. threshold, force: as `promotion.approve` has them.

    suggestion: the ledger key of the one that they have seen; live_epoch: the epoch of live that they have, for a
    rollback. Then nothing is done if there is another one by now, and whoever asks again gets the same outcome.
    """

    action: Action
    reason: str
    slot: str = CANDIDATE
    suggestion: str | None = None
    threshold: float | None = None
    force: bool = False
    live_epoch: int | None = None

    @property
    def command(self) -> str:
        """The same on the command line."""
        more = "" if self.threshold is None else f" --threshold {self.threshold:g}"
        more += " --force" if self.force else ""
        return f"shadow {self.action} --slot {self.slot}{more} --reason …"


@dataclass(frozen=True, slots=True)
class Settled:
    """What has come of a wish. told: lines for people. arrival: where the scorers stand, if live was changed.

    is_repeated: it was done before, by the same person.
    """

    state: State
    line: LedgerLine
    after: Deployments
    told: tuple[str, ...]
    arrival: Arrival | None = None
    is_repeated: bool = False

    def to_json(self) -> dict[str, Any]:
        """For machines, over HTTP and on the command line."""
        live, entry = self.after.slot(LIVE), self.line.entry
        return {
            "state": self.state,
            "entry": self.line.seq,
            "by": getattr(entry, "by", None),
            "verified": getattr(entry, "verified", None),
            "live": {"digest": live.digest, "threshold": live.threshold, "epoch": live.epoch},
            "told": list(self.told),
            "late": {} if self.arrival is None else dict(self.arrival.late),
            "repeated": self.is_repeated,
        }


async def decide(settings: ShadowSettings, wish: Wish, who: Who, tell: Tell = lambda text: None) -> Settled:
    """Do what somebody wants, as far as the rules allow. tell: takes each line when it is known.

    Waits for the scorers: for the bundle to be loaded, and for every one of them to decide by it, each for
    `promote_seconds` at most. Raises UserError for whatever stands against it.
    """
    told: list[str] = []

    def say(text: str) -> None:
        told.append(text)
        tell(text)

    try:
        line, after = await _carried_out(settings, wish, who, say)
    except BrokerError:
        raise
    except UserError:
        present = await read(settings)
        found = done_before(present, wish, who)
        if found is None:
            raise
        return Settled(_state(found), found, present, (_again(found),), is_repeated=True)
    if who.verified is None:
        say(f"by {who.name} ({NOT_VERIFIED})")
    reached = None
    match line.entry:
        case Approval():
            say(f"slot {wish.slot}: {told_first(line)}")
        case Answer():
            say(f"slot {wish.slot}: suggestion rejected (ledger entry {line.seq})")
        case _:
            live = after.slot(LIVE)
            say(f"live: bundle {str(live.digest)[:12]} at threshold {live.threshold:g}, epoch {live.epoch}")
            still = kept_on(live)
            if still is not None:
                say(still)
            reached = await arrived(settings, settings.scorer_group, live.epoch, settings.promote_seconds)
            told.append(reached.told)  # an error to some: they say it themselves
    return Settled(_state(line), line, after, tuple(told), reached)


async def _carried_out(settings: ShadowSettings, wish: Wish, who: Who, tell: Tell) -> tuple[LedgerLine, Deployments]:
    if wish.action == "approve":
        return await promotion.approve(
            settings, wish.slot, who, wish.reason, wish.threshold, wish.force, tell, seen=wish.suggestion
        )
    if wish.action == "rollback":
        return await promotion.roll_back(settings, wish.slot, who, wish.reason, tell, seen=wish.live_epoch)
    line = await promotion.reject(settings, wish.slot, who, wish.reason, seen=wish.suggestion)
    return line, await read(settings)


def done_before(present: Deployments, wish: Wish, who: Who) -> LedgerLine | None:
    """The entry by which the same person has done the same already; None if there is none, or it cannot be told.

    Somebody whose answer was lost on the way asks again, and must not be told that they were too late.
    """
    if who.verified is None:
        return None  # anybody may have that name
    for line in reversed(present.ledger):
        is_theirs = not line.is_void and present.person(line.entry, line.signed_by) == who.person
        if is_theirs and _is_of(present, line, wish):
            return line
    return None


def _is_of(present: Deployments, line: LedgerLine, wish: Wish) -> bool:
    entry = line.entry
    if isinstance(entry, Approval) and (line.seq in present.settled or not _is_open(present, entry)):
        return False
    if wish.action == "reject":
        return isinstance(entry, Answer) and wish.suggestion is not None and entry.suggestion == wish.suggestion
    if not isinstance(entry, Change | Approval) or entry.cause != wish.action:
        return False
    if wish.action == "rollback":
        return wish.live_epoch is not None and entry.expects.get(LIVE) == wish.live_epoch
    known = present.decided.suggestions.get(str(wish.suggestion))
    if known is None:
        return False
    target = entry.slots.get(LIVE)
    wanted = known[0].target.threshold if wish.threshold is None else wish.threshold
    return (
        target is not None
        and (target.digest, target.threshold) == (known[0].target.digest, wanted)
        and all(entry.expects.get(name) == epoch for name, epoch in known[0].expects.items())
    )


def _is_open(present: Deployments, entry: Approval) -> bool:
    return all(present.slot(name).epoch == epoch for name, epoch in entry.expects.items())


def _state(line: LedgerLine) -> State:
    match line.entry:
        case Approval():
            return "waits"
        case Answer():
            return "rejected"
        case Change(cause="rollback"):
            return "rolled_back"
    return "released"


def _again(line: LedgerLine) -> str:
    if isinstance(line.entry, Approval):
        return told_first(line)
    return f"you have done this already, as ledger entry {line.seq}; nothing is changed by asking again"


def why_not_over_http(settings: ShadowSettings, command: str) -> str | None:
    """Why this server cannot write a person's decision; None if it can. command: that does it instead."""
    if settings.trusted_keys is None:
        return None
    return (
        "changes must be signed here (setting trusted_keys), and nobody's key is on this server; run "
        f"`{command}` with your signing_key"
    )
