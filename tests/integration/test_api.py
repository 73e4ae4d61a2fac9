"""The API of a real `shadow serve` with real samples behind it, asked by friends, strangers and browsers."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.pages import memory_mib
from harness.hostile_api import probe
from harness.models import Models
from harness.stack import Stack, Worker, wait_for
from harness.tallied import fill
from integration.test_samples import offered, write
from shadow.comparison.outcome import Outcome
from shadow.comparison.totals import Run
from shadow.gate.criteria import parse
from shadow.store.connection import connect
from shadow.store.tallies import TallyStore

RELEASE = "schema: 1\nsegments:\n  country: {field: country, values: [DE, FR]}\nminimum_covered_hours: 24\n"
RUN, SAMPLES = Run(1, 1), 400
READ, WRITE = "reads", "writes"


@pytest.fixture(scope="module")
def serve(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("api")
    (folder / "release.yaml").write_text(RELEASE)
    env = {**models.env, "SHADOW_RELEASE": str(folder / "release.yaml"), "SHADOW_READ_TOKEN": READ}
    with Stack(folder, {**env, "SHADOW_OPERATOR_TOKEN": WRITE, "SHADOW_HTTP_HOST": "0.0.0.0"}) as stack:
        for bundle, slot in ((models.live, "live"), (models.candidate, "candidate"), (models.control, "control")):
            stack.deploy(bundle, slot)
        segments = parse(RELEASE).segments
        counts = [(1000, 60, 4, 4)] * 3
        for slot in ("candidate", "control"):
            fill(stack.store.address, slot, RUN, 30, counts, segments)
        asyncio.run(_samples(stack.store.address, segments.names))
        worker = stack.start("shadow", "serve")
        wait_for("a verdict", lambda: ask(worker, "/api/gate/verdict")[0] == 200)
        yield worker


async def _samples(address: str, names: tuple[str, ...]) -> None:
    client = connect(f"redis://{address}/0")
    store = TallyStore(client, "candidate", names)
    for day in range(8):
        many = [offered(n, names, day=day, segment=1 + n % 2) for n in range(50 * day, 50 * day + 50)]
        await write(store, day % 2, many)
    await client.aclose()


def ask(
    serve: Worker, path: str, host: str | None = None, token: str | None = READ, address: str = "127.0.0.1"
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, serve.port, timeout=30)
    headers = {"Host": host or f"{address}:{serve.port}"} | ({"Authorization": f"Bearer {token}"} if token else {})
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_nothing_that_is_asked_brings_it_down_or_gets_a_wrong_answer(serve: Worker) -> None:
    found = probe(f"http://127.0.0.1:{serve.port}", 600, 22, READ, WRITE)
    assert found.is_clean, "\n".join(found.faults.values())
    assert found.tried > 500


def test_a_page_of_samples_continues_the_one_before(serve: Worker) -> None:
    seen, after = [], 0
    while after is not None:
        status, body = ask(serve, f"/api/disagreements?sort=amount&limit=37&after={after}&agreements=true")
        assert status == 200
        page = json.loads(body)
        seen += page["samples"]
        after = page["next"]
    assert page["run"] == str(RUN)
    assert len(seen) == page["total"] == len({sample["transaction_id"] for sample in seen})
    amounts = [sample["amount_minor"] for sample in seen]
    assert amounts == sorted(amounts, reverse=True)
    assert all(0 < sample["inclusion_probability"] <= 1 for sample in seen)
    only = json.loads(ask(serve, "/api/disagreements?direction=live_only&segment=country%3DDE&limit=500")[1])
    wanted = [s for s in seen if s["outcome_code"] == Outcome.LIVE_ONLY and "country=DE" in s["segments"]]
    assert only["total"] == len(only["samples"]) == len(wanted) > 0
    none = json.loads(ask(serve, "/api/disagreements?card=nobody")[1])
    assert none == {"run": str(RUN), "total": 0, "next": None, "samples": []}


def test_probes_and_prometheus_come_by_its_address_and_a_browser_by_no_other_name(serve: Worker) -> None:
    address = own_address()
    assert ask(serve, "/livez", address=address, token=None)[0] == 200, "as the kubelet asks"
    assert ask(serve, "/metrics", address=address)[0] == 200
    assert ask(serve, "/metrics", address=address, token=None)[0] == 401
    for host in ("evil.example", f"evil.example:{serve.port}", "10.255.255.254"):
        assert ask(serve, "/livez", host=host)[0] == 400
        assert ask(serve, "/api/slots", host=host, address=address)[0] == 400
    assert ask(serve, "/api/slots", host="localhost")[0] == 200


def own_address() -> str:
    """An address of this machine beside 127.0.0.1, as a pod's is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            found = str(probe.getsockname()[0])
        except OSError:
            found = "127.0.0.2"  # no network at all: all of 127/8 is this machine
    return found


def test_the_first_page_leads_to_the_report_and_the_report_is_one(serve: Worker) -> None:
    status, body = ask(serve, "/")
    assert status == 200
    page = body.decode()
    targets = {found.replace("&amp;", "&") for found in re.findall(r'href="(/[^"#]*)"', page)}
    closed = {target for target in targets if ask(serve, target)[0] != 200}
    assert closed == {"/review?slot=candidate"}, "a reader has every page but the queue of reviews"
    assert ask(serve, "/review?slot=candidate")[0] == 401, "which asks a browser who comes"
    assert ask(serve, "/review?slot=candidate", token=WRITE)[0] == 200
    assert 'href="/report?slot=candidate"' in page
    report = ask(serve, "/report?slot=candidate")[1].decode()
    assert "<h1 class=" in report
    assert "not explained yet" in report
    assert ask(serve, "/report?slot=nobody")[0] == 404
    assert ask(serve, "/report?slot=%00")[0] == 422


def test_many_at_once_need_no_more_memory_and_health_does_not_wait(serve: Worker) -> None:
    before = memory_mib(serve)["VmHWM"]
    with ThreadPoolExecutor(24) as pool:
        answers = [pool.submit(ask, serve, "/api/disagreements?limit=10000&agreements=true") for _ in range(48)]
        started = time.monotonic()
        assert ask(serve, "/livez")[0] == 200
        assert time.monotonic() - started < 5
        assert {answer.result()[0] for answer in answers} <= {200, 503}
        assert sum(answer.result()[0] == 200 for answer in answers) >= 24
    assert memory_mib(serve)["VmHWM"] < min(200, before + 40)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /livez HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", b"400"),
        (b"GET http://evil.example/livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"400"),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 30_000 + b"\r\n\r\n", b"400 431"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400 414"),
        (b"POST /api/gate/ready HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n", b"413"),
        (b"\x16\x03\x01\x00\xa5\x01\x00", b"400"),
    ],
)
def test_a_malformed_request_is_told_so_at_once(serve: Worker, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", serve.port), timeout=10) as client:
        client.sendall(sent)
        answer = client.recv(4096)
        assert answer.split(b" ")[1] in status.split(), answer
        assert b"evil" not in answer
    assert ask(serve, "/livez")[0] == 200


def test_nothing_but_requests_that_were_malformed_is_in_its_log(serve: Worker) -> None:
    assert "Traceback" not in Path(serve.log).read_text()
