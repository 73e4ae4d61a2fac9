"""What other shapes of a record cost: the scorer on the workload's transactions, nested, in Avro and in Protobuf.

cd tests && PYTHONPATH=.. ../.venv/bin/python -m bench.shapes

The shapes and the plain one take turns on fresh brokers. Every decision must be that of the pure pipeline, and have the
score of the plain record.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from bench import floor
from bench.reckoning import Ratio, ratio
from bench.stage import BROKER_CORE, IN_MEMORY, SCORER
from bench.throughput import BATCH, Measured, deciding
from bench.workload import START_MS, STEP_MS, VIEW, Workload, make
from harness.varint import varint, zigzag
from scorer.pipeline.batch import Record, Rules
from scorer.pipeline.encoding import Encoding
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.transaction import REQUIRED, Reading
from scorer.pipeline.wire import ONLY, Wire
from scorer.schemas.compiling import of_file

PLAIN, NESTED, AVRO, NULLABLE, PROTOBUF = "JSON", "nested JSON", "Avro", "Avro, all nullable", "Protobuf"
KINDS = {attribute.name: attribute.kind for attribute in VIEW.attributes}
PATHS = {
    "transaction_id": "id",
    "occurred_at": "at",
    "card_id": "card.token",
    "merchant_id": "merchant.id",
    "amount": "money.value",
    "currency": "money.currency",
}


@dataclass(frozen=True)
class Shape:
    """The workload in other clothes. made: what the pure pipeline decides of it."""

    work: Workload
    env: Mapping[str, str]
    made: list[list[Record]]


def shapes(folder: Path, work: Workload) -> Iterator[tuple[str, Shape]]:
    """The workload in every shape, the plain one first."""
    rows = [orjson.loads(value) for value in work.values]
    stamps = range(START_MS, START_MS + STEP_MS * len(rows), STEP_MS)
    yield PLAIN, _shape(folder, work, work.values, {})
    nested = {"fields": PATHS, "formats": {"occurred_at": {"kind": "epoch", "unit": "ms"}}}
    yield NESTED, _shape(folder, work, [_nested(row, at) for row, at in zip(rows, stamps, strict=True)], nested)
    for name, write, schema in (
        (AVRO, _avro, _avro_schema(False)),
        (NULLABLE, lambda row, at: _avro(row, at, b"\2"), _avro_schema(True)),
    ):
        path = folder / f"{'bench' if name == AVRO else 'nullable'}.avsc"
        path.write_text(schema)
        avro = {"encoding": {"kind": "avro", "file": str(path)}}
        yield name, _shape(folder, work, [write(row, at) for row, at in zip(rows, stamps, strict=True)], avro)
    path = folder / "bench.proto"
    path.write_text(_proto())
    protobuf = {"encoding": {"kind": "protobuf", "file": str(path)}}
    yield PROTOBUF, _shape(folder, work, [_protobuf(row, at) for row, at in zip(rows, stamps, strict=True)], protobuf)


def _shape(folder: Path, work: Workload, values: list[bytes], section: dict[str, Any]) -> Shape:
    other = replace(work, values=values)
    names = FieldNames.model_validate(section)
    wire = None if names.encoding is None else _wire(names.encoding)
    rules = Rules(VIEW, Reading(mapping=names, attributes=VIEW.attributes, wire=wire), None)
    made = floor.decisions(folder, other, BATCH, rules)
    return Shape(other, {"SCORER_MAPPING": json.dumps(section)} if section else {}, made)


def _wire(encoding: Encoding) -> Wire:
    return Wire(encoding, {ONLY: of_file(encoding)})


def _nested(row: dict[str, Any], at: int) -> bytes:
    """As an order system has it: objects, and a time in milliseconds."""
    body: dict[str, Any] = {"id": row["transaction_id"], "at": at}
    body |= {"card": {"token": row["card_id"]}, "merchant": {"id": row["merchant_id"]}}
    body |= {"money": {"value": row["amount"], "currency": row["currency"]}}
    return orjson.dumps(body | {name: row[name] for name in KINDS})


def _avro_schema(is_nullable: bool) -> str:
    """The fields under our names, in the workload's order; the time is a logical type."""
    types: dict[str, Any] = {"number": "double", "boolean": "boolean", "category": "string"}
    kinds: dict[str, Any] = {name: types[kind] for name, kind in KINDS.items()}
    every = dict.fromkeys(REQUIRED, "string") | {"amount": "double"} | kinds
    every["occurred_at"] = {"type": "long", "logicalType": "timestamp-millis"}
    fields = [{"name": name, "type": ["null", kind] if is_nullable else kind} for name, kind in every.items()]
    return json.dumps({"type": "record", "name": "Payment", "fields": fields})


def _avro(row: dict[str, Any], at: int, branch: bytes = b"") -> bytes:
    """By Avro's specification, "Binary encoding". branch: that of a union, before each field."""
    out = bytearray()
    for name in (*REQUIRED, *KINDS):
        cell = row[name]
        out += branch
        if name == "occurred_at":
            out += zigzag(at)
        elif isinstance(cell, bool):
            out.append(cell)
        elif isinstance(cell, str):
            out += zigzag(len(cell.encode())) + cell.encode()
        else:
            out += struct.pack("<d", cell)
    return bytes(out)


def _proto() -> str:
    types = {"number": "double", "boolean": "bool", "category": "string"}
    every = dict.fromkeys(REQUIRED, "string") | {"amount": "double"} | {name: types[k] for name, k in KINDS.items()}
    every["occurred_at"] = "google.protobuf.Timestamp"
    fields = "\n".join(f"  {kind} {name} = {number};" for number, (name, kind) in enumerate(every.items(), 1))
    head = 'syntax = "proto3";\nimport "google/protobuf/timestamp.proto";\n'
    return f"{head}message Payment {{\n{fields}\n}}\n"


def _protobuf(row: dict[str, Any], at: int) -> bytes:
    """By Protocol Buffers' documentation, "Encoding". What has its default is not written."""
    out = bytearray()
    for number, name in enumerate((*REQUIRED, *KINDS), 1):
        cell = row[name]
        if name == "occurred_at":
            moment = b"\x08" + varint(at // 1000) + b"\x10" + varint(at % 1000 * 1_000_000)
            out += varint(number << 3 | 2) + varint(len(moment)) + moment
        elif isinstance(cell, bool):
            out += varint(number << 3) + b"\1" if cell else b""
        elif isinstance(cell, str):
            out += varint(number << 3 | 2) + varint(len(cell.encode())) + cell.encode()
        else:
            out += varint(number << 3 | 1) + struct.pack("<d", cell)
    return bytes(out)


def scores(made: list[list[Record]]) -> list[tuple[str, str, float]]:
    """Transaction, decision and score of each, by partition in order."""
    every = (orjson.loads(value or b"") for part in made for _, value in part)
    return [(one["transaction"]["transaction_id"], one["decision"], one["score"]) for one in every]


def measured(
    folder: Path, work: Workload, repetitions: int, told: Callable[[str], None] = print
) -> dict[str, list[Measured]]:
    """The scorer on every shape in turn, so many times."""
    every = dict(shapes(folder, work))
    plain = scores(every[PLAIN].made)
    for name, shape in every.items():
        assert scores(shape.made) == plain, f"{name}: other decisions than of plain JSON"
    found: dict[str, list[Measured]] = {name: [] for name in every}
    for repetition in range(repetitions):
        for name, shape in every.items():
            run = deciding(SCORER, folder, shape.work, shape.made, env=shape.env)
            found[name].append(run)
            told(f"{repetition + 1}. {name:<18}{run.rate:9,.0f}/s {run.cpu_per_1000:8.4f} CPU s/1,000")
    return found


def ratios(runs: dict[str, list[Measured]]) -> dict[str, Ratio]:
    """Throughput of each shape over that of plain JSON in the same turns."""
    rates = {name: [run.rate for run in several] for name, several in runs.items()}
    return {f"{name}/{PLAIN}": ratio(several, rates[PLAIN]) for name, several in rates.items() if name != PLAIN}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as name:
        folder = Path(name)
        work = make(folder, asked.transactions)
        os.sched_setaffinity(0, {BROKER_CORE})
        runs = measured(folder, work, asked.repetitions)
    cpu = {name: statistics.median(run.cpu_per_1000 for run in several) for name, several in runs.items()}
    for name, found in ratios(runs).items():
        shape = name.removesuffix(f"/{PLAIN}")
        print(f"{name:<24} {found.median:.3f} of its throughput, {cpu[shape] / cpu[PLAIN]:.3f} of its processor time")


if __name__ == "__main__":
    main()
