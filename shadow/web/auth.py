"""Checks tokens: one for reading, one for writing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from secrets import compare_digest

from fastapi import HTTPException, Request
from pydantic import SecretStr

from shadow.settings import ShadowSettings

#: What a browser needs to hear to ask its user: any name, and the token as the password.
CHALLENGE = 'Basic realm="shadow: any name, and the read token as the password", charset="UTF-8"'


def reader_of(settings: ShadowSettings) -> Callable[[Request], None]:
    """A dependency that answers 401 if a read token is set and the request does not bear it.

    It may also come as the password of HTTP Basic, in which browsers send what their user typed.
    """

    def reader(request: Request) -> None:
        token = settings.read_token
        if token is not None and not (_bears(request, token) or _types(request, token)):
            raise HTTPException(
                401,
                "read token missing or wrong; send the header `Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": CHALLENGE},
            )

    return reader


def operator_of(settings: ShadowSettings) -> Callable[[Request], None]:
    """A dependency that answers 403 if no operator token is set, and 401 if the request does not bear it."""

    def operator(request: Request) -> None:
        if settings.operator_token is None:
            raise HTTPException(403, "no operator token is set; start `shadow serve` with SHADOW_OPERATOR_TOKEN")
        if not _bears(request, settings.operator_token):
            raise HTTPException(
                401,
                "operator token missing or wrong; send the header `Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": "Bearer"},
            )

    return operator


def _bears(request: Request, token: SecretStr) -> bool:
    given = request.headers.get("authorization", "").encode("latin-1")  # the bytes as they came
    return compare_digest(given, f"Bearer {token.get_secret_value()}".encode())


def _types(request: Request, token: SecretStr) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return False
    try:
        _, _, password = base64.b64decode(given, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    return compare_digest(password, token.get_secret_value().encode())
