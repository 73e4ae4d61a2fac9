"""`make soak`: half of saturation for 20 minutes on Kafka and Redis; memory, open files and lag stay flat.

It prints a line every ten seconds, writes build/soak.json, and exits 1 if anything grew, lagged behind, or was lost.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from faults.arena import Arena, Member
from faults.run import missing
from faults.workload import prepared
from harness.kafka import Kafka
from harness.places import ROOT
from harness.stores import RedisServer, debian_redis

OUT = ROOT / "build" / "soak.json"
#: What a run of this length would write is more than a small disk has; the lag is far below what is kept.
BROKER = {"log.retention.bytes": "100000000", "log.segment.bytes": "25000000"}
#: Transactions whose draining gives the rate of saturation.
BURST = 30_000
EVERY_SECONDS = 10.0
#: How much a process may grow from the second quarter of the run to the last: caches and histories fill for a while.
GROWTH = 0.10
GROWTH_BYTES = 16 << 20
FILES = 4
#: Lag, in seconds of the stream, that is not one any more.
LAG_SECONDS = 3.0


@dataclass(frozen=True)
class Sample:
    """What was seen at a moment: resident bytes and open files by process, and lags in records."""

    at: float
    bytes: dict[str, int]
    files: dict[str, int]
    live_lag: int
    shadow_lag: int


def endless(rows: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The stream over and over, with new ids, dated now."""
    turn = 0
    while True:
        turn += 1
        for at, (card, value) in enumerate(rows):
            if at % 100 == 0:
                now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
            head, _, rest = value.partition(b'"occurred_at":"')
            yield card, head.replace(b'":"', b'":"%d-' % turn, 1) + b'"occurred_at":"' + now + rest[24:]


def look(arena: Arena, members: dict[str, Member], began: float) -> Sample:
    """Sizes and lags now."""
    sizes, files = {}, {}
    for name, member in members.items():
        proc = Path(f"/proc/{member.alive.process.pid}")
        resident = int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        sizes[name], files[name] = resident, len(list((proc / "fd").iterdir()))
    return Sample(time.monotonic() - began, sizes, files, arena.behind_live(), arena.behind_shadow())


def saturation(arena: Arena, rows: Iterator[tuple[bytes, bytes]]) -> float:
    """Transactions a second that scorer and shadow get through when everything is there at once."""
    batch = [next(rows) for _ in range(BURST)]
    began = time.monotonic()
    arena.send_rows(batch)
    arena.until("the burst is through", lambda: arena.behind_live() <= 0 and arena.behind_shadow() <= 0)
    return BURST / (time.monotonic() - began)


def stream(
    arena: Arena, rows: Iterator[tuple[bytes, bytes]], rate: float, seconds: float, members: dict[str, Member]
) -> list[Sample]:
    """Send at a rate, and look every now and then."""
    began, seen = time.monotonic(), list[Sample]()
    sent, step = 0, max(1, int(rate / 20))
    while (now := time.monotonic() - began) < seconds:
        arena.send_rows([next(rows) for _ in range(step)])
        sent += step
        time.sleep(max(0.0, began + sent / rate - time.monotonic()))
        if now >= EVERY_SECONDS * (len(seen) + 1):
            sample = look(arena, members, began)
            seen.append(sample)
            each = [f"{name} {size >> 20} MiB {sample.files[name]} files" for name, size in sample.bytes.items()]
            lag = f"lag {sample.live_lag} live {sample.shadow_lag} shadow"
            print(f"{sample.at:6.0f} s  {', '.join(each)}, {lag}", flush=True)
    return seen


def findings(seen: Sequence[Sample], rate: float) -> list[str]:
    """What is not flat."""
    quarter = len(seen) // 4
    early, late = seen[quarter : 2 * quarter], seen[-quarter:]
    told = []
    for name in seen[0].bytes:
        was, now = (statistics.median(s.bytes[name] for s in part) for part in (early, late))
        if now > was * (1 + GROWTH) and now > was + GROWTH_BYTES:
            told.append(f"{name}: memory grew from {was / 2**20:.0f} to {now / 2**20:.0f} MiB")
        was, now = (max(s.files[name] for s in part) for part in (early, late))
        if now > was + FILES:
            told.append(f"{name}: open files grew from {was} to {now}")
    for kind in ("live_lag", "shadow_lag"):
        worst = statistics.median(getattr(s, kind) for s in late)
        if worst > LAG_SECONDS * rate:
            told.append(f"{kind}: {worst:.0f} records at the end, {worst / rate:.1f} s of the stream")
    return told


def main() -> None:
    """Measure saturation, stream at half of it, and look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    args = parser.parse_args()
    absent = missing([])
    if absent:
        print("cannot soak:\n  " + "\n  ".join(absent), file=sys.stderr)
        sys.exit(2)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    models = prepared()
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        folder = Path(temporary)
        kafka = Kafka(folder / "kafka", settings=dict(BROKER))
        store = RedisServer(folder / "redis", str(debian_redis()))
        with Arena(folder, models, kafka, store, seed=1, clock="wall") as arena:
            batches: dict[str, Any] = {"BATCH_RECORDS": "5000"}
            members = {"scorer": arena.scorer(**batches), "shadow": arena.shadow(**batches)}
            arena.ready()
            rows = endless(arena.rows)
            saturation(arena, rows)  # caches and code are warm after it
            most = saturation(arena, rows)
            print(f"saturation: {most:.0f} transactions a second; streaming half of it for {args.minutes:g} minutes")
            seen = stream(arena, rows, most / 2, args.minutes * 60, members)
            told = findings(seen, most / 2)
            arena.until("everything is through", lambda: arena.behind_live() <= 0 and arena.behind_shadow() <= 0)
            settled, applied = arena.settled(), arena.applied()
            rejected = arena.refused()
            if (settled, applied + rejected) != (arena.sent, arena.sent):
                told.append(f"sent {arena.sent}, settled {settled}, applied {applied}, refused {rejected}")
            if any(member.revivals for member in members.values()):
                told.append("a worker ended by itself")
            print(f"{arena.sent} transactions sent, {settled} settled, {applied} behind the shadow's fences")
    OUT.parent.mkdir(exist_ok=True)
    result = {"saturation": most, "minutes": args.minutes, "findings": told, "samples": [asdict(s) for s in seen]}
    OUT.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    print("\n".join(told) or "flat")
    sys.exit(bool(told))


if __name__ == "__main__":
    main()
