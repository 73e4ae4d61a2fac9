"""The demo: the gate suggests a better model, which is promoted, and rejects a model that harms one segment."""

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
from shadow.release.criteria_file import load_release
from shadow.release.look import present_run
from shadow.settings import ShadowSettings
from shadow.store.connection import connect
from shadow.store.reader import TallyReader

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
#: Models are trained on the history before this day; the rest of it is streamed.
CUT = "2026-02-12"
#: Transactions to stream before the promotion.
FIRST_PART = 60_000
#: Invalid records to stream.
BAD = 3
#: Who approves, and the entries of the ledger about the candidate: it was filled, suggested, and approved.
APPROVER, HISTORY = "Ann Example", 3
#: Features of last quarter's model.
OLD_FEATURES = (
    "amount,hour_of_day,channel,country,merchant_category,card_count_1d,card_mean_30d,card_mean_7d,device_age_days"
)
#: Most rounds of reviews, of 100 cases each.
ROUNDS = 12
#: Longest wait in which nothing moves.
WAIT_SECONDS = 90.0


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
            **{f"{program}_{name}": str(path) for program in ("SCORER", "SHADOW") for name, path in shared.items()},
        }
        self.up: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.sent = 0

    def say(self, text: str) -> None:
        """Print a line of the story, with the time since the start."""
        print(f"\n[{time.monotonic() - self.began:5.1f} s] {text}", flush=True)

    def run(self, *argv: str, expect: int | None = 0, quiet: bool = False) -> str:
        """Run a command, and show it and its output. Returns the output. Raises UserError if it ends with another code
        than `expect`; None expects any."""
        print(f"  $ {shlex.join(argv)}", flush=True)
        done = subprocess.run(
            [str(BIN / argv[0]), *argv[1:]], env=self.env, cwd=self.folder, stdout=subprocess.PIPE, check=False
        )
        text = done.stdout.decode()
        if not quiet:
            print("".join(f"    {line}\n" for line in text.splitlines()), end="", flush=True)
        if expect is not None and done.returncode != expect:
            raise UserError(f"{' '.join(argv[:2])}: ended with code {done.returncode}; expected {expect}")
        return text.strip()

    def models(self) -> dict[str, str]:
        """Make the history and train five bundles on it. Returns their digests by slot, `heir` for the last."""
        self.say("Make a history of card payments with three kinds of fraud. In France, labels come weeks later.")
        self.run(
            "scorer", "simulate", "--out", "history.parquet", "--transactions", "200000", "--days", "63", "--seed", "7"
        )
        self.say("Train live: last quarter's model, few features, two weeks of data. And its A/A twin: another seed.")
        train = ["scorer", "train", "history.parquet", "--to", CUT]
        old = ["--from", "2026-01-15"]
        live = self.run(*train, *old, "--features", OLD_FEATURES, "--param", "num_iterations=60")
        control = self.run(*train, *old, "--twin", live)
        self.say(
            "Train a better candidate: all features, six weeks of data, and a threshold for somewhat fewer blocks."
        )
        better = self.run(*train, "--parent", live, "--block-rate", "0.028")
        self.say("Train a flawed one: the same, but on the labels known today, when most fraud in France has none yet.")
        tempting = self.run(*train, "--labels-known-by", CUT, "--parent", live)
        self.say("Train the better one's own twin, which will be the A/A control if it is promoted.")
        heir = self.run(*train, "--twin", better)
        return {"live": live, "control": control, "candidate": better, "challenger": tempting, "heir": heir}

    def start(self, bundles: dict[str, str]) -> None:
        """Start `shadow up` on embedded servers; returns when everything is ready."""
        self.say("Start everything: Kafka, Redis, a scorer, a shadow for each slot, and `shadow serve`.")
        env_file = self.folder / "up.env"
        argv = ["shadow", "up", "--live", bundles["live"], "--candidate", bundles["candidate"]]
        argv += ["--candidate", f"challenger={bundles['challenger']}", "--control", bundles["control"]]
        argv += [
            "--by",
            "demo",
            "--reason",
            "demo",
            "--env-file",
            str(env_file),
            "--log-file",
            str(self.folder / "up.log"),
        ]
        print(f"  $ {shlex.join(argv)}", flush=True)
        # In a process group of its own: Ctrl-C reaches only this process, which then stops the other one.
        self.up = subprocess.Popen(
            [str(BIN / argv[0]), *argv[1:]], env=self.env, cwd=self.folder, start_new_session=True
        )
        self.wait("shadow up", env_file.exists)
        told = dict(line.removeprefix("export ").split("=", 1) for line in env_file.read_text().splitlines())
        self.env |= {name: value.strip("'") for name, value in told.items()}
        self.url = self.env.pop("UP_URL")
        os.environ.update({n: v for n, v in self.env.items() if n.startswith(("SCORER_", "SHADOW_"))})
        self.wait("shadow serve", lambda: self.get("/readyz") is not None)
        signed = ("--by", "demo", "--reason", "demo")
        self.run("scorer", "deploy", bundles["candidate"], "--slot", "candidate", "--twin", bundles["heir"], *signed)

    def wait(self, what: str, is_there: Callable[[], Any], moves: Callable[[], Any] = lambda: None) -> None:
        """Wait for something. moves: a value that changes as it comes nearer, however slowly; each change gives as much
        time again. Raises UserError if `shadow up` ends, or if nothing moves for `WAIT_SECONDS`."""
        at, deadline = moves(), time.monotonic() + WAIT_SECONDS
        while not is_there():
            if self.up is not None and self.up.poll() is not None:
                raise UserError(f"shadow up: ended with code {self.up.returncode}; see {self.folder / 'up.log'}")
            now = moves()
            if now != at:
                at, deadline = now, time.monotonic() + WAIT_SECONDS
            if time.monotonic() > deadline:
                raise UserError(
                    f"{what}: not there, and nothing moved for {WAIT_SECONDS:g} s; see {self.folder / 'up.log'}"
                )
            time.sleep(0.2)

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

    def stream(self, *which: str) -> None:
        """Stream a part of the history that no model was trained on."""
        self.sent += _sent(self.run("scorer", "replay", "history.parquet", "--from", CUT, *which))

    def review(self, slot: str) -> None:
        """Answer what the review queue of a slot hands out, until the gate promotes or has no more questions.

        The people of the demo look the truth up in the history that was simulated.
        """
        table = read_parquet(self.folder / "history.parquet")
        ids, frauds = (table.column(name).to_pylist() for name in ("transaction_id", "is_fraud"))
        truth = dict(zip(ids, frauds, strict=True))
        answers, done = self.folder / "answers.jsonl", 0
        for _ in range(ROUNDS):
            handed = self.run(
                *("shadow", "review", "next", "--slot", slot, "--by", "demo"),
                *("--count", "100", "--output", "jsonl"),
                quiet=True,
            )
            cases = [orjson.loads(line)["transaction_id"] for line in handed.splitlines()]
            if not cases:
                break
            now = datetime.now(UTC).isoformat()
            rows = [
                {"transaction_id": case, "verdict": "fraud" if truth[case] else "legit", "at": now} for case in cases
            ]
            answers.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
            self.run("shadow", "labels", "load", answers.name, "--source", "review", "--by", "demo")
            done += len(cases)
            self.wait("the answers", lambda wanted=done: self.answered(slot) >= wanted, lambda: self.answered(slot))
            if self.get(f"/api/gate/verdict?slot={slot}")["decision"] == "promote":
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

    def until_compared(self, slots: list[str], each: int) -> None:
        """Wait until every slot has compared `each` transactions, with a progress bar."""
        shown = 0
        with click.progressbar(length=each * len(slots), label="    compared", show_pos=True) as bar:

            def done() -> bool:
                nonlocal shown
                found = sum(min(each, self.compared(slot)) for slot in slots)
                bar.update(found - shown)
                shown = found
                return found == each * len(slots)

            self.wait(f"{each} comparisons of {', '.join(slots)}", done, lambda: shown)

    def compared(self, slot: str) -> int:
        """Number of comparisons of a slot, over all runs."""
        return sum(run["compared"] for run in self.get(f"/api/runs?slot={slot}") or [])

    def stop(self) -> None:
        """Stop `shadow up` and all processes that it started."""
        if self.up is not None and self.up.poll() is None:
            self.up.send_signal(signal.SIGTERM)
            self.up.wait()


def _sent(told: str) -> int:
    """The number of transactions that `scorer replay` says it sent."""
    return int(told.rpartition("sent ")[2].split()[0])


async def read_back(slots: list[str]) -> dict[str, Any]:
    """Read the topics to their ends, and the comparisons in Redis."""
    settings, shadow_settings = load(ScorerSettings), load(ShadowSettings)
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
    release = load_release(shadow_settings.release)
    redis = connect(shadow_settings.redis)
    compared = {}
    for slot in slots:
        store = TallyReader(redis, slot, release.segments.names, shadow_settings.prefix)
        compared[slot] = sum([(await store.totals(info.run)).compared for info in await store.runs()])
    await redis.aclose()
    return {
        "offsets": offsets,
        "repeats": repeats,
        "bundles": bundles,
        "newest": sorted({bundle for _, bundle in newest.values()}),
        "compared": compared,
        "deployments": await read(settings),
    }


def check(holds: bool, what: str) -> None:
    """Print whether a promise of the demo holds. Raises UserError if it does not."""
    print(f"    {'ok ' if holds else 'NOT'} {what}", flush=True)
    if not holds:
        raise UserError(f"demo: this should be so, and is not: {what}")


def story(demo: Demo) -> dict[str, Any]:
    """Run the whole demo. Returns the figures for build/demo.json."""
    bundles = demo.models()
    demo.start(bundles)
    demo.say(f"Stream {FIRST_PART:,} transactions that no model has seen, at full speed. Every slot scores each.")
    demo.stream("--limit", str(FIRST_PART))
    demo.spoil()
    slots = ["candidate", "challenger", "control"]
    demo.until_compared(slots, FIRST_PART)

    demo.say("Ask the gate about the flawed model. Of the fraud that is known it finds more than live does.")
    for name in ("live", "challenger"):
        overall = orjson.loads(demo.run("scorer", "bundle", "show", bundles[name], "--json", quiet=True))["metrics"][
            "overall"
        ]
        print(f"    {name}: average precision {overall['average_precision']:.3f}, recall {overall['recall']:.3f}")
    demo.run("shadow", "gate", "--slot", "challenger", "--brief", expect=4)
    verdict = demo.answer("/api/gate?slot=challenger")
    failed = [f for f in verdict["findings"] if f["verdict"] == "fail" and f["segment"] != "all"]
    segment = min(failed, key=lambda f: -(f["observed"] or 0))["segment"] if failed else ""
    check(verdict["decision"] == "reject" and segment == "country=FR", "the gate rejects it and names France")
    demo.run(
        "shadow", "disagreements", "--slot", "challenger", "--segment", "country=FR", "--sort", "amount", "--limit", "3"
    )

    demo.say("Ask the gate about the better model. It differs from live a lot: is it right? The gate wants to know.")
    told = demo.run("shadow", "gate", "--slot", "candidate", "--brief", expect=3, quiet=True)
    print(f"    … {told.splitlines()[-1]}", flush=True)
    demo.say("Investigators review what the queue hands out, in random order. The gate stops asking when it knows.")
    demo.review("candidate")
    demo.say("After a full clean period the gate suggests the better model.")
    demo.run("shadow", "gate", "--slot", "candidate", "--brief", expect=0)
    demo.wait("suggestion", lambda: demo.get("/api/suggestions"))
    suggested = demo.answer("/api/suggestions")
    check([s["slot"] for s in suggested] == ["candidate"], "the gate suggests this candidate and no other")
    demo.say("A person approves, and signs with a name.")
    demo.run("shadow", "approve", "--slot", "candidate", "--by", APPROVER, "--reason", "clean for two weeks of traffic")

    demo.say("Stream the rest through the new model. The old one runs on as a shadow, in slot previous.")
    demo.stream("--skip", str(FIRST_PART))
    demo.until_compared(["challenger", "control"], demo.sent - BAD)
    rest = demo.sent - FIRST_PART - BAD
    demo.wait("comparisons of previous", lambda: demo.compared("previous") >= rest, lambda: demo.compared("previous"))

    demo.say("Check the books: read back all topics and Redis, and recount every slot.")
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
    for slot in (*slots, "previous"):
        demo.run("shadow", "verify", "--slot", slot)
    run = present_run(found["deployments"], "control")
    check(isinstance(run, Run) and run.live_epoch == live.epoch, "the control is compared with the new live model")

    demo.say("Judge again what was approved: the dossier of the suggestion has all that the verdict follows from.")
    again = demo.run("shadow", "replay", suggested[0]["dossier"][:12])
    check("the same verdict, byte for byte" in again, "the same verdict, from the dossier alone")
    demo.say("Who did what to the candidate, for ever on the ledger. Live is watched beside the model before it.")
    entries = demo.run("shadow", "history", "--slot", "candidate", "--brief").splitlines()
    check(len(entries) == HISTORY and APPROVER in entries[-1], "filled, suggested, approved: the last line has a name")
    return {
        "transactions": len(sent),
        "decisions": len(decided),
        "rejects": len(refused),
        "comparisons": found["compared"],
        "live_before": bundles["live"],
        "live_after": live.digest,
        "rejected": {"slot": "challenger", "segment": segment},
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
