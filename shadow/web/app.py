"""The HTTP application of `shadow serve`: health, metrics, pages, and the routers of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from scorer.process.hosts import address_of
from shadow import metrics
from shadow.serve.decider import Decider
from shadow.serve.service import TOO_OLD, Serve
from shadow.web import (
    comments,
    compare,
    complaints,
    deciding,
    differences,
    explore,
    gate,
    history,
    overview,
    pages,
    refusals,
    release,
    review,
    reviewing,
    settings,
    static_files,
)
from shadow.web.asked import Asking
from shadow.web.auth import People, reader_of
from shadow.web.guard import Guard
from shadow.web.turns import Turns


def build(serve: Serve) -> FastAPI:
    """The HTTP application; starts and stops `serve` with itself."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await serve.start()
        yield
        await decider.stop()
        await asking.desk.stop()
        await serve.stop()

    # its own pages of the API load scripts from elsewhere; ours do not
    app = FastAPI(title="Shadow scorer", lifespan=lifespan, openapi_url=None)
    app.add_middleware(Guard, names=(*serve.settings.http_names, *_own_names(serve.settings.http_host)))
    people = People(serve.settings)
    readers, turn = [Depends(reader_of(serve.settings, people))], [Depends(Turns())]
    asking, decider = Asking(serve, people), Decider(serve.settings)

    refusals.add_to(app)

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

    app.include_router(gate.router(serve, people, readers, turn))
    app.include_router(explore.router(asking, readers, turn))
    app.include_router(history.router(serve, readers, turn))
    app.include_router(review.router(serve, readers, turn, people))
    app.include_router(comments.router(serve, people))
    app.include_router(overview.router(serve, readers, turn))
    app.include_router(compare.router(asking, readers, turn))
    app.include_router(reviewing.router(asking, turn))
    app.include_router(complaints.router(serve, readers, turn, people))
    app.include_router(deciding.router(serve, people, decider))
    app.include_router(differences.router(asking, readers, turn))
    app.include_router(release.router(serve, people, decider, readers, turn))
    app.include_router(settings.router(serve, people, readers))
    app.include_router(static_files.router(readers))
    app.include_router(pages.router(serve, app, readers, turn))
    return app


def _own_names(host: str) -> tuple[str, ...]:
    """The name that the setting http_host is; none if it is an address."""
    return () if address_of(host) is not None else (host,)
