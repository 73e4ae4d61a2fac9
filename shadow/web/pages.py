"""Pages for people: the release report, the history, and the API as its OpenAPI document describes it.

They need no script and nothing from anywhere else, so a browser without a network shows them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi import Query as Parameter
from fastapi.responses import HTMLResponse, JSONResponse

from scorer.deployments.records import CANDIDATE
from scorer.errors import UserError
from shadow.release.status import lines as status_lines
from shadow.release.telling import printable, told_of
from shadow.report.gather import gather
from shadow.report.page import html
from shadow.serve.service import Serve
from shadow.web.gate import SLOT
from shadow.web.guard import STRICT
from shadow.web.history import page_of, present_status, rows_of
from shadow.web.rendering import page

#: Entries on a page of the history.
ON_A_PAGE = 100

#: The report may use what it holds itself.
_REPORT = {"content-security-policy": f"{STRICT}; style-src 'unsafe-inline'; img-src data:"}


def router(serve: Serve, app: FastAPI, readers: list[Any], turn: list[Any]) -> APIRouter:
    """`/report`, `/history`, `/api/docs`, `/api/openapi.json`. readers: who may ask; turn: for what reads much."""
    pages = APIRouter(dependencies=readers, include_in_schema=False)

    @pages.get("/report", dependencies=turn)
    async def report(slot: str = Parameter(CANDIDATE, pattern=SLOT)) -> HTMLResponse:
        try:
            # of what the shadow has not explained yet serve says so: it opens no model
            found = await gather(serve.redis, serve.deployments, slot, serve.release, serve.settings, lambda one: one)
        except UserError as error:
            raise HTTPException(404, str(error)) from None
        return HTMLResponse(await asyncio.to_thread(html, found), headers=_REPORT)

    @pages.get("/history", dependencies=turn)
    async def told_history(
        slot: Annotated[str | None, Parameter(pattern=SLOT)] = None,
        skip: Annotated[int, Parameter(ge=0, le=2**31)] = 0,
    ) -> HTMLResponse:
        rows, earlier = page_of(rows_of(serve, slot), ON_A_PAGE, skip)
        return page(
            "history.html.j2",
            status=[*status_lines(await present_status(serve))],
            rows=[[printable(told) for told in told_of(row)] for row in reversed(rows)],
            slots=sorted(serve.deployments.slots),
            slot=slot,
            skip=skip + ON_A_PAGE if earlier else None,
        )

    @pages.get("/api/docs")
    async def docs() -> HTMLResponse:
        return page("docs.html.j2", title=app.title, operations=_operations(app.openapi()))

    @pages.get("/api/openapi.json")
    async def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    return pages


def _operations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the API offers, for a template: one entry for each path and method."""
    found = []
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            found.append(
                {
                    "id": told["operationId"],
                    "method": method.upper(),
                    "path": path,
                    "summary": told.get("description") or told["summary"],
                    "fields": [
                        _field(one["name"], one["schema"], one.get("required", False), document)
                        for one in told.get("parameters", ())
                    ]
                    + ([] if body is None else _fields(body, document)),
                    "has_body": body is not None,
                }
            )
    return found


def _fields(schema: Mapping[str, Any], document: Mapping[str, Any]) -> list[dict[str, str]]:
    whole = _resolved(schema, document)
    return [_field(name, one, name in whole.get("required", ()), document) for name, one in whole["properties"].items()]


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    where = schema.get("$ref")
    return schema if where is None else document["components"]["schemas"][where.rpartition("/")[2]]


def _field(name: str, schema: Mapping[str, Any], is_required: bool, document: Mapping[str, Any]) -> dict[str, str]:
    parts = [_resolved(part, document) for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    one: dict[str, Any] = {**schema, **parts[0]} if parts else dict(schema)
    kind = " or ".join(map(str, one["enum"])) if "enum" in one else str(one.get("type", "time"))
    limits = [
        f"{sign} {one[key]}"
        for key, sign in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("minLength", "length at least"),
            ("maxLength", "length at most"),
        )
        if key in one
    ]
    default = schema.get("default")
    return {
        "name": name,
        "kind": ", ".join([kind, *limits]),
        "default": "required" if is_required else "" if default is None else str(default).lower(),
        "description": str(schema.get("description", "")),
    }
