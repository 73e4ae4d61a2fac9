"""Renders the pages' templates, and says to browsers what these may load: our own files, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from shadow.web.guard import STRICT

TEMPLATES = Environment(
    loader=PackageLoader("shadow.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
STYLE = (files("shadow.web") / "templates" / "pages.css").read_text(encoding="utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(f"\n{STYLE}".encode()).digest()).decode()
#: Pages without scripts may use their style.
PLAIN = {"content-security-policy": f"{STRICT}; style-src 'sha256-{_STYLE_HASH}'"}


def page(template: str, code: int = 200, headers: dict[str, str] | None = None, **given: Any) -> HTMLResponse:
    """A page without scripts."""
    text = TEMPLATES.get_template(template).render(style=STYLE, **given)
    return HTMLResponse(text, code, {**PLAIN, **(headers or {})})
