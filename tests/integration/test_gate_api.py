"""What other engines read of the gate: status codes and fields, of a real `shadow serve` over a real store."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

import orjson
import pytest
import yaml

from harness.models import Models
from harness.places import ROOT
from harness.stack import Stack, Worker, wait_for
from harness.tallied import fill
from shadow.comparison.totals import Run
from shadow.gate.criteria import parse

RELEASE = "schema: 1\nminimum_covered_hours: 24\n"
TOKEN = "reads"
RUN = Run(1, 1)
#: By outcome in each of 48 hours: both allow, both block, live alone, the candidate alone.
TWIN, GOOD, BAD = (1000, 60, 3, 3), (1000, 60, 4, 4), (1000, 30, 33, 90)
TEMPLATE = ROOT / "deploy" / "kubernetes" / "components" / "argo" / "analysistemplate.yaml"

Ask = Callable[..., tuple[int, Any]]


def asker(serve: Worker) -> Ask:
    """Status and body of a path; the body is JSON where it is one."""

    def ask(path: str, body: dict[str, Any] | None = None, token: str | None = TOKEN) -> tuple[int, Any]:
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else orjson.dumps(body)
        request = urllib.request.Request(f"http://127.0.0.1:{serve.port}{path}", data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, orjson.loads(answer.read())
        except HTTPError as error:
            return error.code, orjson.loads(error.read())

    return ask


@pytest.fixture
def serving(stack: Stack, models: Models) -> tuple[Stack, Ask]:
    """`shadow serve` beside full slots, with nothing in the store yet."""
    (stack.folder / "release.yaml").write_text(RELEASE)
    stack.env |= {"SHADOW_RELEASE": str(stack.folder / "release.yaml"), "SHADOW_READ_TOKEN": TOKEN}
    stack.run("scorer", "topics")
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    return stack, asker(stack.start("shadow", "serve"))


def filled(stack: Stack, candidate: tuple[int, ...]) -> None:
    segments = parse(RELEASE).segments
    fill(stack.store.address, "control", RUN, 48, [TWIN], segments)
    fill(stack.store.address, "candidate", RUN, 48, [candidate], segments)


def until(ask: Ask, decision: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        code, told = ask("/api/gate/verdict?slot=candidate")
        return told if code == 200 and told["decision"] == decision else None

    found: dict[str, Any] = wait_for(decision, there)
    return found


@pytest.mark.parametrize(
    ("candidate", "decision", "value", "ready"),
    [(None, "hold", 0, 412), (GOOD, "promote", 1, 200), (BAD, "reject", -1, 412)],
    ids=["hold", "promote", "reject"],
)
def test_a_verdict_is_a_word_a_number_and_a_status(
    serving: tuple[Stack, Ask], candidate: tuple[int, ...] | None, decision: str, value: int, ready: int
) -> None:
    stack, ask = serving
    if candidate is not None:
        filled(stack, candidate)
    told = until(ask, decision)
    assert told["value"] == value
    assert (told["promote"], told["reject"]) == (value == 1, value == -1)
    assert told["slot"] == "candidate"
    assert told["run"] == str(RUN)
    assert told["criteria"] == parse(RELEASE).digest
    assert told["reason"].startswith(f"{decision}: ")
    assert told["clean_ratio"] == (0.0 if candidate is None else 1.0)
    # Flagger's webhooks post what they are about, and go on if the status is 2xx
    assert ask("/api/gate/ready?slot=candidate", {"name": "canary", "phase": "Progressing"}) == (ready, told)
    assert ask("/api/gate/ready?slot=candidate") == (ready, told)
    # Argo Rollouts' web metric, as the template that is deployed asks
    metric = yaml.safe_load(TEMPLATE.read_text())["spec"]["metrics"][0]
    web = metric["provider"]["web"]
    assert [header["key"] for header in web["headers"]] == ["Authorization"]
    code, body = ask(re.sub(r"^https?://[^/]+", "", web["url"]).replace("{{args.slot}}", "candidate"))
    assert code == 200, body
    result = at_path(body, web["jsonPath"])
    assert holds(metric["successCondition"], result) is (decision == "promote")
    assert holds(metric["failureCondition"], result) is (decision == "reject")
    # and as docs/release.md has it
    assert at_path(told, "{$.value}") == value


def at_path(body: Any, path: str) -> Any:
    """A field by Kubernetes' JSONPath, as far as a template of ours needs it."""
    found = re.fullmatch(r"\{\$((?:\.\w+)+)\}", path)
    assert found is not None, path
    for name in found[1].split(".")[1:]:
        body = body[name]
    return body


def holds(condition: str, result: Any) -> bool:
    """A condition of a web metric, of the shape that our template has."""
    found = re.fullmatch(r'result == "(\w+)"', condition)
    assert found is not None, condition
    return bool(result == found[1])


def test_who_may_not_read_and_what_is_not_there_is_told_by_the_status(serving: tuple[Stack, Ask]) -> None:
    _, ask = serving
    until(ask, "hold")
    for path in ("/api/gate/verdict", "/api/gate/ready"):
        assert ask(path, token=None)[0] == 401
        assert ask(path, token="guessed")[0] == 401
        code, told = ask(f"{path}?slot=nobody")
        assert code == 404
        assert "slot nobody" in told["detail"]
        assert ask(f"{path}?slot=control")[0] == 404, "the control is no candidate"
        assert ask(path)[0] in (200, 412), "the slot candidate is the default"


def test_a_gate_that_cannot_look_is_an_error_and_never_its_last_word(serving: tuple[Stack, Ask]) -> None:
    stack, ask = serving
    filled(stack, GOOD)
    until(ask, "promote")
    stack.store.stop()
    wait_for("too old", lambda: ask("/api/gate/verdict")[0] == 503)
    code, told = ask("/api/gate/ready")
    assert code == 503
    assert "promote" not in told
    web = yaml.safe_load(TEMPLATE.read_text())["spec"]["metrics"][0]["provider"]["web"]
    path = re.sub(r"^https?://[^/]+", "", web["url"]).replace("{{args.slot}}", "candidate")
    assert ask(path)[0] == 503, "Argo Rollouts takes another status than 2xx for an error"
