"""JSON answers with an entity tag, so that whoever asks again gets nothing while nothing has changed."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from fastapi import Request, Response


def tagged(request: Request, content: Any, media: str = "application/json") -> Response:
    """The answer, or 304 if the client has it. content: JSON, or bytes."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    asked = [one.strip() for one in request.headers.get("if-none-match", "").split(",")]
    if tag in asked or tag.removeprefix("W/") in asked or asked == ["*"]:
        return Response(status_code=304, headers={"etag": tag})
    return Response(body, media_type=media, headers={"etag": tag})


def answer(description: str, example: Any, media: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """An answer as the OpenAPI document tells it."""
    schema = {"type": "object"} if isinstance(example, dict) else {"type": "array", "items": {"type": "object"}}
    content = {media: {"schema": schema, "example": example}}
    unchanged = {"description": "nothing has changed since the tag in If-None-Match"}
    return {200: {"description": description, "content": content}, 304: unchanged}
