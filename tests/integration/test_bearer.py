"""Everything that connects logs in with tokens (SASL/OAUTHBEARER), which expire while it works, and shows none."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.kafka import Kafka
from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import BIN, Stack, by_source, wait_for
from shadow.local.process import free_port

pytestmark = [pytest.mark.needs("kafka")]
LIFE_SECONDS, REAUTHENTICATE_MS = 5, 4000
CLIENT, SECRET = "scorer", "s3cret &+%"
_OAUTH = "org.apache.kafka.common.security.oauthbearer"
#: Takes JSON Web Tokens that nobody has signed. It cuts connections whose login has become old, as Amazon MSK does.
BROKER = {
    "sasl.enabled.mechanisms": "OAUTHBEARER",
    "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config": (
        f'{_OAUTH}.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
    ),
    "listener.name.sasl_plaintext.oauthbearer.sasl.server.callback.handler.class": (
        f"{_OAUTH}.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
    ),
    "listener.name.sasl_plaintext.connections.max.reauth.ms": str(REAUTHENTICATE_MS),
}


def token(seconds: float = LIFE_SECONDS) -> str:
    claims = {"sub": CLIENT, "iat": time.time(), "exp": time.time() + seconds}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


@dataclass
class Endpoint:
    """Gives out tokens for client credentials."""

    url: str = ""
    given: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            login = base64.b64decode(self.headers["Authorization"].removeprefix("Basic "))
            if login != b"scorer:s3cret+%26%2B%25":
                self.send_response(401)
                answer: dict[str, Any] = {"error": "invalid_client"}
            else:
                self.send_response(200)
                made.given.append(token())
                answer = {"access_token": made.given[-1], "expires_in": LIFE_SECONDS}
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.url = f"http://127.0.0.1:{server.server_port}/token"
        yield made
        server.shutdown()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    listeners = {"SASL_PLAINTEXT": free_port()}
    with Kafka(tmp_path_factory.mktemp("kafka"), settings=BROKER, listeners=listeners) as broker:
        yield broker


@pytest.fixture(scope="module")
def stack(broker: Kafka, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    at = tmp_path_factory.mktemp("stack")
    with Stack(at, {**models.env, "SHADOW_FLUSH_SECONDS": "0.2"}, broker=broker) as stack:
        yield stack


def login(broker: Kafka, **more: str) -> dict[str, str]:
    """Settings of both programs for logging in with a token."""
    both = {"kafka": f"127.0.0.1:{broker.listeners['SASL_PLAINTEXT']}", "kafka_security": "sasl_plaintext"}
    both |= {"kafka_mechanism": "OAUTHBEARER", **more}
    return {f"{program}_{name.upper()}": value for program in ("SCORER", "SHADOW") for name, value in both.items()}


def by_endpoint(broker: Kafka, endpoint: Endpoint, **more: str) -> dict[str, str]:
    given = {"kafka_token_url": endpoint.url, "kafka_user": CLIENT, "kafka_password": SECRET, **more}
    return login(broker, **given)


@contextmanager
def renewed(path: Path) -> Iterator[None]:
    """A token in a file, renewed as a sidecar does."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LIFE_SECONDS / 4):
            path.with_suffix(".new").write_text(token() + "\n")
            path.with_suffix(".new").replace(path)

    path.write_text(token())
    thread = threading.Thread(target=renew)
    thread.start()
    yield
    ended.set()
    thread.join()


def test_workers_and_commands_outlive_many_tokens(
    stack: Stack, broker: Kafka, endpoint: Endpoint, models: Models
) -> None:
    env = by_endpoint(broker, endpoint)
    stack.run("scorer", "topics", env=env)
    signed = ("--by", "ann", "--reason", "a test", "--wait", "0")
    for slot, bundle in (("live", models.live), ("candidate", models.candidate)):
        stack.deploy(bundle, slot, env=env)
    assert "live" in stack.run("shadow", "history", env=env)
    scorer = stack.start("scorer", "run", env=env)
    shadow = stack.start("shadow", "run", "--slot", "candidate", env=env)
    serve = stack.start("shadow", "serve", env=env)
    sent, began, before = 0, time.monotonic(), len(endpoint.given)
    while time.monotonic() < began + 5 * LIFE_SECONDS:
        stack.run("scorer", "replay", str(models.stream), "--skip", str(sent), "--limit", "100", env=env)
        sent += 100
        stack.until_settled(sent)
    settled = stack.settled()
    assert len(settled) == len(set(settled)) == sent
    assert len(by_source(stack.decisions())) > 0.9 * sent
    compared = lambda: shadow.metric("shadow_comparisons_total")  # noqa: E731
    wait_for("all are compared", lambda: compared() >= 0.9 * sent)
    wait_for("verified", lambda: stack.run("shadow", "verify", "--slot", "candidate", env=env).endswith("equal"))
    stack.run("scorer", "deploy", "--block-all", *signed[:4], env=env)
    wait_for("blocked", lambda: scorer.metric("scorer_override") == 1)
    assert all(one.process.poll() is None for one in (scorer, shadow, serve))
    assert len(endpoint.given) - before >= 3 * 3, "three workers, each with several tokens"
    told = "".join(worker.log.read_text() for worker in stack.workers)
    assert [text for text in (*endpoint.given, SECRET, SECRET.replace(" ", "+")) if text in told] == []
    assert told.count("Traceback") == 0


@pytest.mark.parametrize("way", ["file", "function"])
def test_tokens_come_from_a_file_or_a_function(stack: Stack, broker: Kafka, way: str) -> None:
    path = stack.folder / "token"
    signer = stack.folder / "signer.py"
    signer.write_text(f"import pathlib\ndef sign(path):\n    return pathlib.Path(path).read_text(), {2e12}\n")
    chosen = {"kafka_token_file": str(path)}
    if way == "function":
        chosen = {"kafka_token_function": "signer:sign", "kafka_token_fields": json.dumps({"path": str(path)})}
    with renewed(path):
        env = {**login(broker, **chosen), "PYTHONPATH": f"{stack.folder}:{os.environ.get('PYTHONPATH', '')}"}
        argv = [str(BIN / "scorer"), "topics"]  # a process of its own, with a path of its own
        done = subprocess.run(
            argv, env={**os.environ, **stack.env, **env}, capture_output=True, timeout=PATIENCE_SECONDS, check=False
        )
        assert b"all topics exist" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kafka_password": "a guess"}, "no token (kafka_token_url http://127.0.0.1:"),
        ({"kafka_token_url": "http://127.0.0.1:9/token"}, "cannot be reached"),
    ],
)
def test_who_gets_no_token_is_told_in_one_line(
    stack: Stack, broker: Kafka, endpoint: Endpoint, changed: dict[str, str], told: str
) -> None:
    line = stack.fails("scorer", "topics", **by_endpoint(broker, endpoint, **changed))
    assert told in line
    assert "a guess" not in line


def test_who_shows_a_bad_token_is_told_in_one_line(stack: Stack, broker: Kafka) -> None:
    path = stack.folder / "bad"
    for text, reason in (
        ("nobody.knows.this", "the broker does not take the token"),
        (token(-60), "has expired already"),
    ):
        path.write_text(text)
        for command in (("scorer", "topics"), ("scorer", "decisions"), ("shadow", "gate")):
            line = stack.fails(*command, **login(broker, kafka_token_file=str(path)))
            assert reason in line, line
            assert text not in line
    assert "name a readable file" in stack.fails("scorer", "topics", **login(broker, kafka_token_file="/nowhere/token"))
