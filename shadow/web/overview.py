"""The overview: each candidate as a card, with what the gate says of it, what holds it, and what to do next; what is
live; and what waits for a person."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response

from scorer.deployments.records import CANDIDATE, Override
from scorer.deployments.slots import NOTHING_DECIDED, Deployments, Slot
from scorer.errors import UserError
from shadow.comparison.totals import ALL, SegmentTotals
from shadow.gate.findings import Decision
from shadow.gate.shares import percent
from shadow.intake.reviews import verdict_of
from shadow.release import sentences
from shadow.release.lapse import standing
from shadow.release.look import Look, judged_slots, present_run
from shadow.release.standing import status_of
from shadow.release.status import SlotVerdict, Status, told
from shadow.release.telling import printable
from shadow.release.twin import missing_twin
from shadow.release.wording import minute, to_be_filled, why_no_suggestion
from shadow.serve.service import TOO_OLD, Serve
from shadow.web.answers import tagged
from shadow.web.differences import POLICY
from shadow.web.rendering import TEMPLATES
from shadow.web.static_files import static

#: Segments that a card lists.
SEGMENTS = 12
#: Stands for the entity tag until it is known.
_TAG = "@entity-tag@"
_TITLES = {
    Decision.PROMOTE: ("promote", "✓ ready"),
    Decision.HOLD: ("hold", "… on hold"),
    Decision.REJECT: ("reject", "✗ rejected"),
}
_OVERRIDES: dict[Override, str] = {
    "allow_all": "every transaction is allowed", "block_all": "every transaction is blocked"
}  # fmt: skip


class Overview:
    """Tells how everything stands. What a look leads to is computed once, however many ask."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._verdicts: dict[str, tuple[Look, SlotVerdict]] = {}

    def verdict(self, slot: str, seen: Look) -> SlotVerdict:
        """The verdict of the last look at a slot, and the cases that wait for a review."""
        held = self._verdicts.get(slot)
        if held is None or held[0] is not seen:
            held = self._verdicts[slot] = seen, verdict_of(seen, self._serve.release)
        return held[1]

    def gathered(self) -> dict[str, Any]:
        """What the page is given. May wait for the store."""
        serve = self._serve
        deployments, looks = serve.deployments, dict(serve.looks)
        trouble = serve.trouble or (TOO_OLD if serve.is_late else None)
        found = self._status(looks, trouble)
        unit, currency, mixed = money_of(deployments)
        slots = judged_slots(deployments, serve.settings)
        cards = [self._card(slot, looks.get(slot), found, unit, currency) for slot in slots]
        return {
            "headline": _headline(cards, found),
            "trouble": trouble,
            "seen": "" if trouble is None or not looks else _seen_at(serve),
            "mixed": mixed,
            "cards": cards,
            "compare": f"/compare?{urlencode({'slots': ','.join(slots[:2])})}" if len(slots) > 1 else "",
            "fill": _upper(to_be_filled(CANDIDATE)),
            "is_live": not deployments.slot("live").is_empty,
            "alarms": _alarms(found),
            "facts": [
                (name, printable(text))
                for name, text in told(found)
                if not (name in slots and text.startswith("bundle "))  # it has a card; a slot may be called as a line
            ],
        }

    def _status(self, looks: dict[str, Look], trouble: str | None) -> Status:
        serve = self._serve
        verdicts = {} if trouble else {slot: self.verdict(slot, seen) for slot, seen in looks.items()}
        after = None if trouble else serve.release_watch.last
        return status_of(serve.deployments, serve.manifest, verdicts, trouble, serve.settings, after)

    def _card(self, slot: str, seen: Look | None, found: Status, unit: float, currency: str) -> dict[str, Any]:
        deployments = self._serve.deployments
        state, run = deployments.slot(slot), present_run(deployments, slot)
        since = "" if state.since is None else minute(state.since)
        query = urlencode({"slot": slot})
        card: dict[str, Any] = {
            "slot": slot,
            "holds": f"Bundle {str(state.digest)[:12]}"
            + ("" if state.threshold is None else f" at threshold {state.threshold:g}")
            + (f", there since {since}" if since else ""),
            "run": str(run or ""),
            "links": [
                ("Differences", f"/explore?{query}"),
                ("Review", f"/review?{query}"),
                ("Release", f"/release?{query}"),
                ("Report", f"/report?{query}"),
                ("History", f"/history?{query}"),
            ],
            "kind": "hold",
            "is_judged": seen is not None and seen.candidate.run == run,
        }
        if seen is None or not card["is_judged"]:
            return card
        return card | self._of_look(seen, found, unit, currency)

    def _of_look(self, seen: Look, found: Status, unit: float, currency: str) -> dict[str, Any]:
        deployments, slot, judgement = self._serve.deployments, seen.slot, seen.judgement
        kind, sign = _TITLES[judgement.decision]
        whole = seen.candidate.segments.get(ALL, SegmentTotals())
        hours = seen.candidate.hours
        obstacles = sentences.obstacles(judgement, seen.candidate)
        reviews = self.verdict(slot, seen).reviews
        stands = standing(deployments, slot, datetime.now(UTC))
        why_none = "" if stands else why_no_suggestion(deployments, slot, judgement)
        steps = sentences.steps(slot, judgement, obstacles, reviews, stands and stands[0], why_none)
        clean = judgement.clean
        return {
            "kind": kind,
            "sign": sign,
            "verdict": printable(sentences.verdict(judgement, obstacles)),
            "sides": sentences.sides(whole, hours, unit, currency) if whole.compared else [],
            "money": sentences.change_in_money(whole, hours, unit, currency) if whole.compared else "",
            "differ": sentences.differ(whole),
            "noise": sentences.noise(judgement),
            "good": sentences.good_or_bad(judgement, reviews),
            "clean": None
            if clean is None
            else {
                "told": sentences.clean_days(clean),
                "width": round(100 * min(1.0, clean.hours / max(1, clean.needed)), 1),
                "more": list(map(_upper, sentences.restarted(clean))),
            },
            "holds_it": printable(_upper(obstacles[0].told)) if obstacles else "",
            "rest": [printable(_upper(one.told)) for one in obstacles[1:]],
            "steps": steps,
            "reviews": f"/explore?{urlencode({'slot': slot, 'label': 'waiting', 'noise': 'show'})}" if reviews else "",
            "waits": [
                printable(text)
                for one in found.waiting
                if one.slot == slot
                for text in (f"{by}: {said}" for by, said in one.comments)
            ],
            "notes": [printable(one) for one in self._notes(seen)],
            "segments": _segments(seen, unit, currency),
        }

    def _notes(self, seen: Look) -> list[str]:
        """What else is worth knowing before a release."""
        group, twin = seen.judgement.group, None
        if seen.judgement.decision is Decision.PROMOTE:
            twin = missing_twin(self._serve.deployments, seen.slot, self._serve.settings.control)
        return [one for one in (None if group is None else group.told, twin) if one]


def money_of(deployments: Deployments) -> tuple[float, str, str]:
    """Minor units in a unit of the reporting currency, its code, and why there is none that can be told."""
    try:
        currency = deployments.currency
    except UserError as error:
        return NOTHING_DECIDED.minor_per_unit, "", str(error)
    if currency is None:
        return NOTHING_DECIDED.minor_per_unit, "", ""
    return currency.minor_per_unit, currency.code, ""


def _alarms(found: Status) -> list[str]:
    """What somebody has to see before all else."""
    alarms = []
    override = found.slots.get("live", Slot()).override
    if override is not None:
        alarms.append(f"The kill switch is on: {_OVERRIDES[override]}, whatever the models say.")
    if found.watch is not None and found.watch.is_harm:
        alarms.append(f"{_upper(found.watch.reason)}. See `shadow rollback`.")
    return [printable(one) for one in alarms]


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]


def _seen_at(serve: Serve) -> str:
    at = datetime.fromtimestamp(time.time() - (time.monotonic() - serve.looked), UTC)
    return f"What follows is of the last evaluation, at {at:%Y-%m-%d %H:%M} UTC."


def _headline(cards: list[dict[str, Any]], found: Status) -> str:
    ready, bad = (sum(card["kind"] == kind for card in cards) for kind in ("promote", "reject"))
    if not cards:
        return "No candidate is beside live"
    parts = [f"{ready} ready"] if ready else []
    parts += [f"{bad} rejected"] if bad else []
    parts += [f"{len(cards) - ready - bad} not decided"] if len(cards) > ready + bad else []
    many, waits = "1 candidate" if len(cards) == 1 else f"{len(cards)} candidates", len(found.waiting)
    release = "1 release waits" if waits == 1 else f"{waits} releases wait" if waits else "nothing waits"
    return f"{many}: {', '.join(parts)}; {release} for a person"


def _segments(seen: Look, unit: float, currency: str) -> list[dict[str, str]]:
    """The segments in which the two differ most often, as a share of what they hold."""
    parts = [(name, part) for name, part in seen.candidate.segments.items() if name != ALL and part.compared]
    parts.sort(key=lambda one: (-sum(one[1].counts[2:]) / one[1].compared, one[0]))
    rows = []
    for name, part in parts[:SEGMENTS]:
        n, only = part.compared, int(part.counts[2]) + int(part.counts[3])
        by_candidate = int(part.counts[1]) + int(part.counts[3])
        query = urlencode({"slot": seen.slot, "segment": name, "noise": "show"})
        rows.append(
            {
                "name": printable(sentences.place(name)),
                "address": f"/explore?{query}",
                "differ": f"{percent(only / n, 2)} ({only:,})",
                "live": percent(part.live_blocks / n, 2),
                "candidate": percent(by_candidate / n, 2),
                "money": sentences.money(float(part.minor[3]) - float(part.minor[2]), unit, currency),
            }
        )
    return rows


def router(serve: Serve, readers: list[Any], turn: list[Any]) -> APIRouter:
    """`/`. readers: who may ask. turn: for what reads much."""
    pages = APIRouter(dependencies=readers, include_in_schema=False)
    overview = Overview(serve)

    @pages.get("/", dependencies=turn)
    async def page(request: Request) -> Response:
        given = await asyncio.to_thread(overview.gathered)
        text = TEMPLATES.get_template("overview.html.j2").render(
            static=static, tag=_TAG, slot="", here="overview", **given
        )
        return tagged(
            request,
            text.encode(),
            "text/html; charset=utf-8",
            hole=_TAG.encode(),
            headers={"content-security-policy": POLICY},
        )

    return pages
