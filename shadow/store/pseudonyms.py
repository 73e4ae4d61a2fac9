"""How Redis tells cards apart without holding them: hashes with a salt that only this deployment has.

Somebody who has another deployment's data, or a table of the hashes of all tokens, learns nothing about a card here.
The samples hold their transactions, and so the card's token; they expire, and `shadow erase` deletes them.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import orjson

from shadow.store import keys

#: Position of the card in the body of a case; see `shadow.comparison.case.Case.encode`.
_CARD = 4


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """The names of cards in one store."""

    salt: bytes

    def card(self, hashed: str) -> str:
        """The name of a card. hashed: from `shadow.comparison.case.card_hash`."""
        return hashlib.blake2b(hashed.encode(), key=self.salt, digest_size=8).hexdigest()

    def subject(self, subject: str) -> str:
        """A label's subject as it is stored."""
        kind, _, rest = subject.partition(":")
        if kind != "c":
            return subject
        hashed, _, second = rest.partition(":")
        return f"c:{self.card(hashed)}:{second}"

    def case(self, body: bytes) -> bytes:
        """A case's body as it is stored."""
        row = orjson.loads(body)
        row[_CARD] = self.card(row[_CARD])
        return orjson.dumps(row)


async def pseudonyms(redis: Any, prefix: str) -> Pseudonyms:
    """The names of cards in this store. Makes the salt if there is none, or if Redis has lost it with all else."""
    made = secrets.token_hex(16).encode()
    return Pseudonyms(await redis.set(keys.salt(prefix), made, nx=True, get=True) or made)
