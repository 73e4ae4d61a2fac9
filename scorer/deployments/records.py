"""Records of the `deployments` topic: changes, requests to prepare, suggestions and what becomes of them, workers'
reports."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from scorer.people import Means
from scorer.pipeline.money import Currency

#: Version of the format of these records. Others are ignored.
SCHEMA = 1
LIVE = "live"
CANDIDATE = "candidate"
CONTROL = "control"
PREVIOUS = "previous"
Override = Literal["allow_all", "block_all"]
#: Kinds of changes of live that may be automated once people accept them as they are. `retrain`: the same features and
#: parameters on other data. `threshold`: the same model. `design`: anything else. `rollback`: to the model before.
ChangeKind = Literal["retrain", "threshold", "design", "rollback"]
#: How long a suggestion may be approved: evidence that nobody acted on for longer is to be looked at again.
STANDS = timedelta(hours=72)
#: Most characters of a comment, and most comments on a suggestion.
LONGEST_COMMENT, MOST_COMMENTS = 1000, 100


#: SHA-256 in hexadecimal. A digest becomes a part of paths, so nothing else is taken for one.
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: Name of a slot. It becomes a part of topics' groups, Redis keys and metrics.
SLOT_NAME = r"^[a-z][a-z0-9-]{0,30}$"
SlotName = Annotated[str, Field(pattern=SLOT_NAME)]
Epoch = Annotated[int, Field(ge=0, le=2**31)]
#: What tells one rotation from another. It becomes a part of paths.
RotationKey = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Target(BaseModel):
    """What to put into a slot. threshold: may differ from the bundle's own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: Digest | None = None
    threshold: float | None = Field(None, ge=0, le=1)
    override: Override | None = None


class Twin(BaseModel):
    """The seed twin of a bundle, and the threshold with which it is to be the A/A control."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: Digest
    threshold: float = Field(ge=0, le=1)


class First(BaseModel):
    """The first of two approvals. approval: its ledger key. by: whose it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    approval: str
    by: str


class Change(_Record):
    """Fills or empties slots. Void unless each slot that it names still has the epoch that it expects.

    slots: new content by slot, None to empty it. expects: epoch by slot. twins: by the digest of their originals, to
    take slot control when those are live. verified: how the name was; None if it was not. first: the approval that came
    before that of `by`, where two are needed. automatic: made by `shadow serve`, as automation is on. at: RFC 3339,
    here and below.
    """

    kind: Literal["change"] = "change"
    slots: dict[SlotName, Target | None]
    expects: dict[SlotName, Epoch]
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    cause: Literal["deploy", "override", "approve", "rollback"]
    suggestion: str | None = None
    twins: dict[Digest, Twin] = Field(default_factory=dict)
    verified: Means | None = None
    first: First | None = None
    automatic: bool = False
    at: str


def is_over(at: str, now: datetime) -> bool:
    """Whether something of a time on the ledger is older than `STANDS`, or that is no time with a zone."""
    try:
        return now - datetime.fromisoformat(at) > STANDS
    except (ValueError, TypeError, OverflowError):
        return True


class Judged(BaseModel):
    """A verdict as it is kept on the ledger. decision: `unknown` if it could not be made.

    reason: in one line. run, criteria: what was judged, and the digest of the criteria. against: the findings that did
    not pass.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    decision: Literal["promote", "hold", "reject", "unknown"]
    reason: str
    run: str | None = None
    criteria: str | None = None
    against: tuple[dict[str, Any], ...] = ()


class Forced(Change):
    """A promotion that somebody forced. verdict: at that moment. overrode: everything that stood against it."""

    kind: Literal["forced"] = "forced"  # type: ignore[assignment]
    verdict: Judged
    overrode: tuple[str, ...] = ()


class Prepare(_Record):
    """Asks every scorer to load a bundle, before it is put live."""

    kind: Literal["prepare"] = "prepare"
    digest: Digest
    by: str
    at: str


class Suggestion(_Record):
    """The proposal to put the bundle of `slot` live: of the gate, or of the watch after a release, which wants the
    model in slot `previous` back. Stands while each slot in `expects` keeps its epoch, nobody has answered it or taken
    it back, and it is not older than `STANDS`.

    change: the kind of change that it would be; None if that is not known, and in records of older versions. dossier:
    digest of all that the verdict follows from, which lies in the store of bundles; None if it could not be stored, and
    in records of older versions. made_by: who has trained the bundle, as its manifest has it.
    """

    kind: Literal["suggestion"] = "suggestion"
    action: Literal["promote", "rollback"] = "promote"
    change: ChangeKind | None = None
    slot: str
    target: Target
    expects: dict[str, int]
    criteria: str
    evidence: dict[str, Any]
    dossier: Digest | None = None
    made_by: str | None = None
    at: str

    def has_expired(self, now: datetime) -> bool:
        """Whether it is too old to be approved. One whose time cannot be read is. now: with a time zone.

        >>> at = "2026-01-01T00:00:00Z"
        >>> made = Suggestion(slot="candidate", target=Target(), expects={}, criteria="", evidence={}, at=at)
        >>> [made.has_expired(datetime.fromisoformat(f"2026-01-0{day}T00:00:00Z")) for day in (3, 4, 5)]
        [False, False, True]
        """
        return is_over(self.at, now)


class Answer(_Record):
    """A person's rejection of a suggestion. An approval is a `Change` that names the suggestion."""

    kind: Literal["answer"] = "answer"
    suggestion: str
    answer: Literal["rejected"]
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    verified: Means | None = None
    at: str


class Approval(_Record):
    """The first of two approvals that a change needs. It waits for somebody else's, who writes the change.

    slots, expects, twins, cause, suggestion: as the change will have them. verdict: at this moment, of a forced
    release. why: what it needs two people for, one line each. It dies with its suggestion, when a slot in `expects`
    changes, and once it is older than `STANDS`. An `Answer` or `Withdrawal` that names its ledger key ends it, too.
    """

    kind: Literal["approval"] = "approval"
    slots: dict[SlotName, Target | None]
    expects: dict[SlotName, Epoch]
    twins: dict[Digest, Twin] = Field(default_factory=dict)
    cause: Literal["deploy", "override", "approve", "rollback"]
    suggestion: str | None = None
    verdict: Judged | None = None
    why: tuple[str, ...] = ()
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    verified: Means | None = None
    at: str


class Comment(_Record):
    """What a person says of a suggestion that waits. Void once that is settled."""

    kind: Literal["comment"] = "comment"
    suggestion: str
    text: str = Field(min_length=1, max_length=LONGEST_COMMENT)
    by: str = Field(min_length=1)
    verified: Means | None = None
    at: str


class Withdrawal(_Record):
    """Takes a suggestion back. An approval that comes after it is void.

    cause: the verdict is no longer promote, the criteria are others, or nobody answered in time. reason: in words. by:
    who noticed: `shadow serve`, or whoever tried to approve.
    """

    kind: Literal["withdrawal"] = "withdrawal"
    suggestion: str
    cause: Literal["verdict", "criteria", "expired"]
    reason: str = Field(min_length=1)
    by: str = Field(min_length=1)
    at: str


class Watched(_Record):
    """What the watch after a release saw by its end.

    expects: the epochs of live and of slot `previous` that it was about. verdict: whether live was found to be worse
    than the model before it. compared: transactions. days: that it lasted.
    """

    kind: Literal["watched"] = "watched"
    expects: dict[SlotName, Epoch]
    verdict: Literal["no_harm", "harm"]
    reason: str = Field(min_length=1)
    compared: int = Field(ge=0)
    days: float = Field(ge=0)
    by: str = Field(min_length=1)
    at: str


class Automation(_Record):
    """Switches the automation of a kind of change on or off; `lost`: it was taken away. by: who did, or who noticed.
    verified: how the name was; None if it was not."""

    kind: Literal["automation"] = "automation"
    change: ChangeKind
    state: Literal["on", "off", "lost"]
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    verified: Means | None = None
    at: str


class Rotation(_Record):
    """How a rotation ended: a candidate was trained as the live bundle was, on newer data.

    rotation: its key, see `scorer.training.rotation`. parent: the live bundle. twin: of the candidate. as_of: what was
    known then. change: the ledger key of the change that filled the slots; None if nothing was filled. backtest: the
    verdict on archived decisions, where `promote` means that nothing stands against the candidate; None if there was
    no backtest. doubt: why nobody can tell which code the candidate was made by; None if they can. Void if the same
    rotation has ended before.
    """

    kind: Literal["rotation"] = "rotation"
    rotation: RotationKey
    outcome: Literal["deployed", "rejected"]
    parent: Digest
    candidate: Digest
    twin: Digest
    as_of: str
    change: str | None = None
    backtest: Judged | None = None
    doubt: str | None = None
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    verified: Means | None = None
    at: str


class Erasure(_Record):
    """Somebody asked for what is held on a card to be deleted. Neither the card nor anything made of it is in here.

    request: the id that the archive's table `erasures` has, too. partitions: whose scorers were asked to forget the
    card. samples, cases, labels: that were deleted from Redis. verified: how the name was; None if it was not.
    """

    kind: Literal["erasure"] = "erasure"
    request: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    partitions: int = Field(ge=0)
    samples: int = Field(ge=0)
    cases: int = Field(ge=0)
    labels: int = Field(ge=0)
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    verified: Means | None = None
    at: str


class PublishedView(_Record):
    """A feature view, as published by the scorers that use it.

    names: features, in the order of the snapshot. definitions: how each is computed. currency: of the amounts on
    decisions; None in records of older versions.
    """

    names: tuple[str, ...]
    definitions: dict[str, dict[str, Any]]
    currency: Currency | None = None


class WorkerReport(_Record):
    """Whether a scorer could load a bundle: the live one (`epoch`), or for the `Prepare` with ledger key `request`.

    digest: None of a live slot that only an override fills. runs: epoch of the live slot that it decides by right now.
    """

    digest: Digest | None
    status: Literal["loaded", "failed"]
    epoch: Epoch | None = None
    request: str | None = None
    reason: str | None = None
    runs: Epoch | None = None
    at: str


Entry = (
    Change
    | Forced
    | Prepare
    | Suggestion
    | Answer
    | Approval
    | Comment
    | Withdrawal
    | Watched
    | Automation
    | Rotation
    | Erasure
)
KINDS: dict[str, type[Entry]] = {
    "change": Change,
    "forced": Forced,
    "prepare": Prepare,
    "suggestion": Suggestion,
    "answer": Answer,
    "approval": Approval,
    "comment": Comment,
    "withdrawal": Withdrawal,
    "watched": Watched,
    "automation": Automation,
    "rotation": Rotation,
    "erasure": Erasure,
}


def encode(record: BaseModel) -> bytes:
    """A record's value on the topic."""
    return orjson.dumps({"schema": SCHEMA, **record.model_dump(mode="json")})
