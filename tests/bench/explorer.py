"""What the explorer's answers cost with many samples, while a shadow writes into the same Redis.

    cd tests && python -m bench.explorer [--samples 100000] [--requests 200] [--rate 5000]

Samples of 2.5 kB lie in a real Valkey, 8 partitions of 30 days; a real `shadow serve` answers over HTTP while its gate
looks and another slot's comparisons are applied at the rate. Told are the time of each kind of request, the size of the
first view, the most memory of serve, and commands that kept Valkey busy for over 10 ms.

A filtered page is promised within 50 ms and facets of a filter within 150 ms, in 99 of 100 cases on a core of their
own. Both are asked with another filter each time, so that nothing is answered from what was just computed.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson

from bench import pages, redis_memory
from bench.shadow_floor import RELEASE
from harness.stack import Worker
from shadow.comparison.absorb import absorb
from shadow.comparison.increment import Increment, add
from shadow.comparison.memory import Memory
from shadow.gate import criteria
from shadow.store.connection import connect
from shadow.store.tallies import Applied, Fence, TallyStore
from shadow.web.static_files import NAMES, static

#: The six facets of a filter that was not asked for before.
FACETS = "/api/facets?where=hour%3D{hour}&min_amount={n}&segment={segment}&since=2026-01-{day}T00:00:00Z"
#: Requests; `{n}` is a number that differs each time.
KINDS = {
    "filtered page": "/api/samples?limit=50&sort=gap&where=merchant_id%3Dmerchant-{n}&min_amount=20",
    "page of a segment": "/api/samples?limit=50&sort=amount&segment={segment}&direction=candidate_only",
    "facets, six": "/api/facets",
    "facets, another filter": FACETS,
    "facets, three attributes": "/api/facets?field=merchant_id&field=attribute_0&field=attribute_1&segment={segment}",
    "drivers": "/api/drivers?segment={segment}",
    "what if, samples": "/api/what-if?threshold=0.4&where=hour%3D{hour}",
    "the page": "/explore?segment={segment}",
    "the page, whole": "/explore",
}


async def _write(address: str, rate: int) -> None:
    """Apply comparisons to a slot of their own, as a shadow does, at a rate."""
    segments, rng = criteria.parse(RELEASE).segments, np.random.default_rng(6)
    client = connect(f"redis://{address}/0")
    store = TallyStore(client, "writer", segments.names)
    fence, memory = await store.open_partition(0, 0), Memory()
    taus, started, done = await store.taus(0), time.monotonic(), 0
    while True:
        found, theirs = redis_memory.decisions(fence.next, redis_memory.BATCH, rng)
        pending = Increment()
        add(pending, absorb(found, redis_memory._Given(theirs), memory, segments, taus, 100.0, 50_000))
        to = fence.next + redis_memory.BATCH
        applied = await store.apply(0, fence, to, pending)
        assert isinstance(applied, Applied)
        taus.update(applied.taus)
        fence, done = Fence(fence.nonce, to, to - 1, False), done + redis_memory.BATCH
        await asyncio.sleep(max(0.0, started + done / rate - time.monotonic()))


def write(address: str, rate: int) -> None:
    """The process of a writer."""
    asyncio.run(_write(address, rate))


def ask(serve: Worker, path: str) -> tuple[float, int]:
    """Milliseconds that an answer took, and its bytes."""
    started = time.perf_counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{serve.port}{path}", timeout=120) as answer:
        body = answer.read()
    return (time.perf_counter() - started) * 1000, len(body)


def filled(path: str, segments: Sequence[str], rng: np.random.Generator) -> str:
    """The address of one request of a kind."""
    segment = segments[int(rng.integers(1, 5))].replace("=", "%3D")
    hour, day = f"{int(rng.integers(24)):02}", f"{int(rng.integers(1, 15)):02}"
    return path.format(n=int(rng.integers(1000)), segment=segment, hour=hour, day=day)


def processor(serve: Worker) -> float:
    """Seconds of processor time that serve has used, its gate's included."""
    fields = Path(f"/proc/{serve.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _slow(address: str, begin: bool) -> list[str]:
    client = connect(f"redis://{address}/0")
    try:
        if begin:
            await client.config_set("slowlog-log-slower-than", 10_000)
            await client.slowlog_reset()
            return []
        found = [e for e in await client.slowlog_get(1000) if not e["command"].startswith((b"EVALSHA", b"BITFIELD"))]
        return [f"{entry['duration'] / 1000:.0f} ms {entry['command'][:40]!r}" for entry in found]
    finally:
        await client.aclose()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=200, help="of each kind")
    parser.add_argument("--rate", type=int, default=5_000, help="comparisons a second that are written meanwhile")
    asked = parser.parse_args()
    with pages.three_slots() as (stack, names):
        asyncio.run(pages.fill(stack.store.address, names, asked.samples, True))
        serve = stack.start("shadow", "serve", env={"SHADOW_GATE_SECONDS": "10"})
        asyncio.run(_slow(stack.store.address, True))
        took, size = ask(serve, "/explore")
        files = sum(ask(serve, static(name))[1] for name in NAMES)
        print(f"very first view: {took:,.0f} ms, {(size + files) / 1000:.0f} kB", flush=True)
        print(f"every body read: {ask(serve, '/api/samples?limit=1')[0]:,.0f} ms", flush=True)
        writer = multiprocessing.get_context("spawn").Process(
            target=write, args=(stack.store.address, asked.rate), daemon=True
        )
        writer.start()
        rng = np.random.default_rng(4)
        for kind, path in KINDS.items():
            times, before = [], processor(serve)
            for _ in range(asked.requests):
                times.append(ask(serve, filled(path, names, rng))[0])
            p50, p99 = np.quantile(times, [0.5, 0.99])
            used = (processor(serve) - before) * 1000 / asked.requests
            print(f"{kind:<26}p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   processor {used:5.1f} ms", flush=True)
        held = orjson.loads(urllib.request.urlopen(f"http://127.0.0.1:{serve.port}/api/samples?limit=1").read())
        print(f"{held['held']}, serve {pages.memory_mib(serve)['VmHWM']:.0f} MiB at most")
        print(f"commands of readers over 10 ms: {asyncio.run(_slow(stack.store.address, False)) or 'none'}")
        writer.terminate()
        writer.join()


if __name__ == "__main__":
    main()
