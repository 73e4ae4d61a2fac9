"""Refusals as problem documents (RFC 9457), and for people as pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

MEDIA = "application/problem+json"


def problem(
    status: int, detail: str, errors: Sequence[Any] = (), headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A problem document. errors: one for each field at fault."""
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    body["detail"] = detail
    if errors:
        body["errors"] = list(errors)
    return JSONResponse(body, status, dict(headers or {}), media_type=MEDIA)


#: Of a problem document, for the OpenAPI document.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
    "example": {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "field merchnt_id: no sample has it; did you mean merchant_id?",
    },
}
CONTENT = {MEDIA: {"schema": SCHEMA}}
