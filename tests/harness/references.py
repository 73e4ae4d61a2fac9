"""What the schemas of Kubernetes do not see: selectors, ports, keys, addresses, quantities that do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from harness.manifests import Manifest, name_of, pods
from scorer.settings import ScorerSettings, Topics
from shadow.local.supervisor import GRACE_SECONDS

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
_UNITS: dict[str | None, Decimal | int] = {"m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
#: Values that the published schemas take for any text.
_CHOICES = {
    "protocol": {"TCP", "UDP", "SCTP"},
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
    "fsGroupChangePolicy": {"OnRootMismatch", "Always"},
    "operator": {"In", "NotIn", "Exists", "DoesNotExist"},
    "policyTypes": {"Ingress", "Egress"},
    "accessModes": {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"},
}
_TYPES = {
    "seccompProfile": {"RuntimeDefault", "Localhost", "Unconfined"},
    "strategy": {"RollingUpdate", "Recreate"},
}
#: Secrets that people make by hand: one for each process, and the authorities of Kafka's certificates.
_BY_HAND = re.compile(
    r"kafka-ca|(serve|operator|rotate)-signing-key|(scorer|topics|serve|archive|operator|rotate|risk|shadow-[a-z][a-z0-9.-]*)-secrets"
)


def quantity(text: str) -> Decimal:
    """A quantity as Kubernetes reads it. Raises ValueError.

    >>> [str(quantity(q)) for q in ("250m", "1", "1Gi")]
    ['0.250', '1', '1073741824']
    """
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} is no quantity")
    return Decimal(found[1]) * _UNITS.get(found[2], 1)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes a pod with these labels; an empty one takes every pod."""
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        value, among = labels.get(rule["key"]), rule.get("values", [])
        holds = {
            "In": value in among,
            "NotIn": value not in among,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[rule["operator"]]
        if not holds:
            return False
    return True


def problems(manifests: Sequence[Manifest]) -> list[str]:
    """Everything that does not fit, one line each."""
    return [
        *_workloads(manifests),
        *_selectors(manifests),
        *_containers(manifests),
        *_addresses(manifests),
        *_scaling(manifests),
        *(line for manifest in manifests for line in _values(manifest, "/".join(name_of(manifest)))),
    ]


def settings_of(manifests: Sequence[Manifest], container: Manifest) -> dict[str, str]:
    """Environment of a container: from ConfigMaps, then its own; a value that only the cluster knows is in brackets."""
    maps = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    env: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            env |= maps.get(source["configMapRef"]["name"], {})
    for variable in container.get("env", []):
        env[variable["name"]] = variable.get("value", f"<{variable['name']}>")
    return env


def _labels(template: Manifest) -> dict[str, str]:
    labels: dict[str, str] = template["metadata"]["labels"]
    return labels


def _workloads(manifests: Sequence[Manifest]) -> Iterator[str]:
    every = list(pods(manifests))
    for workload, template in every:
        where = "/".join(name_of(workload))
        selector = workload["spec"].get("selector")
        if selector is not None:
            taken = ["/".join(name_of(w)) for w, t in every if w is not workload and selects(selector, _labels(t))]
            if not selects(selector, _labels(template)):
                yield f"{where}: its selector does not take its own pods"
            if taken:
                yield f"{where}: its selector takes the pods of {taken[0]}, too"
        for spread in template["spec"].get("topologySpreadConstraints", []):
            if not selects(spread["labelSelector"], _labels(template)):
                yield f"{where}: is spread among pods that are not its own"
        if workload["kind"] not in ("Job", "CronJob"):
            grace = template["spec"].get("terminationGracePeriodSeconds", 30)
            if grace <= GRACE_SECONDS:
                yield f"{where}: terminationGracePeriodSeconds is {grace}, a drain may take {GRACE_SECONDS:g}"


def _selectors(manifests: Sequence[Manifest]) -> Iterator[str]:
    every = [template for _, template in pods(manifests)]
    monitors: list[Manifest] = []
    watched: list[Manifest] = []
    for manifest in manifests:
        where, spec = "/".join(name_of(manifest)), manifest.get("spec", {})
        if manifest["kind"] == "Service":
            chosen = [t for t in every if selects({"matchLabels": spec["selector"]}, _labels(t))]
            ports = [port["targetPort"] for port in spec["ports"]]
        elif manifest["kind"] == "PodDisruptionBudget":
            chosen, ports = [t for t in every if selects(spec["selector"], _labels(t))], []
        elif manifest["kind"] == "NetworkPolicy":
            chosen = [t for t in every if selects(spec["podSelector"], _labels(t))]
            ports = [port["port"] for rule in spec.get("ingress", []) for port in rule.get("ports", [])]
        elif manifest["kind"] == "PodMonitor":
            chosen = [t for t in every if selects(spec["selector"], _labels(t))]
            ports = []
            monitors.append(spec)
            watched += [t for t in chosen if t not in watched]
        else:
            continue
        if not chosen:
            yield f"{where}: selects no pod"
        there = {port["name"] for t in chosen for c in t["spec"]["containers"] for port in c.get("ports", [])}
        for port in ports:
            if port not in there:
                yield f"{where}: no selected pod has a port {port}"
    yield from _unseen(monitors, watched)


def _unseen(monitors: Sequence[Manifest], chosen: Sequence[Manifest]) -> Iterator[str]:
    """Processes that every PodMonitor passes over."""
    kept = [
        re.compile(rule["regex"])
        for spec in monitors
        for endpoint in spec["podMetricsEndpoints"]
        for rule in endpoint["relabelings"]
        if rule.get("action") == "keep" and rule["sourceLabels"] == ["__meta_kubernetes_pod_container_port_name"]
    ]
    for container in (container for template in chosen for container in template["spec"]["containers"]):
        names = [port["name"] for port in container.get("ports", [])]
        if names and not any(rule.fullmatch(name) for rule in kept for name in names):
            yield f"PodMonitor: passes over {container['name']}"


def _containers(manifests: Sequence[Manifest]) -> Iterator[str]:
    def names(kind: str) -> set[str]:
        return {m["metadata"]["name"] for m in manifests if m["kind"] == kind}

    accounts, claims = names("ServiceAccount"), names("PersistentVolumeClaim")
    maps = {m["metadata"]["name"]: set(m["data"]) for m in manifests if m["kind"] == "ConfigMap"}
    for workload, template in pods(manifests):
        where, spec = "/".join(name_of(workload)), template["spec"]
        if spec["serviceAccountName"] not in accounts:
            yield f"{where}: no ServiceAccount {spec['serviceAccountName']}"
        files: dict[str, set[str] | None] = {}
        for volume in spec.get("volumes", []):
            files[volume["name"]] = None
            if "configMap" in volume:
                name = volume["configMap"]["name"]
                files[volume["name"]] = maps.get(name, set())
                if name not in maps:
                    yield f"{where}: no ConfigMap {name}"
            if "secret" in volume and not _BY_HAND.fullmatch(volume["secret"]["secretName"]):
                yield f"{where}: no Secret {volume['secret']['secretName']}"
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim is not None and claim not in claims:
                yield f"{where}: no PersistentVolumeClaim {claim}"
        taken = [port[key] for c in spec["containers"] for port in c.get("ports", []) for key in port]
        for double in {port for port in taken if taken.count(port) > 1 and port not in _CHOICES["protocol"]}:
            yield f"{where}: two ports {double}"
        for container in spec["containers"]:
            yield from _container(manifests, container, f"{where}/{container['name']}", files, maps)
        unused = set(files) - {m["name"] for c in spec["containers"] for m in c.get("volumeMounts", [])}
        for volume in sorted(unused):
            yield f"{where}: nothing mounts volume {volume}"


def _container(
    manifests: Sequence[Manifest],
    container: Manifest,
    where: str,
    files: Mapping[str, set[str] | None],
    maps: Mapping[str, set[str]],
) -> Iterator[str]:
    if ":" not in container["image"]:
        yield f"{where}: image {container['image']} has no tag; set it in the overlay's images"
    for source in container.get("envFrom", []):
        if "configMapRef" in source and source["configMapRef"]["name"] not in maps:
            yield f"{where}: no ConfigMap {source['configMapRef']['name']}"
            return
        if "secretRef" in source and not _BY_HAND.fullmatch(source["secretRef"]["name"]):
            yield f"{where}: no Secret {source['secretRef']['name']}"
    mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
    for path, name in mounts.items():
        if name not in files:
            yield f"{where}: {path} is of no volume: {name}"
    for variable, value in settings_of(manifests, container).items():
        if not value.startswith("/"):
            continue
        at = next((m for m in mounts if value == m or PurePosixPath(m) in PurePosixPath(value).parents), None)
        needed = _used(container, variable)
        if needed and at is None:
            yield f"{where}: {variable} is {value}, and nothing is mounted there"
        if needed and at is not None and (keys := files.get(mounts[at])) is not None:
            key = str(PurePosixPath(value).relative_to(at))
            if key not in keys:
                yield f"{where}: {variable} is {value}, and the ConfigMap has no {key}"
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(kind)
        if probe is not None and probe["httpGet"]["port"] not in ports:
            yield f"{where}: {kind} asks port {probe['httpGet']['port']}, which it has not"
    resources = container.get("resources", {})
    for name, least in resources.get("requests", {}).items():
        most = resources.get("limits", {}).get(name)
        try:
            if most is not None and quantity(least) > quantity(most):
                yield f"{where}: requests {least} {name}, the limit is {most}"
        except ValueError:
            continue  # said by _values


#: Settings that are files or folders, by who reads them.
_READ_BY = {
    "SCORER_VIEW": (("scorer", "run"), ("shadow", "serve")),
    "SCORER_CACHE": (("scorer", "run"), ("shadow", "serve")),
    "SCORER_STORE": (("scorer", "run"), ("shadow", "serve")),
    "SHADOW_RELEASE": (("shadow", "run"), ("shadow", "serve")),
    "SHADOW_CACHE": (("shadow", "run"), ("shadow", "serve")),
    "SHADOW_STORE": (("shadow", "run"), ("shadow", "serve")),
    "SHADOW_ARCHIVE": (("shadow", "archive"),),
}


def _used(container: Manifest, variable: str) -> bool:
    return tuple(container.get("args", [])[:2]) in _READ_BY.get(variable, ())


def peers(manifests: Sequence[Manifest], labels: Mapping[str, str]) -> Iterator[tuple[str | None, int | None]]:
    """Where a pod with these labels may send to: namespace and port, None for any."""
    policies = [m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"]
    mine = [spec for spec in policies if selects(spec["podSelector"], labels) and "Egress" in spec["policyTypes"]]
    if not mine:
        yield None, None
    for spec in mine:
        for rule in spec.get("egress", []):
            for port in rule.get("ports", [{}]):
                for to in rule.get("to", [{}]):
                    found = to.get("namespaceSelector", {}).get("matchLabels", {})
                    yield found.get("kubernetes.io/metadata.name"), port.get("port")


def address(value: str) -> tuple[str, int] | None:
    """Namespace and port of a service `name.namespace.svc:port`, as host:port or in a URL; None for any other value."""
    parts = urlsplit(value if "://" in value else f"//{value}")
    names = (parts.hostname or "").split(".")
    return (names[1], parts.port or 80) if len(names) >= 3 and names[2] == "svc" else None


def _addresses(manifests: Sequence[Manifest]) -> Iterator[str]:
    if not any(m["kind"] == "NetworkPolicy" for m in manifests):
        return
    for workload, template in pods(manifests):
        may = set(peers(manifests, _labels(template)))
        for container in template["spec"]["containers"]:
            for variable, value in settings_of(manifests, container).items():
                is_read = tuple(container["args"][:2]) != ("scorer", "topics") or variable == "SCORER_KAFKA"
                for part in value.split(",") if is_read and not value.startswith("{") else ():
                    if (at := address(part)) is not None and at not in may:
                        where = "/".join(name_of(workload))
                        yield f"{where}: {variable} is {part}, and no policy allows {at[0]}:{at[1]}"


def _scaling(manifests: Sequence[Manifest]) -> Iterator[str]:
    for manifest in manifests:
        if manifest["kind"] != "ScaledObject":
            continue
        where, spec = "/".join(name_of(manifest)), manifest["spec"]
        target = next(
            (w for w, _ in pods(manifests) if name_of(w) == ("Deployment", spec["scaleTargetRef"]["name"])), None
        )
        if target is None:
            yield f"{where}: scales nothing that is there"
            continue
        if "replicas" in target["spec"]:
            yield f"{where}: {name_of(target)[1]} says its own number of replicas, too"
        container = target["spec"]["template"]["spec"]["containers"][0]
        env = settings_of(manifests, container)
        topics = next(m["data"] for m in manifests if m["metadata"]["name"].startswith("topics-settings"))
        if spec["maxReplicaCount"] > int(topics["SCORER_PARTITIONS"]):
            yield f"{where}: more replicas than partitions"
        for trigger in spec["triggers"]:
            yield from (f"{where}: {told}" for told in _unlike(trigger, env))


def _unlike(trigger: Manifest, env: Mapping[str, str]) -> Iterator[str]:
    """Where a trigger asks for the lag of another group, on another topic or broker, than the scorer's own."""
    if trigger["type"] != "kafka":
        yield f"scales by {trigger['type']}, whose metrics nobody checks"
        return
    scorer = {
        "bootstrapServers": env.get("SCORER_KAFKA"),
        "consumerGroup": env.get("SCORER_GROUP", ScorerSettings.model_fields["group"].default),
        "topic": Topics.model_validate_json(env.get("SCORER_TOPICS", "{}")).transactions,
    }
    for name, value in scorer.items():
        if trigger["metadata"][name] != value:
            yield f"{name} is {trigger['metadata'][name]}, the scorer's is {value}"


def _values(value: Any, where: str, key: str = "") -> Iterator[str]:
    """Quantities and choices, wherever they are."""
    if isinstance(value, dict):
        allowed = _TYPES.get(key)
        if allowed is not None and value.get("type", next(iter(allowed))) not in allowed:
            yield f"{where}: {key} is {value['type']}, none of {', '.join(sorted(allowed))}"
        for name, inner in value.items():
            if key in ("requests", "limits") or name == "sizeLimit":
                try:
                    quantity(inner)
                except ValueError as error:
                    yield f"{where}: {name}: {error}"
            elif isinstance(inner, str) and name in _CHOICES and inner not in _CHOICES[name]:
                yield f"{where}: {name} is {inner}, none of {', '.join(sorted(_CHOICES[name]))}"
            else:
                yield from _values(inner, where, name)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, str) and key in _CHOICES and inner not in _CHOICES[key]:
                yield f"{where}: {key} has {inner}, none of {', '.join(sorted(_CHOICES[key]))}"
            yield from _values(inner, where, key)
