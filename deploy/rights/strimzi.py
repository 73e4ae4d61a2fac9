"""Users and topics as resources of Strimzi's operators."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from rights.kafka import resources
from rights.users import User
from scorer.kafka.topics import configs_of
from scorer.settings import ScorerSettings, Topics

API = "kafka.strimzi.io/v1"
HEAD = "# Rendered: change {source}, then run `make deploy-render`.\n"
_KINDS = {"topic": "topic", "group": "group", "transactional id": "transactionalId"}


class _Dumper(yaml.SafeDumper):
    """Indents lists within objects, as in files that are written by hand."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _dump(manifests: Iterable[dict[str, Any]], source: str) -> str:
    return HEAD.format(source=source) + yaml.dump_all(manifests, Dumper=_Dumper, sort_keys=False, width=120)


def user_manifests(users: Iterable[User]) -> str:
    """A KafkaUser for each user, with its password from its Secret or, without one, of the operator's making."""
    return _dump(map(_user, users), "deploy/rights/users.py")


def _user(user: User) -> dict[str, Any]:
    authentication: dict[str, Any] = {"type": "scram-sha-512"}
    if user.is_deployed:
        key = {"name": user.secret, "key": user.password_setting}
        authentication["password"] = {"valueFrom": {"secretKeyRef": key}}
    acls = [
        {
            "resource": {
                "type": _KINDS[kind],
                "name": name,
                "patternType": "prefix" if is_prefix else "literal",
            },
            "operations": list(operations),
        }
        for (kind, name, is_prefix), operations in resources(user.kafka).items()
    ]
    return {
        "apiVersion": API,
        "kind": "KafkaUser",
        "metadata": {"name": user.name},
        "spec": {"authentication": authentication, "authorization": {"type": "simple", "acls": acls}},
    }


def topic_manifests(settings: ScorerSettings) -> str:
    """A KafkaTopic for each topic, as `scorer topics` creates them with these settings."""
    configs = configs_of(settings)
    names = [getattr(settings.topics, role) for role in Topics.model_fields]
    manifests = [
        {
            "apiVersion": API,
            "kind": "KafkaTopic",
            "metadata": {"name": name},
            "spec": {
                "partitions": 1 if name in (settings.topics.deployments, settings.topics.risk) else settings.partitions,
                "replicas": settings.replication,
                "config": configs.get(name, {}),
            },
        }
        for name in names
    ]
    return _dump(manifests, "deploy/kubernetes/base/settings/topics.env")
