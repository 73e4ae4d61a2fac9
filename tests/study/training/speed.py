"""How many rows a second the features of the whole file take on one core. Prints JSON; a process of its own."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import orjson

from scorer.pipeline.decode import decode
from scorer.pipeline.events import Events
from scorer.pipeline.features import Past
from scorer.pipeline.transaction import Reading
from scorer.sources.files import read_transactions
from study.training.places import MAPPING, VIEW


def main() -> None:
    """Read everything, then compute every snapshot, and print how long the latter took."""
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    reading = Reading(mapping=MAPPING.of_files, attributes=VIEW.attributes)
    parts: list[Events] = []
    for chunk in read_transactions(Path(sys.argv[1]), MAPPING, reading=reading):
        parts.append(chunk.events if chunk.events is not None else decode(chunk.values, reading).events)
    past = Past(VIEW, reading.money.digits)
    started = time.process_time()
    for events in parts:
        past.add(events)
    spent = time.process_time() - started
    rows = sum(map(len, parts))
    sys.stdout.write(orjson.dumps({"rows": rows, "rows_per_s": rows / spent}).decode())


if __name__ == "__main__":
    main()
