"""Python imports this at its start where the folder is on PYTHONPATH: such a process stands still when it is told to.

It does so when a file of its number is in the folder WEDGE_IN. The file says what hangs from then on, without an error
or a line in the log: its `fetches`, the `thread` of its consumer, or its main `loop`.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from aiokafka.consumer.fetcher import Fetcher
from faust.transport.consumer import Consumer

_fetch = Fetcher._proc_fetch_request
_commit = Consumer.commit
_order = Path(os.environ["WEDGE_IN"]) / f"wedge-{os.getpid()}"
_hanging: list[str] = []


def _hangs(what: str) -> bool:
    """Whether this is to hang; the order is gone once it does."""
    if not _hanging and _order.is_file() and _order.read_text() == what:
        _hanging.append(what)
        _order.unlink()
    return what in _hanging


async def _fetching(self: Any, *args: Any) -> Any:
    came = await _fetch(self, *args)
    if self._client._client_id.endswith(("-reader", "-probe")):
        return came  # not the client that serves the worker
    if _hangs("fetches"):
        await asyncio.Event().wait()
    if _hangs("thread"):
        time.sleep(3600)
    return came


async def _committing(self: Any, *args: Any, **options: Any) -> Any:
    if _hangs("loop"):
        time.sleep(3600)
    return await _commit(self, *args, **options)


Fetcher._proc_fetch_request = _fetching
Consumer.commit = _committing
