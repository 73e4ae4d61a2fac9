"""The explorer's desk: opens the samples of a run for a question, for the API, the pages and the command line alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from shadow.comparison.case import Case
from shadow.comparison.sample import Sample
from shadow.comparison.totals import Run
from shadow.exploration.estimate import Estimate, count
from shadow.exploration.labelled import Labelled
from shadow.exploration.page import noise_floor
from shadow.exploration.question import Question
from shadow.exploration.table import Bools, Rows, Table, UnknownFieldError
from shadow.labels.label import Known, State
from shadow.release.look import present_run
from shadow.release.named import UnknownNameError, nearest, require_run, require_segment, require_slot
from shadow.release.wording import to_be_filled
from shadow.store.explorer import FIRST, Explorer
from shadow.store.reader import TallyReader

#: Seconds that an answer may be old, and after which it is not given while a newer one is read.
FRESH, TOO_OLD = 2.0, 20.0
#: Slots whose samples are held in memory.
HELD = 4


@dataclass(frozen=True)
class Opened:
    """The samples of a run, and which of them a question means.

    masks: by condition. rows: int64, those that meet all. floor: the size of gap within which an A/A control differs,
    too; None if it is not known. hidden: what the floor leaves out of the answer, if anybody asked for that. age:
    seconds since Redis was read.
    """

    slot: str
    run: Run
    table: Table
    masks: Mapping[str, Bools]
    rows: Rows
    floor: float | None
    hidden: Estimate | None
    age: float

    @property
    def count(self) -> Estimate:
        """The transactions of the whole stream that are meant."""
        return count(self.table.chances[self.rows])

    @property
    def money(self) -> float:
        """Their money, in minor units."""
        return float((self.table.entries["minor"][self.rows] / self.table.chances[self.rows]).sum())


class Desk:
    """Opens samples of any slot. redis: an asyncio client, whose errors are passed on. control: slot of the A/A
    control."""

    def __init__(self, redis: Any, prefix: str, control: str) -> None:
        self._redis, self._prefix, self._control = redis, prefix, control
        self._explorers: dict[str, Explorer] = {}
        self._reading: dict[tuple[str, str], asyncio.Task[Table]] = {}
        self._floor: tuple[Table, float | None] | None = None

    def explorer(self, slot: str) -> Explorer:
        """The explorer of a slot; the one that was used longest ago is given up for it."""
        found = self._explorers.pop(slot, None) or Explorer(self._redis, slot, self._prefix)
        self._explorers = {**dict(list(self._explorers.items())[1 - HELD :]), slot: found}
        return found

    async def chosen(self, deployments: Deployments, slot: str, run: str | None) -> Run:
        """The run that is meant: the slot's current one if none is named. Raises UnknownNameError."""
        require_slot(deployments, slot)
        present = present_run(deployments, slot)
        if run is not None:
            try:
                named = Run.parse(run)
            except ValueError as error:
                raise UserError(f"run: {error}") from None
            if named != present:
                known = await TallyReader(self._redis, slot, (), self._prefix).runs()
                require_run([info.run for info in known], slot, named)
            return named
        if present is None:
            raise UnknownNameError(to_be_filled(slot))
        return present

    async def table(
        self, slot: str, run: Run, labelled: Labelled, at_once: bool = True, is_glance: bool = False
    ) -> Table:
        """The samples of a run. at_once: rather a few seconds old than waited for, and read anew meanwhile. is_glance:
        as long as nobody has read all of them, some will do."""
        explorer = self.explorer(slot)
        explorer.forget(but=run)
        age = explorer.age(run)
        most = FIRST if is_glance else None
        if not at_once or age > TOO_OLD:
            found = await explorer.table(run, labelled, 0.0 if not at_once else FRESH, most)
            if len(found) < found.stored and is_glance:
                self._read_anew(slot, run, explorer, labelled)
            return found
        if age > FRESH:
            self._read_anew(slot, run, explorer, labelled)
        return await explorer.table(run, labelled, TOO_OLD + 60, most)

    def _read_anew(self, slot: str, run: Run, explorer: Explorer, labelled: Labelled) -> None:
        key = slot, str(run)
        task = self._reading.get(key)
        if task is None or task.done():
            task = asyncio.create_task(explorer.table(run, labelled, FRESH))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # the next one tells of it
            self._reading[key] = task

    async def stop(self) -> None:
        """Give up what is being read."""
        for task in self._reading.values():
            task.cancel()
        await asyncio.gather(*self._reading.values(), return_exceptions=True)

    async def floor(self, deployments: Deployments, is_glance: bool = False) -> float | None:
        """What the A/A control's scores differ by: see `noise_floor`. None if there is no control, or no sample."""
        run = present_run(deployments, self._control)
        if run is None:
            return None
        table = await self.table(self._control, run, _NOTHING, is_glance=is_glance)
        if self._floor is None or self._floor[0] is not table:
            self._floor = table, noise_floor(table, np.flatnonzero(table.is_disagreement))
        return self._floor[1]

    async def open(
        self,
        deployments: Deployments,
        slot: str,
        run: str | None,
        asked: Question,
        labelled: Labelled,
        declared: Sequence[str],
        beyond_noise: bool = False,
        at_once: bool = True,
        is_glance: bool = False,
    ) -> Opened:
        """The samples that a question means. declared: segments of release.yaml. at_once, is_glance: see `table`.

        Raises UnknownNameError for a slot, run, segment or field that is not there, with the name that is nearest;
        CurrencyError if views name several currencies.
        """
        named = await self.chosen(deployments, slot, run)
        floor = await self.floor(deployments, is_glance)
        table = await self.table(slot, named, labelled, at_once, is_glance)
        if not table.lists:
            for segment in asked.segment:
                require_segment(declared, segment)
        try:
            masks = table.masks(asked, deployments.minor_per_unit)
        except UnknownFieldError as error:
            raise unknown(error) from None
        rows = np.flatnonzero(table.met(masks))
        if asked.card is not None and len(rows):
            rows = await self.explorer(slot).of_card(named, table, rows, asked.card)
            masks = {**masks, "#card": _only(rows, len(table))}
        hidden = None
        if beyond_noise and floor is not None:
            masks["#noise"] = ~(np.abs(table.gaps) <= floor)  # what has no gap is no noise
            kept = rows[masks["#noise"][rows]]
            hidden, rows = count(table.chances[rows[~masks["#noise"][rows]]]), kept
        return Opened(slot, named, table, masks, rows, floor, hidden, self.explorer(slot).age(named))

    async def samples(self, opened: Opened, rows: Rows) -> AsyncIterator[Sample]:
        """The bodies of some rows, in order."""
        async for sample in self.explorer(opened.slot).rows_of(opened.run, opened.table, rows):
            yield sample


_NOTHING = Labelled()


def _only(rows: Rows, n: int) -> Bools:
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return mask


def unknown(error: UnknownFieldError) -> UnknownNameError:
    """What to say of a field that no sample has."""
    return UnknownNameError(f"{error.kind} {error.name}: no sample has it; {nearest(error.name, error.known)}")


def labelled(cases: Iterable[Case], known: Iterable[Known]) -> Labelled:
    """What is known of the cases of a run: of each what reviews say, or else what chargebacks do."""
    states = {}
    for case, one in zip(cases, known, strict=True):
        said = one.review
        if said is State.PENDING and one.chargeback in (State.FRAUD, State.LEGIT):
            said = one.chargeback
        states[case.hash] = "waiting" if said is State.PENDING else said.value
    return Labelled.of(states)


def since(age: float) -> float:
    """The wall-clock time at which something of this age was read, in seconds since 1970."""
    return time.time() - age
