"""Who asks, and may they: by the token of a person, one of an OpenID Connect provider, or the headers of a proxy; or by
two tokens that are nobody's, one for reading and one for reviews."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from ipaddress import ip_address
from secrets import compare_digest
from typing import NamedTuple
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from pydantic import SecretStr

from scorer.deployments.identity import whose
from scorer.people import Means, PersonRole, Role, Who, highest, may, name_of, same
from shadow.settings import ShadowSettings
from shadow.web.oidc import Provider, RefusedTokenError, UnavailableError

#: What a browser needs to hear to ask its user: any name, and the token as the password.
CHALLENGE = 'Basic realm="shadow: any name, and your token as the password", charset="UTF-8"'


#: What to say where nobody is known.
UNKNOWN = (
    "nobody is known here, so nothing is decided over HTTP; say who may by the setting people (`shadow token NAME "
    "--role releaser`), or decide on the command line"
)


class _Found(NamedTuple):
    """A person as a request shows them. role: None if their groups give none."""

    name: str
    role: PersonRole | None
    means: Means


class People:
    """Finds out who asks. One for the application: it keeps what it knows of the OpenID Connect provider."""

    def __init__(self, settings: ShadowSettings) -> None:
        self._settings = settings
        self._provider = None if settings.oidc_issuer is None else Provider(settings)

    @property
    def are_known(self) -> bool:
        """Whether there is any way to tell who asks."""
        return bool(self._settings.people or self._provider or self._settings.proxy_addresses)

    def asking(self, request: Request, typed: bool = False) -> _Found | None:
        """The person who asks; None if the request shows none. typed: a password that somebody typed counts, too.

        Raises HTTPException: 401 for a token that the provider's rules refuse, 403 for headers of a proxy from
        elsewhere, 503 if the provider cannot be asked.
        """
        proxied = self._proxied(request)
        tokens = [borne(request), _typed(request) if typed else None]
        for token in tokens:
            found = None if token is None else whose(token, self._settings.people)
            if found is not None:
                return _Found(found[0], found[1].role, "token")
        bearer = tokens[0]
        if bearer is not None and self._provider is not None and bearer.count(b".") == 2:
            return self._by_provider(self._provider, bearer)
        return proxied

    def _by_provider(self, provider: Provider, token: bytes) -> _Found:
        try:
            name, groups = provider.person(token)
        except RefusedTokenError as error:
            raise HTTPException(401, f"token refused: {error}", {"WWW-Authenticate": "Bearer"}) from None
        except UnavailableError as error:
            raise HTTPException(503, f"nobody can be asked whose token this is: {error}") from None
        return _Found(name, highest(groups, self._settings.groups), "oidc")

    def _proxied(self, request: Request) -> _Found | None:
        """Whom a trusted proxy names. Raises HTTPException 403 if somebody else does."""
        settings = self._settings
        if not settings.proxy_addresses:
            return None
        names = request.headers.getlist(settings.proxy_name_header)
        groups = request.headers.getlist(settings.proxy_groups_header)
        if not names and not groups:
            return None
        if not _is_in(request, settings):
            raise HTTPException(
                403,
                f"the headers {settings.proxy_name_header} and {settings.proxy_groups_header} are taken from the "
                "proxies in the setting proxy_addresses only",
            )
        name = name_of(names[0]) if len(names) == 1 else None
        if name is None or len(groups) > 1:
            raise HTTPException(403, f"the proxy must name one person in {settings.proxy_name_header}")
        listed = [one.strip() for one in (groups[0] if groups else "").split(",") if one.strip()]
        return _Found(name, highest(listed, settings.groups), "proxy")


def _is_in(request: Request, settings: ShadowSettings) -> bool:
    """Whether a request comes from a trusted proxy: by the connection's own address, whatever its headers say."""
    try:
        address = ip_address(request.client.host if request.client is not None else "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in settings.proxy_addresses)


def reader_of(settings: ShadowSettings, people: People | None = None) -> Callable[[Request], None]:
    """A dependency that answers 401 if reading needs a token and the request does not bear one.

    It may also come as the password of HTTP Basic, in which browsers send what their user typed.
    """
    known = people or People(settings)

    def reader(request: Request) -> None:
        given = [token for token in (borne(request), _typed(request)) if token is not None]
        if any(_is(token, settings.read_token) for token in given):
            return
        found = known.asking(request, typed=True)
        if settings.read_token is None and not known.are_known:
            return
        if found is None and any(_is(token, settings.operator_token) for token in given):
            return  # whoever may write gets cases to read, too
        if found is None:
            raise HTTPException(
                401,
                "read token missing or wrong; send the header `Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": CHALLENGE},
            )
        if found.role is None:
            raise HTTPException(403, f"{found.name} is in no group of the setting groups")

    return reader


def operator_of(
    settings: ShadowSettings, people: People | None = None, least: PersonRole = "reviewer"
) -> Callable[[Request], Who | None]:
    """A dependency for what writes: the person who asks, None for the operator token.

    least: the role that it takes. It answers 403 if nobody may write, or this person may not, and 401 if the request
    bears no token that may. A browser sends a password along from any page, so that counts for nothing here, and what
    comes through a proxy must come from our own pages or from no browser.
    """
    known = people or People(settings)

    def operator(request: Request) -> Who | None:
        token = borne(request)
        if token is not None and _is(token, settings.operator_token):
            return None
        found = known.asking(request)
        if found is not None:
            why = why_not(found.name, found.role, least)
            if why is not None:
                raise HTTPException(403, why)
            if found.means == "proxy" and _is_from_elsewhere(request):
                raise HTTPException(403, "this comes from a page of another site")
            return Who(found.name, same(found.name), found.role, found.means)
        if settings.operator_token is None and not _may_anybody(settings, known, least):
            raise HTTPException(403, "no operator token is set; start `shadow serve` with SHADOW_OPERATOR_TOKEN")
        raise HTTPException(
            401,
            "operator token missing or wrong; send the header `Authorization: Bearer TOKEN`",
            {"WWW-Authenticate": "Bearer"},
        )

    return operator


def on_our_pages(
    settings: ShadowSettings, people: People, least: PersonRole = "reviewer"
) -> Callable[[Request], Who | None]:
    """A dependency for pages on which people write: the person who asks, None for the operator token.

    A token may also come as the password of HTTP Basic, which a browser sends along from any page: so what changes
    anything must come from one of our own. Raises HTTPException as `operator_of` does, and 401 in a way in which a
    browser asks its user.
    """

    def operator(request: Request) -> Who | None:
        given = [token for token in (borne(request), _typed(request)) if token is not None]
        if request.method not in ("GET", "HEAD") and borne(request) is None and not _is_from_here(request):
            raise HTTPException(403, "this comes from a page of another site; mark cases on our own pages")
        if any(_is(token, settings.operator_token) for token in given):
            return None
        found = people.asking(request, typed=True)
        if found is None:
            if settings.operator_token is None and not _may_anybody(settings, people, least):
                raise HTTPException(
                    403, "nobody may review here: start `shadow serve` with SHADOW_PEOPLE or SHADOW_OPERATOR_TOKEN"
                )
            raise HTTPException(
                401, "this needs the token of a reviewer; type it as the password", {"WWW-Authenticate": CHALLENGE}
            )
        if found.role is None or not may(found.role, least):
            told = "has no role" if found.role is None else f"is a {found.role}"
            raise HTTPException(403, f"{found.name} {told}; this needs the role {least}")
        return Who(found.name, same(found.name), found.role, found.means)

    return operator


def decider_of(people: People, typed: bool = False, least: PersonRole = "releaser") -> Callable[[Request], Who]:
    """A dependency for what decides of releases: the person who asks, by a verified name. least: the role it takes.

    Tokens that are nobody's do not do. typed: the password that a browser's user typed counts, too, if the request
    comes from a page of ours: browsers say so, whichever page has sent it, and a page cannot make them say otherwise.
    It answers 401, 403.
    """

    def decider(request: Request) -> Who:
        is_typed = typed and borne(request) is None and _typed(request) is not None
        if is_typed and not _is_from_here(request):
            raise HTTPException(403, "this does not come from a page of this server; open /release and decide there")
        found = people.asking(request, typed=is_typed)
        if found is None:
            if not people.are_known:
                raise HTTPException(403, UNKNOWN)
            raise HTTPException(
                401,
                "a decision needs your own token; send the header `Authorization: Bearer TOKEN`",
                {"WWW-Authenticate": CHALLENGE if typed else "Bearer"},
            )
        why = why_not(found.name, found.role, least)
        if why is not None:
            raise HTTPException(403, why)
        if found.means == "proxy" and (_is_from_elsewhere(request) or (typed and not _is_from_here(request))):
            raise HTTPException(403, "this comes from a page of another site")
        return Who(found.name, same(found.name), found.role, found.means)

    return decider


def why_not(name: str, role: Role | None, least: PersonRole) -> str | None:
    """Why somebody may not do something; None if they may. least: the role that it takes."""
    if role is not None and may(role, least):
        return None
    return f"{name} {'has no role' if role is None else f'is a {role}'}; this needs the role {least}"


def who_of(known: People) -> Callable[[Request], Who | None]:
    """A dependency that says who reads; None if nobody can tell."""

    def who(request: Request) -> Who | None:
        found = known.asking(request, typed=True)
        return None if found is None else Who(found.name, same(found.name), found.role, found.means)

    return who


def role_of(known: People) -> Callable[[Request], PersonRole | None]:
    """A dependency that says in which role somebody asks: that of the person, None with a token that is nobody's."""

    def role(request: Request) -> PersonRole | None:
        found = known.asking(request, typed=True)
        return None if found is None else found.role

    return role


def _may_anybody(settings: ShadowSettings, known: People, least: PersonRole) -> bool:
    roles = [person.role for person in settings.people.values()]
    if known.are_known:
        roles += settings.groups.values()
    return any(may(role, least) for role in roles)


def _is_from_elsewhere(request: Request) -> bool:
    """Whether a browser says that a page of another site has sent the request."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    return site not in ("same-origin", "none") or (
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    )


def _is_from_here(request: Request) -> bool:
    """Whether a browser says that a page of ours has sent the request. From no browser it is not."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    is_ours = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    return is_ours if site is None else site == "same-origin" and (is_ours or origin in (None, "null"))


def signed(who: Who | None, by: str | None) -> str:
    """The name of whoever asks: that of their token, or else the one that they give.

    Raises HTTPException: 422 if there is none, 403 if a person gives another one than theirs.
    """
    if who is None:
        if by is None:
            raise HTTPException(422, "by: is missing; give your name, for the record")
        return by
    if by is not None and by != who.name:
        raise HTTPException(403, f"by: the token is that of {who.name}; leave out `by`")
    return who.name


def _is(token: bytes, secret: SecretStr | None) -> bool:
    return secret is not None and compare_digest(token, secret.get_secret_value().encode())


def borne(request: Request) -> bytes | None:
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
