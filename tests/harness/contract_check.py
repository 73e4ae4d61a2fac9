"""Which messages of docs/asyncapi.yaml records are, by the validators of an environment of their own (`.venv/deploy`).

Run as a script, it reads records as JSON Lines and writes for each the names of the messages that it fits.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"


def shown(record: Any) -> dict[str, Any]:
    """A record of Kafka in JSON: what is no UTF-8 JSON becomes base64, as the contract has it."""

    def text(raw: bytes | None) -> str | None:
        return None if raw is None else base64.b64encode(raw).decode()

    return {
        "topic": record.topic,
        "key": text(record.key),
        "value": text(record.value),
        "headers": {name: value.decode() for name, value in record.headers},
    }


def messages(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The messages that each record fits; `shown` makes one."""
    python = DOCS.parent / ".venv" / "deploy" / "bin" / "python"
    lines = "\n".join(map(json.dumps, records)).encode()
    done = subprocess.run([str(python), __file__], input=lines, capture_output=True, timeout=600.0, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def _validators() -> dict[str, list[dict[str, Any]]]:
    """By address of a channel, its messages: name, kind of content, and a validator for key, value and headers."""
    import yaml
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    registry: Any = Registry()
    for path in sorted((DOCS / "schemas").glob("*.json")):
        schema = json.loads(path.read_text())
        Draft202012Validator.check_schema(schema)
        assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"], path
        registry = registry.with_resource(f"./schemas/{path.name}", Resource.from_contents(schema, DRAFT202012))
    said = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
    known = said["components"]["messages"]
    found: dict[str, list[dict[str, Any]]] = {}
    for channel in said["channels"].values():
        for name, reference in channel["messages"].items():
            assert reference == {"$ref": f"#/components/messages/{name}"}
            message = known[name]
            if "schemaFormat" in message["payload"]:
                continue  # in Avro
            parts = message["bindings"]["kafka"]["key"], message.get("payload", {}), message.get("headers", {})
            checks = [Draft202012Validator(part, registry=registry) for part in parts]
            found.setdefault(channel["address"], []).append(
                {"name": name, "is_json": message["contentType"] == "application/json", "checks": checks}
            )
    return found


def _fits(message: dict[str, Any], record: dict[str, Any]) -> bool:
    key, value, headers = record["key"], record["value"], record["headers"]
    try:
        if message["is_json"]:
            if message["name"] not in ("released", "windowDropped"):  # whose keys are no texts
                key = None if key is None else base64.b64decode(key).decode()
            value = None if value is None else json.loads(base64.b64decode(value))
        elif message["name"] == "cardState":
            key = base64.b64decode(key).decode()
    except ValueError:
        return False
    return all(check.is_valid(part) for check, part in zip(message["checks"], (key, value, headers), strict=True))


def main() -> None:
    """Read, and answer."""
    validators = _validators()
    for line in sys.stdin:
        record = json.loads(line)
        print(json.dumps([m["name"] for m in validators[record["topic"]] if _fits(m, record)]))


if __name__ == "__main__":
    main()
