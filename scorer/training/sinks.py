"""Where lineage may be told beside the store of bundles: sinks of other people's catalogues, none of them by default.

A sink is a copy for whoever looks there. The manifest stays what counts, so a sink that fails changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from scorer.bundles.manifest import Manifest
from scorer.errors import UserError

#: Module by the kind of a sink. It is imported when the sink is used, and has `send(uri, digest, manifest, store)`.
KINDS = {"mlflow": "scorer.training.to_mlflow", "openlineage": "scorer.training.to_openlineage"}
#: Most characters of a sink's own words.
_SHOWN = 300
_SECRET = re.compile(r"(?<=://)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class Sink:
    """A sink by its kind and its address."""

    kind: str
    uri: str

    @classmethod
    def parse(cls, text: str) -> Sink:
        """A sink as options have it: KIND=URI. Raises UserError."""
        kind, _, uri = text.partition("=")
        if kind not in KINDS or not uri.strip():
            raise UserError(
                f"sink {_SECRET.sub('…', text)[:80]}: expected mlflow=URI, such as mlflow=http://tracking:5000, or "
                "openlineage=URI, such as openlineage=http://marquez:5000 or openlineage=events.jsonl"
            )
        return cls(kind, uri.strip())

    def require(self) -> None:
        """Raise UserError if its library is not installed."""
        import_module(KINDS[self.kind]).library()

    def send(self, digest: str, manifest: Manifest, store: str) -> str:
        """Tell of a bundle; what was done, for people. store: address of the store it is in.

        Raises SinkError, whatever went wrong.
        """
        try:
            told: str = import_module(KINDS[self.kind]).send(self.uri, digest, manifest, store)
        except Exception as error:  # of libraries and servers that are not ours
            words = " ".join(_SECRET.sub("…", str(error)).split())[:_SHOWN] or type(error).__name__
            raise SinkError(f"{self.kind}: bundle {digest[:12]} is not told of there ({words})") from None
        return told


class SinkError(Exception):
    """A sink was not told. The text is one line without secrets."""


def sinks(texts: tuple[str, ...]) -> tuple[Sink, ...]:
    """Sinks of options, each once. Raises UserError for one that is none, or whose library is not installed."""
    found = tuple(dict.fromkeys(map(Sink.parse, texts)))
    for sink in found:
        sink.require()
    return found


def told_of(
    to: tuple[Sink, ...], digest: str, manifest: Manifest, store: str, tell: Callable[[str], Any]
) -> tuple[Sink, ...]:
    """Tell each sink of a bundle; those that took it. tell: called with a line for each, also for one that failed."""
    took = []
    for sink in to:
        try:
            tell(sink.send(digest, manifest, store))
        except SinkError as error:
            again = f"scorer bundle export {digest[:12]} --to {sink.kind}=URI"
            tell(f"{error}; the bundle is whole, and `{again}` tells of it again")
        else:
            took.append(sink)
    return tuple(took)
