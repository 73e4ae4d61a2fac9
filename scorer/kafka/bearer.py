"""Tokens for SASL/OAUTHBEARER: where they come from, and when they are fetched anew.

A client asks for a token for each connection, from whichever thread and loop it runs on. Nothing here logs a token or a
secret, or puts one into an error.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import importlib
import logging
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

import orjson
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

log = logging.getLogger(__name__)

#: Longest wait for a token endpoint, and most bytes of its answer.
ENDPOINT_SECONDS, ENDPOINT_BYTES = 10.0, 1 << 20
#: Share of a token's life after which it is fetched anew. Source: Kafka's `sasl.login.refresh.window.factor`.
REFRESH_AT = 0.8
#: Time between two tries while the present token is still good.
RETRY_SECONDS = 5.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_ERROR = re.compile(r"[ -~]{1,60}")


class TokenError(KafkaConnectionError):  # type: ignore[misc]
    """There is no token. Clients try again, as if the broker were away."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "no token"


@dataclass(frozen=True)
class Token:
    """A token. expires_s: seconds since 1970, None if nobody says."""

    text: str
    expires_s: float | None = None

    def __repr__(self) -> str:
        return f"Token(expires_s={self.expires_s})"


def checked(text: Any, place: str, expires_s: float | None = None) -> Token:
    """A token as its source gave it. A JWT says itself when it expires. Raises TokenError if it can be none."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    if not isinstance(text, str) or not _TOKEN.fullmatch(text.strip()):
        raise TokenError(f"{place}: holds no token; expected one text without blanks")
    return Token(text.strip(), _expiry(text) if expires_s is None else expires_s)


def _expiry(text: str) -> float | None:
    """The claim `exp` of a JWT, None of anything else."""
    parts = text.strip().split(".")
    if len(parts) != 3:
        return None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))["exp"]
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


@dataclass(frozen=True)
class InFile:
    """Reads the token from a file, which somebody else renews."""

    path: Path

    def __call__(self) -> Token:
        try:
            return checked(self.path.read_bytes(), f"kafka_token_file {self.path}")
        except OSError as error:
            raise TokenError(f"kafka_token_file {self.path}: {error.strerror}; name a readable file") from None


class _Straight(HTTPRedirectHandler):
    """Follows no redirection, which would carry the secret elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class FromEndpoint:
    """Asks a token endpoint by client credentials (RFC 6749, 4.4). fields: further fields of the request."""

    url: str
    client: str
    secret: str
    fields: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"FromEndpoint({self.url})"

    def __call__(self) -> Token:
        login = f"{quote_plus(self.client)}:{quote_plus(self.secret)}".encode()
        request = Request(  # noqa: S310 - the settings allow https only
            self.url,
            urlencode({"grant_type": "client_credentials", **dict(self.fields)}).encode(),
            {"Authorization": f"Basic {base64.b64encode(login).decode()}", "Accept": "application/json"},
        )
        opener = build_opener(_Straight, HTTPSHandler(context=ssl.create_default_context()))
        place, began = f"kafka_token_url {self.url}", time.time()
        try:
            with opener.open(request, timeout=ENDPOINT_SECONDS) as answer:
                body = orjson.loads(answer.read(ENDPOINT_BYTES))
        except HTTPError as error:
            raise TokenError(
                f"{place}: answers {error.code}{_reason(error)}; correct kafka_user, kafka_password or "
                "kafka_token_fields"
            ) from None
        except (OSError, HTTPException) as error:
            raise TokenError(f"{place}: cannot be reached ({getattr(error, 'reason', None) or error})") from None
        except ValueError:
            raise TokenError(f"{place}: answers no JSON; is it the address of a token endpoint?") from None
        if not isinstance(body, dict):
            raise TokenError(f"{place}: answers no object; is it the address of a token endpoint?")
        lasts = body.get("expires_in")
        expires_s = began + lasts if isinstance(lasts, int | float) and not isinstance(lasts, bool) else None
        return checked(body.get("access_token"), place, expires_s)


def _reason(error: HTTPError) -> str:
    """The error code in an answer (RFC 6749, 5.2), if it has one."""
    try:
        told = orjson.loads(error.read(ENDPOINT_BYTES))["error"]
    except (ValueError, KeyError, TypeError, OSError):
        return ""
    return f" ({told})" if isinstance(told, str) and _ERROR.fullmatch(told) else ""


@dataclass(frozen=True)
class FromFunction:
    """Calls a function of somebody else's package, which returns a token, or a token and when it expires, in
    milliseconds since 1970. fields: its arguments, by name."""

    name: str
    function: Callable[..., Any]
    fields: tuple[tuple[str, str], ...]

    def __call__(self) -> Token:
        place = f"kafka_token_function {self.name}"
        try:
            found = self.function(**dict(self.fields))
        except Exception as error:  # what it raises is unknown; its text may hold a secret
            raise TokenError(f"{place}: raised {type(error).__name__}; look at its documentation") from None
        if not isinstance(found, tuple):
            return checked(found, place)
        if len(found) != 2 or not isinstance(found[1], int | float):
            raise TokenError(f"{place}: returned {len(found)} values; expected a token, or a token and milliseconds")
        return checked(found[0], place, float(found[1]) / 1000)


def imported(name: str) -> Callable[..., Any]:
    """The function that `module:function` names. Raises ValueError that says why there is none."""
    module, _, path = name.partition(":")
    if not module or not path:
        raise ValueError("is not module:function")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot be imported ({error})") from None
    if not callable(found):
        raise ValueError("is no function")
    return found  # type: ignore[no-any-return]


class Tokens(AbstractTokenProvider):  # type: ignore[misc]
    """The token of a source, kept until most of its life is over.

    While a new one cannot be had, the old one serves as long as it is good. What nobody says the life of is fetched for
    each connection. clock: seconds since 1970.
    """

    def __init__(self, source: Callable[[], Token], clock: Callable[[], float] = time.time) -> None:
        self._source, self._clock = source, clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._renew_at = 0.0

    async def token(self) -> str:
        """A token that is good now. Raises TokenError."""
        return await asyncio.to_thread(self.now)

    def now(self) -> str:
        """`token`, for a thread that may wait."""
        with self._lock:
            at = self._clock()
            if self._token is None or at >= self._renew_at:
                self._renew(at)
            assert self._token is not None  # noqa: S101 - for mypy
            return self._token.text

    def _renew(self, at: float) -> None:
        try:
            fresh = self._source()
        except TokenError as error:
            if self._token is None or self._token.expires_s is None or at >= self._token.expires_s:
                raise
            log.warning("no new token, going on with the present one: %s", error)
            self._renew_at = min(at + RETRY_SECONDS, self._token.expires_s)
            return
        if fresh.expires_s is not None and fresh.expires_s <= at:
            raise TokenError("the token has expired already; is the clock right?")
        self._token = fresh
        self._renew_at = at if fresh.expires_s is None else at + REFRESH_AT * (fresh.expires_s - at)


_LOCK = threading.Lock()
_MADE: dict[Any, Tokens] = {}


def tokens(source: Callable[[], Token]) -> Tokens:
    """The tokens of a source: the same for every client of this process, so that it is asked once."""
    with _LOCK:
        return _MADE.setdefault(source, Tokens(source))


def as_fields(fields: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Fields as a source keeps them."""
    return tuple(sorted(fields.items()))
