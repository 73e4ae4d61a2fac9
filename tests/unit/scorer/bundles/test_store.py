"""A store that fails, in whatever way, is told in one line and ends nothing."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.bundles import BUNDLE
from scorer.bundles.model_text import MODEL
from scorer.bundles.store import BundleStore, StoreError
from scorer.errors import BundleError, UnavailableError

#: What the server does with a request, by the first part of its path.
AWAY = ("403", "500", "503", "loop", "reset", "hang", "cut", "garbage")
BAD = ("204", "404", "410")


class Failing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        if kind == "good":
            content = {"model.txt": BUNDLE.model, "manifest.json": BUNDLE.manifest_bytes}.get(
                self.path.rpartition("/")[2]
            )
            self._answer(200 if content else 404, content or b"")
        elif kind.isdigit():
            self._answer(int(kind), b"")
        elif kind == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif kind == "hang":
            time.sleep(5)
        elif kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"tree\n")
            self.connection.close()
        else:
            self.connection.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
            self.connection.close()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET" and status != 204:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what this is about."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = Quiet(("127.0.0.1", 0), Failing)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_address[1]}"
    running.shutdown()
    running.server_close()


def test_a_bundle_is_read_over_http_and_then_from_the_copy(server: str, tmp_path: Path) -> None:
    assert BundleStore(f"{server}/good", tmp_path).fetch(BUNDLE.digest) == BUNDLE
    assert BundleStore("http://127.0.0.1:9/gone", tmp_path, 2).fetch(BUNDLE.digest) == BUNDLE


@pytest.mark.parametrize("kind", [*AWAY, *BAD])
def test_however_a_store_fails_it_is_one_kind_of_error_in_one_line(server: str, kind: str, tmp_path: Path) -> None:
    store = BundleStore(f"{server}/{kind}", tmp_path, seconds=1)
    began = time.monotonic()
    with pytest.raises(BundleError) as told:
        store.fetch(BUNDLE.digest)
    assert time.monotonic() - began < 60, "it waits without end"
    assert "\n" not in str(told.value)
    assert f"store {server}/{kind}" in str(told.value) or kind in ("204",)
    assert isinstance(told.value, UnavailableError) == (kind in AWAY), "only what is away may be tried again"
    if kind.isdigit() and kind in AWAY:
        assert kind in str(told.value), "it says what the server answered"


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9/x", "https://127.0.0.1:9/x", "nosuch://x", "http://nosuch.invalid/x", "/dev/null/x"]
)
def test_a_store_that_is_not_there_is_told(uri: str, tmp_path: Path) -> None:
    store = BundleStore(uri, tmp_path / "cache", seconds=2)
    with pytest.raises(UnavailableError, match=r"^(store|bundle) "):
        store.fetch(BUNDLE.digest)
    with pytest.raises(StoreError):
        store.put(BUNDLE)


def test_a_store_over_http_is_read_only_and_says_how_to_put_a_bundle_there(server: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is read-only; copy model\.txt and manifest\.json to [0-9a-f]{64}/"):
        BundleStore(f"{server}/404", tmp_path).put(BUNDLE)


def test_other_files_are_kept_beside_the_bundles_and_over_http_it_says_that_it_cannot(
    server: str, tmp_path: Path
) -> None:
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache")
    assert store.names("dossiers") == []
    with pytest.raises(BundleError, match=r"dossiers/a\.json: is missing in store"):
        store.kept("dossiers/a.json")
    store.keep("dossiers/b.json", b"b")
    store.keep("dossiers/a.json", b"a")
    store.keep("dossiers/a.json", b"a")
    assert store.names("dossiers") == ["a.json", "b.json"], "and nothing else"
    assert store.kept("dossiers/a.json") == b"a"
    (tmp_path / "store" / "dossiers" / "a.json").write_bytes(b"")  # cut off by a full disk
    store.keep("dossiers/a.json", b"a")
    assert store.kept("dossiers/a.json") == b"a"
    in_memory = BundleStore("memory://kept", tmp_path / "cache")
    in_memory.keep("dossiers/a.json", b"a")
    assert (in_memory.names("dossiers"), in_memory.kept("dossiers/a.json")) == (["a.json"], b"a")
    with pytest.raises(StoreError, match="is read-only"):
        BundleStore(f"{server}/good", tmp_path / "cache").keep("dossiers/a.json", b"a")


@pytest.mark.parametrize("digest", ["", "..", "../../etc", "a" * 63, "A" * 64, "a" * 64 + "\n", "a\0b", "/" + "a" * 63])
def test_what_is_no_digest_touches_no_file(digest: str, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    kept = tmp_path / "kept"
    kept.mkdir()
    with pytest.raises(BundleError, match="is not a digest"):
        BundleStore(str(tmp_path / "store"), tmp_path / "cache").fetch(digest)
    assert kept.is_dir()
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BundleStore:
    uri = str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}"
    return BundleStore(uri, tmp_path / "cache")


def test_what_is_put_is_fetched_once_and_cached(store: BundleStore) -> None:
    with pytest.raises(BundleError, match="is missing"):
        store.fetch(BUNDLE.digest)
    assert store.cached() == []
    store.put(BUNDLE)
    assert store.fetch(BUNDLE.digest).manifest == BUNDLE.manifest
    assert store.cached() == [BUNDLE.digest]
    elsewhere = BundleStore("memory://nothing-here", store.cache)
    assert elsewhere.fetch(BUNDLE.digest).digest == BUNDLE.digest, "the store is not needed any more"


def test_a_damaged_copy_is_fetched_again(store: BundleStore) -> None:
    store.put(BUNDLE)
    store.fetch(BUNDLE.digest)
    (store.cache / BUNDLE.digest / MODEL).write_bytes(b"tree\nnonsense")
    assert store.fetch(BUNDLE.digest).model == BUNDLE.model
    assert (store.cache / BUNDLE.digest / MODEL).read_bytes() == BUNDLE.model


def test_a_bundle_is_fetched_where_no_copy_can_be_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "full").write_text("a file where the folder of copies is to be")
    store = BundleStore(str(tmp_path / "store"), tmp_path / "full")
    store.put(BUNDLE)
    assert store.fetch(BUNDLE.digest) == BUNDLE
    assert "cannot keep a copy" in caplog.text


def test_a_few_digits_are_enough_if_they_are_one_bundles(store: BundleStore) -> None:
    store.put(BUNDLE)
    assert store.resolve(BUNDLE.digest[:8]) == BUNDLE.digest
    assert store.resolve("0" * 64) == "0" * 64, "a whole digest needs no look"
    for name, told in ((BUNDLE.digest[:7], "at least 8 of"), ("nonsense", "neither"), ("0" * 8, "no digests in store")):
        with pytest.raises(BundleError, match=told):
            store.resolve(name)


def test_a_store_of_a_kind_that_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="install what it needs"):
        BundleStore("nosuch://bucket", tmp_path).put(BUNDLE)
