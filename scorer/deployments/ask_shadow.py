"""Asks the program `shadow` what runs have gathered. That is in Redis, of which the scorer knows nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable

from pydantic import TypeAdapter, ValidationError

from scorer.deployments.evidence import Gathered
from scorer.errors import UserError

#: Longest wait for its answer.
SECONDS = 60.0
#: Yields what the runs of all filled slots have gathered. Raises UserError if that cannot be seen.
Ask = Callable[[], Awaitable[list[Gathered]]]

_ANSWER = TypeAdapter(list[Gathered])


async def gathered() -> list[Gathered]:
    """What `shadow evidence` says. Raises UserError if that program is not installed here, or cannot see it."""
    beside = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", "")))
    program = shutil.which("shadow", path=beside)
    if program is None:
        raise UserError("the command `shadow` is not installed here")
    process = await asyncio.create_subprocess_exec(
        program, "evidence", "--json", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    except TimeoutError:
        process.kill()
        raise UserError(f"`shadow evidence` did not answer within {SECONDS:g} s") from None
    if process.returncode:
        lines = err.decode(errors="replace").splitlines() or [f"`shadow evidence` ended with {process.returncode}"]
        raise UserError(lines[-1].removeprefix("error: "))
    try:
        return _ANSWER.validate_json(out)
    except ValidationError:
        raise UserError("`shadow evidence` is of another version") from None
