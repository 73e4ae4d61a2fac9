"""Decisions in Avro, with a real Schema Registry: what JSON says, mixed with it, after a kill, without the registry."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from harness.models import Models
from harness.places import ROOT
from harness.registry import Registry
from harness.stack import Stack, by_source, wait_for

fastavro = pytest.importorskip("fastavro")

pytestmark = [pytest.mark.needs("registry")]
SUBJECT = "decisions-value"
STEP = 150


def in_registry(registry: Registry, number: int) -> Any:
    """A schema by its id, as any client gets it."""
    with urllib.request.urlopen(f"{registry.address}/schemas/ids/{number}", timeout=20) as answer:
        return fastavro.parse_schema(json.loads(json.loads(answer.read())["schema"]))


def told_by_oracle(value: bytes, schema: Any) -> dict[str, Any]:
    """What a client of the registry reads, in the shape of the JSON."""
    found: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    transaction = found["transaction"]
    found["transaction"] = {**json.loads(transaction.pop("others")), **transaction}
    return {name: cell for name, cell in found.items() if name not in ("override", "repeat", "refund") or cell}


def test_avro_says_what_json_says_whoever_reads_and_whatever_dies(
    stacks: Callable[[], Stack], models: Models, tmp_path: Path
) -> None:
    stack, plain = stacks(), stacks()
    sent = 0

    def send(to: Stack, skip: int) -> None:
        to.run("scorer", "replay", str(models.stream), "--skip", str(skip), "--limit", str(STEP))

    def step() -> None:
        nonlocal sent
        send(stack, sent)
        sent += STEP
        stack.until_settled(sent)

    json_first = stack.start("scorer", "run")
    stack.deploy(models.candidate, "candidate")
    shadow = stack.start("shadow", "run", "--slot", "candidate")
    step()
    assert json_first.stop() == 0
    (tmp_path / "registry").mkdir()
    with Registry(tmp_path / "registry") as registry:
        env = {"SCORER_DECISIONS_FORMAT": "avro", "SCORER_DECISIONS_REGISTRY": registry.address}
        scorer = stack.start("scorer", "run", env=env)
        step()
        scorer.kill()
        scorer = stack.start("scorer", "run", env=env)  # finds by the end of the topic how far the other one had come
        step()
        avro = [record.value for record in stack.read("decisions") if record.value[0] == 0]
        number = int.from_bytes(avro[0][1:5], "big")
        assert {value[:5] for value in avro} == {b"\0" + number.to_bytes(4, "big")}, "looked up, not registered twice"
        schema = in_registry(registry, number)
        assert fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(schema), "SHA-256") == shipped()
        registry.kill()
        step()
        assert scorer.stop() == 0
    by_id = {"SCORER_DECISIONS_FORMAT": "avro", "SCORER_DECISIONS_SCHEMA_ID": str(number)}
    scorer = stack.start("scorer", "run", env=by_id)
    step()
    assert scorer.stop() == 0
    scorer = stack.start("scorer", "run")
    step()
    expecting = plain.start("scorer", "run")
    for skip in range(0, sent, STEP):
        send(plain, skip)
    plain.until_settled(sent)
    expected = by_source(plain.decisions())
    records = stack.read("decisions")
    formats = [record.value[0] == 0 for record in records]
    assert formats.count(True) >= 4 * STEP - 10
    assert formats.count(False) >= 2 * STEP - 10
    said = [told_by_oracle(r.value, schema) if r.value[0] == 0 else json.loads(r.value) for r in records]
    assert by_source(said) == expected
    assert by_source(stack.decisions()) == expected
    lines = stack.run("scorer", "decisions", "--limit", "5000").splitlines()
    assert by_source(map(json.loads, lines)) == expected
    named = [json.loads(line) for line in stack.run("scorer", "decisions", "--limit", "5000", "--names").splitlines()]
    assert all(isinstance(decision["features"], dict) for decision in named)
    assert len(named) == len(records)
    wait_for("compared", lambda: shadow.metric("shadow_decisions_read_total") >= len(records))
    assert shadow.stop() == 0
    told = stack.run("shadow", "verify", "--slot", "candidate").splitlines()
    assert told[-1] == "equal"
    assert f" {len(records)} decisions = " in told[0]
    assert scorer.stop() == expecting.stop() == 0


def shipped() -> str:
    schema = fastavro.parse_schema(json.loads((ROOT / "docs" / "schemas" / "decisions.avsc").read_text()))
    return str(fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(schema), "SHA-256"))


def test_a_registry_that_refuses_the_schema_ends_the_start_in_one_line(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    with Registry(tmp_path / "registry") as registry:
        other = {
            "type": "record",
            "name": "Decision",
            "namespace": "shadow_scorer",
            "fields": [{"name": "x", "type": "int"}],
        }
        registry.register(SUBJECT, json.dumps(other))
        request = urllib.request.Request(
            f"{registry.address}/config/{SUBJECT}",
            orjson.dumps({"compatibility": "FULL"}),
            {"Content-Type": "application/vnd.schemaregistry.v1+json"},
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=20).close()
        env = {"SCORER_DECISIONS_FORMAT": "avro", "SCORER_DECISIONS_REGISTRY": registry.address}
        line = stack.fails("scorer", "run", **env)
        assert line.startswith(f"error: registry {registry.address}: refuses the schema of decisions under {SUBJECT}: ")
        assert "it is not compatible with what is there; remove that" in line
    assert stack.fails("scorer", "run", SCORER_DECISIONS_FORMAT="avro").endswith(
        "set SCORER_DECISIONS_REGISTRY, or SCORER_DECISIONS_SCHEMA_ID"
    )
    assert stack.read("decisions") == []
