"""A component adds what it is for, and leaves the rest of its overlay alone."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path

import pytest
import yaml
from fastapi.testclient import TestClient
from pydantic import SecretStr

from harness.manifests import BUILDS, SOURCE, Manifest, build, built, find, name_of, pods
from harness.places import ROOT
from harness.references import selects, settings_of
from monitoring.settings import PRODUCTION, Limits, duration
from rights.render import files
from rights.users import users
from scorer.deployments.key_files import trusted_keys
from scorer.errors import SettingsError
from scorer.kafka.topics import configs_of
from scorer.process.hosts import Hosts
from scorer.settings import ScorerSettings, Topics, load
from shadow.gate.criteria import parse
from shadow.release.archive import FOLDER
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.web.app import build as application

pytestmark = pytest.mark.needs("kustomize")

DASHBOARDS = {("ConfigMap", f"dashboard-{path.stem}") for path in (ROOT / "deploy" / "grafana").glob("*.json")}
WORKLOADS = {("Job", "topics"), *(("Deployment", name) for name in ("scorer", "serve", "console"))}
WORKLOADS |= {("Deployment", f"shadow-{slot}") for slot in ("candidate", "control", "previous")}
USERS = {user.name: user for user in users()}
MONITORS = {("PodMonitor", "shadow-scorer"), ("PodMonitor", "shadow-scorer-serve")}
#: What a component adds, and what it changes.
ADDS: dict[str, set[tuple[str, str]]] = {
    "monitoring": {*MONITORS, ("PrometheusRule", "shadow-scorer"), *DASHBOARDS},
    "keda": {("ScaledObject", "scorer")},
    "argo": {("AnalysisTemplate", "gate"), ("NetworkPolicy", "argo")},
    "kafka-sasl": set(),
    "bundle-volume": {("PersistentVolumeClaim", "bundles")},
    "signing": {("ConfigMap", "trusted-keys")},
    "risk": {("Deployment", "risk"), ("ServiceAccount", "risk"), ("NetworkPolicy", "risk-metrics")},
    "strimzi": {
        *(("KafkaUser", name) for name in USERS),
        *(("KafkaTopic", name) for name in Topics().model_dump().values()),
    },
}
CHANGES: dict[str, set[tuple[str, str]]] = {
    "keda": {("Deployment", "scorer"), ("ConfigMap", "scorer-settings")},
    "kafka-sasl": {("ConfigMap", f"{program}-settings") for program in ("scorer", "shadow", "archive")},
    "bundle-volume": {
        *(("ConfigMap", f"{program}-settings") for program in ("scorer", "shadow")),
        *(name for name in WORKLOADS if name[0] == "Deployment"),
        ("CronJob", "rotate"),
    },
    "signing": {
        *(("ConfigMap", f"{program}-settings") for program in ("scorer", "shadow")),
        *(name for name in WORKLOADS if name[0] == "Deployment"),
        ("CronJob", "rotate"),
    },
}


REMOVES: dict[str, set[tuple[str, str]]] = {"bundle-volume": {("NetworkPolicy", "bundles")}}


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    """By kind and name, without the digest that kustomize ends a ConfigMap's name with."""
    text = re.sub(r"\b((?:scorer|shadow|archive|rotate)-settings)-[0-9a-z]{10}\b", r"\1", yaml.safe_dump_all(manifests))
    return {name_of(manifest): manifest for manifest in yaml.safe_load_all(text)}


@pytest.mark.parametrize("chosen", [chosen for chosen in BUILDS if len(chosen) == 2], ids="-".join)
def test_a_component_leaves_alone_what_it_is_not_for(chosen: tuple[str, ...]) -> None:
    overlay, component = chosen
    plain, made = by_name(built(overlay)), by_name(built(*chosen))
    assert made.keys() - plain.keys() == ADDS[component]
    assert plain.keys() - made.keys() == REMOVES.get(component, set())
    assert {name for name in plain.keys() & made.keys() if plain[name] != made[name]} == CHANGES.get(component, set())
    for name in ADDS[component]:
        assert made[name]["metadata"]["namespace"] == "shadow-scorer"
        assert made[name]["metadata"]["labels"]["app.kubernetes.io/part-of"] == "shadow-scorer"


# --- monitoring ---


def test_the_operator_is_given_the_rules_of_prometheus() -> None:
    rules = ROOT / "deploy" / "prometheus" / "rules"
    files = [yaml.safe_load((rules / f"{name}.yaml").read_text()) for name in ("records", "alerts")]
    given = find(built("production", "monitoring"), "PrometheusRule", "shadow-scorer")["spec"]["groups"]
    assert given == [group for file in files for group in file["groups"]]


def test_grafana_is_given_every_dashboard_as_it_is() -> None:
    """Its sidecar takes ConfigMaps by their label."""
    made = built("production", "monitoring")
    given = [m for m in made if m["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    boards = {path.name: path.read_text() for path in (ROOT / "deploy" / "grafana").glob("*.json")}
    assert len(boards) == 3
    assert {name: text for manifest in given for name, text in manifest["data"].items()} == boards


@pytest.mark.parametrize("overlay", ["simple", "production"])
def test_prometheus_looks_at_each_process_and_calls_it_by_its_program(overlay: str) -> None:
    seen = set()
    for kind, monitor in sorted(MONITORS):
        spec = find(built(overlay, "monitoring"), kind, monitor)["spec"]
        (endpoint,) = spec["podMetricsEndpoints"]
        keep, name = endpoint["relabelings"]
        assert (endpoint["path"], endpoint["interval"]) == ("/metrics", duration(PRODUCTION.interval))
        assert (keep["action"], name["targetLabel"]) == ("keep", "job")
        for workload, template in pods(built(overlay)):
            assert selects(spec["selector"], template["metadata"]["labels"])
            for container in template["spec"]["containers"]:
                if name_of(workload) in (("Job", "topics"), ("Deployment", "console")) or workload["kind"] == "CronJob":
                    continue
                (port,) = container["ports"]
                if not re.fullmatch(keep["regex"], port["name"]):
                    continue
                job = re.sub(f"^(?:{name['regex']})$", name["replacement"].replace("$", "\\"), port["name"])
                wanted = {"serve": ["shadow", "serve"]}.get(job, [job, "run"])
                assert container["args"][:2] == (wanted if container["name"] != "archive" else ["shadow", "archive"])
                assert (job == "serve") == ("authorization" in endpoint), "the token goes to serve, and to nobody else"
                seen.add((name_of(workload), container["name"], job))
    assert {job for *_, job in seen} == {"scorer", "shadow", "serve"}
    watched = [container for _, template in pods(built(overlay)) for container in template["spec"]["containers"]]
    assert len(seen) == len([one for one in watched if one.get("ports")])


@pytest.mark.parametrize("overlay", ["simple", "production"])
def test_prometheus_has_the_token_under_which_serve_shows_its_metrics(overlay: str) -> None:
    made = built(overlay, "monitoring")
    (endpoint,) = find(made, "PodMonitor", "shadow-scorer-serve")["spec"]["podMetricsEndpoints"]
    token = endpoint["authorization"]["credentials"]
    assert endpoint["authorization"]["type"] == "Bearer"
    (serve,) = (one for _, template in pods(made) for one in template["spec"]["containers"] if one["name"] == "serve")
    assert token["name"] in {source["secretRef"]["name"] for source in serve["envFrom"] if "secretRef" in source}
    assert token["key"].removeprefix("SHADOW_").lower() in ShadowSettings.model_fields
    client = TestClient(application(Serve(ShadowSettings(read_token=SecretStr("t")), parse("schema: 1"))))
    for headers, status in (({}, 401), ({"Authorization": "Bearer t"}, 200)):
        assert client.get(endpoint["path"], headers={**headers, "Host": "localhost"}).status_code == status


@pytest.mark.parametrize("overlay", ["simple", "production"])
def test_serve_answers_to_its_services_names_and_to_no_other(overlay: str) -> None:
    """And by its own address, for probes and Prometheus: tests/integration/test_api.py."""
    made = built(overlay)
    (serve,) = (one for _, template in pods(made) for one in template["spec"]["containers"] if one["name"] == "serve")
    hosts = Hosts(settings_of(made, serve)["SHADOW_HTTP_NAMES"].split(","))
    meta = find(made, "Service", "serve")["metadata"]
    name, namespace = meta["name"], meta["namespace"]
    for end in ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local"):
        assert hosts.allow(f"{name}{end}", "10.0.0.7")
    template = find(built("production", "argo"), "AnalysisTemplate", "gate")
    web = template["spec"]["metrics"][0]["provider"]["web"]["url"]
    assert hosts.allow(web.split("/")[2], "10.0.0.7")
    assert not hosts.allow("evil.example", "10.0.0.7")


# --- keda ---


def test_keda_alone_says_how_many_scorers_there_are() -> None:
    plain, scaled = by_name(built("production")), by_name(built("production", "keda"))
    deployment = copy.deepcopy(plain["Deployment", "scorer"])
    assert scaled["ScaledObject", "scorer"]["spec"]["minReplicaCount"] == deployment["spec"].pop("replicas")
    assert scaled["Deployment", "scorer"] == deployment


def test_keda_adds_scorers_before_more_waits_than_is_decided_within_the_latency_objective() -> None:
    """What is decided and not committed looks like lag to it, and must be the smaller part of what may wait."""
    limits, scaled = Limits(), built("production", "keda")
    may_wait = int(find(scaled, "ScaledObject", "scorer")["spec"]["triggers"][0]["metadata"]["lagThreshold"])
    assert may_wait / limits.scorer_rate == float(limits.objective)
    [settings] = [m["data"] for m in scaled if m["kind"] == "ConfigMap" and "SCORER_KAFKA" in m.get("data", {})]
    assert float(settings["SCORER_COMMIT_SECONDS"]) <= float(limits.objective) / 2


# --- argo ---


def test_argo_alone_may_ask_the_api_too() -> None:
    spec = find(built("production", "argo"), "NetworkPolicy", "argo")["spec"]
    labels = find(built("production"), "Deployment", "serve")["spec"]["template"]["metadata"]["labels"]
    namespace = {"matchLabels": {"kubernetes.io/metadata.name": "argo-rollouts"}}
    assert selects(spec["podSelector"], labels)
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"] == [
        {"from": [{"namespaceSelector": namespace}], "ports": [{"port": "serve", "protocol": "TCP"}]}
    ]


# --- bundle-volume ---


def test_every_pod_reads_the_volume_only_the_console_writes_bundles_and_serve_dossiers() -> None:
    made = built("production", "bundle-volume")
    for manifest in (m for m in made if m["kind"] == "Deployment" and m["metadata"]["name"] != "archive"):
        pod, name = manifest["spec"]["template"]["spec"], manifest["metadata"]["name"]
        (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "bundles")
        is_open = {} if name in ("console", "serve") else {"readOnly": True}
        assert volume["persistentVolumeClaim"] == {"claimName": "bundles", **is_open}
        (container,) = pod["containers"]
        mount, *others = (mount for mount in container["volumeMounts"] if mount["name"] == "bundles")
        is_open = {} if name == "console" else {"readOnly": True}
        assert mount == {"name": "bundles", "mountPath": "/bundles", **is_open}
        theirs = {"name": "bundles", "mountPath": f"/bundles/{FOLDER}", "subPath": FOLDER}
        assert others == ([theirs] if name == "serve" else [])
        stores = {value for name, value in settings_of(made, container).items() if name.endswith("_STORE")}
        assert stores == {"/bundles"}
    assert find(made, "PersistentVolumeClaim", "bundles")["spec"]["accessModes"] == ["ReadWriteMany"]


# --- signing ---


def test_every_pod_that_heeds_the_ledger_knows_the_trusted_keys_and_two_have_one_of_their_own() -> None:
    made = built("production", "signing")
    signs = {}
    for manifest in (m for m in made if m["kind"] == "Deployment" and m["metadata"]["name"] != "archive"):
        name, pod = manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        env = settings_of(made, container)
        assert {env[one] for one in env if one.endswith("_TRUSTED_KEYS")} == {"/settings/trusted/trusted.yaml"}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes[mounts["/settings/trusted"]]["configMap"]["name"] == "trusted-keys"
        keys = {env[one] for one in env if one.endswith("_SIGNING_KEY")}
        if keys:
            assert keys == {"/settings/signing/key.pem"}
            signs[name] = volumes[mounts["/settings/signing"]]["secret"]["secretName"]
    assert signs == {"serve": "serve-signing-key", "console": "operator-signing-key"}


def test_nothing_starts_with_keys_that_belong_to_nobody(tmp_path: Path) -> None:
    given = find(built("production", "signing"), "ConfigMap", "trusted-keys")["data"]["trusted.yaml"]
    (tmp_path / "trusted.yaml").write_text(given)
    with pytest.raises(SettingsError, match=r"keys\.operator\.public: "):
        trusted_keys(ScorerSettings(trusted_keys=tmp_path / "trusted.yaml"))


# --- kafka-sasl ---


def test_every_process_comes_to_kafka_within_tls_as_a_user() -> None:
    made = built("production", "kafka-sasl")
    for _, template in pods(made):
        (container,) = template["spec"]["containers"]
        env = settings_of(made, container)
        programs = {variable.partition("_")[0] for variable in env if variable.endswith("_KAFKA")}
        assert programs
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        for program in programs:
            assert env[f"{program}_KAFKA_SECURITY"] == "sasl_ssl"
            assert env[f"{program}_KAFKA_MECHANISM"] == "SCRAM-SHA-512"
            folder, _, file = env[f"{program}_KAFKA_CA"].rpartition("/")
            (volume,) = [volume for volume in template["spec"]["volumes"] if volume["name"] == mounts[folder]]
            assert (volume["secret"]["secretName"], file) == ("kafka-ca", "ca.crt")


# --- strimzi ---


def test_strimzi_makes_each_user_with_just_its_rights_and_the_password_that_its_process_has() -> None:
    made = built("production", "strimzi")
    holders = {source["secretRef"]["name"] for _, template in pods(made) for source in secrets(template)}
    found = {m["metadata"]["name"]: m for m in made if m["kind"] == "KafkaUser"}
    assert set(found) == set(USERS)
    for name, user in USERS.items():
        spec = found[name]["spec"]
        assert found[name]["metadata"]["labels"]["strimzi.io/cluster"] == "kafka"
        assert spec["authentication"]["type"] == "scram-sha-512"
        allowed = set()
        for rule in spec["authorization"]["acls"]:
            on = rule["resource"]
            allowed |= {(on["type"], on["name"], on["patternType"], operation) for operation in rule["operations"]}
        kinds = {"transactional id": "transactionalId"}
        assert allowed == {
            (kinds.get(r.kind, r.kind), r.name, "prefix" if r.is_prefix else "literal", r.operation) for r in user.kafka
        }
        if user.is_deployed:
            password = spec["authentication"]["password"]["valueFrom"]["secretKeyRef"]
            assert password == {"name": f"{name}-secrets", "key": user.password_setting}
            assert password["name"] in holders
        else:
            assert "password" not in spec["authentication"]


def test_strimzi_makes_the_topics_that_the_job_would(monkeypatch: pytest.MonkeyPatch) -> None:
    made = built("production", "strimzi")
    (container,) = find(made, "Job", "topics")["spec"]["template"]["spec"]["containers"]
    for name, value in settings_of(made, container).items():
        monkeypatch.setenv(name, value)
    settings = load(ScorerSettings)
    found = {m["metadata"]["name"]: m["spec"] for m in made if m["kind"] == "KafkaTopic"}
    assert set(found) == set(Topics().model_dump().values())
    for name, spec in found.items():
        assert spec["partitions"] == (1 if name in ("deployments", "risk") else settings.partitions)
        assert spec["replicas"] == settings.replication
        assert spec["config"] == configs_of(settings)[name]


def test_what_is_committed_is_what_the_rights_come_to() -> None:
    for path, text in files(ScorerSettings(), ShadowSettings()).items():
        assert (ROOT / path).read_text() == text, f"{path}: run `make deploy-render`"


# --- secrets ---


def secrets(template: Manifest) -> list[Manifest]:
    """The Secrets that are the environment of a pod's containers."""
    return [s for c in template["spec"]["containers"] for s in c.get("envFrom", []) if "secretRef" in s]


def test_each_process_has_a_secret_of_its_own() -> None:
    found = {}
    for workload, template in pods(built("production")):
        (source,) = secrets(template)
        assert source["secretRef"]["optional"]
        found[name_of(workload)] = source["secretRef"]["name"]
    users = {name: name[1] for name in WORKLOADS} | {
        ("Deployment", "console"): "operator",
        ("Deployment", "archive"): "archive",
        ("CronJob", "archive-compact"): "archive",
        ("CronJob", "rotate"): "rotate",
    }
    assert found == {name: f"{user}-secrets" for name, user in users.items()}
    assert set(users.values()) == {user.name for user in USERS.values() if user.is_deployed}


@pytest.mark.parametrize("overlay", ["simple", "production"])
def test_tokens_of_the_api_reach_only_serve(overlay: str) -> None:
    for _, template in pods(built(overlay)):
        for container in template["spec"]["containers"]:
            names = {s["secretRef"]["name"] for s in container.get("envFrom", []) if "secretRef" in s}
            assert ("serve-secrets" in names) == (container["args"][:2] == ["shadow", "serve"])
    for manifest in built(overlay):
        if manifest["kind"] == "ConfigMap":
            assert not [key for key in manifest["data"] if "TOKEN" in key or "PASSWORD" in key]


# --- where a component is switched on ---


def test_switched_on_in_the_overlay_components_do_the_same(tmp_path: Path) -> None:
    """There they come before the overlay's own patches, elsewhere in these tests after them."""
    shutil.copytree(SOURCE, tmp_path / "kubernetes")
    shutil.copytree(ROOT / "deploy" / "grafana", tmp_path / "grafana")
    overlay = tmp_path / "kubernetes" / "overlays" / "production"
    text = (overlay / "kustomization.yaml").read_text()
    chosen = re.findall(r"^#   - ../../components/(.+)$", text, re.MULTILINE)
    assert set(chosen) == set(ADDS)
    (overlay / "kustomization.yaml").write_text(re.sub(r"^# (components:|  - )", r"\1", text, flags=re.MULTILINE))
    made = {name_of(manifest): _sorted(manifest) for manifest in build(overlay)}
    assert made == {name_of(manifest): _sorted(manifest) for manifest in built("production", *chosen)}


def _sorted(manifest: Manifest) -> Manifest:
    """A manifest with a pod's volumes by name: which patch came first has no meaning."""
    made = copy.deepcopy(manifest)
    for _, template in pods([made]):
        for part in (template["spec"], *template["spec"]["containers"]):
            for name in ("volumes", "volumeMounts"):
                part.get(name, []).sort(key=lambda volume: str(volume["name"]))
    return made
