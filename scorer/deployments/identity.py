"""Who decides on the command line: whose signing key or token it is, or else the name that they give."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from secrets import compare_digest

from scorer.deployments.key_files import signer, trusted_keys
from scorer.errors import UserError
from scorer.people import RANKS, Person, PersonRole, Who, may, same
from scorer.settings import CommonSettings


def own_identity(settings: CommonSettings, by: str | None, least: PersonRole) -> Who:
    """Who decides. by: the name that they give. least: the role that it takes.

    Without the settings trusted_keys and people the name is the one that is given, and nobody verifies it. Raises
    UserError if there is none, it is somebody else's, key and token are not of one person, or their role does not do.
    """
    keyed, tokened = _by_key(settings), _by_token(settings)
    found = keyed or tokened
    if found is None:
        if settings.people:
            raise UserError(
                "token: is missing; setting people says who may decide, so set it to yours (`shadow token`)"
            )
        if by is None:
            raise UserError("--by: is missing; give your name, for the record")
        return Who.called(by)
    if keyed is not None and tokened is not None and keyed.person != tokened.person:
        raise UserError(f"token: is that of {tokened.name}, and the key in setting signing_key that of {keyed.name}")
    if by is not None and by != found.name:
        held = "key in setting signing_key" if keyed is not None else "token"
        raise UserError(f"--by {by}: the {held} is that of {found.name}; leave out --by")
    for one in (keyed, tokened):
        if one is not None and one.role is not None and not may(one.role, least):
            raise UserError(f"{one.name} is a {one.role}; this needs the role {least}")
    return found


def _by_key(settings: CommonSettings) -> Who | None:
    trusted = trusted_keys(settings)
    signs = signer(settings, trusted)
    if signs is None or trusted is None:
        return None
    role = trusted.keys[signs.name].role
    as_person = next((one for one in RANKS if one == role), None)
    person = trusted.person(signs.name) or same(signs.name)
    return Who(signs.name, person, as_person, "key")


def _by_token(settings: CommonSettings) -> Who | None:
    if settings.token is None:
        return None
    if not settings.people:
        raise UserError("token: nobody's tokens are known; the setting people says whose they are")
    found = whose(settings.token.get_secret_value().encode(), settings.people)
    if found is None:
        raise UserError("token: is nobody's in the setting people; make one with `shadow token`")
    name, person = found
    return Who(name, same(name), person.role, "token")


def whose(token: bytes, people: Mapping[str, Person]) -> tuple[str, Person] | None:
    """The person who has a token; None for one of nobody's."""
    digest, found = hashlib.sha256(token).hexdigest(), None
    for name, person in people.items():  # all of them, so that nobody learns anything from how long it takes
        if compare_digest(digest, person.token):
            found = name, person
    return found


def maker(settings: CommonSettings, by: str | None) -> str | None:
    """Who makes a bundle: whose key or token the settings have, else the name that is given, if any. Raises UserError
    if the name is another one."""
    if settings.signing_key is None and settings.token is None:
        return by
    return own_identity(settings, by, "viewer").name
