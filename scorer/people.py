"""People: what each role may do, and when two names are those of one person. Tokens, signing keys, OIDC and the headers
of a proxy all use these roles. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

#: What a person may do; each may do what those before it may.
#: viewer: read; reviewer: also label cases and comment; releaser: also decide what is in the slots; admin: everything.
PersonRole = Literal["viewer", "reviewer", "releaser", "admin"]
#: No persons: `gate` is `shadow serve`, which suggests; `automation` is `shadow serve` where it may also carry
#: suggestions out by itself; `rotation` is a job that runs `scorer rotate`, and can put nothing live.
Role = Literal["viewer", "reviewer", "releaser", "admin", "gate", "automation", "rotation"]
RANKS: tuple[PersonRole, ...] = get_args(PersonRole)
#: How somebody's name was verified.
Means = Literal["key", "token", "oidc", "proxy"]
#: What to say where a name is only what somebody typed.
NOT_VERIFIED = "name not verified"


class Person(BaseModel):
    """Somebody who has a token. token: its SHA-256, as hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str = Field(pattern=r"^[0-9a-f]{64}$")
    role: PersonRole


def is_person(role: Role) -> bool:
    """Whether somebody with this role is a person."""
    return role in RANKS


def may(role: Role, least: PersonRole) -> bool:
    """Whether a role may do what `least` may. The gate may do nothing that people do.

    >>> may("admin", "releaser"), may("reviewer", "releaser"), may("gate", "viewer")
    (True, False, False)
    """
    return role in RANKS and RANKS.index(role) >= RANKS.index(least)


def same(name: str) -> str:
    """What names of one person have in common: whatever their case, accents, width, and characters that nobody sees.

    >>> len({same(name) for name in ("José Díaz", "jose  diaz", "\\uff2aos\\u00e9 D\\u200bi\\u0301az ")})
    1
    """
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    seen = "".join(one for one in apart if unicodedata.category(one) not in ("Mn", "Me", "Cf"))
    return " ".join(seen.split())


def name_of(told: object) -> str | None:
    """A name that somebody else tells us, as we keep it; None if it is none. Nothing that cannot be seen is in it."""
    if not isinstance(told, str) or len(told) > 200 or any(not one.isprintable() for one in told):
        return None
    return " ".join(told.split()) or None


def one_line(text: str) -> str | None:
    """What somebody says, as one line without what cannot be printed; None if it says nothing.

    >>> one_line("looks\\n odd"), one_line(" \\t…")
    ('looks odd', None)
    """
    said = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return said if any(one.isalnum() for one in said) else None


def highest(groups: Iterable[str], roles: Mapping[str, PersonRole]) -> PersonRole | None:
    """The highest role that any of somebody's groups gives them.

    >>> highest(["staff", "fraud", "ops"], {"fraud": "releaser", "ops": "viewer"})
    'releaser'
    """
    found = [roles[one] for one in groups if one in roles]
    return max(found, key=RANKS.index, default=None)


def require_different(names: list[str]) -> None:
    """Raises ValueError if two names are those of one person."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(same(name), name)
        if other != name:
            raise ValueError(f"{other} and {name} would be taken for one person; give each another name")


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who decides. person: what `same` makes of the name, or of that of the person whose key it is.

    role, verified: None if nobody has verified the name.
    """

    name: str
    person: str
    role: PersonRole | None = None
    verified: Means | None = None

    @classmethod
    def called(cls, name: str) -> Who:
        """Somebody whose name nobody has verified."""
        return cls(name, same(name))
