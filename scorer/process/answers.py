"""What a command says to other programs: one JSON object on standard output, with all that people read beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import click
import orjson

#: The option that every command has which ends by itself; its parameter is `as_json`.
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; what people read goes to standard error."
)


def answer(told: Mapping[str, Any]) -> None:
    """Print what came of a command. Times in it are in UTC, as ISO 8601 has them."""
    click.echo(orjson.dumps(told, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC))


def teller(as_json: bool) -> Callable[[str], None]:
    """What prints a line for people: on standard output, unless that is for the JSON object."""
    return partial(click.echo, err=as_json)
