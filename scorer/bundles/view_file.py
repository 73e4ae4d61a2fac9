"""Reads the feature view from its file."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from scorer.errors import SettingsError
from scorer.pipeline.view import FeatureView
from scorer.yaml_text import YamlTextError, read_yaml


def load_view(path: str | Path) -> FeatureView:
    """The feature view in a YAML or JSON file. Raises SettingsError that names the file and the field."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"feature view {path}: {error.strerror}; name an existing file") from None
    except ValueError as error:  # no UTF-8, or no name of a file
        raise SettingsError(f"feature view {path}: {error}; correct the file") from None
    try:
        return FeatureView.model_validate(read_yaml(text))
    except YamlTextError as error:
        raise SettingsError(f"feature view {path}: not YAML ({error}); correct the file") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the view"
        raise SettingsError(f"feature view {path}: {where}: {first['msg']}; correct the file") from None
