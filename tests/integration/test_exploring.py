"""The explorer's API, command and client on a real `shadow serve`: they agree, and with what is stored."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from harness.card_numbers import digits_of
from harness.models import Models
from harness.stack import Stack, Worker, wait_for
from harness.tallied import fill
from integration.test_api import READ, RELEASE, RUN, ask
from integration.test_samples import offered, write
from shadow.client import Client, ProblemError
from shadow.comparison.sample import Contribution
from shadow.gate.criteria import parse
from shadow.store.connection import connect
from shadow.store.tallies import TallyStore

NAMES = parse(RELEASE).segments.names
WHY = (Contribution("amount", 12.5, 0.1, 1.3, 1.2), Contribution("channel", 2.0, 0.5, 0.1, -0.4))


async def _samples(address: str) -> None:
    client = connect(f"redis://{address}/0")
    for slot in ("candidate", "control"):
        store = TallyStore(client, slot, NAMES)
        for day in range(8):
            many = [
                offered(
                    n,
                    NAMES,
                    day=day,
                    segment=1 + n % 2,
                    gap=(n % 9 - 4) / (10 if slot == "candidate" else 1000),
                    transaction={"merchant_id": f"m-{n % 5}", "odd=name%": "<b>", "channel": "online"},
                    why=WHY,
                )
                for n in range(100 * day, 100 * day + 100)
            ]
            await write(store, day % 2, many)
    await client.aclose()


@pytest.fixture(scope="module")
def running(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Worker]]:
    folder = tmp_path_factory.mktemp("exploring")
    (folder / "release.yaml").write_text(RELEASE)
    env = {**models.env, "SHADOW_RELEASE": str(folder / "release.yaml")}
    with Stack(folder, env) as stack:
        for bundle, slot in ((models.live, "live"), (models.candidate, "candidate"), (models.control, "control")):
            stack.deploy(bundle, slot)
        for slot in ("candidate", "control"):
            fill(stack.store.address, slot, RUN, 30, [(1000, 60, 4, 4)] * 3, parse(RELEASE).segments)
        asyncio.run(_samples(stack.store.address))
        worker = stack.start("shadow", "serve", env={"SHADOW_READ_TOKEN": READ})
        wait_for("a verdict", lambda: ask(worker, "/api/gate/verdict")[0] == 200)
        yield stack, worker


@pytest.fixture
def client(running: tuple[Stack, Worker]) -> Client:
    return Client(f"http://127.0.0.1:{running[1].port}", token=READ)


def stored(running: tuple[Stack, Worker], query: str = "") -> list[dict[str, Any]]:
    """Samples as the API of the samples' own index gives them."""
    status, body = ask(running[1], f"/api/disagreements?limit=10000{query}")
    assert status == 200
    return list(json.loads(body)["samples"])


def test_every_way_gives_the_same_samples(running: tuple[Stack, Worker], client: Client, tmp_path: Path) -> None:
    want = {one["transaction_id"]: one for one in stored(running)}
    assert len(want) > 200
    pages = list(client.samples(page=37, sort="amount"))
    assert len(pages) == len(want)
    assert {one["transaction_id"]: one for one in pages} == want
    amounts = [one["amount_minor"] for one in pages]
    assert amounts == sorted(amounts, reverse=True)
    rows = list(client.rows())
    assert {row["transaction_id"] for row in rows} == set(want)
    assert all(row["weight"] == pytest.approx(1 / row["inclusion_probability"]) for row in rows)
    total = client.facets(field=["direction"])["estimate"]
    assert sum(row["weight"] for row in rows) == pytest.approx(total["value"], abs=0.01)
    for kind in ("csv", "parquet"):
        assert client.save(str(tmp_path / f"x.{kind}"), kind) > 1000
    told = csv.DictReader(io.StringIO((tmp_path / "x.csv").read_bytes().decode()))
    assert {row["transaction_id"] for row in told} == set(want)
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert set(table["transaction_id"].to_pylist()) == set(want)
    assert table["weight"].to_pylist()


def test_filters_and_facets_count_what_a_loop_counts(running: tuple[Stack, Worker], client: Client) -> None:
    every = stored(running)

    def weight(keep: Any) -> float:
        return sum(1 / one["inclusion_probability"] for one in every if keep(one))

    found = client.facets(
        field=["merchant_id", "segment.country", "odd=name%"], where=["merchant_id=m-1", "merchant_id=m-3"]
    )
    assert found["estimate"]["value"] == pytest.approx(
        weight(lambda s: s["transaction"]["merchant_id"] in ("m-1", "m-3")), abs=0.01
    )
    merchants, countries, odd = found["facets"]
    assert {one["value"]: round(one["count"]["value"]) for one in merchants["values"]} == {
        f"m-{n}": round(weight(lambda s, n=n: s["transaction"]["merchant_id"] == f"m-{n}")) for n in range(5)
    }
    assert {one["value"] for one in countries["values"]} == {"DE", "FR"}
    assert [one["value"] for one in odd["values"]] == ["<b>"]
    assert client.facets(where=["odd%3Dname%25=<b>"])["samples"] == len(every)
    drivers = client.drivers()
    assert [one["feature"] for one in drivers["features"]] == ["amount", "channel"]
    assert drivers["features"][0]["mean_difference"] == pytest.approx(1.2, abs=1e-4)
    assert drivers["explained"] == len(every)
    what = client.what_if(0.3)
    assert (what["source"], what["currency"]) == ("histogram", None)
    assert client.what_if(0.3, where=["merchant_id=m-1"])["source"] == "samples"
    days = client.tallies(by="day", segment="country=FR")["tallies"]
    assert sum(day["live_only"] for day in days) == 30 * 4
    noisy = client.facets(beyond_noise=True)
    assert 0 < noisy["samples"] < len(every)
    told = client.sample(every[0]["transaction_id"])
    assert "channel is online: the candidate sees less risk in it than live" in told["reasons"]
    assert {one["card_id"] for one in told["same_card"]} == {every[0]["card_id"]}


def test_what_is_not_there_is_refused_with_what_is_near(running: tuple[Stack, Worker], client: Client) -> None:
    for asked, status, said in (
        ({"segment": ["country=FRA"]}, 404, "did you mean country=FR?"),
        ({"where": ["merchnt_id=1"]}, 404, "did you mean merchant_id?"),
        ({"field": ["merchant"]}, 404, "did you mean merchant_id?"),
        ({"top_feature": "amont"}, 404, "did you mean amount?"),
        ({"run": "L1-C7"}, 404, "did you mean L1-C1?"),
        ({"slot": "candidat"}, 404, "did you mean candidate?"),
        ({"min_amount": "x"}, 422, "min_amount"),
    ):
        with pytest.raises(ProblemError) as refused:
            client.facets(**asked)  # type: ignore[arg-type]
        assert refused.value.status == status
        assert said in refused.value.detail
    with pytest.raises(ProblemError) as refused:
        client.sample("t-nobody")
    assert refused.value.status == 404
    with pytest.raises(ProblemError, match="cursor"):
        next(
            client.samples(cursor="AAAA", page=1) if False else iter([client._json("/api/samples", {"cursor": "AAAA"})])
        )
    with pytest.raises(ProblemError) as refused:
        Client(client._address, token="wrong").slots()
    assert refused.value.status == 401
    with pytest.raises(ProblemError, match="is `shadow serve` running"):
        Client("http://127.0.0.1:9").slots()
    with pytest.raises(ValueError, match="no address"):
        Client("file:///etc/passwd")


def test_what_has_not_changed_is_not_sent_again(running: tuple[Stack, Worker], client: Client) -> None:
    import http.client

    first = client.drivers()
    assert client.drivers() == first
    connection = http.client.HTTPConnection("127.0.0.1", running[1].port, timeout=30)
    headers = {"Authorization": f"Bearer {READ}"}
    connection.request("GET", "/api/drivers", headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.request("GET", "/api/drivers", headers={**headers, "If-None-Match": str(answer.headers["etag"])})
    again = connection.getresponse()
    assert (again.status, again.read()) == (304, b"")
    connection.request("GET", "/api/drivers", headers={**headers, "If-None-Match": '"other"'})
    assert connection.getresponse().status == 200
    connection.close()


def test_the_command_asks_the_same_questions(running: tuple[Stack, Worker], client: Client, tmp_path: Path) -> None:
    stack, _ = running
    show = ("shadow", "disagreements")
    found = json.loads(stack.run(*show, "--facets", "merchant_id", "--output", "jsonl"))
    assert found == client.facets(field=["merchant_id"])["facets"][0]
    assert json.loads(stack.run(*show, "--drivers", "--output", "jsonl"))["features"] == client.drivers()["features"]
    plain = stack.run(*show, "--facets", "segment.country", "--segment", "country=FR", "--beyond-noise")
    assert "FR" in plain
    assert "they stand for about" in plain
    assert "left out as noise" in plain
    file = tmp_path / "f.parquet"
    stack.run(*show, "--export", str(file), "--where", "merchant_id=m-2")
    mine = [one for one in stored(running) if one["transaction"]["merchant_id"] == "m-2"]
    assert pyarrow.parquet.read_table(file).num_rows == len(mine) > 0
    told = stack.run(*show, "--explain", mine[0]["transaction_id"])
    assert "amount is 12.5: the candidate sees much more risk in it than live" in told
    lines = stack.run(*show, "--output", "jsonl", "--limit", "1000").splitlines()
    assert len(lines) == len(stored(running))
    assert f"of {len(lines):,} matching" in stack.run(*show)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--segment", "country=FRA"), "did you mean country=FR?"),
        (("--where", "merchnt_id=1"), "did you mean merchant_id?"),
        (("--facets", "merchant"), "did you mean merchant_id?"),
        (("--top-feature", "amont"), "did you mean amount?"),
        (("--run", "L1-C7"), "did you mean L1-C1?"),
        (("--slot", "candidat"), "did you mean candidate?"),
        (("--run", "7"), "is not a run"),
        (("--explain", "t-nobody"), "has no sample of it"),
        (("--export", "f.xlsx"), "ends with none of"),
        (("--export", "nowhere/f.csv"), "No such file"),
        (("--facets", "hour", "--drivers"), "give one of them"),
        (("--where", "hour"), "--where"),
        (("--min-amount", "2", "--max-amount", "1"), "nothing lies between"),
    ],
)
def test_what_makes_no_sense_ends_the_command_with_one_line(
    running: tuple[Stack, Worker], argv: tuple[str, ...], told: str
) -> None:
    assert told in running[0].fails("shadow", "disagreements", *argv)


def test_what_comes_is_followed(running: tuple[Stack, Worker]) -> None:
    """Samples that are stored after the command has begun, and none from before."""
    stack, _ = running
    process = stack.begin("shadow", "disagreements", "--follow", "--where", "merchant_id=new")
    try:

        async def more(n: int) -> None:
            client = connect(f"redis://{stack.store.address}/0")
            given = {"transaction": {"merchant_id": "new"}, "gap": 0.5, "why": WHY}
            many = [offered(n + i, NAMES, day=9, **given) for i in range(4)]
            await write(TallyStore(client, "candidate", NAMES), 2, many)
            await client.aclose()

        n = 10_000
        asyncio.run(more(n))  # so that there is such a merchant
        told: list[bytes] = []
        import threading

        assert process.stdout is not None
        reading = threading.Thread(target=lambda: told.extend(process.stdout or ()), daemon=True)
        reading.start()

        def has_more() -> bool:
            nonlocal n
            n += 10
            asyncio.run(more(n))
            return bool(told) or process.poll() is not None

        wait_for("a sample", has_more)
        first = json.loads(told[0])
        assert first["transaction"]["merchant_id"] == "new"
    finally:
        process.kill()
        process.wait()


def test_no_answer_of_any_kind_holds_a_card_that_looks_like_one(running: tuple[Stack, Worker]) -> None:
    for path in ("/api/samples?where=4111111111111111%3D1", "/explore?slot=candidate&4111111111111111=1"):
        status, body = ask(running[1], path)
        assert status in (404, 422)
        assert status == 404 or "4111111111111111" not in digits_of(body.decode())
