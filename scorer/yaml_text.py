"""Reads the YAML that people write: settings, the feature view, release.yaml. It raises one error, whatever they hold.

PyYAML raises errors of many kinds: for a date such as 2026-13-45, a number such as 0x_, or deep nesting. And a few
lines of anchors may stand for more nodes than there is memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

#: Longest text, deepest nesting, and most nodes once every alias stands for what it names.
LONGEST, DEEPEST, MOST_NODES = 1 << 20, 40, 100_000


class YamlTextError(ValueError):
    """A text is not YAML that can be read. Its message is one line."""


def read_yaml(text: str) -> Any:
    """What a text says, in plain Python values. Raises YamlTextError and nothing else."""
    if len(text) > LONGEST:
        raise YamlTextError(f"{len(text):,} characters, at most {LONGEST:,} expected")
    try:
        _check_size(yaml.parse(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except YamlTextError:
        raise
    except Exception as error:
        told = str(error).splitlines()
        raise YamlTextError((told[0] if told else type(error).__name__)[:300]) from None


def _check_size(events: Iterator[yaml.Event]) -> None:
    """Raises YamlTextError for what is too deep, or stands for too many nodes."""
    whole: dict[str, int] = {}  # nodes below each anchor, the aliases in it written out
    open_ones: list[tuple[str | None, int]] = []  # anchor, and nodes before it
    nodes = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            nodes += whole.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                whole[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_ones.append((event.anchor, nodes))
            nodes += 1
            if len(open_ones) > DEEPEST:
                raise YamlTextError(f"nested deeper than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_ones.pop()
            if anchor:
                whole[anchor] = nodes - before
        if nodes > MOST_NODES:
            raise YamlTextError(f"more than {MOST_NODES:,} values")
