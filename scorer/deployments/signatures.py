"""Signatures of ledger entries: who may write which, and whether an entry is theirs. Pure.

An entry is signed with Ed25519 (RFC 8032) over the name of the deployment, its ledger key and all that it says. So
nothing in it can be changed, and it counts neither under another key nor in another deployment.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, Field, model_validator

from scorer.deployments.records import CANDIDATE, CONTROL, KINDS, Entry, encode
from scorer.errors import UserError
from scorer.frozen import Frozen
from scorer.people import Role, is_person, require_different, same

#: What begins everything that is signed, so that it cannot be taken for anything else that the key has signed.
ENTRY, DOSSIER = b"shadow-scorer ledger entry 1", b"shadow-scorer dossier 1"
#: Where an entry has its signature.
FIELD = "signature"
_OF_GATE = frozenset({"suggestion", "withdrawal", "comment", "watched", "automation"})
#: What each may write: people in their own name, and the gate comments in that of whoever asks it.
MAY: dict[Role, frozenset[str]] = {
    "viewer": frozenset(),
    "reviewer": frozenset({"comment"}),
    "releaser": frozenset(KINDS),
    "admin": frozenset(KINDS),
    "gate": _OF_GATE,
    "automation": _OF_GATE | {"change", "prepare"},
    "rotation": frozenset({"rotation", "change"}),
}
#: Causes of changes that may be automatic.
_AUTOMATIC = frozenset({"approve", "rollback"})
#: Bytes of a public key.
LENGTH = 32
#: The field and the constant of the curve: -x^2 + y^2 = 1 + _D x^2 y^2 modulo _P (RFC 8032, section 5.1).
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
#: The name of whoever has a key.
NAME = r"^[^\s](.{0,62}[^\s])?$"
#: How a ledger key looks: its number and a random part.
SEQ = r"^[0-9]{8}-[0-9a-f]{8}$"


def _public(text: str) -> str:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != LENGTH:
        raise ValueError(f"expected {LENGTH} bytes in base64, as `scorer key new` prints them")
    if _is_of_small_order(raw):
        raise ValueError("is no key: anybody could sign for it")
    return text


def _is_of_small_order(raw: bytes) -> bool:
    """Whether the order of a point divides 8, so that signatures can be made for it without a private key.

    Those of order 1 and 2 have y = 1 and -1, of order 4 y = 0. Doubling one of order 8 gives y = 0, so x^2 = -y^2,
    which makes the curve's equation _D y^4 + 2 y^2 = 1.
    """
    y = (int.from_bytes(raw, "little") & (2**255 - 1)) % _P
    return y in (0, 1, _P - 1) or (_D * pow(y, 4, _P) + 2 * y * y - 1) % _P == 0


class Key(Frozen):
    """A public key.

    until: the ledger key of the last entry that it may have signed; None if it is in use. person: whose it is, if they
    have several; default: the key's name.
    """

    public: Annotated[str, AfterValidator(_public)]
    role: Role
    until: str | None = Field(None, pattern=SEQ)
    person: str | None = Field(None, pattern=NAME)

    @property
    def raw(self) -> bytes:
        return base64.b64decode(self.public)


class TrustedKeys(Frozen):
    """Whose entries of the ledger count.

    deployment: what tells this deployment from others. unsigned_until: the ledger key of the last entry that needs no
    signature; None if all need one. four_eyes: releases that one person alone must not decide count only if a second
    key has signed them (`four_eyes.py`), but for those up to entry four_eyes_after; None if there is no such entry.
    """

    keys: dict[Annotated[str, Field(pattern=NAME)], Key] = Field(min_length=1)
    deployment: str = ""
    unsigned_until: str | None = Field(None, pattern=SEQ)
    four_eyes: bool = False
    four_eyes_after: str | None = Field(None, pattern=SEQ)

    @model_validator(mode="after")
    def _has_each_once(self) -> TrustedKeys:
        names: dict[str, str] = {}
        for name, key in self.keys.items():
            other = names.setdefault(key.public, name)
            if other != name:
                raise ValueError(f"keys: {other} and {name} have the same public key; give each a key of their own")
        require_different(list(self.keys))
        if self.four_eyes_after is not None and not self.four_eyes:
            raise ValueError("four_eyes_after: needs four_eyes: true")
        return self

    def person(self, signed_by: str | None) -> str | None:
        """Whose key it is, as `same` has it; None if nobody has signed."""
        key = None if signed_by is None else self.keys.get(signed_by)
        return None if key is None or signed_by is None else same(key.person or signed_by)

    def asks_two(self, seq: str, before: Container[str]) -> bool:
        """Whether an entry is one of those that four eyes may have to see. before: as in `refusal`."""
        return self.four_eyes and not _is_in_time(self.four_eyes_after, seq, before)

    @cached_property
    def ends(self) -> frozenset[str]:
        """The ledger keys that are named as an end. They must be on the ledger: what never comes ends nothing."""
        return frozenset(
            end
            for end in (self.unsigned_until, self.four_eyes_after, *(key.until for key in self.keys.values()))
            if end
        )

    def refusal(self, seq: str, body: Any, before: Container[str]) -> str | None:
        """Why an entry does not count; None if it does.

        body: its record. before: the ledger keys of all entries before it in log order.
        """
        if not isinstance(body, dict) or FIELD not in body:
            return None if _is_in_time(self.unsigned_until, seq, before) else "it is not signed"
        why = self._unlike(body[FIELD], message(self.deployment, seq, body))
        if why is not None:
            return why
        name = str(body[FIELD]["key"])
        key = self.keys[name]
        if key.until is not None and not _is_in_time(key.until, seq, before):
            return f"the key of {name} counts until {key.until} only"
        kind = str(body.get("kind"))
        if kind not in MAY[key.role]:
            least = "reviewer" if kind == "comment" else "releaser"
            return f"{name} may not write it: a {kind} needs the role {least}"
        if kind == "automation" and body.get("state") != "lost" and key.role != "admin":
            return f"{name} may not write it: to switch automation needs the role admin"
        if is_person(key.role) or key.role == "rotation":
            if body.get("by", name) != name:
                return f"{name} has signed it in the name of somebody else"
            if key.role == "rotation" and kind == "change" and not _fills_candidate(body):
                return f"{name} may not write it: the role rotation only puts a bundle into slot {CANDIDATE}"
            return None
        if kind == "change" and (body.get("automatic") is not True or body.get("cause") not in _AUTOMATIC):
            return f"{name} may not write it: a change that is not automatic needs the role releaser"
        return None

    def refusal_of_dossier(self, digest: str, signature: Any) -> str | None:
        """Why a dossier is nobody's that is trusted; None if it is. signature: as it lies beside it."""
        return self._unlike(signature, _dossier(self.deployment, digest))

    def _unlike(self, told: Any, content: bytes) -> str | None:
        """Why a signature is not that of a trusted key on this content; None if it is."""
        try:
            name, signature = told["key"], base64.b64decode(told["value"], validate=True)
        except (TypeError, KeyError, ValueError):
            return "its signature cannot be read"
        key = self.keys.get(name) if isinstance(name, str) else None
        if key is None:
            return f"it is signed with a key {str(name)[:64]!r}, which is not trusted"
        return None if _verify(key.raw, signature, content) else f"its signature is not that of {name}"


def _fills_candidate(body: dict[str, Any]) -> bool:
    """Whether a change is one that a rotation makes: a candidate with its twin, and perhaps the control."""
    slots, twins = body.get("slots"), body.get("twins") or {}
    if not isinstance(slots, dict) or not isinstance(twins, dict) or body.get("cause") != "deploy":
        return False
    if any(body.get(name) for name in ("suggestion", "first", "automatic")):
        return False  # it would settle what is others' to decide
    if CANDIDATE not in slots or not set(slots) <= {CANDIDATE, CONTROL}:
        return False
    targets = list(slots.values())
    if not all(isinstance(one, dict) and isinstance(one.get("digest"), str) for one in targets):
        return False
    return set(twins) <= {slots[CANDIDATE]["digest"]} and not any(one.get("override") for one in targets)


def _is_in_time(end: str | None, seq: str, before: Container[str]) -> bool:
    """Whether an entry is not behind the one that is named as the last; False if none is named."""
    return end is not None and (seq == end or end not in before)


@dataclass(frozen=True)
class Signer:
    """Whoever signs. name: as the trusted keys have it. sign: Ed25519 of a message."""

    name: str
    deployment: str
    sign: Callable[[bytes], bytes]

    def signed(self, seq: str, entry: Entry) -> bytes:
        """An entry's value on the topic, with its signature."""
        body = orjson.loads(encode(entry))
        return orjson.dumps({**body, FIELD: self._signature(message(self.deployment, seq, body))})

    def of_dossier(self, digest: str) -> bytes:
        """What lies beside a dossier: its signature."""
        return orjson.dumps(self._signature(_dossier(self.deployment, digest)))

    def _signature(self, content: bytes) -> dict[str, str]:
        return {"key": self.name, "value": base64.b64encode(self.sign(content)).decode()}


def message(deployment: str, seq: str, body: dict[str, Any]) -> bytes:
    """What is signed of an entry."""
    rest = {name: value for name, value in body.items() if name != FIELD}
    return b"\0".join([ENTRY, deployment.encode(), seq.encode(), orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)])


def _dossier(deployment: str, digest: str) -> bytes:
    return b"\0".join([DOSSIER, deployment.encode(), digest.encode()])


def signer_name(body: Any) -> str | None:
    """Who signed an entry that counts; None if nobody did."""
    return str(body[FIELD]["key"]) if isinstance(body, dict) and FIELD in body else None


def _verify(public: bytes, signature: bytes, content: bytes) -> bool:
    ed25519, invalid = ed25519_library()
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except invalid:
        return False
    return True


def ed25519_library() -> tuple[Any, type[Exception]]:
    """The library for Ed25519, and what it raises for a wrong signature. Raises UserError if it is not installed."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise UserError(
            "trusted_keys: cryptography is not installed; run pip install 'shadow-scorer[signing]'"
        ) from None
    return ed25519, InvalidSignature
