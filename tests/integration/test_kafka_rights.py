"""Every right of every user in Kafka is needed: a user that lacks one of them cannot do its work."""

from __future__ import annotations

import asyncio
import hashlib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError

import orjson
import pytest
import redis
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from harness.access import (
    PASSWORD,
    USERS,
    audited,
    change_right,
    give_rights_in_kafka,
    guarded,
    log_length,
    logins,
)
from harness.kafka import Kafka
from harness.models import Models
from harness.stack import Stack, Worker, get, wait_for, write_lines
from rights.users import Right
from scorer.settings import Topics
from shadow.local.process import free_port

pytestmark = [pytest.mark.needs("kafka"), pytest.mark.variant]

SIGNED = ("--by", "ann", "--reason", "because")
TOPICS = tuple(Topics().model_dump().values())
#: How long what works takes, at most.
PATIENCE = 12.0
FROM_BANK = ("--source", "chargeback", "--by", "bank")
#: Asks for little, so that a short stream is enough.
RELEASE = "schema: 1\nminimum_covered_hours: 24\nmay_stay_insufficient: ['*']\n"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    listeners = {"SASL_PLAINTEXT": free_port()}
    with guarded(tmp_path_factory.mktemp("kafka"), logins("SASL_PLAINTEXT"), listeners) as broker:
        give_rights_in_kafka(broker)
        yield broker


def login(broker: Kafka, user: str) -> dict[str, str]:
    """Variables of both programs: the user, on the broker."""
    address = f"127.0.0.1:{broker.listeners['SASL_PLAINTEXT']}"
    both = {"KAFKA": address, "KAFKA_SECURITY": "sasl_plaintext", "KAFKA_USER": user, "KAFKA_PASSWORD": PASSWORD}
    return {f"{program}_{name}": value for program in ("SCORER", "SHADOW") for name, value in both.items()}


@pytest.fixture(scope="module")
def stack(broker: Kafka, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Without a user's login, its commands come as one that may do everything."""
    at = tmp_path_factory.mktemp("stack")
    release = at / "release.yaml"
    release.write_text(RELEASE)
    own = {"SHADOW_RELEASE": str(release), "SCORER_FENCE": "on", "SHADOW_OPERATOR_TOKEN": "token"}
    with Stack(at, {**models.env, **own}, broker=broker) as stack:
        yield stack


@dataclass
class Stage:
    """What users work on. sent: transactions of the stream that are on the topic. turn: counts what is made anew.
    archived: when its decisions were."""

    stack: Stack
    models: Models
    sent: int = 0
    turn: int = 0
    archived: datetime | None = None

    def prepare(self) -> None:
        """Topics, filled slots, and some decisions."""
        if self.sent:
            return
        self.stack.run("scorer", "topics")
        for slot, bundle in (("live", self.models.live), ("candidate", self.models.candidate)):
            self.stack.deploy(bundle, slot)
        with started(self, {}, "scorer", "run"):
            self.send(4000)
            self.stack.until_settled(self.sent)
        self.stack.run("scorer", "risk", "--once", env=self.risk_view())

    def risk_view(self, prior: int = 10) -> dict[str, str]:
        """A view with merchant risk. prior: of another one nothing is published yet."""
        view = self.stack.folder / f"view-{prior}.yaml"
        risk = f"{{delay_days: 0, windows: [1d], prior: {prior}}}"
        view.write_text(f"{Path(self.models.env['SCORER_VIEW']).read_text()}\nrisk: {risk}\n")
        return {"SCORER_VIEW": str(view)}

    def send(self, n: int) -> None:
        """Put more of the stream on the topic."""
        more = ("--skip", str(self.sent), "--limit", str(n))
        self.stack.run("scorer", "replay", str(self.models.stream), *more)
        self.sent += n

    def forget(self) -> None:
        """Have nothing compared."""
        with redis.Redis.from_url(self.stack.env["SHADOW_REDIS"]) as client:
            client.flushall()

    def deserve_a_suggestion(self) -> None:
        """Everything compared, the last suggestion answered, and other criteria than it was for."""
        self.turn += 1
        release = Path(self.stack.env["SHADOW_RELEASE"])
        release.write_text(RELEASE.replace("24", str(24 - self.turn % 20)))
        with suppress(AssertionError):  # there may be none
            self.stack.run("shadow", "reject", *SIGNED)
        self.forget()
        compare(self, {})

    def a_label(self) -> str:
        """A file with a label that there was not before."""
        self.turn += 1
        row = {"transaction_id": f"t-{self.turn}", "at": "2026-02-20T00:00:00Z", "verdict": "fraud"}
        return str(write_lines(self.stack.folder / "labels.jsonl", [row]))

    @property
    def is_compared(self) -> bool:
        """Whether the store has samples of disagreements."""
        return bool(self.stack.run("shadow", "disagreements", "--output", "jsonl", "--limit", "1"))

    def archive(self) -> datetime:
        """Archive decisions with frauds among them, unless that is done; a time after all of it."""
        if self.archived is None:
            passed = [
                row["transaction"]["transaction_id"] for row in self.stack.decisions() if row["decision"] == "allow"
            ]
            rows = [{"transaction_id": name, "at": "2026-02-20T00:00:00Z", "verdict": "fraud"} for name in passed[::9]]
            file = write_lines(self.stack.folder / "frauds.jsonl", rows)
            self.stack.run("shadow", "labels", "load", str(file), *FROM_BANK)
            self.archived = datetime.now(UTC)
            where = {"SHADOW_ARCHIVE": str(self.stack.folder / "archive")}
            self.stack.run("shadow", "archive", "run", "--once", "--http-port", "0", env=where)
        return self.archived

    def a_case(self) -> str:
        """A transaction that live and the candidate decide differently."""
        (line,) = self.stack.run("shadow", "disagreements", "--output", "jsonl", "--limit", "1").splitlines()
        return str(orjson.loads(line)["transaction_id"])

    def a_dead_letter(self) -> None:
        """One more that a rate for dollars mends, as a scorer would write it."""
        self.turn += 1
        rows = self.models.stream.read_bytes().splitlines()
        value = orjson.dumps({**orjson.loads(rows[0]), "currency": "USD", "transaction_id": f"usd-{self.turn}"})
        headers = {
            "reason": "currency: no rate",
            "field": "currency",
            "partition": "0",
            "offset": f"{10**6 + self.turn}",
        }

        async def go() -> None:
            producer = AIOKafkaProducer(bootstrap_servers=self.stack.broker.address)
            await producer.start()
            told = [(name, text.encode()) for name, text in headers.items()]
            await producer.send_and_wait("transactions.rejected", value, b"card", partition=0, headers=told)
            await producer.stop()

        asyncio.run(go())


@pytest.fixture(scope="module")
def stage(stack: Stack, models: Models) -> Stage:
    return Stage(stack, models)


@contextmanager
def started(stage: Stage, env: dict[str, str], *argv: str) -> Iterator[Worker]:
    """A process until it has done its work, or has failed to."""
    worker = stage.stack.start(*argv, env=env, ready=False)
    try:
        wait_for("ready", worker.is_ready, PATIENCE)
        yield worker
        assert worker.stop() == 0
    finally:
        worker.kill()


def compare(stage: Stage, env: dict[str, str]) -> None:
    """A shadow compares everything."""
    with started(stage, env, "shadow", "run", "--slot", "candidate") as worker:
        wait_for("compared", lambda: worker.metric("shadow_comparisons_total") > 3900, PATIENCE)


# --- what each user does ---


def create_topics(stage: Stage, env: dict[str, str]) -> None:
    async def delete() -> None:
        client = AIOKafkaAdminClient(bootstrap_servers=stage.stack.broker.address)
        await client.start()
        there = [name for name in await client.list_topics() if name in TOPICS]
        if there:
            await client.delete_topics(there)
        while set(TOPICS) & set(await client.list_topics()):
            await asyncio.sleep(0.05)
        await client.close()

    asyncio.run(delete())
    stage.stack.run("scorer", "topics", env={**env, "SCORER_CREATE_TOPICS": "true"})


def decide(stage: Stage, env: dict[str, str]) -> None:
    stage.prepare()
    with started(stage, {**env, **stage.risk_view()}, "scorer", "run"):
        stage.send(40)
        stage.stack.until_settled(stage.sent, PATIENCE)
        key = b"worker/scorer-%d" % (len(stage.stack.workers) - 1)
        wait_for("report", lambda: any(record.key == key for record in stage.stack.read("deployments")), PATIENCE)
        last = max(stage.stack.decisions(), key=lambda decision: decision["scored_at"])
        assert "risk_snapshot" in last


def shadow(stage: Stage, env: dict[str, str]) -> None:
    stage.prepare()
    stage.forget()
    compare(stage, env)


def serve(stage: Stage, env: dict[str, str]) -> None:
    stage.prepare()
    stage.deserve_a_suggestion()
    file = stage.a_label()
    stage.stack.run("shadow", "labels", "load", file, *FROM_BANK)
    ann = {"token": hashlib.sha256(b"token-of-ann").hexdigest(), "role": "releaser"}
    known = {"SHADOW_PEOPLE": orjson.dumps({"ann": ann}).decode(), "SHADOW_PROMOTE_SECONDS": "1"}
    with started(stage, {**env, **known}, "shadow", "serve") as worker:
        at, hers = f"http://127.0.0.1:{worker.port}", "token-of-ann"
        wait_for("suggestion", lambda: orjson.loads(get(f"{at}/api/suggestions", hers) or b"[]"), PATIENCE)
        wait_for("backlog", lambda: b"shadow_unread_records{" in (get(f"{at}/metrics", hers) or b""), PATIENCE)
        show = ("shadow", "labels", "show", f"t-{stage.turn}")
        wait_for("label", lambda: "fraud" in stage.stack.run(*show), PATIENCE)
        body = orjson.dumps({"transaction_id": stage.a_case(), "verdict": "legit", "by": "otto"})
        headers = {"Authorization": "Bearer token", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{at}/api/review/mark", body, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert answer.status == 200
        decision = urllib.request.Request(
            f"{at}/api/suggestions/approve",
            orjson.dumps({"reason": "clean"}),
            {"Authorization": f"Bearer {hers}", "Content-Type": "application/json"},
        )
        with pytest.raises(HTTPError) as refused:  # as far as a decision goes without a scorer
            urllib.request.urlopen(decision, timeout=PATIENCE)
        assert "no scorer runs in consumer group" in orjson.loads(refused.value.read())["detail"]


def operate(stage: Stage, env: dict[str, str]) -> None:
    stage.prepare()
    stage.stack.run("scorer", "deploy", stage.models.candidate, "--slot", "spare", *SIGNED, env=env)
    stage.stack.run("scorer", "deploy", "--block-all", *SIGNED, env=env)
    stage.stack.run("shadow", "verify", env=env)
    stage.stack.run("shadow", "labels", "load", stage.a_label(), *FROM_BANK, env=env)


def review(stage: Stage, env: dict[str, str]) -> None:
    stage.prepare()
    if not stage.is_compared:
        stage.forget()
        compare(stage, {})
    stage.stack.run("shadow", "disagreements", env=env)
    stage.stack.run("shadow", "review", "mark", stage.a_case(), "legit", "--by", "rita", env=env)


def make_risk(stage: Stage, env: dict[str, str]) -> None:
    stage.prepare()
    stage.turn += 1
    before = len(stage.stack.read("risk"))
    stage.stack.run("scorer", "risk", "--once", env={**env, **stage.risk_view(100 + stage.turn)})
    assert len(stage.stack.read("risk")) > before


def rotate(stage: Stage, env: dict[str, str]) -> None:
    stage.prepare()
    with suppress(AssertionError):  # the kill switch may be off
        stage.stack.run("scorer", "deploy", "--resume", *SIGNED)
    stage.turn += 1
    as_of = stage.archive() + timedelta(milliseconds=stage.turn)  # a rotation of its own
    where = {"SHADOW_ARCHIVE": str(stage.stack.folder / "archive")}
    options = (
        "--label-delay",
        "1d",
        "--as-of",
        as_of.isoformat(timespec="milliseconds"),
        "--no-backtest",
        "--discard-evidence",
        "--by",
        "rotate",
    )
    stage.stack.run("scorer", "rotate", "--from-archive", where["SHADOW_ARCHIVE"], *options, env={**env, **where})


def replay(stage: Stage, env: dict[str, str]) -> None:
    stage.prepare()
    stage.a_dead_letter()
    rate = {"SCORER_MONEY": '{"currency": "EUR", "rates": {"USD": {"2026-01-01": 0.5}}}'}
    told = stage.stack.run("scorer", "replay", "--rejected", env={**env, **rate})
    assert not told.startswith("sent 0 again")
    stage.stack.run("scorer", "replay", str(stage.models.stream), "--limit", "1", env=env)


WORK: dict[str, Callable[[Stage, dict[str, str]], None]] = {
    "topics": create_topics,
    "scorer": decide,
    "shadow-candidate": shadow,
    "serve": serve,
    "operator": operate,
    "reviewer": review,
    "risk": make_risk,
    "rotate": rotate,
    "replay": replay,
}
#: What does not end by itself: its log tells where an error came from.
WORKERS = (decide, shadow, serve)
#: First with everything, then without each right. Shadows of all slots have the same.
CASES = [(user, right) for user in WORK for right in (None, *USERS[user].kafka)]


def named(case: tuple[str, Right | None]) -> str:
    user, right = case
    return f"{user}-{right.operation}-{right.name}" if right is not None else user


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_user_works_only_with_all_of_its_rights(broker: Kafka, stage: Stage, case: tuple[str, Right | None]) -> None:
    user, right = case
    env = {**login(broker, user), "SCORER_CREATE_TOPICS": "false"}
    if right is None:
        WORK[user](stage, env)
        return
    change_right(broker, user, right, False)
    since = log_length(broker)
    try:
        with pytest.raises((AssertionError, OSError)) as failed:
            WORK[user](stage, env)
        assert "Traceback" not in str(failed.value) or WORK[user] in WORKERS, "a command says it in one line"
        found = audited(broker, since)
        refusals = {(kind, name) for who, outcome, _, kind, name in found if (who, outcome) == (user, "Denied")}
        assert is_of(right, refusals) or hides(user, right), f"{failed.value}\n{refusals}"
    finally:
        change_right(broker, user, right, True)


def is_of(right: Right, refusals: set[tuple[str, str]]) -> bool:
    """Whether it is the resource of a right that somebody was refused."""
    kind = {"topic": "Topic", "group": "Group", "transactional id": "TransactionalId"}[right.kind]
    return any(
        kind == refused and (name.startswith(right.name) if right.is_prefix else name == right.name)
        for refused, name in refusals
    )


def hides(user: str, right: Right) -> bool:
    """Whether a user that lacks a right does not see the topic, so that it asks for nothing that could be refused."""
    shown = {other.name for other in USERS[user].kafka if other is not right and other.operation != "Create"}
    return right.kind == "topic" and right.name not in shown
