"""The texts of messages: our templates, or those of a folder that has files of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from scorer.errors import SettingsError
from shadow.notify.messages import EXAMPLES, shortened
from shadow.settings import EVENTS

#: The event of a message that only shows whether messages arrive.
TEST = "test"
ENDING = ".txt.j2"


class Texts:
    """Writes messages. Raises SettingsError for a template that cannot be read."""

    def __init__(self, folder: Path | None) -> None:
        ours: list[BaseLoader] = [PackageLoader("shadow.notify")]
        if folder is not None and not folder.is_dir():
            raise SettingsError(f"setting notify_templates: {folder}: is no folder")
        loader = ChoiceLoader([FileSystemLoader(folder), *ours] if folder is not None else ours)
        self._folder = folder
        self._environment = SandboxedEnvironment(loader=loader, undefined=StrictUndefined, trim_blocks=True)
        for event in (*EVENTS, TEST):
            self.write(event, EXAMPLES.get(event, {}), None)  # type: ignore[call-overload]

    def write(self, event: str, facts: Mapping[str, Any], link: str | None) -> tuple[str, str]:
        """Title and body: the first line of the template, and the others. link: where people see more."""
        try:
            told = self._template(event).render(**facts)
        except TemplateError as error:
            raise self._refused(event, error) from None
        title, _, body = told.strip().partition("\n")
        return shortened(title)[:120], shortened(body if link is None else f"{body.rstrip()}\n{link}")

    def _template(self, event: str) -> Any:
        try:
            return self._environment.get_template(f"{event}{ENDING}")
        except (TemplateError, UnicodeDecodeError) as error:
            raise self._refused(event, error) from None

    def _refused(self, event: str, error: Exception) -> SettingsError:
        return SettingsError(f"setting notify_templates: {self._folder}/{event}{ENDING}: {str(error).splitlines()[0]}")
