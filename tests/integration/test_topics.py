"""Topics are created ahead of the first worker, with the settings that they are to have."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from harness.kafka import Kafka
from harness.stack import Stack
from scorer.kafka.topics import admin
from scorer.settings import ScorerSettings

CONFIGS = {"decisions": {"retention.ms": "1814400000"}, "velocity": {"segment.ms": "60000"}}


async def settings_of(settings: ScorerSettings, topic: str) -> dict[str, str]:
    async with admin(settings) as client:
        answers = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return {entry[0]: entry[1] for answer in answers for resource in answer.resources for entry in resource[4]}


def test_creating_topics_twice_changes_nothing(tmp_path: Path) -> None:
    with Stack(tmp_path, {}) as stack:
        for _ in range(2):
            assert "transactions has 4 partitions" in stack.run("scorer", "topics")
        told = stack.run("scorer", "topics", env={"SCORER_PARTITIONS": "9", "SCORER_CREATE_TOPICS": "false"})
        assert "transactions has 4 partitions" in told


def test_topics_that_may_not_be_created_are_named(tmp_path: Path) -> None:
    with Stack(tmp_path, {}) as stack:
        stack.run("scorer", "topics", env={"SCORER_CREATE_TOPICS": "false"}, expect=2)


@pytest.mark.needs("kafka")
def test_kafka_keeps_the_settings_that_topics_are_created_with(tmp_path: Path) -> None:
    with Stack(tmp_path, {}, broker=Kafka(tmp_path / "kafka")) as stack:
        stack.run("scorer", "topics", env={"SCORER_TOPIC_CONFIGS": orjson.dumps(CONFIGS).decode()})
        decisions = asyncio.run(settings_of(stack.settings(), "decisions"))
        velocity = asyncio.run(settings_of(stack.settings(), "velocity"))
        labels = asyncio.run(settings_of(stack.settings(), "labels"))
    assert decisions["retention.ms"] == "1814400000"
    assert labels["retention.ms"] == str(180 * 86_400_000), "a chargeback takes months"
    assert velocity["segment.ms"] == "60000"
    assert velocity["cleanup.policy"] == "compact"  # ours stays where nothing else was asked for
