"""Reads `release.yaml`, and adds excuses to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken
from ruamel.yaml.util import load_yaml_guess_indent

from scorer.errors import SettingsError
from shadow.gate.criteria import Release, parse

EXCUSES = "may_stay_insufficient"


def excusing(text: str, patterns: Sequence[str]) -> str:
    """The text of a release.yaml that excuses these patterns too; nothing else in it changes.

    Without `may_stay_insufficient` the list is added at the end. Raises SettingsError where the file is laid out in a
    way that writing it would change, and names the patterns to add by hand.
    """
    try:
        excused = _excusing(text, patterns)
    except Exception:  # the parser that keeps comments knows another YAML, and raises errors of many kinds
        excused = None
    if excused is None:
        told = ", ".join(repr(pattern) for pattern in patterns)
        raise SettingsError(
            f"release criteria: cannot be edited without changing their layout; add to {EXCUSES} by hand: {told}"
        )
    return excused


def _excusing(text: str, patterns: Sequence[str]) -> str | None:
    """`excusing`; None where writing the file would change its layout. May raise anything."""
    writer, document = _read(text)
    if _written(writer, document) != f"{text.removesuffix(chr(10))}\n":
        return None
    new = [pattern for pattern in patterns if pattern not in document.get(EXCUSES, ())]
    if not new:
        return text
    if document.get(EXCUSES) == []:
        document[EXCUSES].fa.set_flow_style()  # an empty list is written in one line: it stays there
    listed = document.setdefault(EXCUSES, CommentedSeq())
    _extend(listed, new)
    return _written(writer, document)


def _read(text: str) -> tuple[YAML, Any]:
    """The document with its comments, and a writer that indents as it does."""
    writer = YAML()
    writer.preserve_quotes = True
    writer.width = 10_000  # no line is folded
    writer.explicit_start = bool(re.search(r"^---", text, re.MULTILINE)) or None
    _, sequence, offset = load_yaml_guess_indent(text)
    mapping = re.search(r"^( +)[^\s#-]", text, re.MULTILINE)
    writer.indent(mapping=len(mapping[1]) if mapping else 2)
    if offset is None:  # no list to take the indentation from
        writer.indent(sequence=4, offset=2)
    else:
        writer.indent(sequence=sequence, offset=offset)
    return writer, writer.load(text)


def _written(writer: YAML, document: Any) -> str:
    out = StringIO()
    writer.dump(document, out)
    return out.getvalue()


def _extend(listed: CommentedSeq, patterns: Sequence[str]) -> None:
    """Append patterns. The lines after a list belong to its last item: they move behind the new ones."""
    last = len(listed) - 1
    following = None
    if last in listed.ca.items and listed.ca.items[last][0] is not None:
        own, _, following = listed.ca.items[last][0].value.partition("\n")
        if own:
            listed.ca.items[last][0].value = f"{own}\n"
        else:
            del listed.ca.items[last]
    listed.extend(patterns)
    if following:
        listed.ca.items[len(listed) - 1] = [CommentToken(f"\n{following}", CommentMark(0), None), None, None, None]


def load_release(path: Path) -> Release:
    """Criteria from a file. Raises SettingsError."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"release criteria {path}: {error.strerror}; set SHADOW_RELEASE to an existing file"
        ) from None
    except SettingsError:
        raise
    except ValueError as error:  # no UTF-8, or no name of a file
        raise SettingsError(f"release criteria {path}: {error}; correct the file") from None
