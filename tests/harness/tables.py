"""Tables of samples, as the explorer's store makes them of what it reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson

from shadow.comparison.index import entry_of, names_digest, unpacked
from shadow.comparison.sample import Sample
from shadow.exploration.columns import Columns, Vocabulary
from shadow.exploration.table import Table


def a_table(
    samples: Sequence[Sample], chances: Sequence[float] | None = None, labels: Sequence[int] | None = None
) -> Table:
    """A table of samples in partition 0. chances: with which each was kept, 1 by default."""
    n, words = len(samples), Vocabulary()
    names = tuple(dict.fromkeys(name for sample in samples for name in sample.segments))
    digest = names_digest(names)
    packed = [entry_of(sample, [names.index(s) for s in sample.segments], digest) for sample in samples]
    columns = Columns.empty(n, 40)
    for at, sample in enumerate(samples):
        columns.put(at, orjson.loads(sample.encode()), words)
    return Table(
        partitions=np.zeros(n, np.int64),
        days=np.zeros(n, np.int64),
        entries=unpacked(b"".join(packed)),
        chances=np.ones(n) if chances is None else np.array(chances, dtype=np.float64),
        columns=columns,
        words=words,
        lists={digest: names},
        labels=np.zeros(n, np.int64) if labels is None else np.array(labels, dtype=np.int64),
        stored=n,
    )
