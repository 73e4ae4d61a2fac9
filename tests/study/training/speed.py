"""How many rows a second all features of the whole file take on one core. Prints JSON; a process of its own."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from scorer.pipeline import merchant_risk
from scorer.pipeline.events import Events
from scorer.pipeline.features import Past
from scorer.pipeline.transaction import Reading
from scorer.sources.files import read_transactions
from study.handbook import MAPPING
from study.training.places import VIEW


def main() -> None:
    """Read everything, then compute every snapshot, and print how long the latter took."""
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    reading = Reading(mapping=MAPPING.of_files, attributes=VIEW.attributes)
    parts: list[Events] = []
    labels: list[npt.NDArray[np.int8]] = []
    known_ms: list[npt.NDArray[np.int64]] = []
    for chunk in read_transactions(Path(sys.argv[1]), MAPPING, reading=reading):
        assert chunk.events is not None
        assert chunk.labels is not None
        parts.append(chunk.events)
        labels.append(chunk.labels)
        known_ms.append(chunk.known_ms)
    rows = sum(map(len, parts))
    every, told = np.concatenate(labels), np.concatenate(known_ms)
    assert VIEW.risk is not None
    past, risk = Past(VIEW, reading.money.digits), merchant_risk.Past(VIEW.risk)
    started = time.process_time()
    for events in parts:
        past.add(events)
    codes = np.concatenate([risk.codes(events.merchants) for events in parts])
    occurred_ms, minor = (np.concatenate([getattr(part, name) for part in parts]) for name in ("occurred_ms", "minor"))
    merchant_risk.history(risk, codes, occurred_ms, minor, every, told, np.zeros(rows, dtype=np.bool_), 100)
    spent = time.process_time() - started
    sys.stdout.write(orjson.dumps({"rows": rows, "rows_per_s": rows / spent}).decode())


if __name__ == "__main__":
    main()
