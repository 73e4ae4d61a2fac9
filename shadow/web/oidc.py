"""Tokens of an OpenID Connect provider: whose they are, and in which groups.

The provider's document is found by OpenID Connect Discovery 1.0, and names where its keys are (RFC 7517). A token is a
JWT (RFC 7519) that is signed with one of them, for us, and not expired. Requests run in threads, never in the event
loop; at most one of them waits for the provider, for a bounded time, and the others are told at once.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from scorer.errors import SettingsError
from scorer.people import name_of
from scorer.settings import LOOPBACK
from shadow.settings import ShadowSettings

#: What a token may be signed with: asymmetric ones only, so that whoever knows a public key can sign nothing.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
#: Their kinds of keys, as JWKs name them.
KINDS = ("RSA", "EC", "OKP")
#: Longest token, longest answer of the provider in bytes, longest wait for it, and the clocks' tolerated difference.
LONGEST_TOKEN, LONGEST_ANSWER, WAIT_SECONDS, LEEWAY_SECONDS = 12_000, 512_000, 5.0, 30
#: How long keys are used without asking again; and the least time between two requests, so that tokens with made-up
#: key ids do not make us ask all the time.
KEPT_SECONDS, PAUSE_SECONDS = 600.0, 10.0
#: How long others wait for whoever asks first.
FIRST_SECONDS = 1.0
#: Keys used after they were to be asked for again, while the provider does not answer.
LONGEST_KEPT_SECONDS = 86_400.0


class RefusedTokenError(Exception):
    """A token that is none, or nobody's."""


class UnavailableError(Exception):
    """The provider does not answer, or not as it should."""


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> Request | None:
        return None


class Provider:
    """The provider of the settings. It is asked when the first token comes."""

    def __init__(self, settings: ShadowSettings) -> None:
        self._jwt = _library()
        self._issuer = str(settings.oidc_issuer)
        self._audience = str(settings.oidc_audience)
        self._name, self._groups = settings.oidc_name_claim, settings.oidc_groups_claim
        self._keys: dict[str | None, Any] = {}
        self._asked = self._got = float("-inf")
        self._trouble = "it was not asked yet"
        self._asking = threading.Lock()
        self._opener = build_opener(_NoRedirects())

    def person(self, token: bytes) -> tuple[str, tuple[str, ...]]:
        """Name and groups of whose token it is. Raises RefusedTokenError, or UnavailableError."""
        jwt = self._jwt
        if len(token) > LONGEST_TOKEN:
            raise RefusedTokenError(f"it is longer than {LONGEST_TOKEN:,} bytes")
        try:
            head = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise RefusedTokenError("it is no JWT") from None
        algorithm = head.get("alg")
        if algorithm not in ALGORITHMS:
            raise RefusedTokenError(f"its algorithm is none of {', '.join(ALGORITHMS)}")
        key = self._key(head.get("kid"))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                issuer=self._issuer,
                audience=self._audience,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise RefusedTokenError(_told(jwt, error)) from None
        name = name_of(_claim(claims, self._name))
        if name is None:
            raise RefusedTokenError(f"its claim {self._name} is no name")
        return name, _listed(_claim(claims, self._groups))

    def _key(self, kid: Any) -> Any:
        """The key of an id; the only one, for a token that names none. Keys rotate, so a new id makes it ask anew."""
        if kid is not None and (not isinstance(kid, str) or len(kid) > 256):
            raise RefusedTokenError("its key id is none")
        present = time.monotonic()
        if kid not in self._keys or present - self._got > KEPT_SECONDS:
            self._refresh(present)
        if not self._keys or time.monotonic() - self._got > LONGEST_KEPT_SECONDS:
            raise UnavailableError(self._trouble)
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        if kid not in self._keys:
            raise RefusedTokenError("it is signed with a key that the provider does not have")
        return self._keys[kid]

    def _refresh(self, present: float) -> None:
        """Ask the provider for its keys, unless it was just asked, or somebody else is asking it."""
        if present - self._asked < PAUSE_SECONDS and self._keys:
            return
        if not self._asking.acquire(timeout=0.0 if self._keys else FIRST_SECONDS):
            return
        try:
            if present - self._asked < PAUSE_SECONDS:
                return  # somebody else just has
            self._asked = present
            self._keys, self._got = self._fetched(), time.monotonic()
        except (UnavailableError, ValueError, OSError) as error:
            self._trouble = f"{urlsplit(self._issuer).hostname}: {error}"
        finally:
            self._asking.release()

    def _fetched(self) -> dict[str | None, Any]:
        document = self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer:
            raise UnavailableError("its document names another issuer")
        address = document.get("jwks_uri")
        if not isinstance(address, str) or not _is_safe(address):
            raise UnavailableError("its document names no https address of its keys")
        told = self._get(address).get("keys")
        found: dict[str | None, Any] = {}
        for one in told if isinstance(told, list) else []:
            if not isinstance(one, dict) or one.get("kty") not in KINDS or one.get("use", "sig") != "sig":
                continue
            kid = one.get("kid")
            try:
                key = self._jwt.PyJWK({name: value for name, value in one.items() if name != "d"})
            except (self._jwt.PyJWTError, ValueError, TypeError):
                continue
            if kid is None or isinstance(kid, str):
                found[kid] = key
        if not found:
            raise UnavailableError("it has no key that tokens may be signed with")
        return found

    def _get(self, address: str) -> Mapping[str, Any]:
        """A document of the provider, read for `WAIT_SECONDS` in all."""
        deadline = time.monotonic() + WAIT_SECONDS
        read = b""
        try:
            with self._opener.open(Request(address), timeout=WAIT_SECONDS) as answer:  # noqa: S310
                while len(read) <= LONGEST_ANSWER and time.monotonic() < deadline:
                    part = answer.read1(65_536)
                    if not part:
                        break
                    read += part
                else:
                    raise UnavailableError("its answer is too long, or takes too long")
        except (URLError, OSError) as error:
            raise UnavailableError(str(error)) from None
        try:
            found = json.loads(read)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UnavailableError("its answer is no object in JSON")
        return found


def _is_safe(address: str) -> bool:
    url = urlsplit(address)
    return url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK)


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or by the names of objects around it with dots between."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _listed(told: Any) -> tuple[str, ...]:
    """Groups as claims have them: a list, or one text."""
    some: Iterable[Any] = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    return tuple(one for one in some if isinstance(one, str))


def _told(jwt: Any, error: Exception) -> str:
    """Why a token is refused, without anything that is in it."""
    for kind, told in (
        (jwt.ExpiredSignatureError, "it has expired"),
        (jwt.ImmatureSignatureError, "it counts only later"),
        (jwt.InvalidAudienceError, "it is for somebody else (claim aud)"),
        (jwt.InvalidIssuerError, "it is from somebody else (claim iss)"),
        (jwt.MissingRequiredClaimError, "a claim is missing; it needs exp, iss and aud"),
        (jwt.InvalidSignatureError, "its signature is wrong"),
    ):
        if isinstance(error, kind):
            return told
    return "it cannot be read with the provider's key"


def _library() -> Any:
    """PyJWT. Raises SettingsError if it is not installed."""
    try:
        import cryptography
        import jwt
    except ImportError:
        raise SettingsError(
            "setting oidc_issuer: PyJWT is not installed; run pip install 'shadow-scorer[oidc]'"
        ) from None
    assert cryptography  # noqa: S101
    return jwt
