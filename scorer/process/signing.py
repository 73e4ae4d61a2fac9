"""The options with which people sign what they decide, and name a slot: refused at once where they make no sense."""

from __future__ import annotations

import re
from typing import Any

import click

from scorer.deployments.records import SLOT_NAME
from scorer.errors import UserError
from scorer.people import one_line


class _Said(click.ParamType):
    """A text that says something, as one line: what cannot be printed, and blanks around and in a row, are left out."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        said = one_line(str(value))
        if said is None:
            option = param.opts[0] if param is not None else "text"
            raise UserError(f"{option}: says nothing; give your {_WHAT.get(option, 'text')}, for the record")
        return said


class _SlotName(click.ParamType):
    """The name of a slot, of whatever is or will be in it."""

    name = "slot"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(SLOT_NAME, str(value)) or str(value).endswith("\n"):
            raise UserError(
                f"--slot {value!r}: expected up to 31 lower-case letters, digits and dashes, beginning with a letter"
            )
        return str(value)


#: What is expected of an option.
_WHAT = {"--by": "name", "--reason": "reason"}
#: The type of an option that signs something.
SAID = _Said()
#: The type of an option that names a slot.
SLOT = _SlotName()
