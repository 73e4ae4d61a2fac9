"""`shadow serve` tells people over a real webhook: each thing once, whatever fails meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from harness.models import Models
from harness.stack import Stack, wait_for

SIGNED = ("--by", "ann", "--reason", "card 4111 1111 1111 1111 was stolen")


class Hook:
    """A webhook. heard: what it took. is_broken: it answers 503."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.is_broken = False
        self.asked = 0
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.asked += 1
                if not hook.is_broken:
                    hook.heard.append(json.loads(body))
                self.send_response(503 if hook.is_broken else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"json://user:s3cret@127.0.0.1:{self.server.server_port}/hook"

    @property
    def titles(self) -> list[str]:
        return [one["title"] for one in self.heard]


@contextmanager
def a_hook() -> Iterator[Hook]:
    hook = Hook()
    thread = threading.Thread(target=hook.server.serve_forever, daemon=True)
    thread.start()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


def test_people_are_told_once_of_what_happens(stack: Stack, models: Models) -> None:
    with a_hook() as one, a_hook() as other:
        stack.env |= {"SHADOW_NOTIFY": f"{one.address} {other.address}", "SHADOW_NOTIFY_LINK": "https://shadow.example"}
        told = stack.run("shadow", "notify")
        assert told.count("took it") == 2
        assert "s3cret" not in told
        assert one.titles == other.titles == ["This is a test"]
        stack.start("scorer", "run")
        serve = stack.start("shadow", "serve")
        wait_for("first look", lambda: serve.metric("shadow_notifications_total") == 0 and serve.is_ready())

        stack.run("scorer", "deploy", "--block-all", *SIGNED)
        wait_for(
            "told", lambda: "What decides was changed" in one.titles and "What decides was changed" in other.titles
        )
        (message,) = one.heard[1:]
        assert "kill switch on by ann" in message["message"]
        assert message["message"].endswith("https://shadow.example")
        assert "4111 11** **** 1111" in message["message"]

        # one of them does not answer for a while: the other is told at once, and it is told later
        other.is_broken = True
        stack.run("scorer", "deploy", "--resume", *SIGNED)
        wait_for("told", lambda: one.titles.count("What decides was changed") == 2)
        wait_for("tried", lambda: serve.metric("shadow_notifications_failed_total") == 1)
        assert "did not take a message; again in 30 s" in serve.log.read_text()
        assert "s3cret" not in serve.log.read_text()
        serve.stop()
        other.is_broken = False
        again = stack.start("shadow", "serve")  # which repeats nothing, and leaves nothing out
        wait_for("told", lambda: other.titles.count("What decides was changed") == 2)
        stack.deploy(models.candidate, "live")
        wait_for(
            "both", lambda: one.titles.count("What decides was changed") == 3 == other.titles.count(one.titles[-1])
        )
        assert one.titles == other.titles
        again.stop()


def test_what_makes_no_sense_is_told_in_one_line(stack: Stack) -> None:
    assert "names no address" in stack.fails("shadow", "notify")
    line = stack.fails("shadow", "serve", "--http-port", "0", SHADOW_NOTIFY="json://127.0.0.1 nonsense-s3cret")
    assert "address 2 means nothing to Apprise" in line
    assert "s3cret" not in line
    assert "notify_events" in stack.fails("shadow", "notify", SHADOW_NOTIFY_EVENTS="suggestion,nothing")
    told = stack.run("shadow", "notify", expect=1, env={"SHADOW_NOTIFY": "json://127.0.0.1:1/x"})
    assert "did NOT take it" in told
