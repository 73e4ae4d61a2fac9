"""What stands before every request: whose name it uses, how large it may be; and what every answer says to browsers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scorer.process.hosts import Hosts
from shadow.web.problems import problem

#: Most bytes of a path with its query, of all headers, and of a body; and the longest wait for a body.
LARGEST_QUERY, LARGEST_HEADERS, LARGEST_BODY, BODY_SECONDS = 8_192, 16_384, 65_536, 10.0
#: Nothing is loaded from anywhere, nothing is run, nobody shows these pages within their own.
STRICT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "content-security-policy": STRICT,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """An ASGI application before another one. names: see the setting `http_names`."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app, self._hosts = app, Hosts(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request. Anything but HTTP and the life of the server is refused."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # which closes a WebSocket before it is one

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        body: list[Message] = []
        if refusal is None:
            refusal, body = await _body(receive)
        if refusal is not None:
            await refusal(scope, receive, guarded)
            return

        async def replayed() -> Message:
            return body.pop(0) if body else await receive()

        await self._app(scope, replayed, guarded)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        server = scope.get("server")
        if len(hosts) != 1 or not self._hosts.allow(hosts[0], server[0] if server else None):
            return _told(
                400,
                "the Host header is no name of this server; ask for its own address or localhost, or add the name to "
                "the setting http_names (SHADOW_HTTP_NAMES)",
            )
        if len(scope["query_string"]) + len(scope.get("raw_path") or b"") > LARGEST_QUERY:
            return _told(414, f"path and query are longer than {LARGEST_QUERY:,} bytes; ask for less")
        if sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEADERS:
            return _told(431, f"the headers are longer than {LARGEST_HEADERS:,} bytes; send less")
        for name, value in scope["headers"]:
            if name == b"content-length" and (not value.isdigit() or int(value[:20]) > LARGEST_BODY):
                return _too_large()
        return None


async def _body(receive: Receive) -> tuple[JSONResponse | None, list[Message]]:
    """The whole body as messages to be given on; or why it is refused."""
    read, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                read.append(message)
                size += len(message.get("body", b""))
                if size > LARGEST_BODY:
                    return _too_large(), []
                if not message.get("more_body", False):
                    return None, read
    except TimeoutError:
        return _told(408, f"the body took longer than {BODY_SECONDS:g} s"), []


def _too_large() -> JSONResponse:
    return _told(413, f"the body is larger than {LARGEST_BODY:,} bytes; send less")


def _told(status: int, detail: str) -> JSONResponse:
    # what is left of the request is not read, so the connection cannot go on
    return problem(status, detail, headers={"connection": "close"})
