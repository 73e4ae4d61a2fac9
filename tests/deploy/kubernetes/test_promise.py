"""Promise 1 as a manifest: the live path is told of Kafka and its bundles, and can reach nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.manifests import BUILDS, Manifest, built, find, pods
from harness.references import address, peers, settings_of

pytestmark = pytest.mark.needs("kustomize")


def live_path(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Pod template and container of every scorer."""
    for _, template in pods(manifests):
        for container in template["spec"]["containers"]:
            if container["args"][:2] == ["scorer", "run"]:
                yield template, container


def touches(manifests: list[Manifest]) -> list[str]:
    """What of the shadow's a scorer's container is told, or shares with another container of its pod."""
    told = []
    for template, container in live_path(manifests):
        env = settings_of(manifests, container)
        told += [name for name in env if name.startswith("SHADOW_")]
        told += [f"{name}={value}" for name, value in env.items() if "redis" in (name + value).lower()]
        secrets = {source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source}
        told += sorted(secrets - {"scorer-secrets"})  # its own: a user in Kafka
        mine = {mount["name"]: mount for mount in container["volumeMounts"]}
        for other in template["spec"]["containers"]:
            for mount in other["volumeMounts"] if other is not container else ():
                if mount["name"] in mine and not mine[mount["name"]].get("readOnly"):
                    told.append(f"writes to {mount['name']} with {other['name']}")
    return told


def reaches_more(manifests: list[Manifest]) -> set[tuple[str | None, int | None]]:
    """Where a scorer may send to beside the name service, Kafka and the store of bundles."""
    more = set()
    for template, container in live_path(manifests):
        env = settings_of(manifests, container)
        needed = {address(part) for part in (*env["SCORER_KAFKA"].split(","), env["SCORER_STORE"])}
        more |= set(peers(manifests, template["metadata"]["labels"])) - needed - {("kube-system", 53)}
    return more


@pytest.mark.parametrize("chosen", BUILDS, ids="-".join)
def test_a_scorer_is_told_nothing_of_the_shadow(chosen: tuple[str, ...]) -> None:
    assert len(list(live_path(built(*chosen)))) == 1
    assert touches(built(*chosen)) == []


@pytest.mark.parametrize("chosen", [b for b in BUILDS if b[0] == "production"], ids="-".join)
def test_a_scorer_reaches_kafka_names_and_bundles_only(chosen: tuple[str, ...]) -> None:
    assert reaches_more(built(*chosen)) == set()


def _scorer(manifests: list[Manifest]) -> Any:
    return find(manifests, "Deployment", "scorer")["spec"]["template"]["spec"]["containers"][0]


def _settings(manifests: list[Manifest]) -> Any:
    return next(m for m in manifests if m["metadata"]["name"].startswith("scorer-settings"))["data"]


TOLD: dict[str, Callable[[list[Manifest]], Any]] = {
    "a setting of its own": lambda m: _scorer(m)["env"].append({"name": "REDIS_URL", "value": "x"}),
    "a shadow's setting": lambda m: _scorer(m)["env"].append({"name": "SHADOW_REDIS", "value": "x"}),
    "an address among its settings": lambda m: _settings(m).update(SCORER_STORE="redis://redis.redis.svc"),
    "the shadow's settings": lambda m: _scorer(m)["envFrom"].append(
        {"configMapRef": {"name": next(x for x in _names(m) if x.startswith("shadow-settings"))}}
    ),
    "a shadow's secrets": lambda m: _scorer(m)["envFrom"].append(
        {"secretRef": {"name": "shadow-candidate.control.previous-secrets"}}
    ),
    "an operator's secrets": lambda m: _scorer(m)["envFrom"].append({"secretRef": {"name": "operator-secrets"}}),
}


def _names(manifests: list[Manifest]) -> list[str]:
    return [manifest["metadata"]["name"] for manifest in manifests]


@pytest.mark.parametrize("overlay", ["simple", "production"])
@pytest.mark.parametrize("harm", TOLD)
def test_telling_it_of_redis_is_red(overlay: str, harm: str) -> None:
    manifests = copy.deepcopy(built(overlay))
    TOLD[harm](manifests)
    assert touches(manifests)


def test_a_volume_shared_with_a_shadow_is_red() -> None:
    manifests = copy.deepcopy(built("simple"))
    shadow = find(manifests, "Deployment", "scorer")["spec"]["template"]["spec"]["containers"][1]
    shadow["volumeMounts"].append({"name": "scorer-cache", "mountPath": "/other"})
    assert touches(manifests) == ["writes to scorer-cache with shadow"]


WIDER: dict[str, Callable[[list[Manifest]], Any]] = {
    "the policy of Redis": lambda m: find(m, "NetworkPolicy", "redis")["spec"]["podSelector"]["matchExpressions"][0][
        "values"
    ].append("scorer"),
    "a rule without an address": lambda m: find(m, "NetworkPolicy", "kafka")["spec"]["egress"].append(
        {"ports": [{"port": 443}]}
    ),
    "a rule without anything": lambda m: find(m, "NetworkPolicy", "kafka")["spec"]["egress"].append({}),
    "an address by number": lambda m: find(m, "NetworkPolicy", "bundles")["spec"]["egress"][0]["to"].append(
        {"ipBlock": {"cidr": "0.0.0.0/0"}}
    ),
    "no policy at all": lambda m: [m.remove(x) for x in list(m) if x["kind"] == "NetworkPolicy"],
}


@pytest.mark.parametrize("harm", WIDER)
def test_letting_it_reach_more_is_red(harm: str) -> None:
    manifests = copy.deepcopy(built("production"))
    WIDER[harm](manifests)
    assert reaches_more(manifests)
