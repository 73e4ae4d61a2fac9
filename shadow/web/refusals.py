"""How errors become answers: problem documents for machines, pages for people. Neither repeats what was sent."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from scorer.pipeline.card_number import masked
from shadow.store.connection import REDIS_ERRORS
from shadow.web.problems import problem
from shadow.web.rendering import page

#: Paths that machines ask for.
_FOR_MACHINES = ("/api/", "/metrics", "/livez", "/readyz", "/static/")
_PAGES_OF_API = ("/api/docs",)
#: What a page says of a status.
_TITLES = {
    400: "That cannot be asked",
    401: "Please sign in",
    403: "You may not see this",
    404: "Not found",
    409: "A colleague was first",
    422: "That cannot be asked",
    503: "Not available right now",
}


def is_page(request: Request) -> bool:
    """Whether a person in a browser asks."""
    path = request.url.path
    is_machine = path.startswith(_FOR_MACHINES) and not path.startswith(_PAGES_OF_API)
    return not is_machine and "text/html" in request.headers.get("accept", "")


def refusal(
    request: Request, status: int, detail: str, errors: list[dict[str, object]] | None = None, headers: object = None
) -> Response:
    """The answer to a request that is refused."""
    given = dict(headers) if isinstance(headers, dict) else {}
    if not is_page(request):
        return problem(status, detail, errors or (), given)
    title = _TITLES.get(status, "Something is wrong")
    return page("error.html.j2", status, title=title, detail=detail, headers=given)


def add_to(app: FastAPI) -> None:
    """Handle the errors of an application."""

    async def redis_away(request: Request, error: Exception) -> Response:
        return refusal(request, 503, f"Redis is unavailable: {error}")

    for kind in REDIS_ERRORS:
        app.add_exception_handler(kind, redis_away)

    async def refused(request: Request, error: Exception) -> Response:
        """With every fault, but without the input, and with card numbers in names masked."""
        assert isinstance(error, RequestValidationError)  # noqa: S101
        told: list[dict[str, object]] = [
            {
                "type": fault["type"],
                "loc": [masked(part) if isinstance(part, str) else part for part in fault["loc"]],
                "msg": masked(fault["msg"].removeprefix("Value error, ")),
            }
            for fault in error.errors()
        ]
        first = [str(part) for part in [*told[0]["loc"]] if part not in ("query", "body", "path")]  # type: ignore[misc]
        return refusal(request, 422, f"{'.'.join(first) or 'the request'}: {told[0]['msg']}", told)

    app.add_exception_handler(RequestValidationError, refused)

    async def not_allowed(request: Request, error: Exception) -> Response:
        """With every method of the path; the framework names those of its first route only."""
        assert isinstance(error, HTTPException)  # noqa: S101
        documented = app.openapi()["paths"].get(request.scope["path"], {})
        named = (error.headers or {}).get("Allow", "")
        methods = sorted({*map(str.upper, documented), *filter(None, named.split(", "))})
        return refusal(request, 405, "Method Not Allowed", headers={"Allow": ", ".join(methods)})

    async def told(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        if error.status_code == 405:
            return await not_allowed(request, error)
        return refusal(request, error.status_code, str(error.detail), headers=dict(error.headers or {}))

    app.add_exception_handler(HTTPException, told)
