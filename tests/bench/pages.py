"""What a page of samples costs `shadow serve`, and what the index of samples costs the shadow that writes it.

    cd tests && python -m bench.pages [--samples 100000] [--requests 400] [--unindexed]

Samples of 2.5 kB are written through the store's own script into a real Valkey, 8 partitions of 30 days; a real
`shadow serve` beside a broker answers pages, filters and counts over HTTP while its gate looks. Told are the time of
each kind of request, and the most memory that serve has had. Then a stream of comparisons is applied: calls and time
that Redis spends on a sample that is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench import redis_memory
from bench.shadow_floor import RELEASE
from harness import models
from harness.stack import Stack, Worker
from shadow.comparison.absorb import absorb
from shadow.comparison.increment import Increment, Offered, add
from shadow.comparison.index import entry_of, names_digest
from shadow.comparison.memory import Memory
from shadow.comparison.outcome import DISAGREEMENTS
from shadow.comparison.sample import Contribution, ModelDecision, Sample
from shadow.comparison.totals import COLUMNS, Run
from shadow.gate import criteria
from shadow.local import embedded
from shadow.release.criteria_file import load_release
from shadow.settings import ShadowSettings
from shadow.store.connection import connect
from shadow.store.tallies import Applied, Fence, TallyStore

RUN, PARTITIONS, DAYS, FIRST_DAY = Run(1, 1), 8, 30, 20_454
FEATURES, BODY = 44, 2_500
#: Requests, each as many would ask it. `{n}` is a number that differs each time.
KINDS = {
    "newest": "limit=50",
    "a later page": "limit=50&after={n}",
    "widest gap": "limit=50&sort=gap",
    "segment and direction": "limit=50&segment={segment}&direction=candidate_only&sort=amount",
    "amounts and gaps": "limit=50&min_amount={n}&max_gap=0.5&sort=gap&ascending=true",
    "scored near": "limit=50&at={at}&within_seconds=3600",
    "a card": "limit=50&card=card-{n}",
    "a transaction": "limit=50&transaction=t-{n}",
    "count": "limit=1&agreements=true&since=2026-01-10T00:00:00Z",
}


def sample(n: int, at_day: int, segments: Sequence[str], rng: np.random.Generator) -> Sample:
    """A disagreement of about BODY bytes."""
    ms = int(rng.integers(86_400_000))
    clock = f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}Z"
    when = f"2026-01-{1 + at_day:02}T{clock}"
    scores = rng.random(2).tolist()
    why = tuple(Contribution(f"feature_{i}", *rng.normal(size=4).tolist()) for i in range(8))
    transaction = {
        "transaction_id": f"t-{n}",
        "card_id": f"card-{n % 9973}",
        "occurred_at": when,
        "merchant_id": f"merchant-{n % 997}",
        "amount": float(rng.integers(100, 90_000)) / 100,
        "currency": "EUR",
        **{f"attribute_{i}": f"value {rng.integers(1000)} of attribute {i}" for i in range(6)},
    }
    return Sample(
        transaction=transaction,
        scored_at=when,
        outcome=DISAGREEMENTS[n % 2],
        amount_minor=int(rng.integers(100, 90_000)),
        live=ModelDecision(scores[0], 0.5, "block", "b" * 64, 1),
        candidate=ModelDecision(scores[1], 0.5, "allow", "c" * 64, 1),
        segments=tuple(segments),
        run=str(RUN),
        hash=float(rng.random()),
        features=rng.normal(size=FEATURES).round(6).tolist(),
        view="v1-0123456789ab",
        partition=n % PARTITIONS,
        offset=n,
        why=why,
    )


async def fill(address: str, names: tuple[str, ...], n: int, is_indexed: bool) -> float:
    """Write n samples, every one of which is kept. Returns their mean size in bytes."""
    client = connect(f"redis://{address}/0")
    store, rng, digest = TallyStore(client, "candidate", names), np.random.default_rng(3), names_digest(names)
    cells, size, made = range(1, len(names)), 0, 0
    each = n // (PARTITIONS * DAYS)
    for partition in range(PARTITIONS):
        for day in range(DAYS):
            fence = await store.open_partition(partition, 0)
            sums = np.zeros((len(names), COLUMNS), dtype=np.int64)
            sums[0, :4] = (100 * each, each, each // 2, each - each // 2)
            what = Increment(tallies={(RUN, (FIRST_DAY + day) * 24 + hour): sums for hour in range(24)})
            what.meta[RUN] = {"live_digest": "a" * 64, "candidate_digest": "b" * 64, "first_offset": "0"}
            what.meta[RUN] |= {"live_threshold": "0.5", "candidate_threshold": "0.5"}
            what.reach[RUN] = what.source = fence.next + each
            for i in range(each):
                cell = cells[i % len(cells)]
                one = sample(made, day, (names[0], names[cell]), rng)
                strata = [(str(RUN), FIRST_DAY + day, int(one.outcome), at) for at in (0, cell)]
                body = one.encode()
                what.samples.append(Offered(made, one.hash, body, strata, entry_of(one, (0, cell), digest)))
                size, made = size + len(body), made + 1
            assert isinstance(await store.apply(partition, fence, fence.next + each, what), Applied)
        if not is_indexed:
            at = store._keys(partition)
            days = [at.index(str(RUN), FIRST_DAY + day) for day in range(DAYS)]
            await client.hdel(at.run(str(RUN)), "indexed")
            await client.delete(at.names, at.indexed_days(str(RUN)), *days)
    await client.aclose()
    return size / made


def memory_mib(worker: Worker) -> dict[str, float]:
    """Resident memory now, and the most there has been."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return {name: int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024 for name in ("VmRSS", "VmHWM")}  # type: ignore[index]


def ask(worker: Worker, query: str) -> tuple[float, dict[str, Any]]:
    """Seconds that an answer took, and what it was."""
    url = f"http://127.0.0.1:{worker.port}/api/disagreements?run={RUN}&{query}"
    started = time.perf_counter()
    with urllib.request.urlopen(url, timeout=120) as answer:
        body = answer.read()
    return time.perf_counter() - started, orjson.loads(body)


@contextmanager
def three_slots() -> Iterator[tuple[Stack, tuple[str, ...]]]:
    """Servers with live, its twin and a candidate in their slots, and the names of the segments."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = models.make(folder, 12_000)
        with Stack(folder, dict(made.env)) as stack:
            for bundle, slot in ((made.live, "live"), (made.control, "control"), (made.candidate, "candidate")):
                stack.deploy(bundle, slot)
            yield stack, load_release(ShadowSettings(release=Path(made.env["SHADOW_RELEASE"])).release).segments.names


def pages(n: int, requests: int, is_indexed: bool) -> None:
    """Fill a store, and ask `shadow serve` for pages of it."""
    with three_slots() as (stack, names):
        serve = stack.start("shadow", "serve", env={"SHADOW_GATE_SECONDS": "10"})
        print(f"serve, empty: {memory_mib(serve)['VmHWM']:.0f} MiB")
        size = asyncio.run(fill(stack.store.address, names, n, is_indexed))
        kept = ask(serve, "limit=1&agreements=true")[1]["total"]
        print(f"{kept:,} samples of {size:,.0f} bytes in {len(names)} segments, indexed: {is_indexed}")
        rng = np.random.default_rng(4)
        for kind, query in KINDS.items():
            took = []
            for _ in range(requests):
                at = 1_767_225_600_000 + int(rng.integers(DAYS)) * 86_400_000
                asked = query.format(n=int(rng.integers(1000)), at=at, segment=names[int(rng.integers(1, 5))])
                seconds, told = ask(serve, asked)
                assert told["samples"] or told["total"] <= 1000, (asked, told["total"])
                took.append(seconds * 1000)
            p50, p99 = np.quantile(took, [0.5, 0.99])
            print(f"{kind:<24}p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   {told['total']:,} match", flush=True)
        print(f"serve, after pages: {memory_mib(serve)['VmHWM']:.0f} MiB at most")
        seconds, told = ask(serve, "limit=10000")
        print(f"a page of {len(told['samples']):,}: {seconds:.1f} s, {memory_mib(serve)['VmHWM']:.0f} MiB at most")


async def writing(comparisons: int) -> None:
    """Apply a stream to one partition: what Redis does for it."""
    segments, rng = criteria.parse(RELEASE).segments, np.random.default_rng(6)
    with embedded.store() as server:
        client = connect(f"redis://{server.address}/0")
        store = TallyStore(client, "candidate", segments.names)
        fence, memory = await store.open_partition(0, 0), Memory()
        taus = await store.taus(0)
        took, offered = 0.0, 0
        await client.config_resetstat()
        while fence.next < comparisons:
            pending = Increment()
            for part in range(redis_memory.FLUSH):
                start = fence.next + part * redis_memory.BATCH
                found, theirs = redis_memory.decisions(start, redis_memory.BATCH, rng)
                add(pending, absorb(found, redis_memory._Given(theirs), memory, segments, taus, 100.0, 50_000))
            to = fence.next + redis_memory.FLUSH * redis_memory.BATCH
            offered += len(pending.samples)
            started = time.perf_counter()
            applied = await store.apply(0, fence, to, pending)
            took += time.perf_counter() - started
            assert isinstance(applied, Applied)
            taus.update(applied.taus)
            fence = Fence(fence.nonce, to, to - 1, False)
        stats = await client.info("commandstats")
        inner = {name: stat["calls"] for name, stat in stats.items() if name not in ("cmdstat_evalsha", "cmdstat_info")}
        script = stats["cmdstat_evalsha"]
        used = (await client.info("memory"))["used_memory"]
        print(
            f"{comparisons:,} comparisons, {offered:,} samples and cases offered, {script['calls']} scripts: "
            f"{sum(inner.values()):,} commands, {script['usec'] / 1000:,.0f} ms in Redis, {took * 1000:,.0f} ms at the "
            f"client, {used / 2**20:.1f} MiB used"
        )
        await client.aclose()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=400, help="of each kind")
    parser.add_argument("--unindexed", action="store_true", help="as a run that was begun before there was an index")
    parser.add_argument("--comparisons", type=int, default=1_000_000)
    asked = parser.parse_args()
    pages(asked.samples, asked.requests, not asked.unindexed)
    asyncio.run(writing(asked.comparisons))


if __name__ == "__main__":
    main()
