"""The demo: a rotation makes a better model, which the gate suggests and a person promotes; a model that harms one
segment is rejected in the backtest, and again in the shadow."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import orjson
from aiokafka import TopicPartition

from scorer.deployments.ledger import read
from scorer.errors import UserError
from scorer.kafka.reading import read_to_end, reader
from scorer.settings import ScorerSettings, load
from scorer.sources.decisions import as_json
from scorer.sources.tables import read_parquet
from shadow.comparison.totals import Run
from shadow.local.process import free_port
from shadow.release.criteria_file import load_release
from shadow.release.look import present_run
from shadow.settings import ShadowSettings
from shadow.store.connection import connect
from shadow.store.reader import TallyReader

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
#: Live is trained on the history from `LEARNT` to `SERVED`. It decides, archived, to `CUT`; then come the shadows.
LEARNT, SERVED, CUT = "2026-01-08", "2026-01-22", "2026-02-12"
#: First event day of the backtest: ten days are enough to reject.
TRIED = "2026-02-02"
#: Transactions to stream from `CUT` to the promotion.
FIRST_PART = 60_000
#: Invalid records to stream.
BAD = 3
#: Who approves, and the entries of the ledger about the candidate: it was filled, made, suggested, and approved.
APPROVER, HISTORY = "Ann Example", 4
#: Rounds of live's training, and of the rotation's.
FEW_ROUNDS, ROUNDS_SINCE = ("--param", "num_iterations=40"), ("--param", "num_iterations=150")
#: Who fills the slots.
SIGNED = ("--by", "demo", "--reason", "demo")
#: Who reviews, 100 cases each in a round, and the most rounds.
REVIEWERS, ROUNDS = ("ann", "bob"), 6
#: Longest wait in which nothing moves, and time between two looks: each costs `shadow serve` some time.
WAIT_SECONDS, LOOK_SECONDS = 90.0, 0.5


class Started:
    """A command at work. It is shown once it has ended, if it runs beside others."""

    def __init__(self, process: subprocess.Popen[bytes], argv: tuple[str, ...]) -> None:
        self.process, self.argv = process, argv

    def end(self, expect: int = 0, quiet: bool = False) -> str:
        """Wait for it, and show it and its output. Returns the output. Raises UserError as `output` does."""
        print(f"  $ {shlex.join(self.argv)}", flush=True)
        return self.output(expect, quiet)

    def output(self, expect: int = 0, quiet: bool = False) -> str:
        """Wait for it, and show its output. Returns that. Raises UserError if it ends with another code than
        `expect`."""
        out, said = self.process.communicate()
        text = out.decode()
        if not quiet:
            print("".join(f"    {line}\n" for line in text.splitlines()), end="", flush=True)
        if self.process.returncode != expect:
            sys.stderr.write((said or b"").decode())
            raise UserError(f"{' '.join(self.argv[:2])}: ended with code {self.process.returncode}; expected {expect}")
        return text.strip()


class Demo:
    """Runs the commands that a user would type, in a folder of its own."""

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.began = time.monotonic()
        self.folder = ROOT / "build" / f"demo-{os.getpid()}"
        self.folder.mkdir(parents=True)
        local = ROOT / "deploy" / "local"
        shared = {"STORE": self.folder / "bundles", "CACHE": self.folder / "cache"}
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SCORER_", "SHADOW_"))},
            "SCORER_SETTINGS": str(local / "scorer.yaml"),
            "SCORER_VIEW": str(local / "features.yaml"),
            "SHADOW_SETTINGS": str(local / "shadow.yaml"),
            "SHADOW_RELEASE": str(local / "release.yaml"),
            "SHADOW_ARCHIVE": str(self.folder / "archive"),
            **{f"{program}_{name}": str(path) for program in ("SCORER", "SHADOW") for name, path in shared.items()},
        }
        self.up: subprocess.Popen[bytes] | None = None
        self.shadow: subprocess.Popen[bytes] | None = None
        self.started: list[subprocess.Popen[bytes]] = []
        self.url = ""
        self.sent = 0

    def say(self, text: str) -> None:
        """Print a line of the story, with the time since the start."""
        print(f"\n[{time.monotonic() - self.began:5.1f} s] {text}", flush=True)

    def _start(self, argv: tuple[str, ...], stderr: int | None) -> Started:
        command = [str(BIN / argv[0]), *argv[1:]]
        process = subprocess.Popen(command, env=self.env, cwd=self.folder, stdout=subprocess.PIPE, stderr=stderr)
        self.started.append(process)
        return Started(process, argv)

    def beside(self, *argv: str) -> Started:
        """Start a command that runs beside what comes next. What it says of its progress is not shown."""
        return self._start(argv, subprocess.PIPE)

    def run(self, *argv: str, expect: int = 0, quiet: bool = False) -> str:
        """Run a command, and show it and its output. Returns the output. Raises UserError as `Started.output` does."""
        print(f"  $ {shlex.join(argv)}", flush=True)
        return self._start(argv, None).output(expect, quiet)

    def models(self) -> tuple[dict[str, str], Started]:
        """Make the history and train live and its twin on it. Returns their digests by slot, and the training of a
        challenger, which goes on."""
        self.say("Make a history of card payments with three kinds of fraud. In France, labels come weeks later.")
        self.run(
            "scorer", "simulate", "--out", "history.parquet", "--transactions", "200000", "--days", "63", "--seed", "7"
        )
        self.say("Train live: last quarter's model, two weeks of data, 40 rounds. And its A/A twin: another seed.")
        train = ["scorer", "train", "history.parquet"]
        old = ["--from", LEARNT, "--to", SERVED]
        live = self.run(*train, *old, *FEW_ROUNDS)
        tempting = self.beside(*train, "--to", CUT, "--labels-known-by", CUT, "--parent", live)
        return {"live": live, "control": self.run(*train, *old, "--twin", live)}, tempting

    def begin(self, *argv: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a command that runs until it is stopped, and show it. log: file for all that it says."""
        print(f"  $ {shlex.join(argv)}", flush=True)
        # In a process group of its own: Ctrl-C reaches only this process, which then stops the other one.
        command = [str(BIN / argv[0]), *argv[1:]]
        if log is None:
            return subprocess.Popen(command, env=self.env, cwd=self.folder, start_new_session=True)
        with log.open("wb") as out:
            return subprocess.Popen(
                command, env=self.env, cwd=self.folder, start_new_session=True, stdout=out, stderr=subprocess.STDOUT
            )

    def start(self, bundles: dict[str, str]) -> None:
        """Start `shadow up` on embedded servers; returns when everything is ready."""
        self.say("Start everything: Kafka, Redis, a scorer, shadows for the slots to come, and `shadow serve`.")
        env_file = self.folder / "up.env"
        argv = ["shadow", "up", "--live", bundles["live"], "--control", bundles["control"], *SIGNED]
        argv += ["--env-file", str(env_file), "--log-file", str(self.folder / "up.log")]
        self.up = self.begin(*argv)
        self.wait("shadow up", env_file.exists)
        told = dict(line.removeprefix("export ").split("=", 1) for line in env_file.read_text().splitlines())
        self.env |= {name: value.strip("'") for name, value in told.items()}
        self.url = self.env.pop("UP_URL")
        os.environ.update({n: v for n, v in self.env.items() if n.startswith(("SCORER_", "SHADOW_"))})
        self.wait("shadow serve", lambda: self.get("/readyz") is not None)

    def archive(self) -> int:
        """Have live decide the days before `CUT`; archive decisions and labels. Returns the number of decisions."""
        self.say("Three weeks of payments that no model has seen. Live decides, beside it only its twin.")
        served = self.stream("--from", SERVED, "--to", CUT)
        self.until_compared({"control": served})
        self.say("Chargebacks come in, and what live blocked is reviewed. Archive decisions, labels and the ledger.")
        lines = self.run("scorer", "decisions", "--limit", str(served), quiet=True).splitlines()
        decisions = [orjson.loads(line) for line in lines]
        rows = []
        for decision in decisions:
            name, is_blocked = decision["transaction"]["transaction_id"], decision["decision"] == "block"
            if is_blocked or self.truth[name]:
                verdict, source = "fraud" if self.truth[name] else "legit", "review" if is_blocked else "chargeback"
                rows.append({"transaction_id": name, "verdict": verdict, "source": source, "at": f"{CUT}T00:00:00Z"})
        self.load("labels.jsonl", rows)
        self.run("shadow", "archive", "run", "--once")
        return served

    def rotation(self) -> Started:
        """Start a rotation, which fills slot candidate from the archive."""
        as_of = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        argv = ("--from-archive", "archive", "--label-delay", "1d", "--as-of", as_of)
        return self.beside("scorer", "rotate", *argv, *ROUNDS_SINCE, *SIGNED)

    def rotated(self) -> tuple[str, str]:
        """The candidate that the rotation made, and its twin."""
        ((_, entry),) = asyncio.run(read(load(ScorerSettings))).rotations
        check(entry.outcome == "deployed", "it came out the same once more, and nothing in the archive rejects it")
        return entry.candidate, entry.twin

    def challenge(self, digest: str) -> None:
        """Put a bundle into slot challenger, with a shadow of its own."""
        self.run("scorer", "deploy", digest, "--slot", "challenger", *SIGNED)
        port = free_port()
        argv = ("shadow", "run", "--slot", "challenger", "--http-port", str(port))
        self.shadow = self.begin(*argv, log=self.folder / "challenger.log")

    def wait(self, what: str, is_there: Callable[[], Any], moves: Callable[[], Any] = lambda: None) -> None:
        """Wait for something. moves: a value that changes as it comes nearer, however slowly; each change gives as much
        time again. Raises UserError if `shadow up` ends, or if nothing moves for `WAIT_SECONDS`."""
        at, deadline = moves(), time.monotonic() + WAIT_SECONDS
        while not is_there():
            for name, log, process in (
                ("shadow up", "up.log", self.up),
                ("shadow run", "challenger.log", self.shadow),
            ):
                if process is not None and process.poll() is not None:
                    raise UserError(f"{name}: ended with code {process.returncode}; see {self.folder / log}")
            now = moves()
            if now != at:
                at, deadline = now, time.monotonic() + WAIT_SECONDS
            if time.monotonic() > deadline:
                raise UserError(
                    f"{what}: not there, and nothing moved for {WAIT_SECONDS:g} s; see {self.folder / 'up.log'}"
                )
            time.sleep(LOOK_SECONDS)

    def get(self, path: str) -> Any:
        """A page of `shadow serve`: parsed under /api, else as bytes; None if it does not answer."""
        with suppress(OSError), urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:  # noqa: S310
            body = answer.read()
            return orjson.loads(body) if path.startswith("/api") else body
        return None

    def answer(self, path: str) -> Any:
        """A page of `shadow serve`, once it answers. Raises UserError as `wait` does."""
        found: list[Any] = []

        def has_answered() -> bool:
            found.append(self.get(path))
            return found[-1] is not None

        self.wait(f"answer of {path}", has_answered)
        return found[-1]

    def stream(self, *which: str) -> int:
        """Stream a part of the history. Returns the number of transactions."""
        sent = _sent(self.run("scorer", "replay", "history.parquet", *which))
        self.sent += sent
        return sent

    @cached_property
    def truth(self) -> dict[str, int]:
        """What was fraud, by transaction: the people of the demo look it up in the history that was simulated."""
        table = read_parquet(self.folder / "history.parquet")
        ids, frauds = (table.column(name).to_pylist() for name in ("transaction_id", "is_fraud"))
        return dict(zip(ids, frauds, strict=True))

    def load(self, name: str, rows: list[dict[str, str]], *options: str) -> None:
        """Load labels from a file of that name."""
        (self.folder / name).write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        self.run("shadow", "labels", "load", name, *options, "--by", "demo")

    def review(self, slot: str) -> None:
        """Answer what the review queue of a slot hands out, until the gate promotes or has no more questions."""
        done = 0
        for _ in range(ROUNDS):
            queue = ("shadow", "review", "next", "--slot", slot, "--count", "100", "--output", "jsonl")
            asked = [self.beside(*queue, "--by", name) for name in REVIEWERS]
            handed = [line for one in asked for line in one.end(quiet=True).splitlines()]
            cases = [orjson.loads(line)["transaction_id"] for line in handed]
            if not cases:
                break
            now = datetime.now(UTC).isoformat()
            rows = [
                {"transaction_id": case, "verdict": "fraud" if self.truth[case] else "legit", "at": now}
                for case in cases
            ]
            self.load("answers.jsonl", rows, "--source", "review")
            done += len(cases)
            self.wait("the answers", lambda wanted=done: self.answered(slot) >= wanted)
            if len(cases) < 100 * len(REVIEWERS) or self.get(f"/api/gate/verdict?slot={slot}")["decision"] == "promote":
                break
        print(f"    {done} cases reviewed", flush=True)

    def answered(self, slot: str) -> int:
        """Cases of a slot's run that somebody has reviewed."""
        cases = (self.get(f"/api/review?slot={slot}") or {"cases": {}})["cases"]
        return sum(int(cases.get(state, 0)) for state in ("fraud", "legit"))

    def spoil(self) -> None:
        """Stream invalid records."""
        bad = self.folder / "bad.jsonl"
        base = {"occurred_at": "2026-03-04T12:00:00Z", "merchant_id": "m-1", "currency": "EUR"}
        base |= {"card_id": "card-1", "amount": 12.5}
        rows = [
            {**base, "transaction_id": "bad-1", "amount": -12.5},
            {**base, "transaction_id": "bad-2", "card_id": "4111111111111111"},
            {**base, "transaction_id": "bad-3", "currency": "XTS"},
        ]
        bad.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        self.sent += _sent(self.run("scorer", "replay", "bad.jsonl"))

    def until_compared(self, wanted: dict[str, int]) -> None:
        """Wait until each slot has compared as many transactions as wanted, with a progress bar."""
        shown, whole = 0, sum(wanted.values())
        with click.progressbar(length=whole, label="    compared", show_pos=True) as bar:

            def done() -> bool:
                nonlocal shown
                found = sum(min(n, self.compared(slot)) for slot, n in wanted.items())
                bar.update(found - shown)
                shown = found
                return found == whole

            self.wait(f"{whole} comparisons of {', '.join(wanted)}", done, lambda: shown)

    def compared(self, slot: str) -> int:
        """Number of comparisons of a slot, over all runs: read from Redis, as `shadow serve` is busy judging."""
        return asyncio.run(_compared([slot]))[slot]

    def stop(self) -> None:
        """Stop commands that still run, the challenger's shadow, then `shadow up` and all that it started."""
        for command in self.started:
            if command.poll() is None:
                command.kill()
                command.wait()
        for process in (self.shadow, self.up):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait()


def _sent(told: str) -> int:
    """The number of transactions that `scorer replay` says it sent."""
    return int(told.rpartition("sent ")[2].split()[0])


async def _compared(slots: list[str]) -> dict[str, int]:
    """Number of comparisons of each slot in Redis, over all runs."""
    settings = load(ShadowSettings)
    release, redis = load_release(settings.release), connect(settings.redis)
    compared = {}
    for slot in slots:
        store = TallyReader(redis, slot, release.segments.names, settings.prefix)
        compared[slot] = sum([(await store.totals(info.run)).compared for info in await store.runs()])
    await redis.aclose()
    return compared


async def read_back(slots: list[str]) -> dict[str, Any]:
    """Read the topics to their ends, and the comparisons in Redis."""
    settings = load(ScorerSettings)
    topics = settings.topics
    offsets: dict[str, list[tuple[int, int]]] = {"transactions": [], "decisions": [], "rejects": []}
    repeats, bundles = 0, dict[str, int]()
    newest: dict[int, tuple[int, str]] = {}
    async with reader(settings) as consumer:
        await consumer.topics()
        names = {topics.transactions: "transactions", topics.decisions: "decisions", topics.rejected: "rejects"}
        windows: dict[TopicPartition, int | None] = {
            TopicPartition(topic, p): None for topic in names for p in consumer.partitions_for_topic(topic) or ()
        }
        async for (topic, partition), records in read_to_end(consumer, windows):
            for record in records:
                if topic == topics.transactions:
                    offset = record.offset
                elif topic == topics.decisions:
                    decision = orjson.loads(as_json(record.value))
                    offset = decision["source"]["offset"]
                    repeats += "repeat" in decision
                    bundles[decision["bundle"]] = bundles.get(decision["bundle"], 0) + 1
                    newest[partition] = max(newest.get(partition, (-1, "")), (offset, decision["bundle"]))
                else:
                    offset = int(dict(record.headers)["offset"])
                offsets[names[topic]].append((partition, offset))
    return {
        "offsets": offsets,
        "repeats": repeats,
        "bundles": bundles,
        "newest": sorted({bundle for _, bundle in newest.values()}),
        "compared": await _compared(slots),
        "deployments": await read(settings),
    }


def check(holds: bool, what: str) -> None:
    """Print whether a promise of the demo holds. Raises UserError if it does not."""
    print(f"    {'ok ' if holds else 'NOT'} {what}", flush=True)
    if not holds:
        raise UserError(f"demo: this should be so, and is not: {what}")


def story(demo: Demo) -> dict[str, Any]:
    """Run the whole demo. Returns the figures for build/demo.json."""
    bundles, training = demo.models()
    demo.start(bundles)
    served = demo.archive()

    demo.say("Meanwhile somebody trained a challenger on the labels that were known. Fraud in France had none yet.")
    bundles["challenger"] = training.end()
    demo.say("Try it on the archive: what would the gate have said in those days? Beside that, a rotation runs.")
    argv = ("--candidate", bundles["challenger"], "--control", bundles["control"], "--from", TRIED, "--brief")
    tried, rotation = demo.beside("shadow", "backtest", *argv), demo.rotation()
    told = tried.end(expect=4)
    check(
        told.startswith("reject: country FR: "), "the backtest rejects it, before it is in any slot, and names France"
    )
    demo.say("A backtest never decides for the shadow: the challenger gets a slot, too.")
    demo.challenge(bundles["challenger"])
    demo.say("The rotation trained the next candidate as live was, in more rounds, on what live has served since.")
    rotation.end()
    bundles["candidate"], bundles["heir"] = demo.rotated()

    demo.say(f"Stream {FIRST_PART:,} transactions that no model has seen, at full speed. Every slot scores each.")
    demo.stream("--from", CUT, "--limit", str(FIRST_PART))
    demo.spoil()
    slots = ["candidate", "challenger", "control"]
    demo.until_compared({"candidate": FIRST_PART, "challenger": FIRST_PART, "control": served + FIRST_PART})

    demo.say("Ask the gate about the flawed model. By the labels of its day it finds most fraud.")
    shown = {name: demo.beside("scorer", "bundle", "show", bundles[name], "--json") for name in ("live", "challenger")}
    for name, one in shown.items():
        overall = orjson.loads(one.end(quiet=True))["metrics"]["overall"]
        print(f"    {name}: average precision {overall['average_precision']:.3f}, recall {overall['recall']:.3f}")
    asked = demo.beside("shadow", "gate", "--slot", "candidate", "--brief")
    demo.run("shadow", "gate", "--slot", "challenger", "--brief", expect=4)
    verdict = demo.answer("/api/gate?slot=challenger")
    failed = [f for f in verdict["findings"] if f["verdict"] == "fail" and f["segment"] != "all"]
    segment = min(failed, key=lambda f: -(f["observed"] or 0))["segment"] if failed else ""
    check(
        verdict["decision"] == "reject" and segment == "country=FR",
        "the gate rejects it, as the backtest did, and names France",
    )
    demo.run(
        "shadow", "disagreements", "--slot", "challenger", "--segment", "country=FR", "--sort", "amount", "--limit", "3"
    )

    demo.say("Ask the gate about the rotation's model. It differs from live: is it right? The gate wants to know.")
    told = asked.end(expect=3, quiet=True)
    print(f"    … {told.splitlines()[-1]}", flush=True)
    demo.say("Investigators review what the queue hands out, in random order. The gate stops asking when it knows.")
    demo.review("candidate")
    demo.say("After a full clean period the gate suggests the rotation's model.")
    demo.run("shadow", "gate", "--slot", "candidate", "--brief", expect=0)
    demo.wait("suggestion", lambda: demo.get("/api/suggestions"))
    suggested = demo.answer("/api/suggestions")
    check([s["slot"] for s in suggested] == ["candidate"], "the gate suggests this candidate and no other")
    demo.say("A person approves, and signs with a name.")
    demo.run("shadow", "approve", "--slot", "candidate", "--by", APPROVER, "--reason", "clean for two weeks of traffic")

    demo.say("Stream the rest through the new model. The old one runs on as a shadow, in slot previous.")
    rest = demo.stream("--from", CUT, "--skip", str(FIRST_PART))
    demo.until_compared({"challenger": demo.sent - BAD - served, "control": demo.sent - BAD})
    demo.wait("comparisons of previous", lambda: demo.compared("previous") >= rest, lambda: demo.compared("previous"))

    demo.say("Check the books: read back all topics and Redis, and recount every slot.")
    recounts = [demo.beside("shadow", "verify", "--slot", slot) for slot in (*slots, "previous")]
    replayed = demo.beside("shadow", "replay", suggested[0]["dossier"][:12])
    found = asyncio.run(read_back(slots))
    offsets = found["offsets"]
    sent, decided, refused = (offsets[name] for name in ("transactions", "decisions", "rejects"))
    both = decided + refused
    check(len(both) == len(set(both)) and set(both) == set(sent), "every record was decided or rejected, exactly once")
    check(len(refused) == BAD, f"{BAD} records are dead letters")
    live = found["deployments"].slot("live")
    check(live.digest == bundles["candidate"], "the candidate is live")
    check(found["newest"] == [bundles["candidate"]], "the last decision of every partition carries its digest")
    check(found["deployments"].slot("previous").digest == bundles["live"], "the old live model is in slot previous")
    check(
        found["deployments"].slot("control").digest == bundles["heir"], "the new live model's own twin is the control"
    )
    check(
        all(found["compared"][slot] >= 10_000 for slot in slots),
        "three slots have compared 10,000 or more",
    )
    check(
        found["compared"]["challenger"] == demo.sent - BAD - served,
        "the challenger was judged on nothing that was decided before it had a slot",
    )
    for recount in recounts:
        recount.end()
    run = present_run(found["deployments"], "control")
    check(isinstance(run, Run) and run.live_epoch == live.epoch, "the control is compared with the new live model")

    demo.say("Judge again what was approved: the dossier of the suggestion has all that the verdict follows from.")
    again = replayed.end()
    check("the same verdict, byte for byte" in again, "the same verdict, from the dossier alone")
    demo.say("Who did what to the candidate, for ever on the ledger. Live is watched beside the model before it.")
    entries = demo.run("shadow", "history", "--slot", "candidate", "--brief").splitlines()
    check(
        len(entries) == HISTORY and APPROVER in entries[-1],
        "filled, made, suggested, approved: the last line has a name",
    )
    return {
        "transactions": len(sent),
        "decisions": len(decided),
        "rejects": len(refused),
        "comparisons": found["compared"],
        "live_before": bundles["live"],
        "live_after": live.digest,
        "rejected": {"slot": "challenger", "segment": segment},
        "backtest": "reject",
        "rotation": {"candidate": bundles["candidate"], "twin": bundles["heir"]},
        "promoted": bundles["candidate"],
        "wall_s": round(time.monotonic() - demo.began, 1),
    }


def main() -> int:
    """Run the demo. Returns the exit code. Stops all processes at the end, with `--keep` after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep everything running at the end, until Ctrl-C")
    demo = Demo(parser.parse_args().keep)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        told = story(demo)
        report = ROOT / "build" / "demo.json"
        draft = report.with_suffix(f".{os.getpid()}")
        draft.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
        draft.replace(report)
        demo.say(f"Done. The figures are in {report.relative_to(ROOT)}.")
        print("    Next: the README's everyday tasks. `make demo ARGS=--keep` keeps everything running.")
        if demo.keep:
            print(f"    Everything runs until Ctrl-C; API: {demo.url}/api/docs. In another terminal:")
            print(f"    . {(demo.folder / 'up.env').relative_to(ROOT)}", flush=True)
            while demo.up is not None and demo.up.poll() is None:
                time.sleep(0.5)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        demo.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
