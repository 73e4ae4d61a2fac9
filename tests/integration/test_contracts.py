"""Every record of a real run is one message of docs/asyncapi.yaml, whose schemas refuse what lacks a field or errs."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from aiokafka import AIOKafkaProducer

from harness.contract_check import messages, shown
from harness.models import Models
from harness.places import ROOT
from harness.stack import PARTITIONS, Stack, wait_for, write_lines
from scorer.deployments.deploy import now
from scorer.deployments.ledger import append
from scorer.deployments.records import (
    Answer,
    Approval,
    Automation,
    Comment,
    Entry,
    Forced,
    Judged,
    Prepare,
    Rotation,
    Suggestion,
    Target,
    Watched,
    Withdrawal,
)
from scorer.settings import Topics

pytestmark = pytest.mark.needs("deploy")
EXPLORES = {
    "SCORER_EXPLORE_PROBABILITY": "0.5", "SCORER_EXPLORE_BUDGET": "4000", "SCORER_EXPLORE_MAXIMUM": "1000",
    "SCORER_EXPLORE_PARTITIONS": str(PARTITIONS), "SCORER_EXPLORE_KEY": "a key of sixteen",
}  # fmt: skip
WINDOWS = "windows: [{name: merchant_count_6h, key: merchant_id, window: 6h, aggregate: count}]\n"
SIGNED = ("--by", "ann", "--reason", "because")
DOCUMENT = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
#: Messages but the one in Avro, which tests/integration/test_decision_formats.py reads.
MESSAGES = set(DOCUMENT["components"]["messages"]) - {"decisionAvro"}


@pytest.fixture(scope="module")
def records(models: Models, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every record of a run in which each kind of message is written at least once."""
    folder = tmp_path_factory.mktemp("contracts")
    view = folder / "features.yaml"
    view.write_text(f"{Path(models.env['SCORER_VIEW']).read_text()}\n{WINDOWS}")
    with Stack(folder, {**models.env, **EXPLORES, "SCORER_VIEW": str(view)}) as stack:
        stack.deploy(models.live, "live")
        scorer = stack.start("scorer", "run")
        rows = [orjson.loads(line) for line in models.stream.read_bytes().splitlines()[:60]]
        card = rows[0]["card_id"]
        bad = [b"{", orjson.dumps(rows[1] | {"note": "4111 1111 1111 1111"}), None, b"\xff\xfe"]
        odd = [
            {**rows[2], "transaction_id": "dinar", "currency": "KWD"},
            {**rows[3], "transaction_id": "\u00e9\U0001f600"},
        ]
        # a hundred cards of a later day move the partition's clock
        later = [{**rows[4], "transaction_id": f"l{i}", "card_id": f"l{i}", "occurred_at": LATER} for i in range(120)]
        asyncio.run(_send(stack, [*map(orjson.dumps, [*rows, rows[5], *odd, *later]), *bad]))
        n = len(rows) + 3 + len(later) + len(bad)
        stack.until_settled(n)
        stack.run("scorer", "deploy", "--block-all", *SIGNED)
        asyncio.run(_send(stack, [orjson.dumps({**rows[4], "transaction_id": "blocked"})]))
        stack.until_settled(n + 1)
        stack.run("scorer", "deploy", "--resume", *SIGNED)
        rates = json.dumps({"currency": "EUR", "rates": {"KWD": {"2020-01-01": 3.0}}})
        told = stack.run("scorer", "replay", "--rejected", env={"SCORER_MONEY": rates})
        assert "sent 1 again" in told
        place = {"SHADOW_ARCHIVE": str(stack.folder / "archive"), "SHADOW_ARCHIVE_SECONDS": "0.5"}
        archive = stack.start("shadow", "archive", "run", env=place)
        stack.run("shadow", "erase", "--card", card)
        wait_for("its erasure", lambda: "card erased" in stack.run("shadow", "archive", "status", env=place))
        assert archive.stop() == 0
        by_id = {"transaction_id": rows[0]["transaction_id"], "verdict": "fraud", "at": "2026-03-01T00:00:00Z"}
        by_card = {"card_id": card, "occurred_at": rows[0]["occurred_at"], "verdict": "legit", "at": by_id["at"]}
        for name, row in (("id", by_id), ("card", by_card)):
            file = write_lines(stack.folder / f"{name}.jsonl", [row])
            stack.run("shadow", "labels", "load", str(file), "--source", "chargeback", "--by", "acquirer")
        asyncio.run(_ledger(stack, models))
        assert scorer.stop() == 0
        view = stack.folder / "view.yaml"
        view.write_text(
            Path(models.env["SCORER_VIEW"]).read_text() + "\nrisk: {windows: [90d], period: 1d, delay_days: 1}\n"
        )
        stack.run("scorer", "risk", "--once", env={"SCORER_VIEW": str(view), "SCORER_RISK_SNAPSHOTS": "200"})
        return [shown(record) for record in stack.read(*Topics().model_dump().values())]


LATER = "2026-06-01T00:00:00Z"


async def _send(stack: Stack, values: list[bytes | None]) -> None:
    headers = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("source", b"shop")]
    async with AIOKafkaProducer(bootstrap_servers=stack.broker.address) as producer:
        for value in values:
            await producer.send_and_wait("transactions", value, b"key", headers=headers)


async def _ledger(stack: Stack, models: Models) -> None:
    """Entries that only a gate's evidence would bring."""
    target = Target(digest=models.candidate, threshold=0.5)
    suggestion = Suggestion(
        slot="candidate", target=target, expects={"live": 3}, criteria="c" * 64, evidence={"run": "1"}, at=now()
    )
    line, _ = await append(stack.settings(), lambda _: suggestion)
    again, _ = await append(stack.settings(), lambda _: suggestion)
    signed = {"by": "ann", "reason": "because", "at": now()}
    judged = Judged(decision="hold", reason="too early", against=({"criterion": "more_blocks"},))
    forced = Forced(slots={"candidate": target}, expects={"candidate": 0}, cause="approve", verdict=judged, **signed)  # type: ignore[arg-type]
    expects = {"live": 3, "previous": 0}
    entries: list[Entry] = [
        Comment(suggestion=line.seq, text="looks odd", by="ann", at=now()),
        Approval(slots={"candidate": target}, expects={"candidate": 0}, cause="approve", **signed),  # type: ignore[arg-type]
        Watched(expects=expects, verdict="no_harm", reason="none", compared=9, days=14.0, by="serve", at=now()),
        Automation(change="retrain", state="lost", by="serve", reason="rejected", at=now()),
        Rotation(
            rotation="0" * 16,
            outcome="rejected",
            parent=models.live,
            candidate=models.candidate,
            twin=models.control,
            as_of=now(),
            backtest=judged,
            doubt="no repository",
            **signed,
        ),
        Answer(suggestion=line.seq, answer="rejected", by="ann", reason="because", at=now()),
        Withdrawal(suggestion=again.seq, cause="expired", by="ann", reason="because", at=now()),
        Prepare(digest=models.candidate, by="ann", at=now()),
        forced,
    ]
    for entry in entries:
        await append(stack.settings(), lambda _, entry=entry: entry)  # type: ignore[misc]


def test_every_record_is_one_message_and_every_message_has_a_record(records: list[dict[str, Any]]) -> None:
    found = messages(records)
    unknown = [
        (record, base64.b64decode(record["key"] or ""), base64.b64decode(record["value"] or ""), names)
        for record, names in zip(records, found, strict=True)
        if len(names) != 1 and record["topic"] != "transactions"
    ]
    assert unknown == []
    assert {name for names in found for name in names} == MESSAGES


def _broken(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A record without one field, and with a field of another type, each in turn; and what was changed."""
    if record["value"] is not None and record["topic"] != "transactions.rejected":  # whose values are as they were sent
        value = base64.b64decode(record["value"])
        if value[:1] == b"{":
            whole = json.loads(value)
            for name in whole:
                without = {key: cell for key, cell in whole.items() if key != name}
                wrong = whole | {name: {"no": "such"} if not isinstance(whole[name], dict) else "text"}
                for how, body in (("without", without), ("wrong", wrong)):
                    yield f"{how} {name}", record | {"value": base64.b64encode(json.dumps(body).encode()).decode()}
    for name in record["headers"]:
        headers = {key: text for key, text in record["headers"].items() if key != name}
        yield f"without {name}", record | {"headers": headers}


#: Fields that a record may lack, by the topic: those that say something only sometimes, or that older versions lack.
MAY_LACK: dict[str, set[str]] = {
    "decisions": {"override", "repeat", "traceparent"},
    "transactions.rejected": {"masked", "timestamp", "header.traceparent", "header.source"},
    "labels": {"schema", "reason"},
    "deployments": {
        *("suggestion", "twins", "dossier", "overrode", "currency", "epoch", "request", "reason", "runs"),
        *("verified", "first", "made_by", "change", "action", "automatic", "verdict", "why", "backtest", "doubt"),
    },
    "velocity": {"erasure"},
}


def test_a_record_that_lacks_a_field_or_has_a_wrong_one_is_none(records: list[dict[str, Any]]) -> None:
    found = messages(records)
    first: dict[str, dict[str, Any]] = {}
    for record, names in zip(records, found, strict=True):
        if record["topic"] not in ("transactions", "transactions.rejected") and len(names) == 1:
            first.setdefault(names[0], record)
        elif names == ["rejection"] and record["headers"].get("masked"):
            first["rejection"] = record
    assert len(first) == len(MESSAGES) - 2
    changes = [(name, how, one) for name, record in first.items() for how, one in _broken(record)]
    fits = messages([one for *_, one in changes])
    taken = [
        f"{name} {how}"
        for (name, how, one), names in zip(changes, fits, strict=True)
        if names and not (how.startswith("without") and how.split()[-1] in MAY_LACK.get(one["topic"], set()))
    ]
    assert taken == []


def test_there_is_a_channel_for_each_topic_of_the_settings() -> None:
    assert {role: channel["address"] for role, channel in DOCUMENT["channels"].items()} == Topics().model_dump()
