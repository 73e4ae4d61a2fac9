"""A backtest gives what a live shadow gave over the same offsets, without Kafka and Redis, and changes nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs
import pyarrow.parquet as parquet
import pytest
from deltalake import write_deltalake

from harness.bundles import BUNDLE
from harness.models import CUT, Models
from harness.objects import s3_with
from harness.stack import Stack, wait_for, write_lines
from scorer.bundles.store import BundleStore
from shadow.archive.backtest import EPOCH, Backtest, Contender, archived_deployments
from shadow.archive.rows import KINDS
from shadow.archive.stretch import Stretch
from shadow.archive.tables import Archive
from shadow.comparison.query import Query
from shadow.comparison.totals import Run, RunTotals
from shadow.local import embedded
from shadow.release.criteria_file import load_release
from shadow.settings import ShadowSettings
from shadow.store.connection import connect
from shadow.store.reader import TallyReader
from shadow.store.samples import SampleReader

NOWHERE = {"SHADOW_KAFKA": "127.0.0.1:1", "SHADOW_REDIS": "redis://127.0.0.1:1/0"}
TRAIN = ("scorer", "train", "--param", "num_iterations=25")
#: Transactions under each state of live: as deployed, with another threshold, under the kill switch, resumed.
SLICES = (5_000, 2_500, 400, 4_100)


@dataclass
class Archived:
    """A stack whose shadows have compared a stream, which is archived now."""

    stack: Stack
    models: Models
    live_gate: dict[str, Any]

    @property
    def release(self) -> Any:
        return load_release(Path(self.models.env["SHADOW_RELEASE"]))

    def backtest(self, *argv: str, expect: int | None = None, **env: str) -> dict[str, Any]:
        """What `shadow backtest --json` says, without Kafka and Redis."""
        argv = ("shadow", "backtest", "--json", *argv)
        done = self.stack._command(argv, {**NOWHERE, **env})
        assert done.returncode in ((0, 3, 4) if expect is None else (expect,)), done.stderr.decode()
        told: dict[str, Any] = orjson.loads(done.stdout)
        return told


def send(stack: Stack, rows: list[dict[str, Any]], before: int) -> int:
    path = write_lines(stack.folder / f"from-{before}.jsonl", rows)
    stack.run("scorer", "replay", str(path))
    stack.until_settled(before + len(rows))
    return before + len(rows)


@pytest.fixture(scope="module")
def archived(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archived]:
    with Stack(tmp_path_factory.mktemp("stack"), dict(models.env)) as stack:
        yield lived(stack, models)


def lived(stack: Stack, models: Models) -> Archived:
    """A candidate and a control have been in the shadow of live, which changed meanwhile."""
    stack.deploy(models.live, "live")
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    stack.start("scorer", "run", ready=False)
    shadows = [stack.start("shadow", "run", "--slot", slot, ready=False) for slot in ("candidate", "control")]
    serve = stack.start("shadow", "serve", ready=False)
    stack.until_ready()
    rows = [orjson.loads(line) for line in models.stream.read_bytes().splitlines()]
    changes: list[Callable[[], Any]] = [
        lambda: None,
        lambda: stack.deploy(models.live, "live", threshold=0.31, discard=True),
        lambda: stack.run("scorer", "deploy", "--block-all", "--by", "ann", "--reason", "a drill"),
        lambda: stack.run("scorer", "deploy", "--resume", "--by", "ann", "--reason", "it is over"),
    ]
    sent = 0
    for n, change in zip(SLICES, changes, strict=True):
        change()
        sent = send(stack, rows[sent : sent + n], sent)
    decisions = stack.decisions()
    chargebacks = stack.folder / "chargebacks.csv"
    lines = ["transaction_id,verdict,at"]
    lines += [f"{one['transaction']['transaction_id']},fraud,2026-03-01T12:00:00Z" for one in decisions[::3]]
    chargebacks.write_text("\n".join(lines) + "\n")
    stack.run("shadow", "labels", "load", str(chargebacks), "--source", "chargeback", "--by", "acquirer")
    labels = len(stack.read("labels"))
    wait_for("labels", lambda: serve.metric("shadow_labels_total") >= labels)
    for shadow in shadows:
        wait_for("compared", lambda s=shadow: s.metric("shadow_decisions_read_total") >= len(decisions))
    for worker in stack.workers:
        assert worker.stop() == 0
    live_gate = orjson.loads(stack._command(("shadow", "gate", "--json"), None).stdout)
    stack.run("shadow", "archive", "run", "--once", "--http-port", "0")
    return Archived(stack, models, live_gate)


def as_numbers(totals: RunTotals) -> Any:
    """All that a run adds up to, without its epochs."""
    parts = {
        name: (part.columns.tolist(), part.day_columns.tolist(), part.tops.tolist(), part.scores.tolist())
        for name, part in totals.segments.items()
    }
    return replace(totals, run=Run(0, 0), segments={}), parts


async def samples_of(redis: Any, slot: str, run: Run) -> list[dict[str, Any]]:
    """Every stored sample of a run with its inclusion probability, without explanation and the candidate's epoch."""
    found, total = await SampleReader(redis, slot).page(run, Query(agreements=True, limit=10_000), 100.0)
    assert len(found) == total > 0
    out = [one.to_json() | {"why": None, "run": None} for one in found]
    for one in out:
        one["candidate"] = one["candidate"] | {"epoch": None}
    return sorted(out, key=lambda one: (one["source"]["partition"], one["source"]["offset"]))


async def assert_same(archived: Archived, tmp_path: Path) -> None:
    release, models = archived.release, archived.models
    settings = ShadowSettings(release=Path(models.env["SHADOW_RELEASE"]))
    place = Archive(str(archived.stack.folder / "archive"), {})
    tables = {kind.table: place.existing(kind, kind.role) for kind in KINDS}
    published = archived_deployments(tables["deployments"].stored())
    assert published.currency is not None
    bundles = BundleStore(models.env["SCORER_STORE"], tmp_path / "cache")
    contenders = {}
    for slot in ("candidate", "control"):
        bundle = bundles.fetch(getattr(models, slot))
        contenders[slot] = Contender(bundle.digest, EPOCH, bundle.threshold, bundle, published.views)
    live = connect(archived.stack.env["SHADOW_REDIS"])
    with embedded.private_store(tmp_path):
        ours = connect(f"unix://{tmp_path / embedded.SOCKET}")
        backtest = Backtest(ours, settings, release, contenders)
        await backtest.replay(Stretch(tables["decisions"].stored(), window=3_000), published.minor_per_unit)
        names = release.segments.names
        for slot in contenders:
            theirs, mine = TallyReader(live, slot, names), TallyReader(ours, slot, names)
            runs = await theirs.runs()
            assert [info.run.live_epoch for info in runs] == [1, 2, 3, 4]
            assert [info.run.live_epoch for info in await mine.runs()] == [1, 2, 3, 4]
            for info, other in zip(runs, await mine.runs(), strict=True):
                assert replace(other, run=info.run) == info
                wanted, found = await theirs.totals(info.run), await mine.totals(other.run)
                assert wanted.compared > 100
                assert as_numbers(found) == as_numbers(wanted), (slot, info.run)
                days = sorted({hour // 24 for hour in wanted.covered})
                for read in ("histograms", "snapshots"):
                    what = (names,) if read == "histograms" else (wanted.view, len(published.views[wanted.view].names))
                    assert np.array_equal(
                        await getattr(mine, read)(other.run, days, *what),
                        await getattr(theirs, read)(info.run, days, *what),
                    )
                assert await samples_of(ours, slot, other.run) == await samples_of(live, slot, info.run)
                salted = [replace(case, card="") for case in await theirs.cases(info.run)]
                assert [replace(case, card="") for case in await mine.cases(other.run)] == salted
        await ours.aclose()
    await live.aclose()


def keys_of(stack: Stack) -> Any:
    async def go() -> Any:
        redis = connect(stack.env["SHADOW_REDIS"])
        found = sorted([key async for key in redis.scan_iter(count=5_000)])
        async with redis.pipeline(transaction=False) as pipe:
            for key in found:
                pipe.dump(key)
            dumped = await pipe.execute()
        await redis.aclose()
        return found, dumped

    return asyncio.run(go())


def test_tallies_samples_and_verdict_are_those_of_the_live_shadow(archived: Archived, tmp_path: Path) -> None:
    stack, models = archived.stack, archived.models
    (tmp_path / "private").mkdir()
    asyncio.run(assert_same(archived, tmp_path / "private"))
    stack.run("shadow", "archive", "compact")
    (tmp_path / "again").mkdir()
    asyncio.run(assert_same(archived, tmp_path / "again"))
    before = keys_of(stack), len(stack.read("deployments", "labels"))
    told = archived.backtest("--candidate", models.candidate[:12], "--control", models.control)
    assert (keys_of(stack), len(stack.read("deployments", "labels"))) == before, "a backtest wrote somewhere"
    assert told["decisions"] == len(stack.decisions())
    newest = told["runs"][-1]
    for name in ("findings", "decision", "clean", "rates", "matched", "drift", "others", "group", "reason"):
        wanted, found = archived.live_gate[name], newest[name]
        assert orjson.dumps(found) == orjson.dumps(wanted), name
    assert [run["says_nothing"] is None for run in told["runs"]] == [True, True, False, True]
    assert told["labels"] == len(stack.read("labels")) > 1000
    assert archived.backtest("--candidate", models.candidate, "--as-of", "2026-02-01")["labels"] == 0
    assert told["verdict"] != "promote"
    assert "never promotes" in told["note"]


def test_hopeless_candidates_are_rejected_and_a_page_says_why(archived: Archived, tmp_path: Path) -> None:
    stack, models = archived.stack, archived.models
    control = ("--control", models.control)
    own = BundleStore(models.env["SCORER_STORE"], tmp_path / "cache").fetch(models.live).threshold
    blunt = archived.backtest("--candidate", models.live, "--threshold", f"{own * 1.6:.4f}", *control, expect=4)
    assert blunt["verdict"] == "reject"
    poor = stack.run(*TRAIN, str(models.history), "--features", "channel", "--to", CUT)
    assert archived.backtest("--candidate", poor, *control, expect=4)["verdict"] == "reject"
    page, summary = tmp_path / "page.html", tmp_path / "summary.md"
    flipped = stack.run(*TRAIN, str(with_flipped_labels(models.history, tmp_path)), "--to", CUT)
    asked = ["--candidate", flipped, *control, "--report", str(page), "--markdown", str(summary)]
    assert archived.backtest(*asked, expect=4)["verdict"] == "reject"
    for text in (page.read_text(), summary.read_text()):
        assert "never promotes" in text
        assert "reject" in text.lower()
    told = stack.run("shadow", "backtest", "--candidate", flipped, "--brief", expect=4, env=NOWHERE)
    assert "it never promotes" in told
    assert "says nothing: live decided by an override" in told
    assert "--control" in told


def to_s3(folder: Path, target: str, env: dict[str, str]) -> None:
    """Copy every file of a folder into a bucket, by another client than the archive's."""
    where = pyarrow.fs.S3FileSystem(
        access_key=env["AWS_ACCESS_KEY_ID"],
        secret_key=env["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=env["AWS_ENDPOINT_URL"].removeprefix("http://"),
        scheme="http",
        region=env["AWS_DEFAULT_REGION"],
    )
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        with where.open_output_stream(f"{target}/{path.relative_to(folder).as_posix()}") as out:
            out.write(path.read_bytes())


@pytest.mark.needs("attack")
def test_an_archive_on_a_store_of_objects_is_judged_as_the_same_one_in_a_folder(
    archived: Archived, tmp_path: Path
) -> None:
    stack, models = archived.stack, archived.models
    ask = ("--candidate", models.candidate[:12], "--control", models.control)
    ask_levels = ("shadow", "levels", "--json", "--bundle", models.candidate, "--as-of", "2026-04-01")
    with s3_with("kept", tmp_path) as (_, env):
        to_s3(stack.folder / "archive", "kept/tables", env)
        there = {"SHADOW_ARCHIVE": "s3://kept/tables", "SHADOW_ARCHIVE_OPTIONS": '{"AWS_ALLOW_HTTP": "true"}', **env}
        here, away = archived.backtest(*ask), archived.backtest(*ask, **there)
        for name in ("verdict", "decisions", "labels"):
            assert away[name] == here[name], name
        assert away["decisions"] > 10_000
        for name in ("findings", "decision", "rates", "matched", "drift"):
            assert [run[name] for run in away["runs"]] == [run[name] for run in here["runs"]], name
        levels = [stack._command(ask_levels, {**NOWHERE, **more}) for more in ({}, there)]
        assert [done.returncode for done in levels] == [0, 0], levels[1].stderr.decode()
        told = [orjson.loads(done.stdout) for done in levels]
        assert told[1].pop("archive") == "s3://kept/tables"
        assert told[0].pop("archive") != "s3://kept/tables"
        assert told[0] == told[1]


def test_what_cannot_be_replayed_is_one_line(archived: Archived, tmp_path: Path) -> None:
    stack, models = archived.stack, archived.models
    ask = ("shadow", "backtest", "--candidate", models.candidate)
    assert "has no decisions of event days 2020-01-01 to 2020-01-31; it has 2026-01-" in stack.fails(
        *ask, "--from", "2020-01-01", "--to", "2020-01-31"
    )
    assert "is after --to" in stack.fails(*ask, "--from", "2026-02-01", "--to", "2026-01-01")
    assert "--from 'monday': is no day" in stack.fails(*ask, "--from", "monday")
    assert "has no tables" in stack.fails(*ask, SHADOW_ARCHIVE=str(tmp_path / "nothing"))
    assert "no digests in store" in stack.fails("shadow", "backtest", "--candidate", "0" * 12)
    elsewhere = tmp_path / "elsewhere"
    BUNDLE.write(elsewhere)
    (folder,) = elsewhere.iterdir()
    told = stack.fails("shadow", "backtest", "--candidate", str(folder))
    assert "features[0] age is not in the feature view" in told
    assert "decisions of 2026-01-" in told
    (other := tmp_path / "other").mkdir()
    write_deltalake(other / "decisions", pa.table({"offset": [1]}))
    assert "has no column partition" in stack.fails(*ask, SHADOW_ARCHIVE=str(other))
    assert "cannot be written" in stack.fails(*ask, "--report", str(tmp_path / "no" / "page.html"))
    only_itself = stack.run("shadow", "backtest", "--candidate", models.live, "--to", "2026-01-22", expect=2)
    assert "error: " in only_itself.splitlines()[-1]
    assert "live was the candidate itself" in only_itself.splitlines()[-1]
    shutil.copytree(stack.folder / "archive", tmp_path / "damaged")
    for one in (tmp_path / "damaged" / "decisions").glob("day=*/*.parquet"):
        one.write_bytes(b"nothing of the kind")
    assert "cannot be read" in stack.fails(*ask, SHADOW_ARCHIVE=str(tmp_path / "damaged"))


def with_flipped_labels(history: Path, folder: Path) -> Path:
    """The same transactions, in which everything is fraud that was none."""
    table = parquet.read_table(history)
    at = table.schema.get_field_index("is_fraud")
    flipped = pc.subtract(1, table["is_fraud"].cast(pa.int8())).cast(table["is_fraud"].type)
    path = folder / "flipped.parquet"
    parquet.write_table(table.set_column(at, "is_fraud", flipped), path)
    return path
