"""Checks tokens: those of people, which say who asks, and two that are nobody's: one for reading, one for reviews."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from secrets import compare_digest

from fastapi import HTTPException, Request
from pydantic import SecretStr

from shadow.settings import Person, ShadowSettings

#: What a browser needs to hear to ask its user: any name, and the token as the password.
CHALLENGE = 'Basic realm="shadow: any name, and your token as the password", charset="UTF-8"'


def reader_of(settings: ShadowSettings) -> Callable[[Request], None]:
    """A dependency that answers 401 if reading needs a token and the request does not bear one.

    It may also come as the password of HTTP Basic, in which browsers send what their user typed.
    """

    def reader(request: Request) -> None:
        if settings.read_token is None and not settings.people:
            return
        given = [token for token in (_borne(request), _typed(request)) if token is not None]
        if not any(_is(token, settings.read_token) or _whose(token, settings) is not None for token in given):
            raise HTTPException(
                401,
                "read token missing or wrong; send the header `Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": CHALLENGE},
            )

    return reader


def operator_of(settings: ShadowSettings) -> Callable[[Request], str | None]:
    """A dependency for what writes: the name of the person who asks, None for the operator token.

    It answers 403 if nobody may write, or this person may not, and 401 if the request bears no token that may. A
    browser sends a password along from any page, so that counts for nothing here.
    """

    def operator(request: Request) -> str | None:
        token = _borne(request)
        found = None if token is None else _whose(token, settings)
        if found is not None:
            name, person = found
            if person.role == "viewer":
                raise HTTPException(403, f"{name} may read, and not review")
            return name
        if settings.operator_token is None and not any(one.role == "reviewer" for one in settings.people.values()):
            raise HTTPException(403, "no operator token is set; start `shadow serve` with SHADOW_OPERATOR_TOKEN")
        if token is None or not _is(token, settings.operator_token):
            raise HTTPException(
                401,
                "operator token missing or wrong; send the header `Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": "Bearer"},
            )
        return None

    return operator


def role_of(settings: ShadowSettings) -> Callable[[Request], str | None]:
    """A dependency that says in which role somebody asks: that of the person, None with a token that is nobody's."""

    def role(request: Request) -> str | None:
        for token in (_borne(request), _typed(request)):
            found = None if token is None else _whose(token, settings)
            if found is not None:
                return found[1].role
        return None

    return role


def signed(who: str | None, by: str | None) -> str:
    """The name of whoever asks: that of their token, or else the one that they give.

    Raises HTTPException: 422 if there is none, 403 if a person gives another one than theirs.
    """
    if who is None:
        if by is None:
            raise HTTPException(422, "by: is missing; give your name, for the record")
        return by
    if by is not None and by != who:
        raise HTTPException(403, f"by: the token is that of {who}; leave out `by`")
    return who


def _is(token: bytes, secret: SecretStr | None) -> bool:
    return secret is not None and compare_digest(token, secret.get_secret_value().encode())


def _whose(token: bytes, settings: ShadowSettings) -> tuple[str, Person] | None:
    """The person who has a token; None for one of nobody's."""
    digest, found = hashlib.sha256(token).hexdigest(), None
    for name, person in settings.people.items():  # all of them, so that nobody learns anything from how long it takes
        if compare_digest(digest, person.token):
            found = name, person
    return found


def _borne(request: Request) -> bytes | None:
    """The token in the header, as the bytes that came."""
    header = request.headers.get("authorization", "").encode("latin-1")
    return header.removeprefix(b"Bearer ") if header.startswith(b"Bearer ") else None


def _typed(request: Request) -> bytes | None:
    """The password of HTTP Basic."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(given, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return password if colon else None
