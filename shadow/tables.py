"""Tables of a page as HTML text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "wide") -> str:
    """Cells are HTML; the first of each row is its header. On a phone a wide table becomes one block a row."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = []
    for first, *rest in rows:
        cells = "".join(
            f'<td data-name="{escape(name)}">{cell}</td>' for name, cell in zip(head[1:], rest, strict=True)
        )
        body.append(f'<tr><th scope="row" data-name="{escape(head[0])}">{first}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
