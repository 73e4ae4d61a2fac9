"""Shares as people read them. Pure."""

from __future__ import annotations


def percent(share: float, digits: int = 1) -> str:
    """Format a share for people.

    >>> percent(0.1234), percent(0.5, 0)
    ('12.3 %', '50 %')
    """
    return f"{100 * share:,.{digits}f} %"
