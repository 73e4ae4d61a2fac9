"""What the scorer publishes, as types: a decision, and the headers of a dead letter. Pure.

`scorer.pipeline.encode` writes both without these types, which would cost time; tests hold what it writes against them.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from scorer.pipeline.money import MOST
from scorer.pipeline.transaction import Transaction

#: A score, or a threshold: a score equal to it blocks.
Probability = Annotated[float, Field(ge=0, le=1)]
#: As the scorer writes a time.
Stamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
Whole = Annotated[int, Field(ge=0)]


class DecidedTransaction(Transaction):
    """The transaction, under our names, with every other field that it came with."""

    amount: Annotated[float, Field(ge=-MOST, le=MOST)] = Field(
        description="in units of `currency`; negative only if the mapping gives that a meaning"
    )


@with_config(ConfigDict(extra="forbid"))
class Source(TypedDict):
    """Where the transaction is: its record on `transactions`."""

    partition: Whole
    offset: Whole


@with_config(ConfigDict(extra="forbid", strict=True))
class Decision(TypedDict):
    """A decision on a transaction."""

    schema: Annotated[Literal[1], Field(description="version of this format")]
    transaction: DecidedTransaction
    decision: Literal["allow", "block"]
    score: Annotated[Probability | None, Field(description="of fraud; null where no model was asked")]
    threshold: Annotated[Probability | None, Field(description="a score equal to it blocks; null without a bundle")]
    bundle: Annotated[
        Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None, Field(description="digest of the bundle that decided")
    ]
    epoch: Annotated[Whole, Field(description="of the live slot: how often it was changed")]
    view: Annotated[str, Field(description="the feature view; `view/<id>` on `deployments` has its names")]
    release_probability: Annotated[
        Probability,
        Field(
            description="below 1 for a would-be block that was drawn for a random release: released if `decision` is "
            "`allow`, else blocked; 1 for every other decision"
        ),
    ]
    override: NotRequired[
        Annotated[Literal["allow_all", "block_all"], Field(description="present only while the kill switch is on")]
    ]
    features: Annotated[list[float | None], Field(description="in the order of the view; null means missing")]
    amount_minor: Annotated[int, Field(description="in minor units of the reporting currency")]
    scored_at: Stamp
    source: Source
    repeat: NotRequired[Annotated[Literal[True], Field(description="present only if the sender repeated an id")]]
    refund: NotRequired[Annotated[Literal[True], Field(description="present only on a refund, which no model scores")]]
    risk_snapshot: NotRequired[
        Annotated[
            str,
            Field(
                pattern=r"^[0-9a-f]{16}$",
                description="version of the snapshot of merchant risk in `features`; absent without one",
            ),
        ]
    ]
    risk_staleness_seconds: NotRequired[
        Annotated[Whole, Field(description="from when that snapshot began to count to the transaction's own time")]
    ]


class RejectionHeaders(TypedDict):
    """Headers of a dead letter, all of them texts. Of the record that was refused it also has `timestamp` and
    `header.NAME`."""

    reason: Annotated[str, Field(description="why, after the field at fault")]
    field: Annotated[
        str, Field(description="the field at fault; `value`, `key`, `record`, `schema`, `score`, `raised`")
    ]
    partition: Annotated[str, Field(pattern=r"^\d+$", description="of the record on `transactions`")]
    offset: Annotated[str, Field(pattern=r"^\d+$", description="of the record on `transactions`")]
    schema: Annotated[str, Field(pattern="^1$", description="version of this format")]
    rejected_at: Stamp
    masked: NotRequired[Annotated[Literal["true"], Field(description="present only if card numbers were masked")]]


@with_config(ConfigDict(extra="forbid"))
class ReplayedHeaders(TypedDict):
    """Headers of a mark that `scorer replay --rejected` leaves: it has the dead letter's key, and no value."""

    replayed: Annotated[str, Field(pattern=r"^\d+$", description="offset on `transactions` of what was sent again")]
