"""Our own style and script and the libraries of the pages: a few files, each with its digest in its address."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, HTTPException, Response

MEDIA = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
NAMES = ("explorer.css", "explorer.js", "htmx.min.js")
FILES = {name: (files("shadow.web") / "static" / name).read_bytes() for name in NAMES}
DIGESTS = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def static(name: str) -> str:
    """The address of a file, which differs for each version of it."""
    return f"/static/{DIGESTS[name][:12]}/{name}"


def router(readers: list[Any]) -> APIRouter:
    """`/static/…`."""
    api = APIRouter(prefix="/static", dependencies=readers, include_in_schema=False)

    @api.get("/{digest}/{name}")
    async def file(digest: str, name: str) -> Response:
        if name not in FILES or digest != DIGESTS[name][:12]:
            raise HTTPException(404, "no such file; load the page again")
        kept = {"cache-control": "private, max-age=31536000, immutable"}
        return Response(FILES[name], media_type=MEDIA[name.rpartition(".")[2]], headers=kept)

    return api
