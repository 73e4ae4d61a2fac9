"""What the explorer's addresses take, and how it is answered from a `shadow serve`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import HTTPException
from pydantic import Field

from scorer.deployments.records import CANDIDATE
from scorer.errors import UserError
from shadow.exploration.estimate import Estimate
from shadow.exploration.labelled import Labelled
from shadow.exploration.page import Sort
from shadow.exploration.question import Question, Text
from shadow.release.look import Look
from shadow.release.named import UnknownNameError
from shadow.serve.desk import Desk, Opened, labelled
from shadow.serve.service import Serve
from shadow.web.auth import People
from shadow.web.gate import SLOT
from shadow.web.reading import Reader

#: Most rows of an export, and of a page.
MOST_ROWS, MOST_ON_PAGE = 100_000, 1_000


class Scope(Question):
    """A question on the samples of a run of a slot."""

    slot: str = Field(CANDIDATE, pattern=SLOT, description="name of a slot", examples=["candidate"])
    run: str | None = Field(
        None,
        pattern=r"^L[0-9]{1,9}-C[0-9]{1,9}$",
        description="run, such as L1-C1; the slot's current one if missing",
        examples=["L1-C1"],
    )
    beyond_noise: bool = Field(
        False, description="leave out gaps of a size that the A/A control's scores differ by, too (95 % of them)"
    )


class OfPage(Scope):
    """A page of samples."""

    sort: Sort = "time"
    ascending: bool = False
    limit: int = Field(20, ge=1, le=MOST_ON_PAGE, description="samples on the page")
    cursor: str | None = Field(None, max_length=200, description="`next` of the page before")


class OfFacets(Scope):
    """Facets of fields."""

    field: list[Text] = Field(
        [],
        max_length=20,
        description="field such as `merchant_id`, `hour`, `top_feature` or `segment.country`; repeatable. None: the "
        "divisions, direction, hour, day, label and top_feature",
        examples=[["segment.country", "hour"]],
    )
    top: int = Field(10, ge=1, le=100, description="values of each field, the largest ones")


class OfDrivers(Scope):
    """Drivers of differences."""

    top: int = Field(10, ge=1, le=100, description="features, those that make most of the differences")


class OfWhatIf(Scope):
    """What another threshold would do."""

    threshold: float = Field(ge=0, le=1, description="of the candidate; a score equal to it blocks", examples=[0.4])


class OfExport(Scope):
    """A file of samples."""

    format: Literal["csv", "jsonl", "parquet"] = Field("csv", description="kind of file")
    sort: Sort = "time"
    ascending: bool = False
    limit: int = Field(10_000, ge=1, le=MOST_ROWS, description="most rows")


class Asking:
    """Opens questions that came over HTTP, with its errors as statuses."""

    def __init__(self, serve: Serve, people: People) -> None:
        self.serve, self.people = serve, people
        self.desk = Desk(serve.redis, serve.settings.prefix, serve.settings.control)
        self._labelled: dict[str, tuple[Look, Labelled]] = {}

    def known(self, slot: str, run: str | None) -> Labelled:
        """What is known of a slot's cases, as of the gate's last look."""
        seen = self.serve.looks.get(slot)
        if seen is None or (run is not None and run != str(seen.candidate.run)):
            return _NOTHING
        held = self._labelled.get(slot)
        if held is None or held[0] is not seen:
            held = self._labelled[slot] = seen, labelled(seen.labels.cases, seen.labels.known)
        return held[1]

    async def open(self, asked: Scope, reader: Reader, is_glance: bool = False) -> Opened:
        """The samples that a question means. is_glance: some of them will do, until all are read.

        Raises HTTPException: 403 for a viewer who asks for a card, 404 for what is not there.
        """
        reader.require(asked.card)
        serve = self.serve
        try:
            return await self.desk.open(
                serve.deployments,
                asked.slot,
                asked.run,
                asked,
                self.known(asked.slot, asked.run),
                serve.release.segments.names,
                asked.beyond_noise,
                is_glance=is_glance,
            )
        except UnknownNameError as error:
            raise HTTPException(404, str(error)) from None
        except UserError as error:
            raise HTTPException(422, str(error)) from None


_NOTHING = Labelled()


def head(opened: Opened, minor_per_unit: float, currency: str | None) -> dict[str, Any]:
    """What every answer says of the samples that it rests on."""
    hidden: Estimate | None = opened.hidden
    return {
        "slot": opened.slot,
        "run": str(opened.run),
        "samples": len(opened.rows),
        "estimate": opened.count.to_json(),
        "amount": round(opened.money / minor_per_unit, 2),
        "currency": currency,
        "noise": {
            "floor": opened.floor,
            "hidden": None if hidden is None else hidden.to_json(),
        },
        "held": {"samples": len(opened.table), "stored": opened.table.stored},
    }


EXAMPLE_ESTIMATE: Mapping[str, Any] = {"value": 1240.5, "error": 61.2, "low": 1126.3, "high": 1366.9, "samples": 400}
EXAMPLE_HEAD: Mapping[str, Any] = {
    "slot": "candidate",
    "run": "L1-C1",
    "samples": 400,
    "estimate": EXAMPLE_ESTIMATE,
    "amount": 61240.5,
    "currency": "EUR",
    "noise": {"floor": 0.012, "hidden": None},
    "held": {"samples": 2100, "stored": 2100},
}
