"""The HTTP application of `shadow serve`: health, metrics, pages, and the routers of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from scorer.pipeline.card_number import masked
from scorer.process.hosts import address_of
from shadow import metrics
from shadow.serve.service import TOO_OLD, Serve
from shadow.store.connection import REDIS_ERRORS
from shadow.web import comments, gate, history, pages, review
from shadow.web.auth import People, reader_of
from shadow.web.guard import Guard
from shadow.web.turns import Turns


def build(serve: Serve) -> FastAPI:
    """The HTTP application; starts and stops `serve` with itself."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await serve.start()
        yield
        await serve.stop()

    # its own pages of the API load scripts from elsewhere; ours do not
    app = FastAPI(title="Shadow scorer", lifespan=lifespan, openapi_url=None)
    app.add_middleware(Guard, names=(*serve.settings.http_names, *_own_names(serve.settings.http_host)))
    people = People(serve.settings)
    readers, turn = [Depends(reader_of(serve.settings, people))], [Depends(Turns())]

    async def redis_away(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": f"Redis is unavailable: {error}"}, 503)

    for kind in REDIS_ERRORS:
        app.add_exception_handler(kind, redis_away)

    async def refused(request: Request, error: Exception) -> Response:
        """As FastAPI says it, but without the input, and with card numbers in names masked."""
        assert isinstance(error, RequestValidationError)  # noqa: S101
        told = [
            {
                "type": fault["type"],
                "loc": [masked(part) if isinstance(part, str) else part for part in fault["loc"]],
                "msg": masked(fault["msg"]),
            }
            for fault in error.errors()
        ]
        return JSONResponse({"detail": told}, 422)

    app.add_exception_handler(RequestValidationError, refused)

    async def not_allowed(request: Request, error: Exception) -> Response:
        """With every method of the path; the framework names those of its first route only."""
        assert isinstance(error, HTTPException)  # noqa: S101
        documented = app.openapi()["paths"].get(request.scope["path"], {})
        named = (error.headers or {}).get("Allow", "")
        methods = sorted({*map(str.upper, documented), *filter(None, named.split(", "))})
        return JSONResponse({"detail": "Method Not Allowed"}, 405, {"Allow": ", ".join(methods)})

    app.add_exception_handler(405, not_allowed)

    @app.get("/metrics", dependencies=readers, response_class=PlainTextResponse)
    def metrics_page() -> Response:
        return Response(generate_latest(metrics.SERVE_REGISTRY), media_type=CONTENT_TYPE_LATEST)

    @app.get("/livez", response_class=PlainTextResponse)
    async def livez() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz", response_class=PlainTextResponse, responses={503: {"description": "why it is not ready"}})
    async def readyz() -> Response:
        trouble = serve.trouble or (TOO_OLD if serve.is_late else None)
        return Response(f"{trouble or 'ok'}\n", 503 if trouble else 200, media_type="text/plain")

    app.include_router(gate.router(serve, readers, turn))
    app.include_router(history.router(serve, readers, turn))
    app.include_router(review.router(serve, readers, turn, people))
    app.include_router(comments.router(serve, people))
    app.include_router(pages.router(serve, app, readers, turn))
    return app


def _own_names(host: str) -> tuple[str, ...]:
    """The name that the setting http_host is; none if it is an address."""
    return () if address_of(host) is not None else (host,)
