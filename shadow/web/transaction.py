"""The page of one transaction: both scores, why they differ in words, what people said, and its card around it."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import urlencode

from shadow.comparison.sample import Contribution
from shadow.comparison.totals import ALL
from shadow.exploration.words import reason, value_in_words
from shadow.release.telling import printable
from shadow.web.asked import Asking, Scope
from shadow.web.explore import currency_of, told_of
from shadow.web.reading import Reader
from shadow.web.said import WHO, to_transaction
from shadow.web.view import View


async def of_transaction(asking: Asking, asked: Scope, reader: Reader) -> dict[str, Any]:
    """What the page of a transaction is given."""
    serve = asking.serve
    found = await told_of(asking, asked, reader)
    sample, unit = found["sample"], serve.deployments.minor_per_unit
    currency, view = currency_of(serve) or "", View(slot=asked.slot, run=asked.run)
    live, candidate = sample["live"], sample["candidate"]
    weight = 1 / sample["inclusion_probability"]
    this = {"address": "", **_beside(sample, unit)}
    around = [
        {**_beside(one, unit), "address": to_transaction(view, one["transaction_id"])} for one in found["same_card"]
    ]
    return {
        "slot": asked.slot,
        "released": sample["released"],
        "here": "transaction",
        "back": view.address(),
        "sees_cards": reader.sees_cards,
        "verdict": found["verdict"],
        "id": printable(sample["transaction_id"]),
        "at": sample["occurred_at"],
        "amount": f"{sample['amount_minor'] / unit:,.2f} {currency}".rstrip(),
        "segments": printable(", ".join(name for name in sample["segments"] if name != ALL)) or "none",
        "stands_for": f"about {weight:,.1f} transactions like it, of run {sample['run']}"
        if weight > 1.05
        else f"itself, of run {sample['run']}",
        "spoken": found["verdict"],
        "scores": [_score("live", live, 22, "fa"), _score("candidate", candidate, 58, "fb")],
        "told_scores": [_told_score("Live", live), _told_score("The candidate", candidate)],
        "reasons": [_reason(part, sample) for part in sample["why"] or ()],
        "no_reasons": "Not explained yet: the shadow does so beside its work, within a minute or so."
        if sample["why"] is None
        else "It cannot be explained: a model, or the definition of its features, is no longer in the store.",
        "votes": [{name: printable(str(value)) for name, value in vote.items()} for vote in found["votes"]],
        "notes": [{name: printable(str(value)) for name, value in note.items()} for note in found["notes"]],
        "assigned": None
        if found["assigned"] is None
        else f"{printable(found['assigned']['to'])} by {printable(found['assigned']['by'])}",
        "is_expired": False,
        "review": "/review?" + urlencode({"slot": asked.slot, "case": sample["transaction_id"]}),
        "blind": False,
        "no_votes": "Nobody has said anything of it yet."
        + (" It is a case that waits for a review." if found["label"] == "waiting" else ""),
        "card": sorted([this, *around], key=lambda one: one["at"], reverse=True) if around else [],
        "fields": [(printable(name), plainly(value)) for name, value in sample["transaction"].items()],
    }


def plainly(value: Any) -> str:
    """What a transaction has in a field, for people."""
    if value is None:
        return "missing"
    return value_in_words(None, value) if isinstance(value, bool) else printable(str(value))


def _beside(sample: dict[str, Any], unit: float) -> dict[str, str]:
    live = sample["live"]["score"]
    return {
        "id": printable(sample["transaction_id"]),
        "at": sample["occurred_at"][:19].replace("T", " "),
        "amount": f"{sample['amount_minor'] / unit:,.2f}",
        "who": WHO[sample["outcome"]][1],
        "scores": f"{'-' if live is None else f'{live:.3f}'} → {sample['candidate']['score']:.3f}",
    }


def _score(name: str, model: dict[str, Any], y: int, style: str) -> dict[str, Any]:
    def x(value: float | None) -> float | None:
        return None if value is None else round(70 + 280 * min(1.0, max(0.0, value)), 1)

    return {"name": name, "y": y, "style": style, "score": x(model["score"]), "threshold": x(model["threshold"])}


def _told_score(name: str, model: dict[str, Any]) -> str:
    if model["score"] is None:
        return f"{name}: no score, an override decided."
    return f"{name} scores {model['score']:.3f}, threshold {model['threshold']:.3f}: {model['decision']}."


def _reason(part: dict[str, Any], sample: dict[str, Any]) -> dict[str, Any]:
    one = Contribution(**part)
    most = max((abs(other["difference"]) for other in sample["why"]), default=0.0) or 1.0
    width = round(78 * abs(one.difference) / most, 1)
    side: Literal["fa", "fb"] = "fb" if one.difference > 0 else "fa"
    return {
        "words": printable(reason(one, sample["transaction"])),
        "value": printable(value_in_words(one.value, sample["transaction"].get(one.feature))),
        "live": f"{one.live:+.2f}",
        "candidate": f"{one.candidate:+.2f}",
        "difference": f"{one.difference:+.2f}",
        "width": width,
        "x": round(80 if one.difference > 0 else 80 - width, 1),
        "style": side,
    }
