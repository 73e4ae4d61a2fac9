"""Every overlay and component builds, is what it was, and means what it says."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.manifests import (
    BUILDS,
    GOLDEN,
    OVERLAYS,
    Manifest,
    built,
    container_of,
    find,
    golden_text,
    pods,
)
from harness.patience import PATIENCE_SECONDS
from harness.places import CRDS, DEPLOY_BIN
from harness.references import problems

pytestmark = pytest.mark.needs("kustomize")

#: The oldest and the newest Kubernetes that the README names.
VERSIONS = ("1.29", "1.37")
CORE = ("v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1")
named = pytest.mark.parametrize("chosen", BUILDS, ids="-".join)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_what_it_was(overlay: str) -> None:
    told = "write it anew: cd tests && ../.venv/bin/python -m harness.manifests"
    assert golden_text(overlay) == (GOLDEN / f"{overlay}.yaml").read_text(), told


@named
def test_everything_that_is_named_is_there(chosen: tuple[str, ...]) -> None:
    assert problems(built(*chosen)) == []


# --- schemas ---


def core(manifests: Iterable[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["apiVersion"] in CORE]


def core_problems(manifests: list[Manifest], version: str, folder: Path) -> str:
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(manifests))
    command = [str(DEPLOY_BIN / "kubernetes-validate"), "--strict", "--quiet", "-k", version, str(path)]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
    told = done.stdout.decode() + done.stderr.decode()
    assert (done.returncode == 0) == (not told.strip()), told
    return told


def custom_problems(manifests: list[Manifest]) -> str:
    done = subprocess.run(
        [str(DEPLOY_BIN / "python"), str(Path(__file__).with_name("strict.py")), str(CRDS)],
        input=yaml.safe_dump_all(manifests).encode(),
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert not done.stderr, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.needs("deploy")
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "chosen",
    [("simple",), ("production", "monitoring", "keda", "argo", "kafka-sasl", "strimzi", "bundle-volume", "signing")],
    ids="-".join,
)
def test_core_resources_keep_to_the_strict_schema(chosen: tuple[str, ...], version: str, tmp_path: Path) -> None:
    assert core_problems(core(built(*chosen)), version, tmp_path) == ""


@pytest.mark.needs("deploy")
def test_a_field_that_kubernetes_does_not_know_is_told(tmp_path: Path) -> None:
    manifests = copy.deepcopy(core(built("production")))
    find(manifests, "Deployment", "serve")["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    assert "readynessProbe" in core_problems(manifests, VERSIONS[1], tmp_path)


@pytest.mark.needs("deploy", "crds")
def test_custom_resources_keep_to_the_strict_schema() -> None:
    custom = [m for m in built("production", "monitoring", "keda", "argo") if m["apiVersion"] not in CORE]
    assert {m["kind"] for m in custom} == {"PodMonitor", "PrometheusRule", "ScaledObject", "AnalysisTemplate"}
    assert custom_problems(custom) == ""


@pytest.mark.deploy  # Strimzi's definitions are in no registry of packages: put them into CRDS
@pytest.mark.needs("deploy", "strimzi")
def test_resources_of_strimzi_keep_to_the_strict_schema() -> None:
    custom = [m for m in built("production", "strimzi") if m["apiVersion"] not in CORE]
    assert {m["kind"] for m in custom} == {"KafkaUser", "KafkaTopic"}
    assert custom_problems(custom) == ""
    custom = copy.deepcopy(custom)
    find(custom, "KafkaUser", "serve")["spec"]["authorization"]["acls"][0]["operations"] = ["Reed"]
    find(custom, "KafkaTopic", "labels")["spec"]["partition"] = 3
    told = custom_problems(custom).splitlines()
    assert [line.partition(":")[0] for line in told] == ["KafkaTopic/labels", "KafkaUser/serve"]


@pytest.mark.needs("deploy", "crds")
@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        ("ScaledObject", lambda spec: spec.update(maxReplicas=3)),
        ("ScaledObject", lambda spec: spec["triggers"][0]["metadata"].update(lagThreshold=10)),
        ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(intervall="15s")),
        ("PodMonitor", lambda spec: spec["podMetricsEndpoints"][0].update(interval="15 s")),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update(expression="1")),
        ("AnalysisTemplate", lambda spec: spec["metrics"][0].update(successConditon="true")),
    ],
)
def test_a_mistake_in_a_custom_resource_is_told(kind: str, harm: Callable[[Any], None]) -> None:
    custom = copy.deepcopy([m for m in built("production", "monitoring", "keda", "argo") if m["kind"] == kind])
    harm(custom[0]["spec"])
    assert custom_problems(custom).startswith(f"{kind}/")


# --- what no schema sees ---

Harm = Callable[[list[Manifest]], Any]


def of(kind: str, name: str) -> Callable[[list[Manifest]], Any]:
    return lambda manifests: find(manifests, kind, name)["spec"]


def pod_of(name: str) -> Callable[[list[Manifest]], Any]:
    return lambda manifests: find(manifests, "Deployment", name)["spec"]["template"]["spec"]


scorer, serve = pod_of("scorer"), pod_of("serve")
MISTAKES: dict[str, tuple[Harm, str]] = {
    "a selector that is not the pods'": (
        lambda m: of("Deployment", "serve")(m)["selector"]["matchLabels"].update(a="b"),
        "does not take its own",
    ),
    "two slots alike": (
        lambda m: of("Deployment", "shadow-control")(m)["selector"]["matchLabels"].pop("shadow-scorer/slot"),
        "too",
    ),
    "a service of nobody": (lambda m: of("Service", "serve")(m)["selector"].update(a="b"), "selects no pod"),
    "a service's port": (lambda m: of("Service", "serve")(m)["ports"][0].update(targetPort="http"), "has a port http"),
    "a budget of nobody": (
        lambda m: of("PodDisruptionBudget", "shadow")(m)["selector"]["matchLabels"].update(a="b"),
        "selects no pod",
    ),
    "a process that nobody watches": (
        lambda m: of("PodMonitor", "shadow-scorer-serve")(m)["podMetricsEndpoints"][0]["relabelings"][0].update(
            regex="server"
        ),
        "passes over serve",
    ),
    "a probe's port": (
        lambda m: scorer(m)["containers"][0]["livenessProbe"]["httpGet"].update(port="http"),
        "asks port",
    ),
    "a quantity": (
        lambda m: scorer(m)["containers"][0]["resources"]["requests"].update(memory="1GB"),
        "no quantity",
    ),
    "more asked for than allowed": (
        lambda m: scorer(m)["containers"][0]["resources"]["requests"].update(memory="3Gi"),
        "the limit is",
    ),
    "a volume's size": (lambda m: serve(m)["volumes"][2]["emptyDir"].update(sizeLimit="1 Gi"), "no quantity"),
    "a choice": (lambda m: scorer(m)["topologySpreadConstraints"][0].update(whenUnsatisfiable="Never"), "none of"),
    "a strategy": (lambda m: of("Deployment", "serve")(m)["strategy"].update(type="Replace"), "none of"),
    "a config map": (lambda m: scorer(m)["volumes"][0]["configMap"].update(name="view"), "no ConfigMap view"),
    "settings": (
        lambda m: scorer(m)["containers"][0]["envFrom"][0]["configMapRef"].update(name="settings"),
        "no ConfigMap settings",
    ),
    "a secret": (
        lambda m: serve(m)["containers"][0]["envFrom"][1]["secretRef"].update(name="secrets"),
        "no Secret secrets",
    ),
    "a secret's files": (lambda m: scorer(m)["volumes"][1]["secret"].update(secretName="ca"), "no Secret ca"),
    "a key of a config map": (
        lambda m: (
            next(x for x in m if x["metadata"]["name"].startswith("feature-view"))["data"].update(
                {"view.yaml": "", "features.yaml": ""}
            )
            or next(x for x in m if x["metadata"]["name"].startswith("feature-view"))["data"].pop("features.yaml")
        ),
        "has no features.yaml",
    ),
    "a mount": (lambda m: scorer(m)["containers"][0]["volumeMounts"].pop(0), "nothing is mounted"),
    "a volume that is not there": (lambda m: scorer(m)["volumes"].pop(0), "of no volume"),
    "an account": (lambda m: scorer(m).update(serviceAccountName="live"), "no ServiceAccount"),
    "a grace period": (lambda m: scorer(m).update(terminationGracePeriodSeconds=15), "a drain may take"),
    "an image without a tag": (lambda m: scorer(m)["containers"][0].update(image="shadow-scorer"), "has no tag"),
    "replicas beside KEDA": (lambda m: of("Deployment", "scorer")(m).update(replicas=3), "replicas"),
    "KEDA's target": (
        lambda m: of("ScaledObject", "scorer")(m)["scaleTargetRef"].update(name="live"),
        "scales nothing",
    ),
    "KEDA's brokers": (
        lambda m: of("ScaledObject", "scorer")(m)["triggers"][0]["metadata"].update(bootstrapServers="k:9092"),
        "bootstrapServers is k:9092",
    ),
    "KEDA's topic": (
        lambda m: of("ScaledObject", "scorer")(m)["triggers"][0]["metadata"].update(topic="decisions"),
        "topic is decisions, the scorer's is transactions",
    ),
    "KEDA's group": (
        lambda m: of("ScaledObject", "scorer")(m)["triggers"][0]["metadata"].update(consumerGroup="live"),
        "consumerGroup is live, the scorer's is scorer",
    ),
    "a scorer of another group than KEDA's": (
        lambda m: scorer(m)["containers"][0]["env"].append({"name": "SCORER_GROUP", "value": "live"}),
        "consumerGroup is scorer, the scorer's is live",
    ),
    "a scorer of another topic than KEDA's": (
        lambda m: scorer(m)["containers"][0]["env"].append(
            {"name": "SCORER_TOPICS", "value": '{"transactions": "payments"}'}
        ),
        "topic is transactions, the scorer's is payments",
    ),
    "a metric of KEDA's own": (
        lambda m: of("ScaledObject", "scorer")(m)["triggers"].append({"type": "prometheus", "metadata": {}}),
        "scales by prometheus",
    ),
    "too many replicas": (lambda m: of("ScaledObject", "scorer")(m).update(maxReplicaCount=25), "partitions"),
    "another port of Kafka": (
        lambda m: of("NetworkPolicy", "kafka")(m)["egress"][0]["ports"][0].update(port=9093),
        "no policy allows kafka:9092",
    ),
    "Redis elsewhere": (
        lambda m: next(x for x in m if x["metadata"]["name"].startswith("shadow-settings"))["data"].update(
            SHADOW_REDIS="redis://valkey.valkey.svc:6379/0"
        ),
        "no policy allows valkey:6379",
    ),
    "two ports alike": (lambda m: m.append(_twice(m)), "two ports"),
}


def _twice(manifests: list[Manifest]) -> Manifest:
    changed = find(manifests, "Deployment", "serve")
    manifests.remove(changed)
    changed["spec"]["template"]["spec"]["containers"].append({**serve([changed])["containers"][0], "name": "again"})
    return changed


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_that_no_schema_sees_is_told(mistake: str) -> None:
    manifests = copy.deepcopy(built("production", "monitoring", "keda", "argo"))
    harm, told = MISTAKES[mistake]
    harm(manifests)
    found = problems(manifests)
    assert found, mistake
    assert told in found[0] or any(told in line for line in found), found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    for _, template in pods(built(overlay)):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def test_a_shadow_is_the_same_in_both_overlays() -> None:
    """What they share is written twice, as kustomize cannot put one template into two places."""
    beside = find(built("simple"), "Deployment", "scorer")["spec"]["template"]
    own = {
        "shadow": find(built("production"), "Deployment", "shadow-candidate")["spec"]["template"],
        "serve": find(built("production"), "Deployment", "serve")["spec"]["template"],
    }
    for name, template in own.items():
        alone, within = container_of(template, name), container_of(beside, name)
        for field in ("ports", "startupProbe", "livenessProbe", "securityContext"):
            assert alone[field] == within[field], f"{name}: {field}"
