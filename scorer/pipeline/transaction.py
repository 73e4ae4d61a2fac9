"""The contract of a transaction: its fields, how other names map to them, and where a card number is allowed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model, model_validator

from scorer.errors import SettingsError
from scorer.pipeline import card_number
from scorer.pipeline.instants import INSTANT, instant_ms
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.money import MOST, Money
from scorer.pipeline.origin import KEY
from scorer.pipeline.view import Attribute

if TYPE_CHECKING:
    from scorer.pipeline.wire import Wire  # which refuses values, as what depends on this module does

REQUIRED = ("transaction_id", "occurred_at", "card_id", "merchant_id", "amount", "currency")
#: Most characters of an id.
LONGEST = 128
#: Most bytes of a transaction, as it comes and under our names. A longer one is rejected, since its decision would not
#: fit into a record.
LONGEST_VALUE = 262_144


#: Characters of ids that nobody sees: C0, DEL, C1, and the separators of lines and paragraphs.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Blanks that are none to `str.strip`: those of no width, fillers, the soft hyphen, and the byte order mark.
_UNSEEN = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u2800\u3164\ufeff\uffa0"
LOOKS_LIKE_A_CARD_NUMBER = (
    "looks like a card number; send a token, or list the field in card_number_fields if it never holds one"
)


def unclean(text: str) -> str | None:
    """Why a text cannot be an id: it has control characters, or begins or ends with a blank. None if it is clean.

    >>> unclean("card-1"), unclean("card-1\u00a0")
    (None, 'begins or ends with a blank; send the id alone')
    """
    if _CONTROL.search(text):
        return "has control characters; send the id alone"
    if text and (_is_blank(text[0]) or _is_blank(text[-1])):
        return "begins or ends with a blank; send the id alone"
    return None


def _is_blank(character: str) -> bool:
    return character.isspace() or character in _UNSEEN


def clean_pattern() -> str:
    """What `unclean` has nothing to say of, as a regular expression of JSON Schema (ECMA-262).

    >>> bool(re.search(clean_pattern(), "card 1")), bool(re.search(clean_pattern(), "card-1\u00a0"))
    (True, False)
    """
    blanks = [n for n in range(0x10000) if _is_blank(chr(n)) and not _CONTROL.match(chr(n))]
    begins = [n for n in blanks if n - 1 not in blanks]
    ends = [n for n in blanks if n + 1 not in blanks]
    blank = "".join(
        f"\\u{n:04x}" if n == end else f"\\u{n:04x}-\\u{end:04x}" for n, end in zip(begins, ends, strict=True)
    )
    other = "".join(c if c in "[-]" else f"\\u{ord(c):04x}" for c in _CONTROL.pattern).replace("[", "[^", 1)
    return f"^(?![{blank}]){other}*(?<![{blank}])(?![\\s\\S])"  # in Python, $ is before a last line break, too


def _say_pattern(schema: dict[str, Any]) -> None:
    schema["pattern"] = clean_pattern()


def _instant(text: str) -> str:
    instant_ms(text)
    return text


def _clean(text: str) -> str:
    why = unclean(text)
    if why is not None:
        raise ValueError(why)
    return text


Name = Annotated[str, Field(min_length=1, max_length=LONGEST)]
#: An id of our records. It may look like a card number where the settings allow it.
Id = Annotated[Name, AfterValidator(_clean), Field(json_schema_extra=_say_pattern)]
#: A time: RFC 3339 with an offset.
Instant = Annotated[str, AfterValidator(_instant), Field(json_schema_extra={"pattern": f"^{INSTANT.pattern}$"})]


class Transaction(BaseModel):
    """A payment transaction as it must arrive. Other fields are kept and passed on.

    No text in it, nor a field's name, may look like a card number, but in the fields of `card_number_fields`.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    card_number_fields: ClassVar[frozenset[str]] = frozenset()

    transaction_id: Id
    occurred_at: Instant = Field(description="RFC 3339 with an offset")
    card_id: Id = Field(description="a token, never the number of the card")
    merchant_id: Id
    amount: Annotated[float, Field(ge=0, le=MOST)] = Field(description="in units of `currency`")
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = Field(description="ISO 4217")

    @model_validator(mode="after")
    def _holds_no_card_number(self) -> Self:
        for name, cell in (self.__dict__ | (self.__pydantic_extra__ or {})).items():
            if name not in self.card_number_fields and card_number.contains([name, cell]):
                raise ValueError(LOOKS_LIKE_A_CARD_NUMBER)
        return self


@dataclass(frozen=True)
class Reading:
    """What decoding depends on: money, field names, the attributes that the feature view declares.

    card_number_fields: fields under our names that may look like card numbers. wire: how values are read that are not
    bare JSON.
    """

    money: Money = field(default_factory=lambda: Money.model_validate({}))
    mapping: FieldNames = field(default_factory=lambda: FieldNames.model_validate({}))
    attributes: tuple[Attribute, ...] = ()
    card_number_fields: tuple[str, ...] = ()
    wire: Wire | None = None

    @cached_property
    def contract(self) -> type[Transaction]:
        """`Transaction` with the declared attributes. Each of these may be null or absent."""
        types: dict[str, Any] = {"number": float | None, "boolean": bool | None, "category": str | None}
        extra: dict[str, Any] = {a.name: (types[a.kind], None) for a in self.attributes}
        if self.least < 0:
            extra["amount"] = (Annotated[float, Field(ge=self.least, le=MOST)], ...)
        contract = create_model("Transaction", __base__=Transaction, **extra)
        contract.card_number_fields = frozenset(self.card_number_fields)
        return contract

    @property
    def least(self) -> float:
        """Least amount that is taken."""
        return 0.0 if self.mapping.negative == "refuse" else -MOST

    @cached_property
    def after_mapping(self) -> Reading:
        """How records are read that are under our names already."""
        return replace(self, mapping=FieldNames.model_validate({"negative": self.mapping.negative}))

    def check_formats(self) -> None:
        """Raise SettingsError for a format of a field that nothing reads, which may be misspelt."""
        odd = next((name for name in self.mapping.formats if name not in self.names), None)
        if odd is not None:
            near = get_close_matches(odd, self.names, 1)
            mend = f"did you mean {near[0]}?" if near else f"name one of {', '.join(sorted(self.names))}"
            raise SettingsError(
                f"mapping.formats.{odd}: neither a field of a transaction nor in the feature view; {mend}"
            )

    def _ours(self, theirs: str) -> list[str]:
        """Our names of a field of the source: one field may serve several of ours."""
        return [name for name, source in self.mapping.fields.items() if source == theirs] or [theirs]

    @cached_property
    def names(self) -> frozenset[str]:
        """The fields that the contract and the feature view name."""
        return frozenset((*REQUIRED, *(attribute.name for attribute in self.attributes)))

    def our_name(self, theirs: str) -> str:
        """Our name of a field of the source; of several, one that no card number may be in."""
        ours = self._ours(theirs)
        return next((name for name in ours if name not in self.card_number_fields), ours[0])

    @cached_property
    def is_key_open(self) -> bool:
        """Whether keys of records may look like card numbers: a key is the card, unless the mapping says otherwise."""
        fields = self.mapping.fields.items()
        mapped = [name for name, theirs in fields if theirs.partition(".")[0] == KEY] or ["card_id"]
        return all(name in self.card_number_fields for name in mapped)

    def is_header_open(self, header: str) -> bool:
        """Whether a header that the mapping reads may look like a card number."""
        mapped = [name for name, theirs in self.mapping.fields.items() if header in self.mapping.headers_of(theirs)]
        return bool(mapped) and all(name in self.card_number_fields for name in mapped)

    def is_masked(self, theirs: str) -> bool:
        """Whether card numbers in a field of the source are masked in dead letters."""
        return self.our_name(theirs) not in self.card_number_fields

    def is_refused(self, theirs: str) -> bool:
        """Whether a card number in a field of the source is refused: what is left out anyway does no harm."""
        return self.is_masked(theirs) and theirs not in self.mapping.left_out
