"""Forges transactions: good ones in odd clothes, bad ones of every kind, and mutations that nobody planned."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from attack.judge import MOST_BYTES, judged

Record = dict[str, Any]
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
#: Characters of ids and texts that are no blanks, no control characters, and do not combine.
ODD = "äßñçøžÅΩЖ€£✓字한ﬀ" + "😀🚀"


def _fields(cell: Any) -> int:
    """How many fields a cell has, with those within others."""
    if isinstance(cell, dict):
        return len(cell) + sum(map(_fields, cell.values()))
    return sum(map(_fields, cell)) if isinstance(cell, list) else 0


@dataclass(frozen=True)
class Source:
    """How records are named. renamed: our name by the source's. dropped: fields that are left out."""

    name: str
    renamed: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()

    def dressed(self, ours: Record) -> Record:
        """A record under the source's names."""
        theirs = {ours_name: name for name, ours_name in self.renamed.items()}
        return {theirs.get(name, name): cell for name, cell in ours.items()}


PLAIN = Source("records plain")
MAPPED = Source(
    "records mapped",
    {
        "TX_ID": "transaction_id",
        "when": "occurred_at",
        "pan_token": "card_id",
        "shop": "merchant_id",
        "land": "country",
    },
    {"currency": "EUR", "channel": "web"},
    frozenset({"secret", "is_fraud"}),
)


@dataclass(frozen=True)
class Forged:
    """A record and what must become of it: True decided, False a dead letter, None what the contract leaves open."""

    key: bytes | None
    value: bytes | None
    expected: bool | None
    kind: str
    id: str | None = None


class Forge:
    """Forges records of a source, by a seed."""

    def __init__(self, source: Source, seed: int) -> None:
        self.source, self.chance = source, random.Random(seed)
        self._cards = [self._id() for _ in range(40)]
        self._before: list[Forged] = []
        self._bad: list[Callable[[Record], bytes | None]] = [
            self._without, self._of_wrong_type, self._bad_id, self._bad_time, self._bad_amount, self._bad_currency,
            self._bad_attribute, self._too_deep, self._too_wide, self._card_number, self._no_json, self._cut,
            self._no_object, self._bad_encoding,
        ]  # fmt: skip
        self._weights = [1 if kind in (self._too_deep, self._too_wide) else 20 for kind in self._bad]  # these are large

    def one(self) -> Forged:
        """The next record."""
        roll = self.chance.random()
        if roll < 0.45:
            made = self.good()
        elif roll < 0.70 or not self._before:
            made = self.bad()
        else:
            made = self.mutated()
        self._before.append(made)
        del self._before[:-64]
        return made

    # --- good ones ---

    def good(self) -> Forged:
        """A record that the contract allows, however odd it looks."""
        record = self._record()
        card = str(record["card_id"])
        key = self.chance.choice((card.encode(), card.encode(), card.encode(), None, b"another", b"\xff\xfe"))
        value = self._text(self.source.dressed(record))
        return Forged(key, value, len(value) <= MOST_BYTES, "good", str(record["transaction_id"]))

    def _record(self) -> Record:
        chance = self.chance
        record: Record = {
            "transaction_id": self._id(),
            "occurred_at": self._time(),
            "card_id": chance.choice(self._cards) if chance.random() < 0.9 else self._id(),
            "merchant_id": self._id(),
            "amount": self._amount(),
            "currency": chance.choice(("EUR", "EUR", "USD", "GBP")),
        }
        if record["currency"] != "EUR":
            record["occurred_at"] = f"2025-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}T10:00:00Z"
        for name, cells in (
            ("age", (None, 0, -1, 3.5, 1e300, 10**15, -0.0)),
            ("is_new", (None, True, False)),
            ("country", (None, "DE", "FR", "", "nowhere", "x" * 500)),
            ("channel", (None, "web", "pos")),
        ):
            if chance.random() < 0.7:
                record[name] = chance.choice(cells)
        for _ in range(chance.choice((0, 0, 0, 1, 2, 5))):
            record[self._word() + "_x"] = self._anything(chance.randint(0, 5))
        if chance.random() < 0.004:
            record["deep"] = self._nested(chance.choice((29, 30)))
        if chance.random() < 0.0005:
            record["wide"] = {f"f{i}": i for i in range(chance.choice((1000, 1960)) - _fields(record))}
        if chance.random() < 0.0002:
            record["long"] = "y" * chance.choice((60_000, 250_000))
        items = list(record.items())
        chance.shuffle(items)
        return dict(items)

    def _word(self) -> str:
        return "".join(self.chance.choices(LETTERS, k=self.chance.randint(1, 10)))

    def _id(self) -> str:
        chance = self.chance
        roll = chance.random()
        if roll < 0.8:
            return f"{self._word()}-{chance.randint(0, 9999)}-{self._word()}"
        if roll < 0.9:
            return self._word() + chance.choice(ODD[:8]) + " " + self._word()
        return "".join(chance.choices(LETTERS, k=chance.choice((1, 127, 128))))

    def _time(self) -> str:
        chance = self.chance
        day = f"{chance.choice((1970, 1999, 2020, 2024, 2026, 2026, 2038, 2999, 1582)):04}-{chance.randint(1, 12):02}"
        text = f"{day}-{chance.randint(1, 28):02}{chance.choice('TTTTt ')}{chance.randint(0, 23):02}"
        text += f":{chance.randint(0, 59):02}:{chance.randint(0, 59):02}"
        if chance.random() < 0.4:
            text += "." + "".join(chance.choices("0123456789", k=chance.randint(1, 9)))
        return text + chance.choice(("Z", "Z", "Z", "z", "+00:00", "-00:00", "+14:00", "-12:00", "+05:45"))

    def _amount(self) -> float | int:
        chance = self.chance
        return chance.choice(
            (0, 0.0, -0.0, 1, 12.5, 1e11, 1e-300, 5e-324, 99999999999.99, 10**11, chance.random() * 1e4)
        )

    def _anything(self, depth: int) -> Any:
        chance = self.chance
        roll = chance.random()
        if depth <= 0 or roll < 0.6:
            word = self._word()
            return chance.choice((None, True, 0, -1, 1.5, 2**53, word, "", "\u0000\u001f", "\u200b" + word, "a" * 200))
        if roll < 0.8:
            return [self._anything(depth - 1) for _ in range(chance.randint(0, 4))]
        return {self._word(): self._anything(depth - 1) for _ in range(chance.randint(0, 4))}

    def _nested(self, depth: int) -> Any:
        inner: Any = 1
        for level in range(depth):
            inner = [inner] if level % 2 else {"a": inner}
        return inner

    def _text(self, record: Record) -> bytes:
        """JSON in one of its forms."""
        chance = self.chance
        roll = chance.random()
        if roll < 0.5:
            return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
        if roll < 0.8:
            return json.dumps(record, ensure_ascii=True).encode()
        if roll < 0.9:
            return (
                chance.choice((" ", "\n\t", "\r\n")) + json.dumps(record, indent=chance.randint(0, 3)) + "\n "
            ).encode()
        return STRING.sub(lambda literal: self._escaped(literal[0]), json.dumps(record, ensure_ascii=False)).encode()

    def _escaped(self, literal: str) -> str:
        """A text of JSON in which some letters are written as escapes."""

        def escape(part: re.Match[str]) -> str:
            if part[1] is None or self.chance.random() < 0.7:
                return part[0]
            return f"\\u{ord(part[1]):04x}"

        return re.sub(r"\\u.{4}|\\.|([A-Za-z])", escape, literal)

    # --- bad ones ---

    def bad(self) -> Forged:
        """A record that the contract refuses for a reason that is put in on purpose."""
        (kind,) = self.chance.choices(self._bad, self._weights)
        record = self._record()
        value = kind(record)
        key = self.chance.choice((str(record.get("card_id", "")).encode("utf-8", "replace"), None))
        return Forged(key, value, False, kind.__name__.strip("_"))

    def _sent(self, record: Record) -> bytes:
        return json.dumps(self.source.dressed(record)).encode()

    def _without(self, record: Record) -> bytes:
        name = self.chance.choice(("transaction_id", "occurred_at", "card_id", "merchant_id", "amount"))
        if self.chance.random() < 0.2 and "currency" not in self.source.defaults:
            name = "currency"
        del record[name]
        return self._sent(record)

    def _of_wrong_type(self, record: Record) -> bytes:
        name = self.chance.choice(("transaction_id", "occurred_at", "card_id", "merchant_id", "amount", "currency"))
        wrong: list[Any] = [None, True, [], {}, [1], {"a": "b"}]
        wrong += ["12", ""] if name == "amount" else [1.5] if name.endswith("_id") else [1, 1.5]
        return self._sent({**record, name: self.chance.choice(wrong)})

    def _bad_id(self, record: Record) -> bytes:
        name = self.chance.choice(("transaction_id", "card_id", "merchant_id"))
        word = self._word()
        bad = (
            *("", " ", f" {word}", f"{word}\n", f"{word}\t", "\u00a0" + word, f"{word}\u3000", f"a\u0000{word}"),
            *("a\u001fb", "a\u007fb", "a\u0085b", "a\u2028b", "x" * 129, "é" * 200),
        )
        return self._sent({**record, name: self.chance.choice(bad)})

    def _bad_time(self, record: Record) -> bytes:
        bad = (
            *(
                "",
                "now",
                "2026-13-01T00:00:00Z",
                "2026-02-30T00:00:00Z",
                "2026-01-01T25:00:00Z",
                "2026-01-01T00:61:00Z",
            ),
            *("2026-01-01T00:00:00", "2026-01-01", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "176722560"),
            *("2026-1-1T00:00:00Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.0123456789Z", "2023-02-29T00:00:00Z"),
            *("٢٠٢٦-01-01T00:00:00Z", "2026-01-01T00:00:00+25:00", "2026-01-01T00:00:00Z-", "-2026-01-01T00:00:00Z"),
            *("2026-W01-1T00:00:00Z", "2026-01-01T00:00:00+01000"),
        )
        return self._sent({**record, "occurred_at": self.chance.choice(bad)})

    def _bad_amount(self, record: Record) -> bytes:
        bad = (-1, -0.01, -1e-300, 1.0000001e11, 1e12, 1e300, 10**12, 2**64, -(2**70), 10**25)
        return self._sent({**record, "amount": self.chance.choice(bad)})

    def _bad_currency(self, record: Record) -> bytes:
        bad = ("", "E UR", "EURO", "E", "XXX", "CHF", "EU1", "€", "978", "US\u0000")
        return self._sent({**record, "currency": self.chance.choice(bad)})

    def _bad_attribute(self, record: Record) -> bytes:
        name, cells = self.chance.choice(
            (
                ("age", ("1_2", "many", True, [], {}, [3])),
                ("is_new", (2, 0.5, "perhaps", [], {})),
                ("country", (1.5, [], {}, ["DE"])),
                ("channel", (2.5, ["web"])),
            )
        )
        return self._sent({**record, name: self.chance.choice(cells)})

    def _too_deep(self, record: Record) -> bytes:
        depth = self.chance.choice((32, 33, 40, 126, 253, 254, 255, 500, 900, 1021, 1022, 1023, 2000, 20_000))
        text = self._sent(record).decode()
        opening, closing = self.chance.choice((("[", "]"), ('{"a":', "}")))
        return f'{text[:-1]},"deep":{opening * depth}1{closing * depth}}}'.encode()

    def _too_wide(self, record: Record) -> bytes:
        n = self.chance.choice((2000, 2001, 5000)) if self.chance.random() < 0.1 else 2000
        if self.chance.random() < 0.5:
            return self._sent({**record, "wide": [{f"f{i}": i} for i in range(n)]})
        return self._sent({**record, **{f"f{i}": None for i in range(n)}})

    def _card_number(self, record: Record) -> bytes:
        pan = self.pan()
        roll = self.chance.random()
        if roll < 0.6:
            name = self.chance.choice(("transaction_id", "card_id", "merchant_id", "country", "note"))
            return self._sent({**record, name: pan})
        if roll < 0.8:
            return self._sent({**record, "note": {"deep": [{"er": f"card {pan} was used"}]}})
        return self._sent({**record, f"field {pan}": 1})

    def pan(self) -> str:
        """A card number of a large scheme, as people write them."""
        chance = self.chance
        head, length = chance.choice((("4", 16), ("51", 16), ("55", 16), ("34", 15), ("37", 15), ("6011", 16)))
        digits = head + "".join(chance.choices("0123456789", k=length - len(head) - 1))
        total = 0
        for at, digit in enumerate(reversed(digits)):
            doubled = int(digit) * (2 if at % 2 == 0 else 1)
            total += doubled - 9 if doubled > 9 else doubled
        digits += str(-total % 10)
        cuts = (4, 10) if length == 15 else (4, 8, 12)
        parts = [digits[a:b] for a, b in zip((0, *cuts), (*cuts, length), strict=True)]
        return chance.choice(("", "", " ", "-", ".", "_", "/")).join(parts)

    def _no_json(self, record: Record) -> bytes | None:
        text = self._sent(record).decode()
        return self.chance.choice(
            (
                *(None, b"", b" ", b"{", b"}", b"nul", b"\x00", b"\x80\x81", text.encode() + b"}", text.encode() * 2),
                *(text.replace(":", "=", 1).encode(), text.replace('"', "'").encode(), b"// " + text.encode()),
                *(text[:-1].encode() + b',"x":%s}' % cell for cell in (b"nan", b"inf", b"01", b"+1", b".5", b"1.")),
                *(text[:-1].encode() + b",}", text[:-1].encode() + b',"x":"\n"}', b"\x1f\x8b\x08" + text.encode()),
            )
        )

    def _cut(self, record: Record) -> bytes:
        text = self._sent(record)
        return text[: self.chance.randint(0, len(text) - 1)]

    def _no_object(self, record: Record) -> bytes:
        text = self._sent(record)
        return self.chance.choice(
            (b"null", b"true", b"7", b"1.5", b'"x"', b"[]", b"[" + text + b"]", json.dumps(text.decode()).encode())
        )

    def _bad_encoding(self, record: Record) -> bytes:
        text = json.dumps(self.source.dressed({**record, "note": "äöü"}), ensure_ascii=False)
        broken = text.encode()
        at = broken.index("ä".encode())
        return self.chance.choice(
            (text.encode("latin-1", "replace"), text.encode("utf-16"), text.encode("utf-32"), b"\xef\xbb" + broken,
             broken[:at] + b"\xed\xa0\x80" + broken[at + 2 :], broken[:at] + b"\xc0\xaf" + broken[at + 2 :],
             broken[:at] + b"\xf5\x80\x80\x80" + broken[at + 2 :], broken[:at] + b"\\ud800" + broken[at + 2 :],
             broken[:at] + b"\\udc00\\ud800" + broken[at + 2 :], broken[: at + 1] + broken[at + 2 :])
        )  # fmt: skip

    # --- mutations ---

    def mutated(self) -> Forged:
        """One from before with a few bytes changed, as a bad disk would; the judge says what it is."""
        chance = self.chance
        value = bytearray(chance.choice(self._before).value or b"{}")
        if len(value) > 5_000:
            value = value[:5_000]
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            at, roll = chance.randrange(len(value) + 1), chance.randrange(7)
            if roll == 0:
                value[at : at + 1] = bytes([chance.randrange(256)])
            elif roll == 1:
                del value[at : at + chance.choice((1, 1, 2, 10, 100))]
            elif roll == 2:
                value[at:at] = bytes(chance.choices(b'"{}[]:,\\ 0123456789eE.+-\x00\xffntf', k=chance.randint(1, 4)))
            elif roll == 3 and at < len(value):
                value[at] ^= 1 << chance.randrange(8)
            elif roll == 4:
                value[at:at] = value[at : at + chance.randint(1, 60)]
            elif roll == 5:
                other = chance.choice(self._before).value or b""
                start = chance.randrange(len(other) + 1)
                value[at : at + 20] = other[start : start + 40]
            else:
                word = chance.choice(
                    (b"null", b"true", b"1e999", b"-0", b"1e5", b"[]", b"{}", b'""', b"1E400", b"9" * 30)
                )
                colon = value.find(b":", at)
                end = min((i for i in (value.find(b",", colon), value.find(b"}", colon)) if i > 0), default=-1)
                if 0 <= colon < end:
                    value[colon + 1 : end] = word
        made = bytes(value)
        key = chance.choice((None, b"k", str(self._cards[0]).encode()))
        source = self.source
        return Forged(key, made, judged(made, key, source.renamed, source.defaults, source.dropped), "mutated")
