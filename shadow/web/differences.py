"""The pages of the explorer: where, when and why the models differ, and one transaction of these.

Rendered here, and complete without a script: every state is an address. With one, links change the page in place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi import Query as Parameter
from fastapi.responses import HTMLResponse

from scorer.deployments.records import CANDIDATE
from shadow.comparison.sample import Sample
from shadow.comparison.totals import ALL, RunTotals, SegmentTotals
from shadow.exploration.cursor import BadCursorError
from shadow.exploration.drivers import drivers
from shadow.exploration.facets import Facet, facets
from shadow.exploration.page import page as page_of
from shadow.exploration.question import OF_TRANSACTION
from shadow.exploration.table import (
    DAY,
    DIRECTION,
    HOUR,
    LABEL,
    LABELS,
    OF_SEGMENTS,
    TOP_FEATURE,
    Table,
    UnknownFieldError,
)
from shadow.exploration.thresholds import WhatIf, by_histogram, by_samples
from shadow.exploration.words import SLIGHT, name_in_words, value_in_words
from shadow.gate.shares import percent
from shadow.release.sentences import WEEK, in_span, money
from shadow.release.telling import printable
from shadow.serve import parquet
from shadow.serve.desk import Opened, unknown
from shadow.web.asked import Asking, Scope
from shadow.web.explore import RunName, currency_of
from shadow.web.figures import figures
from shadow.web.gate import Slot
from shadow.web.guard import STRICT
from shadow.web.reading import Reader, reading
from shadow.web.rendering import TEMPLATES
from shadow.web.said import WHO, to_transaction, told
from shadow.web.static_files import static
from shadow.web.transaction import of_transaction
from shadow.web.view import View

#: Transactions on a page, values of a facet, drivers, and attributes that are facets without being asked for.
ON_A_PAGE, VALUES, DRIVERS, ATTRIBUTES = 25, 8, 8, 3
#: An attribute with more values than this is offered, and not shown unless somebody asks for it.
MOST_VALUES = 500
#: What the pages may load: our own files, and nothing from elsewhere.
POLICY = (
    STRICT.replace("form-action 'none'", "form-action 'self'")
    + "; style-src 'self'; script-src 'self'; connect-src 'self'"
)
_HEADERS = {"content-security-policy": POLICY}
_TITLES = {
    DIRECTION: "Who blocks",
    TOP_FEATURE: "Main reason",
    LABEL: "Label",
    HOUR: "Hour of the day (UTC)",
    DAY: "Day",
    "weekday": "Weekday",
}
_LABEL_WORDS = {"none": "no case for review", "waiting": "waits for review"}


def plainly(value: float | None) -> str:
    """A number in a field of a form."""
    return "" if value is None else f"{value:g}"


def router(asking: Asking, readers: list[Any], turn: list[Any]) -> APIRouter:
    """`/explore` and `/explore/transaction`. readers: who may ask. turn: for what reads much."""
    pages = APIRouter(dependencies=readers, include_in_schema=False)
    whoever = Depends(reading(asking.people))

    @pages.get("/explore", dependencies=turn)
    async def differences(request: Request, reader: Reader = whoever) -> HTMLResponse:
        view = View.of(request.query_params)
        return _rendered("differences.html.j2", **await _differences(asking, view, reader))

    @pages.get("/explore/transaction", dependencies=turn)
    async def transaction(
        transaction: str = Parameter(min_length=1, max_length=300),
        slot: Slot = CANDIDATE,
        run: RunName = None,
        reader: Reader = whoever,
    ) -> HTMLResponse:
        asked = Scope(slot=slot, run=run, transaction=transaction)
        return _rendered("transaction.html.j2", **await of_transaction(asking, asked, reader))

    return pages


def _rendered(template: str, **given: Any) -> HTMLResponse:
    text = TEMPLATES.get_template(template).render(static=static, told=told, plainly=plainly, **given)
    return HTMLResponse(text, headers=_HEADERS)


async def _differences(asking: Asking, view: View, reader: Reader) -> dict[str, Any]:
    """What the page of differences is given."""
    serve = asking.serve
    opened = await asking.open(view, reader, is_glance=True)
    table, unit, currency = opened.table, serve.deployments.minor_per_unit, currency_of(serve) or ""
    try:
        page = page_of(table, opened.rows, view, view.sort, view.ascending, ON_A_PAGE, view.cursor)
        shown = facets(table, opened.masks, _facet_names(table, view), VALUES)
    except BadCursorError as error:
        raise HTTPException(422, f"cursor: {error}") from None
    except UnknownFieldError as error:
        raise HTTPException(404, str(unknown(error))) from None
    labels = dict(zip(table.entries["hash"][page.rows].tolist(), table.labels[page.rows].tolist(), strict=True))
    rows = [_row(one, view, unit, labels) async for one in asking.desk.samples(opened, page.rows)]
    found = drivers(table, opened.rows, DRIVERS)
    totals = await _totals(asking, opened)
    return {
        "slot": view.slot,
        "here": "differences",
        "view": view,
        "sees_cards": reader.sees_cards,
        "fields": table.names,
        "kept": _kept(view),
        "everything": [pair for pair in view.pairs(cursor=None) if pair[0] != "threshold"],
        "here_address": view.address(),
        "facets": [_facet(one, view) for one in shown],
        "headline": _headline(opened, view),
        "lines": _lines(opened, view, totals, unit, currency),
        "basis": _basis(opened),
        "chips": [(printable(text), address) for text, address in view.chips()],
        "clear": view.clear,
        "units": [(name, view.address(unit=name), view.unit == name) for name in ("count", "percent")],
        "noises": [
            (name, view.changed(noise=value), view.noise == value)
            for name, value in (("hidden", "hide"), ("shown", "show"))
        ],
        "exports": [(kind, _export(view, kind)) for kind in ("csv", "jsonl", *("parquet",) * parquet.is_there())],
        "charts": figures(opened, found_any=bool(page.total)),
        "drivers": [
            {
                "name": name_in_words(one.feature),
                "address": view.toggled(TOP_FEATURE, one.feature)[0],
                "share": percent(one.share, 0),
                "width": round(160 * one.share, 1),
                "mean": _push(one.mean),
                "first": f"{percent(one.first, 0)} of the transactions",
            }
            for one in found.features
        ],
        "explained": f"From {found.explained:,} samples with an explanation, of {found.samples:,}. A share is of the "
        "size of all contributions; the average is in log-odds.",
        "rows": rows,
        "heads": _heads(view, currency),
        "first_page": view.address(cursor=None) if view.cursor else None,
        "next_page": view.address(cursor=page.next) if page.next else None,
        "paging": f"{len(rows):,} of {page.total:,} samples.",
        "empty": _empty(opened, view),
        "what_if": await _what_if(asking, view, reader, totals, unit, currency),
    }


def _facet_names(table: Table, view: View) -> list[str]:
    """The fields that are shown at the side: divisions, reasons, and the attributes that part the traffic."""
    few = [
        name
        for name in table.attributes
        if 1 < len(values := list(table.words.attributes[name])) <= MOST_VALUES
        and name not in table.divisions
        and not all(map(_is_number, values))
    ]
    mine = [OF_TRANSACTION + name if name in _TITLES else name for name in few[:ATTRIBUTES]]
    asked = [*view.facet, *view.conditions]
    ours = [DIRECTION, *(OF_SEGMENTS + name for name in table.divisions), TOP_FEATURE, LABEL]
    return list(dict.fromkeys([*asked, *ours, *mine]))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _facet(found: Facet, view: View) -> dict[str, Any]:
    most = max((value.count.value for value in found.values), default=0.0) or 1.0
    entries = []
    for value in found.values:
        address, is_on = view.toggled(found.field, value.name)
        share = value.count.value / found.whole if found.whole else 0.0
        text = percent(share, 0) if view.unit == "percent" else told(value.count.value)
        entries.append(
            {
                "address": address or view.address(),
                "is_on": is_on,
                "name": _value_name(found.field, value.name),
                "text": text,
                "is_thin": value.count.is_thin,
                "width": round(100 * value.count.value / most, 1),
            }
        )
    title = _TITLES.get(found.field) or name_in_words(found.field.removeprefix(OF_SEGMENTS))
    return {"title": printable(title), "entries": entries, "more": f"{found.more:,}" if found.more else ""}


def _value_name(field: str, value: str | None) -> str:
    if value is None:
        return "missing"
    if field == DIRECTION:
        return WHO[value][1]
    if field == LABEL:
        return _LABEL_WORDS.get(value, value)
    if field == TOP_FEATURE:
        return printable(name_in_words(value))
    return printable(value) or "(empty)"


def _headline(opened: Opened, view: View) -> str:
    found = opened.count
    if not found.samples:
        if not len(opened.table):
            return "No samples yet"
        return "No difference matches" if view.chips() else "No difference so far"
    if found.error == 0:
        return "1 transaction" if found.value == 1 else f"{told(found.value)} transactions"
    return f"About {told(found.value)} transactions (95 %: {told(found.low)} to {told(found.high)})"


def _lines(opened: Opened, view: View, totals: RunTotals | None, unit: float, currency: str) -> list[str]:
    if not opened.count.samples:
        return []
    lines = [f"In money {money(opened.money, unit, currency)}"]
    if totals is None or not totals.compared:
        lines[0] += "."
    else:
        hours = view.hours_meant(totals.covered)
        if hours >= WEEK:
            lines[0] += f", {money(in_span(opened.money, hours), unit, currency)} a week"
        share = percent(opened.count.value / totals.compared, 2)
        lines[0] += f". {share} of all {totals.compared:,} transactions that were compared in run {opened.run}."
        whole = totals.segments.get(ALL, SegmentTotals()).counts
        lines.append(
            f"Exactly counted in all traffic: live alone blocks {int(whole[2]):,}, the candidate alone "
            f"{int(whole[3]):,}."
        )
    if opened.hidden is not None and opened.floor is not None:
        lines.append(
            f"Left out as noise: about {told(opened.hidden.value)} whose scores differ by at most {opened.floor:.3g}, "
            "as those of two equal models do (95 % of the A/A control's disagreements)."
        )
    elif opened.floor is None:
        lines.append("No A/A control that differs from live is there to compare with, so nothing is left out as noise.")
    return lines


def _basis(opened: Opened) -> str:
    table = opened.table
    told_of_all = f"Estimated from {len(opened.rows):,} samples; ≈ marks estimates from fewer than 10."
    if len(opened.rows) and opened.count.error == 0:
        told_of_all = "Each of these transactions was kept, so these numbers are exact."
    if len(table) < table.stored:
        told_of_all += (
            f" {len(table):,} of {table.stored:,} stored samples are read so far; the estimates allow for it."
        )
    return f"{told_of_all} Read {opened.age:.0f} s ago."


def _row(sample: Sample, view: View, unit: float, labels: Mapping[float, int]) -> dict[str, Any]:
    side, who = WHO[sample.outcome.key]
    live = sample.live.score
    label = LABELS[labels.get(sample.hash, 0)]
    return {
        "id": printable(sample.transaction_id),
        "address": to_transaction(view, sample.transaction_id),
        "at": sample.occurred_at[:19].replace("T", " "),
        "amount": f"{sample.amount_minor / unit:,.2f}",
        "side": side,
        "who": who,
        "scores": f"{'-' if live is None else f'{live:.3f}'} → {sample.candidate.score:.3f}",
        "gap": "" if sample.gap is None else f"gap {sample.gap:+.3f}",
        "why": [
            f"{printable(name_in_words(part.feature))} "
            f"{printable(value_in_words(part.value, sample.transaction.get(part.feature)))} ({part.difference:+.2f})"
            for part in (sample.why or ())[:3]
            if abs(part.difference) >= SLIGHT
        ],
        "no_why": "not explained yet" if sample.why is None else "a model is no longer in the store",
        "label": "" if label == "none" else _LABEL_WORDS.get(label, label),
    }


def _heads(view: View, currency: str) -> list[tuple[str, str, str]]:
    def head(name: str, sort: str) -> tuple[str, str, str]:
        is_on = view.sort == sort
        address = view.changed(sort=sort, ascending=is_on and not view.ascending)
        return name, address, ("ascending" if view.ascending else "descending") if is_on else ""

    return [
        head("Transaction", "time"),
        head(f"Amount, {currency}" if currency else "Amount", "amount"),
        ("Who blocks", "", ""),
        head("Scores", "gap"),
        ("What pushed them apart (candidate less live)", "", ""),
        ("Label", "", ""),
    ]


def _kept(view: View) -> list[tuple[str, str]]:
    """What the form of filters has no field for."""
    fields = {"card", "transaction", "min_amount", "max_amount", "min_gap", "max_gap", "since", "until", "facet"}
    return [pair for pair in view.pairs(cursor=None) if pair[0] not in fields]


def _export(view: View, kind: str) -> str:
    pairs: dict[str, Any] = {"noise": "hide", "unit": "count", "facet": [], "threshold": None, "cursor": None}
    address = view.address("/api/export", **pairs)
    more = f"format={kind}" + ("&beyond_noise=true" if view.noise == "hide" else "")
    sort = "" if "sort=" in address else f"&sort={view.sort}"
    return f"{address}{'&' if '?' in address else '?'}{more}{sort}"


def _empty(opened: Opened, view: View) -> dict[str, str]:
    if not len(opened.table):
        return {
            "title": "Nothing was compared yet, or nothing of it was kept.",
            "text": "The shadow keeps samples from the first transaction on that it compares. Samples of this run may "
            "also have expired. See /history for when the run began.",
            "address": "",
            "link": "",
        }
    if opened.hidden is not None and opened.hidden.samples:
        return {
            "title": "All that matches is as small as noise.",
            "text": "The scores differ by no more than those of two equal models.",
            "address": view.changed(noise="show"),
            "link": "Show small differences, too",
        }
    if not view.chips():
        return {
            "title": "Both models decided alike.",
            "text": "Neither blocked anything that the other allowed. Samples of what both decided alike are kept.",
            "address": "",
            "link": "",
        }
    return {
        "title": "No sample matches all conditions.",
        "text": "Take one away: each facet shows what there would be without its own condition.",
        "address": view.clear,
        "link": "Clear all conditions",
    }


async def _totals(asking: Asking, opened: Opened) -> RunTotals | None:
    """The exact sums of the run: those of the gate's last look, where it looked at this run."""
    seen = asking.serve.looks.get(opened.slot)
    if seen is not None and seen.candidate.run == opened.run:
        return seen.candidate
    return await asking.serve.store(opened.slot).totals(opened.run)


async def _what_if(
    asking: Asking, view: View, reader: Reader, totals: RunTotals | None, unit: float, currency: str
) -> list[str]:
    if view.threshold is None:
        return []
    plain = not view.where and len(view.segment) <= 1 and not view.chips()[len(view.segment) :]
    if plain and totals is not None:
        part = totals.segments.get(view.segment[0] if view.segment else ALL, SegmentTotals())
        found = by_histogram(part.scores, part.live_blocks, view.threshold)
        basis = "From the scores of all transactions; a range is the width of a bin."
    else:
        whole = await asking.open(view.model_copy(update={"agreements": True, "beyond_noise": False}), reader)
        found = by_samples(whole.table, whole.rows, view.threshold)
        basis = "Estimated from samples, agreements among them, within the conditions above; ranges are 95 %."
    return [*_what_if_lines(found, unit, currency), basis]


def _what_if_lines(found: WhatIf, unit: float, currency: str) -> list[str]:
    def number(one: Any) -> str:
        return told(one.value) if math.isclose(one.low, one.high) else f"{told(one.value)} ({between(one)})"

    def between(one: Any, per: float = 1.0) -> str:
        return f"{told(one.low / per)} to {told(one.high / per)}"

    def amount(one: Any) -> str:
        text = money(one.value, unit, currency)
        return text if math.isclose(one.low, one.high) else f"{text} ({between(one, unit)})"

    return [
        f"With a threshold of {found.threshold:g} the candidate would block {number(found.blocks)} of "
        f"{told(found.transactions)} transactions; live blocks {told(found.live_blocks)}.",
        f"It alone would block {number(found.candidate_only)}, "
        f"{amount(found.candidate_only_money)}; it would let through {number(found.live_only)} that live blocks, "
        f"{amount(found.live_only_money)}.",
    ]


def _push(mean: float) -> str:
    if abs(mean) < SLIGHT:
        return "as much up as down"
    return f"{'raises' if mean > 0 else 'lowers'} the candidate's score by {abs(mean):.2f}"
