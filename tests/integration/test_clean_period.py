"""What resets the clean period: each cause provoked on real processes, recorded with its name, and shown."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from harness.kafka import Kafka
from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import Stack, Worker, get, wait_for
from harness.tallied import FIRST_HOUR, an_hour
from scorer.kafka.topics import admin
from shadow.cli.gate import EXIT
from shadow.comparison.totals import Run
from shadow.gate.clean_period import clean_of
from shadow.gate.criteria import parse
from shadow.store.connection import connect
from shadow.store.tallies import Fence, TallyStore

RELEASE = "schema: 1\nminimum_covered_hours: 24\n"
SLICE = 1500


@dataclass
class Story:
    """A candidate that runs, and a stream that is sent in slices."""

    stack: Stack
    rows: list[bytes]
    sent: int = 0
    shadow: Worker | None = None
    scorer: Worker | None = None
    serve: Worker | None = None
    env: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        self.scorer = self.stack.start("scorer", "run", ready=False)
        self.shadow = self.stack.start("shadow", "run", "--slot", "candidate", ready=False)
        self.serve = self.stack.start("shadow", "serve", ready=False)
        self.stack.until_ready()

    def send(self) -> None:
        """Send the next slice and wait until the shadow has it."""
        path = self.stack.folder / f"slice-{self.sent}.jsonl"
        mine, self.rows = self.rows[:SLICE], self.rows[SLICE:]
        path.write_bytes(b"".join(mine))
        self.stack.run("scorer", "replay", str(path))
        self.sent += SLICE
        decided = len(self.stack.until_settled(self.sent)) - len(self.stack.read("transactions.rejected"))
        wait_for("compared", lambda: sum(run["seen"] for run in self.runs()) >= decided)

    def runs(self) -> list[dict[str, Any]]:
        assert self.serve is not None
        found = orjson.loads(get(f"http://127.0.0.1:{self.serve.port}/api/runs?slot=candidate") or b"[]")
        return [{**run, "seen": sum(run[k] for k in ("compared", "errors", "duplicates", "repeats"))} for run in found]

    def deploy(self, bundle: str, slot: str, threshold: float | None = None) -> None:
        """Fill a slot, and wait until the shadow follows."""
        self.stack.deploy(bundle, slot, threshold, discard=True)
        told = orjson.loads(self.gate("--json"))["run"]
        assert self.shadow is not None
        if slot == "candidate":
            epoch = told.split("-C")[1]
            wait_for("followed", lambda: f"epoch {epoch}\n" in self.shadow.log.read_text())  # type: ignore[union-attr]

    def gate(self, option: str) -> str:
        """What the command prints, whatever the verdict is; fails with all of it if there is none."""
        command = self.stack.begin("shadow", "gate", option)
        out, _ = command.communicate(timeout=PATIENCE_SECONDS)
        told = out.decode()
        assert command.returncode in EXIT.values(), f"shadow gate {option}: {command.returncode}\n{told}"
        return told

    def clean(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.gate("--json"))["clean"]
        return found

    def causes(self) -> list[str]:
        return [reset["cause"] for reset in self.clean()["resets"]]

    def shown(self) -> str:
        """The line of the command, joined where it is wrapped."""
        return self.gate("--brief").replace("\n", " ")

    def metric(self, cause: str) -> float:
        """What `shadow serve` exports of a cause."""
        assert self.serve is not None
        page = (get(f"http://127.0.0.1:{self.serve.port}/metrics") or b"").decode()
        line = f'shadow_clean_period_resets{{cause="{cause}",slot="candidate"}}'
        return next((float(one.rpartition(" ")[2]) for one in page.splitlines() if one.startswith(line)), 0.0)


@pytest.fixture
def story(stack: Stack, models: Models) -> Story:
    (stack.folder / "release.yaml").write_text(RELEASE)
    stack.env["SHADOW_RELEASE"] = str(stack.folder / "release.yaml")
    stack.deploy(models.candidate, "candidate")
    return Story(stack, models.stream.read_bytes().splitlines(keepends=True))


def test_a_new_artefact_or_threshold_begins_the_period_anew_and_is_named(story: Story, models: Models) -> None:
    story.begin()
    story.send()
    first = story.clean()
    assert first["hours"] > 0
    assert first["begun"] == []
    assert first["resets"] == []
    story.deploy(models.control, "candidate")
    story.send()
    second = story.clean()
    assert second["begun"] == ["new artefact", "new threshold"], "the bundle brings a threshold of its own"
    assert second["hours"] > 0
    assert second["since"] >= first["last"]
    story.deploy(models.control, "candidate", threshold=0.9)
    story.send()
    assert story.clean()["begun"] == ["new threshold"]
    assert "the run restarted because of a new threshold" in story.shown()
    wait_for("exported", lambda: story.metric("new threshold") == 1)
    assert story.metric("new artefact") == 0
    story.deploy(models.candidate, "live")
    story.send()
    assert story.clean()["begun"][0] == "new artefact", "of live, that is"


def test_criteria_view_conflict_and_error_reset_the_period_and_are_named(story: Story, models: Models) -> None:
    story.begin()
    story.send()
    assert story.causes() == []
    before = story.clean()
    assert (before["needed"], before["resets"]) == (24, [])

    assert story.shadow is not None
    story.shadow.stop()
    (story.stack.folder / "release.yaml").write_text(RELEASE.replace("24", "1000"))
    story.shadow = story.stack.start("shadow", "run", "--slot", "candidate")
    story.send()
    after = story.clean()
    assert [reset["cause"] for reset in after["resets"]] == ["release criteria"]
    assert after["since"] > before["last"], "what was clean before does not count any longer"
    assert after["since"] > after["resets"][0]["hour"] >= before["since"]
    shown = story.shown()
    assert "by release criteria" in shown, (shown, story.clean())
    assert "to go: full at 20" in shown

    # a feature view that means the same to live, and something else to the candidate
    view = Path(models.env["SCORER_VIEW"]).read_text()
    (story.stack.folder / "view.yaml").write_text(view.replace("grocery, fuel", "fuel, grocery"))
    story.stack.env["SCORER_VIEW"] = str(story.stack.folder / "view.yaml")
    assert story.scorer is not None
    story.scorer.stop()
    story.scorer = story.stack.start("scorer", "run")
    story.send()
    causes = story.causes()
    assert causes.count("feature view") == 1
    assert causes.count("candidate error") >= 1
    wait_for("exported", lambda: story.metric("candidate error") == causes.count("candidate error"))
    assert story.metric("feature view") == 1
    assert story.clean()["hours"] == 0, "every hour since has an error"

    contradict(story.stack)
    story.send()
    assert "decision conflict" in story.causes()
    shown = story.shown()
    assert shown.startswith("reject: ")
    assert "1 transaction was decided twice" in shown


def contradict(stack: Stack) -> None:
    """Append a decision that was made before with another score under the same epoch."""
    record = next(r for r in reversed(stack.read("decisions")) if orjson.loads(r.value)["score"] is not None)
    decision = orjson.loads(record.value)
    decision["score"] = 1 - decision["score"]

    async def go() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=stack.env["SCORER_KAFKA"])
        await producer.start()
        await producer.send_and_wait("decisions", orjson.dumps(decision), record.key, record.partition)
        await producer.stop()

    asyncio.run(go())


def test_a_coverage_gap_resets_the_period_with_the_first_hour_after_it(stack: Stack) -> None:
    async def go() -> list[tuple[int, str]]:
        redis = connect(stack.env["SHADOW_REDIS"])
        segments = parse(RELEASE).segments
        store, run = TallyStore(redis, "candidate", segments.names), Run(1, 1)
        fence = await store.open_partition(0, 0)
        await store.apply(0, fence, 1, an_hour(run, FIRST_HOUR, [(5, 0, 0, 0)], segments))
        await store.record_gap(0, Fence(fence.nonce, 1, 0, False), 40)
        for hour in (1, 2):
            fence = await store.open_partition(0, 0)
            what = an_hour(run, FIRST_HOUR + hour, [(5, 0, 0, 0)], segments, source=fence.next)
            await store.apply(0, fence, fence.next + 1, what)
        totals = await store.totals(run)
        await redis.aclose()
        assert totals.gap == 39
        assert clean_of(totals, 24).hours == 1
        return [(reset.hour - FIRST_HOUR, reset.cause) for reset in totals.resets]

    assert asyncio.run(go()) == [(1, "coverage gap")]


def test_an_hour_with_few_errors_is_clean_if_the_criteria_say_so(stack: Stack, models: Models) -> None:
    stack.run("scorer", "topics")
    stack.deploy(models.candidate, "candidate")

    async def go() -> None:
        redis = connect(stack.env["SHADOW_REDIS"])
        segments = parse(RELEASE).segments
        store = TallyStore(redis, "candidate", segments.names)
        for hour, errors in enumerate((0, 1, 0, 9, 0, 1)):
            fence = await store.open_partition(0, 0)
            what = an_hour(Run(1, 1), FIRST_HOUR + hour, [(1000, 0, 0, 0)], segments, errors, fence.next)
            await store.apply(0, fence, fence.next + 1, what)
        await redis.aclose()

    asyncio.run(go())
    path = stack.folder / "release.yaml"
    stack.env["SHADOW_RELEASE"] = str(path)
    for rate, hours, resets in ((0.0, 0, 3), (0.002, 2, 1), (0.01, 6, 0)):
        path.write_text(f"{RELEASE}tolerated_error_rate: {rate}\n")
        clean = orjson.loads(stack.run("shadow", "gate", "--json", expect=3))["clean"]
        assert (clean["hours"], len(clean["resets"])) == (hours, resets), rate


@pytest.mark.needs("kafka")
@pytest.mark.variant
def test_decisions_that_retention_took_are_a_gap_that_resets_the_period(models: Models, tmp_path: Path) -> None:
    with Stack(tmp_path, dict(models.env), broker=Kafka(tmp_path / "broker")) as stack:
        stack.deploy(models.live, "live")
        (tmp_path / "release.yaml").write_text(RELEASE)
        stack.env["SHADOW_RELEASE"] = str(tmp_path / "release.yaml")
        stack.deploy(models.candidate, "candidate")
        story = Story(stack, models.stream.read_bytes().splitlines(keepends=True))
        story.begin()
        story.send()
        assert story.shadow is not None
        story.shadow.stop()
        path = tmp_path / "unseen.jsonl"
        path.write_bytes(b"".join(story.rows[:SLICE]))
        story.rows = story.rows[SLICE:]
        stack.run("scorer", "replay", str(path))
        story.sent += SLICE
        stack.until_settled(story.sent)
        ends = {r.partition: r.offset + 1 for r in stack.read("decisions")}

        async def delete() -> None:
            async with admin(stack.settings()) as client:
                await client.delete_records(
                    {TopicPartition("decisions", at): RecordsToDelete(before_offset=end) for at, end in ends.items()}
                )

        asyncio.run(delete())
        story.shadow = stack.start("shadow", "run", "--slot", "candidate")
        path.write_bytes(b"".join(story.rows[:SLICE]))
        stack.run("scorer", "replay", str(path))
        wait_for("a reset", lambda: "coverage gap" in story.causes())
        assert "by coverage gap" in story.shown()
