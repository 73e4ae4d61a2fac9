"""A task that ends takes its process down, and says why."""

from __future__ import annotations

import asyncio

import pytest

from scorer.errors import UserError
from scorer.process.tasks import TaskEndedError, Tasks

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Owner:
    def __init__(self) -> None:
        self.told: list[Exception] = []
        self.tasks = Tasks(self.ended)

    async def ended(self, error: Exception) -> None:
        self.told.append(error)


async def goes_on() -> None:
    await asyncio.Event().wait()


async def breaks(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


async def returns() -> None:
    await asyncio.sleep(0)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("error", [ValueError("x"), RecursionError("deep"), KeyError("k"), asyncio.CancelledError()])
async def test_a_task_that_ends_is_named_with_its_reason_whatever_ended_it(error: BaseException) -> None:
    owner = Owner()
    owner.tasks.start(goes_on(), "other")
    owner.tasks.start(breaks(error), "deployments")
    await settled()
    (told,) = owner.told
    assert isinstance(told, TaskEndedError)
    assert "task deployments ended" in str(told)
    await owner.tasks.stop()


async def test_an_error_that_a_person_can_mend_comes_as_it_is() -> None:
    owner = Owner()
    owner.tasks.start(breaks(UserError("mend it")), "deployments")
    await settled()
    assert [str(told) for told in owner.told] == ["mend it"]


async def test_a_task_that_returns_has_ended_too_unless_it_may() -> None:
    owner = Owner()
    owner.tasks.start(returns(), "short", may_end=True)
    await settled()
    assert owner.told == []
    owner.tasks.start(returns(), "labels")
    await settled()
    assert [str(told) for told in owner.told] == ["task labels ended: returned"]


async def test_the_process_is_told_once_and_of_no_task_that_it_stops_itself() -> None:
    owner = Owner()
    for name in ("a", "b"):
        owner.tasks.start(breaks(ValueError(name)), name)
    await settled()
    assert len(owner.told) == 1
    quiet = Owner()
    quiet.tasks.start(goes_on(), "beat")
    await quiet.tasks.stop()
    await settled()
    assert quiet.told == []
