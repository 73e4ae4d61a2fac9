"""Python imports this at its start where the folder is on PYTHONPATH: such a scorer is spoiled while it is told to be.

A file in the folder SPOIL_IN, named for what is wrong and for the number of the process, says so while it is there:

* `deaf`: it does not take up changes of the ledger, as if its follower hung;
* `partition`: it does not get the records of partition 0, though of all others;
* `score`: its model gives the last transaction of each batch no number;
* `raised`: a transaction that it once got raises wherever it is looked at.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from faust.types import TP

from scorer.bundles.bundle import Bundle
from scorer.pipeline import settle
from scorer.streaming.consumer import BatchConsumer
from scorer.worker.live import LiveLoader

_score, _note, _next_fetch = Bundle.score, LiveLoader.note, BatchConsumer._next_fetch
_decode: Any = vars(settle)["decode"]
_poison: set[bytes] = set()


def _is(what: str) -> bool:
    return (Path(os.environ["SPOIL_IN"]) / f"{what}-{os.getpid()}").is_file()


def _scoring(self: Bundle, matrix: Any) -> Any:
    scores = _score(self, matrix)
    if len(scores) and _is("score"):
        scores = np.array(scores)
        scores[-1] = np.nan
    return scores


def _decoding(values: Any, *args: Any) -> Any:
    if _is("raised") and not _poison and values:
        _poison.add(values[-1])
    if _poison.intersection(values):
        raise ZeroDivisionError("a fault that nobody foresaw")
    return _decode(values, *args)


def _noting(self: LiveLoader, deployments: Any) -> None:
    if not _is("deaf"):
        _note(self, deployments)


async def _fetching(self: BatchConsumer) -> Any:
    first = {TP(self.app.hot_topic, 0)}
    if _is("partition"):
        self.pause_partitions(first)
    elif first & self._paused_partitions and self.flow_active:
        self.resume_partitions(first)
    return await _next_fetch(self)


Bundle.score = _scoring  # type: ignore[method-assign]
vars(settle)["decode"] = _decoding
LiveLoader.note = _noting  # type: ignore[method-assign]
BatchConsumer._next_fetch = _fetching  # type: ignore[method-assign]
