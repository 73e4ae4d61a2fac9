"""`shadow serve`: health, metrics and JSON over Redis; runs the gate and writes its suggestions to the ledger."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from aiokafka.errors import KafkaError
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi import Query as Parameter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from redis.exceptions import RedisClusterException, RedisError

from scorer.deployments import CONTROL, LIVE, Deployments, Suggestion
from scorer.errors import UserError
from scorer.ledger import Follower
from scorer.store import BundleStore
from scorer.topics import partitions_of, reader, spans
from shadow import metrics
from shadow.backlog import backlog
from shadow.clean import CAUSES
from shadow.criteria import Release
from shadow.gate import Decision, Verdict
from shadow.labelfeed import LabelTail
from shadow.labelstore import LabelStore
from shadow.look import Look, judged_slots, look, present_run, proposal
from shadow.promotion import suggest
from shadow.query import Query, select
from shadow.review_api import bearer, router
from shadow.settings import ShadowSettings
from shadow.store import AWAY, TallyStore, connect, memory
from shadow.tally import OUTCOMES, Run, RunTotals

log = logging.getLogger(__name__)

#: `/readyz` fails when the gate has not looked for so many of its intervals.
LATE_LOOKS = 5
_LEVEL = {Verdict.PASS: 1, Verdict.INSUFFICIENT: 0, Verdict.FAIL: -1}
_DECISION = {Decision.PROMOTE: 1, Decision.HOLD: 0, Decision.REJECT: -1}


PER_CRITERION = (
    metrics.CRITERION,
    metrics.OBSERVED,
    metrics.BOUND,
    metrics.LIMIT,
    metrics.FLOOR,
    metrics.EVIDENCE,
)


class Serve:
    """State behind the API: a client of Redis, a fold of the ledger, and the last looks."""

    def __init__(self, settings: ShadowSettings, release: Release) -> None:
        self.settings, self.release = settings, release
        self.redis = connect(settings.redis)
        self.looks: dict[str, Look] = {}
        self.looked = time.monotonic()
        self.trouble: str | None = "starting"
        self._bundles = BundleStore(settings.store, settings.cache)
        self._follower = Follower(settings, self._noted)
        self._labels = LabelTail(settings, LabelStore(self.redis, settings.prefix, settings.label_days))
        self._tasks: list[asyncio.Task[None]] = []
        self._watched: set[str] = set()

    @property
    def deployments(self) -> Deployments:
        """The ledger's present fold."""
        return self._follower.deployments

    @property
    def is_late(self) -> bool:
        """Whether the last look is too long ago to be relied on."""
        return time.monotonic() - self.looked > LATE_LOOKS * self.settings.gate_seconds + 10

    async def start(self) -> None:
        """Follow the ledger and begin to look."""
        await self._follower.start()
        self._labels.start()
        self._tasks = [
            asyncio.create_task(self._look_often(), name="gate"),
            asyncio.create_task(self._watch_often(), name="watch"),
        ]

    async def stop(self) -> None:
        """Stop looking and disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._labels.stop()
        await self._follower.stop()
        await self.redis.aclose()

    async def _noted(self, deployments: Deployments) -> None:
        metrics.SUGGESTIONS.set(len(deployments.open_suggestions()))
        for name, slot in deployments.slots.items():
            if slot.is_empty:
                metrics.SLOT_EPOCH.remove_by_labels({"slot": name})
            else:
                metrics.SLOT_EPOCH.labels(name).set(slot.epoch)

    def store(self, slot: str) -> TallyStore:
        """The store of a slot."""
        return TallyStore(self.redis, slot, self.release.segments.names, self.settings.prefix)

    async def _look_often(self) -> None:
        while True:
            try:
                await self.look_at_all()
                self.trouble, self.looked = None, time.monotonic()
            except (*AWAY, UserError) as error:
                metrics.GATE_ERRORS.inc()
                self.trouble = str(error)
                log.warning("the gate cannot look: %s", error)
            await asyncio.sleep(self.settings.gate_seconds)

    async def look_at_all(self) -> None:
        """Judge every candidate slot, put the findings into the metrics, and suggest what is ready."""
        deployments = self.deployments
        slots = judged_slots(deployments, self.settings)
        for gone in set(self.looks) - set(slots):
            del self.looks[gone]
            _forget(gone)
        control = present_run(deployments, self.settings.control)
        if not slots or control is None:
            metrics.OUTCOMES.remove_by_labels({"slot": self.settings.control})
        for slot in slots:
            with metrics.GATE_SECONDS.time():
                seen = await look(self.redis, deployments, slot, self.release, self.settings)
            before = self.looks.get(slot)
            if before is None or before.judgement.decision is not seen.judgement.decision:
                log.info("slot %s: %s", slot, seen.judgement.reason)
            self.looks[slot] = seen
            if before is not None:
                _drop(before, seen)
            _show(seen)
            if seen.control is not None:
                _show_outcomes(self.settings.control, seen.control)
            suggestion = proposal(
                deployments, seen, self.release, await asyncio.to_thread(self._known, deployments, slot)
            )
            if suggestion is not None:
                line = await suggest(self.settings, suggestion)
                log.info("slot %s: suggested (ledger %s)", slot, line.seq)

    async def _watch_often(self) -> None:
        while True:
            try:
                await self.watch()
            except (*AWAY, KafkaError, UserError) as error:
                metrics.WATCH_ERRORS.inc()
                for gauge in (metrics.UNREAD, metrics.RETENTION_USED, metrics.REDIS_USED, metrics.REDIS_LIMIT):
                    gauge.clear()  # what is not known any more is not shown
                log.warning("cannot see how far the slots are: %s", error)
            await asyncio.sleep(self.settings.gate_seconds)

    async def watch(self) -> None:
        """Put into the metrics how far every slot is behind the topic, and how full Redis is."""
        for node, (used, limit) in (await memory(self.redis)).items():
            metrics.REDIS_USED.labels(node).set(used)
            metrics.REDIS_LIMIT.labels(node).set(limit)
        parts = await partitions_of(self.settings, self.settings.topics.decisions)
        if not parts:
            return
        async with reader(self.settings) as consumer:
            ends = await spans(consumer, parts)
        filled = {name for name, slot in self.deployments.slots.items() if slot.digest and name != LIVE}
        for gone in self._watched - filled:
            metrics.UNREAD.remove_by_labels({"slot": gone})
            metrics.RETENTION_USED.remove_by_labels({"slot": gone})
        self._watched = filled
        for slot in filled:
            fences = {part.partition: part.next for part in await self.store(slot).progress()}
            seen = backlog(ends, fences)
            metrics.UNREAD.labels(slot).set(seen.unread)
            metrics.RETENTION_USED.labels(slot).set(seen.retention_used)

    def _known(self, deployments: Deployments, slot: str) -> dict[str, Any]:
        digest = deployments.slot(slot).digest
        try:
            manifest = self._bundles.fetch(str(digest)).manifest
        except UserError as error:
            return {"digest": digest, "trouble": str(error)}
        return {
            "digest": digest,
            "code_version": manifest.code_version,
            "training": manifest.training.model_dump() if manifest.training else None,
            "view": manifest.view.id,
            "metrics": manifest.metrics.get("overall"),
        }


def _show(seen: Look) -> None:
    slot, totals = seen.slot, seen.candidate
    _show_outcomes(slot, totals)
    decided = totals.compared + totals.errors + totals.gap
    metrics.COVERAGE.labels(slot).set(totals.compared / decided if decided else 0.0)
    judgement = seen.judgement
    metrics.PROGRESS.labels(slot).set(min(1.0, judgement.covered_hours / judgement.needed_hours))
    metrics.DECISION.labels(slot).set(_DECISION[judgement.decision])
    resets = judgement.clean.resets if judgement.clean is not None else ()
    for cause in CAUSES:
        metrics.RESETS.labels(slot, cause).set(sum(reset.cause == cause for reset in resets))
    for finding in judgement.findings:
        labels = (slot, finding.criterion, finding.segment)
        metrics.CRITERION.labels(*labels).set(_LEVEL[finding.verdict])
        metrics.LIMIT.labels(*labels).set(finding.limit)
        for gauge, value in (
            (metrics.OBSERVED, finding.observed),
            (metrics.BOUND, finding.bound),
            (metrics.FLOOR, finding.floor),
            (metrics.EVIDENCE, finding.evidence),
        ):
            gauge.labels(*labels).set(np.nan if value is None else value)


def _drop(before: Look, seen: Look) -> None:
    """Forget criteria that are not asked for any longer."""
    now = {(f.criterion, f.segment) for f in seen.judgement.findings}
    for criterion, segment in {(f.criterion, f.segment) for f in before.judgement.findings} - now:
        for gauge in PER_CRITERION:
            gauge.remove(seen.slot, criterion, segment)


def _forget(slot: str) -> None:
    for gauge in (
        metrics.OUTCOMES,
        metrics.COVERAGE,
        metrics.PROGRESS,
        metrics.DECISION,
        metrics.RESETS,
        *PER_CRITERION,
    ):
        gauge.remove_by_labels({"slot": slot})


def _show_outcomes(slot: str, totals: RunTotals) -> None:
    for segment, part in totals.segments.items():
        for outcome, count in zip(OUTCOMES, part.counts.tolist(), strict=True):
            metrics.OUTCOMES.labels(slot, segment, outcome).set(count)


def totals_json(totals: RunTotals) -> dict[str, Any]:
    """A run's sums for machines."""
    segments = {
        name: {
            key: getattr(part, key).tolist() for key in ("counts", "minor", "pairs", "live_scores", "candidate_scores")
        }
        | {"errors": part.errors}
        for name, part in totals.segments.items()
    }
    plain = {key: value for key, value in asdict(totals).items() if key not in ("segments", "run")}
    return {"run": str(totals.run), **plain, "compared": totals.compared, "outcomes": OUTCOMES, "segments": segments}


def _verdict(serve: Serve, slot: str) -> dict[str, Any]:
    """A slot's last look in flat fields. Raises HTTPException 404 if there is none, 503 if it is too long ago."""
    seen = serve.looks.get(slot)
    if seen is None:
        raise HTTPException(404, f"slot {slot}: the gate has not looked at it; is there a candidate in it?")
    if serve.is_late:
        raise HTTPException(503, serve.trouble or "the gate has not looked for long")
    judgement = seen.judgement
    return {
        "slot": slot,
        "run": judgement.run,
        "decision": judgement.decision,
        "value": _DECISION[judgement.decision],
        "promote": judgement.decision is Decision.PROMOTE,
        "reject": judgement.decision is Decision.REJECT,
        "clean_ratio": min(1.0, judgement.covered_hours / judgement.needed_hours),
        "criteria": serve.release.digest,
        "reason": judgement.reason,
    }


def _plain(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(mode="json")


def build(serve: Serve) -> FastAPI:
    """The HTTP application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await serve.start()
        yield
        await serve.stop()

    def allowed(request: Request) -> None:
        token = serve.settings.read_token
        if token is not None and not bearer(request, token):
            raise HTTPException(401, "a read token is needed: Authorization: Bearer …")

    app = FastAPI(title="Shadow scorer", lifespan=lifespan, openapi_url="/api/openapi.json", docs_url="/api/docs")
    guard = [Depends(allowed)]

    @app.exception_handler(RedisError)
    @app.exception_handler(RedisClusterException)
    async def redis_away(request: Request, error: Exception) -> Response:
        return Response(f"redis is away: {error}\n", 503, media_type="text/plain")

    @app.get("/metrics")
    def metrics_page() -> Response:
        return Response(generate_latest(metrics.SERVE_REGISTRY), media_type=CONTENT_TYPE_LATEST)

    @app.get("/livez")
    async def livez() -> Response:
        return Response("ok\n", media_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        trouble = serve.trouble or ("the gate has not looked for long" if serve.is_late else None)
        return Response(f"{trouble or 'ok'}\n", 503 if trouble else 200, media_type="text/plain")

    @app.get("/api/slots", dependencies=guard)
    async def slots() -> dict[str, Any]:
        return {name: asdict(slot) for name, slot in sorted(serve.deployments.slots.items())}

    @app.get("/api/ledger", dependencies=guard)
    async def ledger() -> list[dict[str, Any]]:
        return [{"seq": line.seq, "void": line.is_void, **_plain(line.entry)} for line in serve.deployments.ledger]

    @app.get("/api/suggestions", dependencies=guard)
    async def suggestions() -> list[dict[str, Any]]:
        open_ones = serve.deployments.open_suggestions()
        return [{"seq": line.seq, **_plain(line.entry)} for line in open_ones if isinstance(line.entry, Suggestion)]

    @app.get("/api/runs", dependencies=guard)
    async def runs(slot: str = "candidate") -> list[dict[str, Any]]:
        store = serve.store(slot)
        return [totals_json(await store.totals(info.run)) for info in await store.runs()]

    @app.get("/api/progress", dependencies=guard)
    async def progress(slot: str = "candidate") -> list[dict[str, Any]]:
        return [asdict(part) for part in await serve.store(slot).progress()]

    @app.get("/api/gate", dependencies=guard)
    async def gate(slot: str = "candidate") -> dict[str, Any]:
        try:
            seen = await look(serve.redis, serve.deployments, slot, serve.release, serve.settings)
        except UserError as error:
            raise HTTPException(404, str(error)) from None
        control = present_run(serve.deployments, CONTROL)
        return {"slot": slot, "control": str(control) if control else None, **seen.judgement.to_json()}

    @app.get("/api/gate/verdict", dependencies=guard)
    async def gate_verdict(slot: str = "candidate") -> dict[str, Any]:
        """The last look in few flat fields, for engines that read one number or word (Argo Rollouts' web provider)."""
        return _verdict(serve, slot)

    @app.api_route("/api/gate/ready", methods=["GET", "POST"], dependencies=guard)
    async def gate_ready(response: Response, slot: str = "candidate") -> dict[str, Any]:
        """200 if the last look promotes, else 412: for engines that go by the status (Flagger's webhooks)."""
        told = _verdict(serve, slot)
        response.status_code = 200 if told["promote"] else 412
        return told

    @app.get("/api/disagreements", dependencies=guard)
    async def disagreements(
        query: Annotated[Query, Parameter()], slot: str = "candidate", run: str | None = None
    ) -> dict[str, Any]:
        try:
            chosen = Run.parse(run) if run is not None else present_run(serve.deployments, slot)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        if chosen is None:
            raise HTTPException(404, f"slot {slot}: is empty; name a run")
        samples = await serve.store(slot).samples(chosen)
        page, total = select(samples, query, 10.0**serve.settings.minor_digits)
        following = query.after + len(page)
        return {"run": str(chosen), "total": total, "next": following if following < total else None, "samples": page}

    app.include_router(router(serve, guard))
    return app
