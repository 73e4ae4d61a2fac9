"""JSON answers with an entity tag, so that whoever asks again gets nothing while nothing has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Request, Response


def tagged(
    request: Request,
    content: Any,
    media: str = "application/json",
    hole: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer, or 304 if the client has it. content: JSON, or bytes. hole: what stands in it, once, where the tag is
    to be put, for a page that asks for itself again."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    digest = hashlib.blake2b(body, digest_size=12).hexdigest()
    tag = f'W/"{digest}"'
    asked = [one.strip() for one in request.headers.get("if-none-match", "").split(",")]
    known = {**(headers or {}), "etag": tag}
    if tag in asked or tag.removeprefix("W/") in asked or asked == ["*"]:
        return Response(status_code=304, headers=known)
    whole = body if hole is None else body.replace(hole, digest.encode(), 1)
    return Response(whole, media_type=media, headers=known)


def answer(description: str, example: Any, media: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """An answer as the OpenAPI document tells it."""
    schema = {"type": "object"} if isinstance(example, dict) else {"type": "array", "items": {"type": "object"}}
    content = {media: {"schema": schema, "example": example}}
    unchanged = {"description": "nothing has changed since the tag in If-None-Match"}
    return {200: {"description": description, "content": content}, 304: unchanged}
