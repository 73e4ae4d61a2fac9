"""Headers of a proxy say who asks; from anywhere else they are refused."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import HTTPException, Request

from shadow.settings import ShadowSettings
from shadow.web.auth import operator_of, reader_of

TOLD: dict[str, Any] = {"proxy_addresses": "10.0.0.7, 10.1.0.0/24", "groups": {"fraud": "reviewer", "all": "viewer"}}
ANN = {"x-forwarded-user": "ann", "x-forwarded-groups": "all, fraud"}


def asking(address: str | None, headers: dict[str, str] | list[tuple[str, str]]) -> Request:
    pairs = headers if isinstance(headers, list) else list(headers.items())
    client = None if address is None else (address, 1)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in [("host", "shadow.example"), *pairs]]
    return Request({"type": "http", "headers": raw, "path": "/", "method": "POST", "client": client})


def status_of(depends: Any, request: Request) -> int:
    try:
        depends(request)
    except HTTPException as error:
        return error.status_code
    return 200


def both(address: str | None, headers: dict[str, str] | list[tuple[str, str]], **more: Any) -> tuple[int, int]:
    settings = ShadowSettings(**(TOLD | more))
    request = asking(address, headers)
    return status_of(reader_of(settings), request), status_of(operator_of(settings), request)


def test_a_listed_proxy_names_who_asks() -> None:
    for address in ("10.0.0.7", "10.1.0.9", "::ffff:10.0.0.7"):
        assert both(address, ANN) == (200, 200)
    who = operator_of(ShadowSettings(**TOLD))(asking("10.0.0.7", ANN))
    assert who is not None
    assert (who.name, who.role, who.verified) == ("ann", "reviewer", "proxy")
    assert both("10.0.0.7", ANN | {"x-forwarded-groups": "all"}) == (200, 403)
    assert both("10.0.0.7", {"x-forwarded-user": "ann"}) == (403, 403)
    assert both("10.0.0.7", {}) == (401, 401)


@pytest.mark.parametrize("address", ["10.0.0.8", "127.0.0.1", "::1", "testclient", None])
def test_from_elsewhere_these_headers_are_refused(address: str | None) -> None:
    assert both(address, ANN) == (403, 403)
    assert both(address, ANN | {"x-forwarded-for": "10.0.0.7", "forwarded": "for=10.0.0.7"}) == (403, 403)
    assert both(address, {"x-forwarded-groups": "fraud"}) == (403, 403)
    assert both(address, ANN | {"authorization": "Bearer reads"}, operator_token="reads") == (403, 200)


def test_without_the_setting_these_headers_mean_nothing() -> None:
    assert both("10.0.0.7", ANN, proxy_addresses="", read_token="reads") == (401, 403)


def test_two_names_are_none() -> None:
    for twice in ("x-forwarded-user", "x-forwarded-groups"):
        assert both("10.0.0.7", [*ANN.items(), (twice, "eve")]) == (403, 403)
    for name in ("", " ", "a\x7f"):
        assert both("10.0.0.7", ANN | {"x-forwarded-user": name}) == (403, 403)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://shadow.example", "sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
    ],
)
def test_a_page_of_another_site_writes_nothing_through_the_proxy(headers: dict[str, str], status: int) -> None:
    assert both("10.0.0.7", ANN | headers) == (200, status)


@pytest.mark.parametrize("told", ["everywhere", "10.0.0.7/33", "0.0.0.0/0", "::/0"])
def test_addresses_that_make_no_sense_are_refused(told: str) -> None:
    with pytest.raises(ValueError, match="proxy_addresses"):
        ShadowSettings(proxy_addresses=told)  # type: ignore[arg-type]
