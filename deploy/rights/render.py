"""Writes the rights to where people, Kafka, Redis and Kubernetes take them.

Names of topics, groups and keys are those of the settings, so that `SCORER_…` and `SHADOW_…` variables count here, too.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rights import kafka, page, redis, strimzi
from rights.users import SLOTS, Names, users
from scorer.settings import ScorerSettings, load
from shadow.settings import ShadowSettings

ROOT = Path(__file__).resolve().parents[2]
TOPICS = ROOT / "deploy" / "kubernetes" / "base" / "settings" / "topics.env"


def topic_settings(scorer: ScorerSettings) -> ScorerSettings:
    """The settings with which the Job on Kubernetes creates topics."""
    lines = [line for line in TOPICS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    given = {name.removeprefix("SCORER_").lower(): value for name, _, value in (line.partition("=") for line in lines)}
    chosen = {**given, "topic_configs": json.loads(given["topic_configs"])}
    return ScorerSettings.model_validate({**scorer.model_dump(), **chosen})


def files(scorer: ScorerSettings, shadow: ShadowSettings, slots: Sequence[str] = SLOTS) -> dict[Path, str]:
    """Every file that is rendered, by its path in the repository."""
    names = Names.of(scorer, shadow)
    every = users(names, slots)
    component = Path("deploy/kubernetes/components/strimzi/resources")
    return {
        Path("docs/rights.md"): page.page(users(names, ["SLOT"])),
        Path("deploy/rights/kafka-acls.sh"): kafka.commands(every),
        Path("deploy/rights/redis-acls.sh"): redis.commands(every),
        component / "users.yaml": strimzi.user_manifests(every),
        component / "topics.yaml": strimzi.topic_manifests(topic_settings(scorer)),
    }


def main() -> None:
    """Write them."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("slots", nargs="*", default=SLOTS, help="slots that have a shadow")
    asked = given.parse_args()
    for path, text in files(load(ScorerSettings), load(ShadowSettings), asked.slots).items():
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
