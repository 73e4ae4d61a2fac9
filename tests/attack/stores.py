"""Stores that fail in every way at every moment of a live model: the start, a swap, a preparation, the way back.

Each failure is that of a real HTTP server. The product's own loader and store meet it, in the threads and tasks that a
scorer gives them.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from attack.bundles import originals
from attack.counts import Counts, Hung, within
from scorer.bundles.bundle import Bundle
from scorer.bundles.store import BundleStore
from scorer.deployments.records import Change, Prepare, Target
from scorer.deployments.records import encode as encoded
from scorer.deployments.slots import Deployments
from scorer.errors import UserError
from scorer.pipeline.view import Attribute, FeatureView
from scorer.worker import live
from scorer.worker.live import LiveLoader

VIEW = FeatureView(name="v", attributes=(Attribute(name="age", kind="number"), Attribute(name="shop", kind="number")))
#: Longest wait for one answer of the store, as the setting `store_seconds`, and longest time of one try.
STORE_SECONDS, SECONDS = 0.6, 90.0
#: The kill switch applies within this time whatever the store does, on a busy machine.
SWITCH_SECONDS = 2.0
MOMENTS = ("start without a copy", "start with a copy", "swap", "prepare", "rollback")


def _status(code: int) -> Callable[[Failing], None]:
    return lambda request: request.answer(code, b"no")


def _reset(request: Failing) -> None:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()


def _hang(request: Failing) -> None:
    request.server.released.wait(20)  # type: ignore[attr-defined]


def _drip(request: Failing) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    while not request.server.released.wait(0.1):  # type: ignore[attr-defined]
        request.wfile.write(b"t")


def _short(request: Failing) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "1000000")
    request.end_headers()
    request.wfile.write(b"tree\n")
    request.connection.close()


def _loop(request: Failing) -> None:
    request.send_response(302)
    request.send_header("Location", request.path)
    request.send_header("Content-Length", "0")
    request.end_headers()


def _away(request: Failing) -> None:
    request.send_response(307)
    request.send_header("Location", "http://127.0.0.1:1/")
    request.send_header("Content-Length", "0")
    request.end_headers()


def _raw(content: bytes) -> Callable[[Failing], None]:
    def answer(request: Failing) -> None:
        request.connection.sendall(content)
        request.connection.close()

    return answer


#: What the server does instead of an answer.
FAILURES: dict[str, Callable[[Failing], None]] = {
    **{str(code): _status(code) for code in (204, 206, 301, 400, 401, 403, 404, 405, 416, 429, 500, 502, 503, 504)},
    "reset": _reset,
    "hang": _hang,
    "drip": _drip,
    "short body": _short,
    "redirect loop": _loop,
    "redirect away": _away,
    "TLS garbage": _raw(b"\x16\x03\x01\x00\xff" + bytes(range(200))),
    "no HTTP": _raw(b"\x00" * 300),
    "half a header": _raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "bad length": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    "bad chunks": _raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc"),
    "bad gzip": _raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd"),
    "huge": _raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n"),
    "other content": lambda request: request.answer(200, b"tree\nof another kind"),
    "nothing": lambda request: request.answer(200, b""),
    "closed port": _reset,
    "TLS expected": _reset,
    "no such host": _reset,
}


class Failing(BaseHTTPRequestHandler):
    """Answers as its server is told."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        failure = self.server.failure  # type: ignore[attr-defined]
        try:
            if failure is not None:
                FAILURES[failure](self)
                return
            content = self.server.files.get(self.path.lstrip("/"))  # type: ignore[attr-defined]
            self.answer(200 if content is not None else 404, content or b"")
        except OSError:
            pass  # the other end has given up

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@dataclass
class Store:
    """A store that serves bundles until it is told to fail."""

    server: Any = field(default_factory=lambda: ThreadingHTTPServer(("127.0.0.1", 0), Failing))

    def __post_init__(self) -> None:
        self.server.daemon_threads = True
        self.server.failure, self.server.files, self.server.released = None, {}, threading.Event()
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def uri(self, failure: str) -> str:
        """Where it is; some failures are those of its address."""
        port = self.server.server_address[1]
        return {
            "closed port": "http://127.0.0.1:9", "TLS expected": f"https://127.0.0.1:{port}",
            "no such host": "http://nowhere.invalid",
        }.get(failure, f"http://127.0.0.1:{port}")  # fmt: skip

    def fail(self, failure: str | None) -> None:
        if failure is None:
            self.server.released.set()
            self.server.released = threading.Event()
        self.server.failure = failure


def _two() -> list[Bundle]:
    """Two proven bundles for `VIEW`."""
    of = originals()[0]
    made = []
    for note in ("one", "two"):
        manifest = of.manifest.replace(b'"remark"', f'"{note}"'.encode())
        made.append(Bundle.read(of.model, manifest))
    return made


class Ledger:
    """Deployments as a topic would bring them."""

    def __init__(self) -> None:
        self.state, self._n = Deployments(), 0

    def _append(self, entry: Any) -> None:
        self._n += 1
        self.state.fold(f"ledger/{self._n:08d}-x".encode(), encoded(entry))

    def fill(self, digest: str, override: Any = None) -> None:
        epoch = self.state.slot("live").epoch
        target = Target(digest=digest, threshold=0.5, override=override)
        self._append(
            Change(slots={"live": target}, expects={"live": epoch}, by="a", reason="b", cause="deploy", at="now")
        )

    def prepare(self, digest: str) -> None:
        self._append(Prepare(digest=digest, by="a", at="now"))


async def _try(store: Store, failure: str, moment: str, folder: Path, one: Bundle, two: Bundle, counts: Counts) -> None:
    """One failure at one moment: no exception but the stated, live goes on, the switch works, and then it heals."""
    what, cache = f"{failure} at {moment}", folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(parents=True)
    for bundle in (one, two):  # both were proven here before, so that no proof takes the time of an attack
        (cache / f"{bundle.digest}.proven").write_text((folder / "proven").read_text())
    if moment != "start without a copy":
        one.write(cache)
    ledger, held = Ledger(), BundleStore(store.uri(failure), cache, STORE_SECONDS)
    loader = LiveLoader(held, VIEW)
    if moment.startswith("start"):
        ledger.fill(one.digest)
        if moment.endswith("with a copy"):
            ledger.fill(two.digest)
        store.fail(failure)
        loader.note(ledger.state)
        try:
            await loader.load()
        except UserError as error:
            if moment.endswith("with a copy"):
                counts.mistake(f"{what}: did not fall back on its copy: {error}")
            elif "\n" in str(error):
                counts.mistake(f"{what}: not one line: {error}")
    else:
        ledger.fill(one.digest)
        loader.note(ledger.state)
        await loader.load()
        if loader.model is None or loader.model.digest != one.digest:
            counts.mistake(f"{what}: does not begin")
            return
        store.fail(failure)
        if moment == "prepare":
            ledger.prepare(two.digest)
        elif moment == "swap":
            ledger.fill(two.digest)
        else:  # the way back, to a bundle whose copy is gone
            ledger.fill(two.digest)
            ledger.fill(one.digest)
            shutil.rmtree(cache / one.digest)
            ledger.fill(two.digest)
    task = asyncio.create_task(loader.run())
    loader.note(ledger.state)
    await asyncio.sleep(0.05)
    await _switch(ledger, loader, what, one, counts)
    if task.done():
        counts.crash(f"{what}: the task that follows live has ended: {task.exception()!r}")
    store.fail(None)
    loader._store.uri = store.uri("") if failure in ("closed port", "TLS expected", "no such host") else held.uri
    wanted = ledger.state.slot("live")
    deadline = time.monotonic() + 40
    while loader.model is None or loader.model.epoch != wanted.epoch:
        if time.monotonic() > deadline or task.done():
            counts.mistake(f"{what}: does not come to what live asks for after the store is back ({loader.report})")
            break
        await asyncio.sleep(0.02)
    else:
        _decide(loader, what, counts)
    if moment == "prepare":
        report = loader.report
        if report is not None and report.request is None and report.status == "failed":
            counts.mistake(f"{what}: blames live for a bundle that was only prepared")
    task.cancel()


async def _switch(ledger: Ledger, loader: LiveLoader, what: str, bundle: Bundle, counts: Counts) -> None:
    """The kill switch, on and off, while the store fails."""
    live_now = ledger.state.slot("live")
    began = time.monotonic()
    ledger.fill(str(live_now.digest), "block_all")
    loader.note(ledger.state)
    model = loader.model
    if model is None or model.override != "block_all" or time.monotonic() - began > SWITCH_SECONDS:
        counts.mistake(f"{what}: the kill switch does not apply")
    _decide(loader, what, counts)
    ledger.fill(str(live_now.digest))
    loader.note(ledger.state)
    await asyncio.sleep(0.1)
    if loader.model is not None:
        _decide(loader, what, counts)


def _decide(loader: LiveLoader, what: str, counts: Counts) -> None:
    """Live decides right now, whatever happens elsewhere."""
    model = loader.require()
    if model.score is not None and not model.override:
        scores = model.score(np.zeros((3, len(VIEW.names))))
        if scores.shape != (3,) or not ((scores >= 0) & (scores <= 1)).all():
            counts.mistake(f"{what}: live answers {scores}")


def attack(seed: int, n: int) -> Counts:
    """Try n combinations of a failure and a moment; all of them, if n allows."""
    counts = Counts("store failures")
    every = [(failure, moment) for failure in FAILURES for moment in MOMENTS]
    random.Random(seed).shuffle(every)
    live.RETRY_SECONDS = 0.3
    one, two = _two()
    store = Store()
    for bundle in (one, two):
        store.server.files[f"{bundle.digest}/model.txt"] = bundle.model
        store.server.files[f"{bundle.digest}/manifest.json"] = bundle.manifest_bytes
    with tempfile.TemporaryDirectory(prefix="attack-") as temporary:
        folder = Path(temporary)
        warmed = BundleStore(store.uri(""), folder / "first")
        warmed.fetch(one.digest)
        (folder / "proven").write_text((folder / "first" / f"{one.digest}.proven").read_text())
        for at in range(n):
            failure, moment = every[at % len(every)]
            counts.tried += 1
            counts.saw(moment)
            try:
                with within(SECONDS):
                    asyncio.run(_try(store, failure, moment, folder, one, two, counts))
            except Hung:
                counts.hang(f"{failure} at {moment}")
            except Exception as error:
                counts.crash(f"{failure} at {moment}: {type(error).__name__}: {error}")
            store.fail(None)
    return counts


if __name__ == "__main__":
    import sys

    found = attack(int(sys.argv[1]), int(sys.argv[2]))
    print(found.row(), found.seen, *found.told, sep="\n")
