"""An AsyncAPI 3.0 document of all topics: records, keys, headers, partitions, clean-up, who writes and who reads.

Who may write and read follows from deploy/rights; what a topic is created with, from the scorer's settings.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

from contracts.schemas import AVRO, AVRO_OF_RISK, Message, TopicSchemas, headers_document, topics
from rights.users import Names, users
from scorer.kafka.topics import beside, configs_of
from scorer.settings import ScorerSettings, Topics

ROOT = Path(__file__).resolve().parents[2]
BINDING = {"bindingVersion": "0.5.0"}
#: What people outside do with our topics, of whom no right is declared: name, action, role of the topic, what for.
OUTSIDE = (
    ("paymentSystem", "send", "transactions", "sends payments to decide"),
    ("paymentSystem", "receive", "decisions", "carries decisions out"),
)


def document() -> str:
    """The document as YAML."""
    every = topics()
    channels = {topic.role: _channel(topic) for topic in every}
    messages = {message.name: _message(topic, message) for topic in every for message in topic.messages}
    messages["decisionAvro"] = _in_avro(messages["decision"])
    channels["decisions"]["messages"]["decisionAvro"] = {"$ref": "#/components/messages/decisionAvro"}
    content = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Shadow scorer",
            "version": tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"],
            "description": (
                "Topics that the scorer, its shadows and your systems share. Names of topics are settings (`topics`). "
                "What the fields mean: contracts.md. Rendered: run `make docs`."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{brokers}",
                "protocol": "kafka",
                "description": "Your Kafka.",
                "variables": {"brokers": {"default": _default("kafka")[0], "description": "setting `kafka`"}},
            }
        },
        "channels": channels,
        "operations": _operations(),
        "components": {"messages": messages},
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _default(setting: str) -> Any:
    return ScorerSettings.model_fields[setting].default


def _channel(topic: TopicSchemas) -> dict[str, Any]:
    names = Topics()
    name = getattr(names, topic.role)
    settings = ScorerSettings.model_construct(topics=names, topic_configs={})  # whatever the environment says
    configs = configs_of(settings).get(name, {})
    is_single = topic.role in ("deployments", "risk")
    says = topic.says
    if is_single:
        says += " One partition."
    elif name in beside(names):
        says += " As many partitions as `transactions`; partition p belongs to partition p of it."
    policy = configs.get("cleanup.policy", "delete").split(",")
    says += " Compacted: the last record of a key stays." if "compact" in policy else ""
    kafka: dict[str, Any] = {
        "partitions": 1 if is_single else _default("partitions"),
        "replicas": _default("replication"),
        "topicConfiguration": {
            "cleanup.policy": policy,
            **{key: int(value) for key, value in configs.items() if key != "cleanup.policy"},
        },
    }
    return {
        "address": name,
        "title": topic.role,
        "description": says,
        "messages": {m.name: {"$ref": f"#/components/messages/{m.name}"} for m in topic.messages},
        "bindings": {"kafka": kafka | BINDING},
    }


def _message(topic: TopicSchemas, message: Message) -> dict[str, Any]:
    only = len(topic.messages) == 1
    place = "" if only else f"#/$defs/{message.name}"
    made: dict[str, Any] = {"name": message.name, "title": message.name, "summary": message.says}
    made["contentType"] = message.content_type
    if message.value is None:
        made["payload"] = {"type": "null", "description": "no value"}
    else:
        made["payload"] = {"$ref": f"./schemas/{topic.role}.json{place}"}
    if message.headers is not None and headers_document(topic) is not None:
        made["headers"] = {"$ref": f"./schemas/{topic.role}.headers.json{place}"}
    return made | {"bindings": {"kafka": {"key": message.key, **BINDING}}}


def _in_avro(decision: dict[str, Any]) -> dict[str, Any]:
    """The message of a decision in Avro, beside that of one in JSON."""
    confluent = {
        "schemaIdLocation": "payload",
        "schemaIdPayloadEncoding": "confluent",
        "schemaLookupStrategy": "TopicNameStrategy",
    }
    return decision | {
        "name": "decisionAvro",
        "title": "decisionAvro",
        "summary": f"{decision['summary']}, with the setting `decisions_format: avro`; by a view with "
        f"merchant risk: schemas/{AVRO_OF_RISK}",
        "contentType": "application/vnd.apache.avro+binary",
        "payload": {
            "schemaFormat": "application/vnd.apache.avro+json;version=1.9.0",
            "schema": {"$ref": f"./schemas/{AVRO}"},
        },
        "bindings": {"kafka": {**decision["bindings"]["kafka"], **confluent}},
    }


def _operations() -> dict[str, Any]:
    roles = {getattr(Topics(), role): role for role in Topics.model_fields}
    found: dict[str, Any] = {}

    def add(name: str, runs: str, action: str, role: str, why: str) -> None:
        verb = "Sends" if action == "send" else "Receives"
        one = found.setdefault(
            f"{name}{verb}{role.capitalize()}",
            {
                "action": action,
                "channel": {"$ref": f"#/channels/{role}"},
                "title": f"{runs}: {action} {role}",
                "summary": why,
                "tags": [{"name": name}],
            },
        )
        if why not in one["summary"]:
            one["summary"] += f"; {why}"

    for name, action, role, why in OUTSIDE:
        add(name, "your payment system", action, role, why)
    for user in users(Names(), ["SLOT"]):
        for right in user.kafka:
            if right.kind == "topic" and right.operation in ("Read", "Write"):
                action = "send" if right.operation == "Write" else "receive"
                runs = user.runs[0] if len(user.runs) == 1 else user.name
                add(user.name.removesuffix("-SLOT"), runs, action, roles[right.name], right.why)
    return found
