"""Two candidates beside each other, against the same live: what differs of their bundles, verdicts and rates, and the
transactions that they would decide differently."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi import Query as Parameter

from scorer.bundles.card import Apart, Told, apart, origins_apart
from scorer.errors import UserError
from shadow.comparison.sample import Sample
from shadow.comparison.totals import ALL, RunTotals, SegmentTotals
from shadow.exploration.estimate import Estimate
from shadow.exploration.pairing import Counted, Pairing, paired, stands_for_all
from shadow.exploration.words import SLIGHT, name_in_words, value_in_words
from shadow.gate.findings import Decision
from shadow.release import sentences
from shadow.release.look import judged_slots
from shadow.release.named import require_slot
from shadow.release.side_by_side import checks_apart, ground, rates_apart
from shadow.release.telling import printable
from shadow.serve.service import TOO_OLD
from shadow.web.answers import tagged
from shadow.web.asked import Asking, Scope
from shadow.web.differences import POLICY
from shadow.web.gate import SLOT
from shadow.web.overview import money_of
from shadow.web.reading import Reader, reading
from shadow.web.rendering import TEMPLATES
from shadow.web.said import told
from shadow.web.static_files import static

#: Transactions, segments and checks that are listed; rows of what differs between the bundles, of each part.
TRANSACTIONS, SEGMENTS, CHECKS, ROWS = 20, 15, 25, 20
_SIGNS = {Decision.PROMOTE: "✓ ready", Decision.HOLD: "… on hold", Decision.REJECT: "✗ rejected"}


def router(asking: Asking, readers: list[Any], turn: list[Any]) -> APIRouter:
    """`/compare`. readers: who may ask. turn: for what reads much."""
    pages = APIRouter(dependencies=readers, include_in_schema=False)
    whoever = Depends(reading(asking.people))

    @pages.get("/compare", dependencies=turn)
    async def compare(
        request: Request,
        slots: str = Parameter("", max_length=100),
        slot: list[str] = Parameter([], max_length=2),  # noqa: B008 - FastAPI's way to say it
        reader: Reader = whoever,
    ) -> Response:
        chosen = [name for name in (slots.split(",") if slots else slot) if name]
        given = await _compared(asking, chosen, reader)
        text = TEMPLATES.get_template("compare.html.j2").render(static=static, slot="", here="compare", **given)
        return tagged(request, text.encode(), "text/html; charset=utf-8", headers={"content-security-policy": POLICY})

    return pages


async def _compared(asking: Asking, chosen: list[str], reader: Reader) -> dict[str, Any]:
    """What the page is given. Raises HTTPException for slots that cannot be compared."""
    serve = asking.serve
    deployments = serve.deployments
    known = sorted(name for name, state in deployments.slots.items() if name != "live" and not state.is_empty)
    pair = chosen or judged_slots(deployments, serve.settings)[:2]
    if not chosen and len(pair) < 2:
        return {"pair": [], "known": known, "picked": pair}
    if len(pair) != 2 or pair[0] == pair[1] or not all(re.fullmatch(SLOT, name) for name in pair):
        raise HTTPException(422, "slots: name two different ones, as in /compare?slots=candidate,challenger")
    try:
        for name in pair:
            require_slot(deployments, name)
    except UserError as error:
        raise HTTPException(404, str(error)) from None
    one, other = [await _side(asking, name, reader) for name in pair]
    unit, currency, mixed = money_of(deployments)
    runs = one["totals"], other["totals"]
    joined = await asyncio.to_thread(paired, one.pop("table"), other.pop("table"))
    looks = [serve.looks.get(name) for name in pair]
    judged = [(look.judgement, run) for look, run in zip(looks, runs, strict=True) if look and look.candidate is run]
    checks, more_checks = checks_apart(judged[0], judged[1], CHECKS) if len(judged) == 2 else ([], 0)
    rates, more_rates = rates_apart(*runs, SEGMENTS)
    trouble = serve.trouble or (TOO_OLD if serve.is_late else None)
    return {
        "pair": pair,
        "picked": pair,
        "known": known,
        "trouble": trouble,
        "mixed": mixed,
        "ground": ground((pair[0], pair[1]), *runs),
        "sides": [_told_side(side, unit, currency) for side in (one, other)],
        "bundles": await asyncio.to_thread(_bundles, asking, pair),
        "checks": checks,
        "more_checks": more_checks,
        "are_judged": len(judged) == 2,
        "rates": [(_address(pair[0], row.segment), printable(sentences.place(row.segment)), row) for row in rates],
        "more_rates": more_rates,
        **_differ(joined, pair, unit, currency, runs),
        "transactions": await _transactions(asking, joined, (one, other), pair, unit, currency),
    }


async def _side(asking: Asking, slot: str, reader: Reader) -> dict[str, Any]:
    """A candidate: its run, its sums, its samples."""
    serve = asking.serve
    opened = await asking.open(Scope(slot=slot, agreements=True), reader, is_glance=True)
    seen = serve.looks.get(slot)
    is_seen = seen is not None and seen.candidate.run == opened.run
    totals: RunTotals = seen.candidate if seen is not None and is_seen else await serve.store(slot).totals(opened.run)
    return {
        "slot": slot,
        "opened": opened,
        "table": opened.table,
        "rows": opened.rows,
        "totals": totals,
        "judgement": seen.judgement if seen is not None and is_seen else None,
    }


def _told_side(side: dict[str, Any], unit: float, currency: str) -> dict[str, Any]:
    totals, judgement, slot = side["totals"], side["judgement"], side["slot"]
    whole = totals.segments.get(ALL, SegmentTotals())
    query = urlencode({"slot": slot})
    return {
        "slot": slot,
        "sign": "" if judgement is None else _SIGNS[judgement.decision],
        "kind": "hold" if judgement is None else judgement.decision.value,
        "verdict": "Not judged: the gate judges candidates, and has not looked at this run."
        if judgement is None
        else printable(sentences.verdict(judgement, sentences.obstacles(judgement, totals))),
        "bars": sentences.sides(whole, totals.hours, unit, currency) if whole.compared else [],
        "money": sentences.change_in_money(whole, totals.hours, unit, currency) if whole.compared else "",
        "differ": sentences.differ(whole),
        "links": [("Differences from live", f"/explore?{query}"), ("Report", f"/report?{query}")],
    }


def _bundles(asking: Asking, pair: list[str]) -> dict[str, Any]:
    """What differs between the two bundles. May wait for the store."""
    serve = asking.serve
    states = [serve.deployments.slot(name) for name in pair]
    rows: list[Apart] = []
    if states[0].threshold != states[1].threshold:
        rows.append(Apart("threshold in the slot", *(f"{s.threshold:g}" if s.threshold else "-" for s in states)))
    if states[0].digest == states[1].digest:
        return {"same": True, "trouble": "", "parts": [("Deployed", rows, 0)] if rows else [], "equal": []}
    try:
        one, other = (Told(str(state.digest), serve.manifest(str(state.digest))) for state in states)
    except UserError as error:
        return {"same": False, "trouble": str(error), "parts": [("Deployed", rows, 0)] if rows else [], "equal": []}
    found = {"deployed": [*rows, *origins_apart(one, other)], **apart(one, other)}
    return {
        "same": False,
        "trouble": "",
        "parts": [(title, part[:ROWS], max(0, len(part) - ROWS)) for title, part in found.items() if part],
        "equal": [title for title, part in found.items() if not part],
    }


def _estimate(found: Estimate) -> str:
    if not found.samples:
        return "none seen"
    if found.error == 0:
        return told(found.value)
    return f"{'≈ ' if found.is_thin else 'about '}{told(found.value)} ({told(found.low)} to {told(found.high)})"


def _differ(
    joined: Pairing, pair: list[str], unit: float, currency: str, runs: tuple[RunTotals, RunTotals]
) -> dict[str, Any]:
    """How often the two decide differently, as far as samples of both say, and what was counted."""
    in_both, kept = len(joined.ours), (len(joined.one), len(joined.other))
    if in_both and _are_counted(joined, runs):
        return _counted(joined, pair, unit, currency, runs)
    whole = joined.count(joined.differ)
    sides = joined.count(joined.only_ours), joined.count(joined.only_theirs)
    basis = (
        f"From {in_both:,} transactions that both runs kept ({pair[0]} kept {kept[0]:,} samples, {pair[1]} "
        f"{kept[1]:,}), weighted by how probable that was; ranges are 95 %, ≈ rests on fewer than 10 samples. Where "
        "one of the two agrees with live few are kept, so there may be more."
    )
    if not in_both:
        headline = "No transaction was kept by both runs, so nobody can say on which the two differ"
    elif not whole.samples:
        headline = f"On the {in_both:,} transactions that both runs kept, the two decide alike"
    else:
        headline = f"They decide {_estimate(whole)} transactions differently"
    money = joined.money(joined.only_ours), joined.money(joined.only_theirs)
    return {
        "headline": headline,
        "basis": basis if in_both else "",
        "who": _who(pair, list(map(_estimate, sides)), money, unit, currency) if whole.samples else [],
        "by_segment": [
            (_address(pair[0], name), printable(sentences.place(name)), _estimate(a), _estimate(b))
            for name, a, b in joined.by_segment()[:SEGMENTS]
            if name != ALL
        ],
    }


def _are_counted(joined: Pairing, runs: tuple[RunTotals, RunTotals]) -> bool:
    """Whether both runs counted the same transactions, and their samples stand for all of these."""
    is_same = runs[0].covered == runs[1].covered and runs[0].compared == runs[1].compared
    parts = [run.segments.get(ALL, SegmentTotals()) for run in runs]
    return is_same and stands_for_all(joined.one, parts[0]) and stands_for_all(joined.other, parts[1])


def _counted(
    joined: Pairing, pair: list[str], unit: float, currency: str, runs: tuple[RunTotals, RunTotals]
) -> dict[str, Any]:
    """The same where both runs counted the same transactions."""

    def of(name: str, segment: str | None) -> Counted:
        mine, others = (run.segments.get(name, SegmentTotals()) for run in runs)
        return joined.counted(mine, others, segment)

    whole = of(ALL, None)
    names = [name for name in runs[0].segments if name != ALL]
    rows = [(name, found) for name in names if (found := of(name, name)).differ.value >= 1]
    rows.sort(key=lambda row: (-row[1].differ.value, row[0]))
    no, one = whole.differ.value < 1, whole.differ.error == 0
    return {
        "headline": "The two decide alike"
        if no and one
        else f"They decide {_number(whole.differ)} transactions differently",
        "basis": "How often each disagrees with live was counted exactly; where both do was "
        + ("seen whole. All of these numbers are exact." if one else "estimated from samples. Ranges are 95 %."),
        "who": [] if no and one else _who(pair, list(map(_number, whole.sides)), whole.money, unit, currency),
        "by_segment": [
            (_address(pair[0], name), printable(sentences.place(name)), *map(_number, found.sides))
            for name, found in rows[:SEGMENTS]
        ],
    }


def _number(found: Estimate) -> str:
    if found.error == 0:
        return told(found.value)
    return f"about {told(found.value)} ({told(found.low)} to {told(found.high)})"


def _who(pair: list[str], sides: list[str], money: tuple[float, float], unit: float, currency: str) -> list[str]:
    return [
        f"{name} alone blocks {side}, {sentences.money(minor, unit, currency)}."
        for name, side, minor in zip(pair, sides, money, strict=True)
    ]


def _address(slot: str, segment: str) -> str:
    more = {} if segment == ALL else {"segment": segment}
    return f"/explore?{urlencode({'slot': slot, **more, 'noise': 'show'})}"


async def _transactions(
    asking: Asking,
    joined: Pairing,
    sides: tuple[dict[str, Any], dict[str, Any]],
    pair: list[str],
    unit: float,
    currency: str,
) -> list[dict[str, Any]]:
    """The transactions that the two decide differently, the scores farthest apart first."""
    at = joined.farthest(TRANSACTIONS)
    found = []
    for side, rows in ((sides[0], joined.ours[at]), (sides[1], joined.theirs[at])):
        samples = [one async for one in asking.desk.samples(side["opened"], rows)]
        found.append({one.transaction_id: one for one in samples})
    out = []
    for id_, ours in found[0].items():
        theirs = found[1].get(id_)
        if theirs is None:  # it has expired meanwhile, or is another one with this hash
            continue
        live = ours.live.score
        out.append(
            {
                "id": printable(id_),
                "at": ours.occurred_at[:19].replace("T", " "),
                "amount": f"{currency} {ours.amount_minor / unit:,.2f}".strip(),
                "segments": printable(", ".join(sentences.place(name) for name in ours.segments if name != ALL)),
                "live": "-" if live is None else f"{live:.3f}",
                "scores": [f"{one.candidate.score:.3f}" for one in (ours, theirs)],
                "blocks": [one.candidate.decision == "block" for one in (ours, theirs)],
                "why": [_why(one) for one in (ours, theirs)],
                "links": [f"/explore/transaction?{urlencode({'slot': name, 'transaction': id_})}" for name in pair],
            }
        )
    return out


def _why(sample: Sample) -> str:
    """What pushed a candidate away from live the most."""
    for part in sample.why or ():
        if abs(part.difference) >= SLIGHT:
            value = value_in_words(part.value, sample.transaction.get(part.feature))
            return printable(f"{name_in_words(part.feature)} {value} ({part.difference:+.2f})")
    return "not explained yet" if sample.why is None else "as live"
