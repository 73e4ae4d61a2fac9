"""Every sample of a run that a store keeps, read page by page as anybody reads them."""

from __future__ import annotations

from typing import Any

from shadow.comparison.query import Query
from shadow.comparison.sample import Sample
from shadow.comparison.totals import Run
from shadow.store.samples import SampleReader

PAGE = 500


async def samples_of(store: Any, run: Run) -> list[Sample]:
    """All samples of a run, agreements included. store: of a slot, with `redis`, `slot` and `prefix`."""
    reader = SampleReader(store.redis, store.slot, store.prefix)
    found: list[Sample] = []
    while True:
        query = Query(agreements=True, limit=PAGE, after=len(found))
        page, total = await reader.page(run, query, 100.0)
        found += page
        if len(found) == total:
            return found
        assert page, f"{total} samples are counted, and no more than {len(found)} are there"
