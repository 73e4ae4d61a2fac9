"""What several pages of the explorer say in the same way."""

from __future__ import annotations

from shadow.web.view import View

#: Who blocks, by outcome: for the style, and in words.
WHO = {
    "live_only": ("live", "live alone"),
    "candidate_only": ("candidate", "candidate alone"),
    "both_block": ("", "both block"),
    "both_allow": ("", "both allow"),
}


def told(value: float) -> str:
    """A number of transactions."""
    return f"{value:,.0f}"


def to_transaction(view: View, transaction: str) -> str:
    bare = View(slot=view.slot, run=view.run, transaction=transaction)
    return bare.address("/explore/transaction")
