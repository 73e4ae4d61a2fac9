"""Hostile records on every topic of ours, on a real broker, beside real workers that must go on deciding.

After each wave: every process lives, what an innocent sender sends is decided in time and compared, the kill switch
works. Waves also meet workers that start anew, as these read the topics from their beginnings or their tails.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from attack import api
from attack.bundles import originals
from attack.counts import Counts
from attack.forge import PLAIN, Forge
from harness.kafka import Kafka, tail
from harness.patience import PATIENCE_SECONDS
from harness.places import ROOT
from harness.stack import PARTITIONS, Stack, Worker, get
from harness.stores import RedisServer, debian_redis, valkey
from scorer.bundles.bundle import Bundle

#: Longest time until innocent transactions are decided, and compared, on a busy machine. A worker that has just
#: started has this time, too.
SECONDS = PATIENCE_SECONDS
#: Innocent transactions after each wave.
INNOCENT = 60
SIGNED = ("--by", "attack", "--reason", "drill")
Row = tuple[int | None, bytes | None, bytes | None, list[tuple[str, bytes]]]


class Stage:
    """The workers, what was sent to them, and the topics as they are."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self.stack, self.chance = stack, random.Random(seed)
        self.forge = Forge(PLAIN, seed)
        self.workers: dict[str, Worker] = {}
        self._starts: dict[str, Callable[[], Worker]] = {
            "scorer": lambda: stack.start("scorer", "run", ready=False),
            "shadow": lambda: stack.start("shadow", "run", "--slot", "candidate", ready=False),
            "serve": lambda: stack.start("shadow", "serve", ready=False),
        }
        self._n = 0
        self._true: dict[str, list[tuple[bytes, bytes]]] = {}

    def begin(self, *names: str) -> None:
        """Start workers, those that run by a kill first."""
        for name in names:
            if name in self.workers:
                self.workers[name].kill()
            self.workers[name] = self._starts[name]()
        for name in names:
            self.until(self.workers[name].is_ready, f"{name} is not ready")

    def until(self, is_there: Callable[[], Any], what: str, seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_there():
            for name, worker in self.workers.items():
                if worker.process.poll() is not None:
                    raise RuntimeError(f"{name} has ended: {tail(worker.log, 700)}")
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            time.sleep(0.1)

    def send(self, topic: str, rows: list[Row]) -> None:
        async def go() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.stack.broker.address, max_request_size=4_000_000)
            async with producer:
                sent = [
                    await producer.send(topic, value, key=key, partition=partition, headers=headers)
                    for partition, key, value, headers in rows
                    if key is not None or value is not None  # what no client sends
                ]
                for answer in await asyncio.gather(*sent, return_exceptions=True):
                    if isinstance(answer, BaseException) and not isinstance(answer, KafkaError):
                        raise answer  # a broker may refuse a record, as a compacted topic does one without a key

        asyncio.run(go())

    def true(self, topic: str) -> list[tuple[bytes, bytes]]:
        """Keys and values of a topic's records that no wave has written, those that have both."""
        if topic not in self._true:
            self._true[topic] = [(r.key, r.value) for r in self.stack.read(topic) if r.key and r.value]
        return self._true[topic]

    def innocent(self) -> None:
        """Send transactions that anybody may send; raises TimeoutError unless each is decided and compared in time."""
        rows: list[Row] = []
        ids = set()
        for _ in range(INNOCENT):
            self._n += 1
            name, card = f"innocent-{self._n}-x", f"card-{self._n % 17}-y"
            ids.add(name)
            body: dict[str, Any] = {
                "transaction_id": name,
                "occurred_at": "2026-03-01T12:00:00Z",
                "card_id": card,
                "currency": "EUR",
            }
            body |= {"merchant_id": "m-1", "amount": self._n % 300 + 0.5}
            rows.append((None, card.encode(), json.dumps(body).encode(), []))
        before = self.compared()
        self.send("transactions", rows)
        deadline = time.monotonic() + SECONDS
        while ids:
            for record in self.stack.read("decisions"):
                if record.value is not None and b"innocent-" in record.value:
                    try:
                        ids.discard(orjson.loads(record.value)["transaction"]["transaction_id"])
                    except (ValueError, KeyError, TypeError):
                        continue
            if ids and time.monotonic() > deadline:
                raise TimeoutError(f"{len(ids)} of {INNOCENT} innocent transactions are not decided")
            self.until(lambda: True, "")
        self.until(lambda: self.compared() >= before + INNOCENT, "innocent transactions are not compared")

    def compared(self) -> int:
        """Transactions that the shadow has compared, by Redis itself."""
        total = 0
        with self.stack.store.client() as client:  # type: ignore[union-attr]
            for key in client.scan_iter("shadow:{candidate:*}:2:t:*:total:all", count=1000):
                total += sum(int(client.hget(key, f"c{i}") or 0) for i in range(4))
        return total


def _noise(chance: random.Random) -> bytes | None:
    return chance.choice(
        (
            *(
                None,
                b"",
                b"null",
                b"{}",
                b"[]",
                b"7",
                b"\x00" * 50,
                chance.randbytes(chance.randint(1, 300)),
                b"[" * 900,
            ),
            *(b'{"schema":1}', b'{"a":' * 300, b'"' + b"x" * 50_000 + b'"', b'{"schema":1e400}', "\ud7ff".encode()),
        )
    )


def _mutated(value: bytes, chance: random.Random, end: int | None = None) -> bytes:
    """A value with a few bytes changed, before `end`."""
    out = bytearray(value)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(max(1, min(len(out), end if end is not None else len(out))))
        roll = chance.randrange(3)
        if roll == 0 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif roll == 1 and at < len(out):
            out[at] = chance.choice(b'0123456789"{}[]:,-e \x00\xff')
        else:
            del out[at : at + chance.choice((1, 3))]
    return bytes(out)


ODD: tuple[Any, ...] = (
    *(
        None,
        "",
        "x",
        "yesterday",
        -1,
        0,
        1.5,
        2**31,
        2**62,
        2**63,
        2**64,
        1e308,
        True,
        [],
        {},
        [[]],
        {"a": 1},
        "\u0000",
    ),
    *("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "a\nb", "../../etc", "é" * 200),
)


def _with_odd_field(value: bytes, chance: random.Random, keep: frozenset[str] = frozenset()) -> bytes:
    """JSON with another value somewhere, but in the fields to keep."""
    record = json.loads(value)
    inside: Any = record
    while True:
        keys = [key for key in inside if key not in keep] if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return value
        key = chance.choice(keys)
        if isinstance(inside[key], (dict, list)) and inside[key] and chance.random() < 0.5:
            inside = inside[key]
            continue
        if chance.random() < 0.2:
            del inside[key]
        else:
            inside[key] = chance.choice(ODD)
        return json.dumps(record).encode()


def transactions(stage: Stage, n: int) -> list[Row]:
    rows: list[Row] = []
    for _ in range(n):
        forged = stage.forge.one()
        value = forged.value if stage.chance.random() < 0.9 else _noise(stage.chance)
        if value is not None and len(value) > 900_000:
            value = value[:900_000]
        rows.append((stage.chance.randrange(PARTITIONS), forged.key, value, []))
    return rows


def decisions(stage: Stage, n: int) -> list[Row]:
    """True ones with something changed, or with a claim to any source offset; never near to the true ones."""
    chance = stage.chance
    true = [value for _, value in stage.true("decisions") if b"innocent-" in value]
    rows: list[Row] = []
    for _ in range(n):
        value, roll = chance.choice(true), chance.random()
        if roll < 0.25:
            made = _noise(chance)
        elif roll < 0.5:
            made = _mutated(value, chance, value.index(b'"source"'))
        elif roll < 0.75:
            made = _with_odd_field(value, chance, frozenset({"source"}))
        else:
            record = json.loads(value)
            claim: Any = chance.choice(
                (10**6, 2**31, 2**53, 2**62, 2**63, -1, "7", None, 1.5, chance.randrange(10**7, 2**61))
            )
            record["source"] = {"partition": chance.choice((0, 1, 2, 3, 99)), "offset": claim}
            made = json.dumps(record).encode()
        rows.append((chance.randrange(PARTITIONS), chance.choice((None, b"k")), made, []))
    return rows


def rejected(stage: Stage, n: int) -> list[Row]:
    chance = stage.chance
    offsets = (b"", b"x", b"-1", b"9" * 30, b"1e5", str(2**62).encode(), str(2**63).encode(), "٣".encode(), b"\xff")
    rows: list[Row] = []
    for _ in range(n):
        names = chance.sample(
            ("offset", "partition", "reason", "field", "schema", "rejected_at", "é", ""), chance.randint(0, 5)
        )
        headers = [(name, chance.choice(offsets)) for name in names]
        rows.append((chance.randrange(PARTITIONS), _noise(chance), _noise(chance), headers))
    return rows


def velocity(stage: Stage, n: int) -> list[Row]:
    """Rows of cards with anything in them, and what is no row at all."""
    chance = stage.chance
    true = stage.true("velocity")
    size = len(true[0][1])
    rows: list[Row] = []
    for _ in range(n):
        key, value = chance.choice(true)
        roll = chance.random()
        if roll < 0.3:
            made: bytes | None = _noise(chance)
        elif roll < 0.6:
            made = chance.randbytes(size)
        elif roll < 0.9:
            changed = bytearray(value)
            for _ in range(chance.choice((1, 1, 3))):
                changed[chance.randrange(size)] ^= 1 << chance.randrange(8)
            made = bytes(changed)
        else:
            made = value[: chance.randrange(size)]
        strange = chance.choice(
            (None, b"", b"\xff\xfe", b"x" * 1000, b"card-3-y", b"new-" + str(chance.random()).encode())
        )
        rows.append((chance.randrange(PARTITIONS), key if chance.random() < 0.5 else strange, made, []))
    return [row for row in rows if row[1] is not None or row[2] is not None]


def labels(stage: Stage, n: int) -> list[Row]:
    chance = stage.chance
    true = {"schema": 1, "transaction_id": "innocent-1-x", "source": "review", "verdict": "fraud",
            "at": "2026-01-31T12:00:00Z", "by": "ann", "reason": "r"}  # fmt: skip
    rows: list[Row] = []
    for _ in range(n):
        value = json.dumps({**true, "transaction_id": f"innocent-{chance.randint(1, 60)}-x"}).encode()
        made = chance.choice((_noise(chance), _mutated(value, chance), _with_odd_field(value, chance)))
        rows.append((None, chance.choice((None, b"k", chance.randbytes(5))), made, []))
    return rows


def deployments(stage: Stage, n: int) -> list[Row]:
    """Whatever may lie on the ledger that is no change of live: that would be the right of who may write there."""
    chance = stage.chance
    records = stage.true("deployments")
    bad = ("..", "../../..", "/", "a" * 63, "A" * 64, "g" * 64, "0" * 65, "\u0000" * 64, "", 7, None, "é" * 64)
    rows: list[Row] = []
    for at in range(n):
        roll, key = chance.random(), f"ledger/9{at:07d}-{chance.random()}"
        if roll < 0.3:
            digest = chance.choice((*bad, f"{chance.getrandbits(256):064x}"))
            prepare = {"schema": 1, "kind": "prepare", "digest": digest, "by": chance.choice(ODD), "at": "now"}
            rows.append((0, key.encode(), json.dumps(prepare).encode(), []))
        elif roll < 0.6:
            targets: list[Any] = [{"digest": chance.choice(bad)}, {"threshold": chance.choice(ODD)}, {"override": "x"}]
            target = chance.choice([*targets, None, "x", []])
            change: dict[str, Any] = {
                "schema": chance.choice((1, 1, 2, None)),
                "kind": chance.choice(("change", "change", "x", None)),
                "slots": {chance.choice(("live", "candidate", "../x", "", "é")): target},
                "by": chance.choice(("", "eve")),
                "expects": chance.choice(({"live": 999}, {}, [], {"live": -1})),
                "reason": "r",
                "cause": "deploy",
                "at": "now",
            }
            rows.append((0, key.encode(), json.dumps(change).encode(), []))
        elif roll < 0.75:
            kind = chance.choice((b"worker/", b"slot/", b"worker", b"/", b"\xff/", b"ledger/", b"", b"worker/\x00"))
            rows.append((0, kind + chance.randbytes(3), _noise(chance), []))
        elif roll < 0.9:
            theirs, value = chance.choice([one for one in records if not one[0].startswith(b"view/")])
            odd = theirs + b"-odd" if not theirs.startswith(b"ledger/") else key.encode()
            made = _with_odd_field(value, chance, frozenset({"expects"}))
            rows.append(
                (0, odd, made.replace(b'"schema": 1', b'"schema": 3') if odd.startswith(b"ledger/") else made, [])
            )
        else:
            name = b"view/" + chance.choice((b"", b"odd", b"\xff", b"v-00000000x"))
            view: dict[str, Any] = {
                "names": chance.choice((["a"], ["a", "a"], "a", [1], [])),
                "definitions": chance.choice(({}, {"a": 1}, [])),
            }
            view["currency"] = chance.choice((None, "EUR", {"code": "€"}, {"code": "EUR", "digits": 99}))
            rows.append((0, name, json.dumps(view).encode(), []))
    return rows


WAVES: dict[str, Callable[[Stage, int], list[Row]]] = {
    "transactions": transactions, "decisions": decisions, "rejected": rejected, "velocity": velocity, "labels": labels,
    "deployments": deployments,
}  # fmt: skip
TOPICS = {"rejected": "transactions.rejected"}
#: Who starts anew after a wave, as it reads the topic at its start.
ANEW = {"decisions": ("scorer", "shadow"), "rejected": ("scorer",), "velocity": ("scorer",), "labels": ("serve",),
        "deployments": ("scorer", "shadow", "serve"), "transactions": ("scorer",)}  # fmt: skip


def attack(
    seed: int, n: int, rounds: int, requests: int, say: Callable[[str], None], names: Sequence[str] = tuple(WAVES)
) -> list[Counts]:
    """Send n hostile records to each topic in some rounds; then attack the API, with what the waves left behind it."""
    every = {name: Counts(f"topic {name}") for name in names}
    of_api = Counts("API")
    with tempfile.TemporaryDirectory(prefix="attack-") as temporary:
        folder = Path(temporary)
        broker = Kafka(folder / "kafka", settings={"message.max.bytes": "5000000"})
        store = RedisServer(folder / "redis", str(debian_redis() or valkey()))
        try:
            with Stack(folder, _prepared(folder), broker=broker, store=store) as stack:
                stage = Stage(stack, seed)
                stack.deploy(str(_BUNDLES[0]), "live")
                stack.deploy(str(_BUNDLES[1]), "candidate")
                stage.begin("scorer", "shadow", "serve")
                stage.innocent()
                for at in range(rounds):
                    for name in names:
                        _strike(stage, name, WAVES[name], n // rounds, at, every[name])
                        say(f"topic {name}, round {at + 1} of {rounds}")
                if requests:
                    api.attack(stack, stage.workers["serve"].port, requests, seed, of_api)
        except Exception as error:
            every[names[0]].crash(f"the stage broke: {type(error).__name__}: {error}")
    return [*every.values(), *([of_api] if requests else [])]


def _strike(stage: Stage, name: str, wave: Callable[[Stage, int], list[Row]], n: int, at: int, counts: Counts) -> None:
    rows = wave(stage, n)
    counts.tried += len(rows)
    what = f"{name}, round {at}"
    try:
        stage.send(TOPICS.get(name, name), rows)
        stage.innocent()
        stage.begin(*ANEW[name])
        stage.innocent()
        if name == "deployments":
            stage.stack.run("scorer", "deploy", "--block-all", *SIGNED)
            stage.stack.run("scorer", "deploy", "--resume", *SIGNED)
            stage.innocent()
        serve = stage.workers["serve"].port
        stage.until(lambda: get(f"http://127.0.0.1:{serve}/api/slots") is not None, "serve does not answer")
    except TimeoutError as error:
        counts.mistake(f"{what}: {error}")
    except RuntimeError as error:
        counts.crash(f"{what}: {error}")
        dead = [name for name, worker in stage.workers.items() if worker.process.poll() is not None]
        try:
            stage.begin(*dead)
        except (RuntimeError, TimeoutError) as again:
            raise RuntimeError(f"{what}: does not come back: {again}") from None
    except AssertionError as error:
        counts.mistake(f"{what}: {error}")


_BUNDLES: list[str] = []


def _prepared(folder: Path) -> dict[str, str]:
    """Two bundles, a view and criteria."""
    of = originals()[0]
    _BUNDLES.clear()
    for note in (b"live", b"candidate"):
        bundle = Bundle.read(
            of.model, of.manifest.replace(b'"remark"', b'"%s"' % note).replace(b"0.5,", b"0.51,", note == b"live")
        )
        bundle.write(folder / "bundles")
        _BUNDLES.append(bundle.digest)
    (folder / "view.yaml").write_text(
        "name: v\nattributes:\n  - {name: age, kind: number}\n  - {name: shop, kind: number}\n"
    )
    return {
        "SCORER_VIEW": str(folder / "view.yaml"),
        "SHADOW_RELEASE": str(ROOT / "deploy" / "local" / "release.yaml"),
        "SCORER_STORE": str(folder / "bundles"),
        "SHADOW_STORE": str(folder / "bundles"),
        "SCORER_MONEY": '{"currency": "EUR", "rates": {"USD": {"2020-01-01": 0.9}, "GBP": {"2024-06-01": 1.1}}}',
        "SHADOW_OPERATOR_TOKEN": api.TOKEN,
    }


if __name__ == "__main__":
    import sys

    seed, n, rounds, requests = map(int, sys.argv[1:5])
    for found in attack(seed, n, rounds, requests, print, sys.argv[5:] or tuple(WAVES)):
        print(found.row(), found.seen, *found.told, sep="\n")
