"""Every setting in the manifests loads in its class, every file of settings reads, every command line is one."""

from __future__ import annotations

import copy
import os
from typing import Any

import click
import pytest
import yaml

from harness.manifests import BUILDS, SOURCE, Manifest, built, find, pods
from harness.places import ROOT
from harness.references import settings_of
from scorer.bundles.view_file import load_view
from scorer.cli import cli as scorer_cli
from scorer.deployments.records import LIVE, PREVIOUS
from scorer.errors import SettingsError
from scorer.settings import CommonSettings, ScorerSettings, Topics, load
from scorer.streaming.timing import checked_timing
from shadow.cli import cli as shadow_cli
from shadow.gate.findings import Decision, Judgement
from shadow.release.criteria_file import load_release
from shadow.serve.service import Serve
from shadow.settings import ShadowSettings
from shadow.web.app import build

pytestmark = pytest.mark.needs("kustomize")

CLASSES: dict[str, type[CommonSettings]] = {"SCORER_": ScorerSettings, "SHADOW_": ShadowSettings}
PROGRAMS: dict[str, click.Group] = {"scorer": scorer_cli, "shadow": shadow_cli}


def loaded(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, CommonSettings]:
    """Settings of each program that this environment is for. Raises SettingsError."""
    for name in list(os.environ):
        if name.startswith(tuple(CLASSES)):
            monkeypatch.delenv(name)
    found = {}
    for prefix, kind in CLASSES.items():
        mine = {name: value for name, value in env.items() if name.startswith(prefix)}
        with monkeypatch.context() as here:
            for name, value in mine.items():
                here.setenv(name, value)
            if mine:
                found[prefix] = load(kind)
                checked_timing(found[prefix])
    return found


def secrets_of(container: Manifest) -> dict[str, str]:
    """What deploy/kubernetes/README.md has people put into the Secrets of a container."""
    of = next(s["secretRef"]["name"] for s in container["envFrom"] if "secretRef" in s).removesuffix("-secrets")
    both = ["SCORER", "SHADOW"]
    programs = {"scorer": both[:1], "topics": both[:1], "risk": both[:1], "operator": both, "rotate": both}.get(
        of, both[1:]
    )
    uses_redis = "SHADOW" in programs and of != "archive"
    given = {"SHADOW_REDIS": f"redis://{of}:password@redis.redis.svc:6379/0"} if uses_redis else {}
    return given | ({"SHADOW_READ_TOKEN": "a", "SHADOW_OPERATOR_TOKEN": "b"} if of == "serve" else {})


@pytest.mark.parametrize("chosen", BUILDS, ids="-".join)
def test_every_setting_of_every_container_loads(chosen: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for workload, template in pods(built(*chosen)):
        for container in template["spec"]["containers"]:
            env = settings_of(built(*chosen), container)
            found = loaded(env | secrets_of(container), monkeypatch)
            programs = {container["args"][0].upper() + "_"} if container["name"] != "console" else set(CLASSES)
            assert programs <= set(found), (
                f"{workload['metadata']['name']}/{container['name']} has none of its settings"
            )
            seen.add(container["name"])
    assert seen == {"scorer", "shadow", "serve", "topics"} | (
        {"console", "archive", "rotate"} if chosen[0] == "production" else set()
    ) | ({"risk"} & set(chosen))


@pytest.mark.parametrize("name", ["scorer-settings", "shadow-settings"])
def test_a_setting_that_there_is_not_is_red(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = copy.deepcopy(built("production"))
    prefix = name.split("-")[0].upper()
    next(m for m in manifests if m["metadata"]["name"].startswith(name))["data"][f"{prefix}_KAFFKA"] = "a:1"
    container = find(manifests, "Deployment", "console")["spec"]["template"]["spec"]["containers"][0]
    with pytest.raises(SettingsError, match=f"{prefix}_KAFFKA: no such setting"):
        loaded(settings_of(manifests, container), monkeypatch)


@pytest.mark.parametrize("overlay", ["simple", "production"])
def test_probes_reach_what_listens(overlay: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for _, template in pods(built(overlay)):
        for container in template["spec"]["containers"]:
            if "ports" not in container:
                continue
            found = loaded(settings_of(built(overlay), container), monkeypatch)[container["args"][0].upper() + "_"]
            port = getattr(found, "http_port")  # noqa: B009 - both classes have it, their base has not
            if "--http-port" in container["args"]:
                port = int(container["args"][container["args"].index("--http-port") + 1])
            assert container["ports"][0]["containerPort"] == port
            assert found.http_host == "0.0.0.0"  # a probe comes from the node


@pytest.mark.parametrize("overlay", ["simple", "production"])
def test_every_command_line_is_one(overlay: str) -> None:
    for _, template in pods(built(overlay)):
        for container in template["spec"]["containers"]:
            if container["name"] == "console":
                assert container["args"] == ["sleep", "infinity"]
                continue
            program, name, *arguments = container["args"]
            arguments = ["candidate" if part == "$(SLOT)" else part for part in arguments]
            group = PROGRAMS[program]
            with click.Context(group) as context:
                command = group.get_command(context, name)
            assert command is not None, container["args"]
            command.make_context(name, arguments).close()


def test_the_feature_view_and_the_criteria_read() -> None:
    folder = SOURCE / "base" / "settings"
    view, release = load_view(folder / "features.yaml"), load_release(folder / "release.yaml")
    attributes = {attribute.name for attribute in view.attributes}
    known = attributes | {"amount", "currency", "merchant_id"}
    fields = {s["field"] for s in yaml.safe_load((folder / "release.yaml").read_text())["segments"].values()}
    assert fields <= known
    assert release.minimum_covered_hours >= 24 * 14


def test_the_topics_are_created_as_their_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """`decisions` outlives the clean period, so that a store that was wiped can be rebuilt."""
    for overlay, replicas in (("simple", 1), ("production", 3)):
        container = find(built(overlay), "Job", "topics")["spec"]["template"]["spec"]["containers"][0]
        found = loaded(settings_of(built(overlay), container), monkeypatch)["SCORER_"]
        assert isinstance(found, ScorerSettings)
        assert found.create_topics
        assert found.replication == replicas
        assert set(found.topic_configs) <= set(Topics.model_fields)
        kept = int(found.topic_configs["decisions"]["retention.ms"]) / 3_600_000
        clean = load_release(SOURCE / "base" / "settings" / "release.yaml").minimum_covered_hours
        assert kept > clean
        scorer = find(built(overlay), "Deployment", "scorer")["spec"]["template"]["spec"]["containers"][0]
        live = loaded(settings_of(built(overlay), scorer), monkeypatch)["SCORER_"]
        assert isinstance(live, ScorerSettings)
        assert not live.create_topics


def test_the_slots_have_their_shadows_and_live_has_none() -> None:
    slots = {
        template["metadata"]["labels"]["shadow-scorer/slot"]
        for _, template in pods(built("production"))
        if "shadow-scorer/slot" in template["metadata"]["labels"]
    }
    assert {"candidate", ShadowSettings().control, PREVIOUS} == slots
    assert LIVE not in slots


def test_argo_asks_a_page_that_there_is_for_a_word_that_it_says(tmp_path: Any) -> None:
    manifests = built("production", "argo")
    metric = find(manifests, "AnalysisTemplate", "gate")["spec"]["metrics"][0]
    url = metric["provider"]["web"]["url"]
    service = find(manifests, "Service", "serve")["metadata"]
    assert url.startswith(f"http://{service['name']}.{service['namespace']}.svc/")
    app = build(Serve(ShadowSettings(), load_release(ROOT / "deploy" / "local" / "release.yaml")))
    assert "/" + url.split("/", 3)[3].partition("?")[0] in app.openapi()["paths"]
    said = Judgement(Decision.HOLD, (), 0, 1, "run").to_json()
    assert metric["provider"]["web"]["jsonPath"] == "{$.decision}"
    assert said["decision"] in set(Decision)
    assert metric["successCondition"] == f'result == "{Decision.PROMOTE}"'
    assert metric["failureCondition"] == f'result == "{Decision.REJECT}"'
    # asked once: a `hold` is left to a person
    assert (metric["count"], metric["failureLimit"], metric["inconclusiveLimit"]) == (1, 0, 0)
    assert metric["provider"]["web"]["headers"] == [{"key": "Authorization", "value": "Bearer {{args.read-token}}"}]


def _one_more_slot(text: str, slot: str) -> str:
    """The documented edit: the first document once more, with another name."""
    first = text.partition("---\n")[0]
    return text + "---\n" + first.replace("candidate", slot)


def test_one_more_slot_is_one_edit_and_leaves_live_alone(tmp_path: Any) -> None:
    import shutil

    from harness.manifests import build_with

    copied = tmp_path / "kubernetes"
    shutil.copytree(SOURCE, copied)
    slots = copied / "overlays" / "production" / "slots.yaml"
    slots.write_text(_one_more_slot(slots.read_text(), "challenger2"))
    before, after = built("production"), build_with(copied, "production")

    def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
        return {(m["kind"], m["metadata"]["name"]): m for m in manifests}

    assert {name: by_name(after)[name] for name in by_name(before)} == by_name(before)
    added = set(by_name(after)) - set(by_name(before))
    assert added == {("Deployment", "shadow-challenger2")}
    new = by_name(after)["Deployment", "shadow-challenger2"]
    like = copy.deepcopy(find(before, "Deployment", "shadow-candidate"))
    assert yaml.safe_dump(new) == yaml.safe_dump(like).replace("candidate", "challenger2")
