"""The demo: a better model is suggested and promoted, one that harms a segment is refused; all of it read back."""

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
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import orjson
from aiokafka import TopicPartition

from scorer.errors import UserError
from scorer.ledger import read
from scorer.settings import ScorerSettings, load
from scorer.topics import read_to_end, reader
from shadow import criteria
from shadow.connection import connect
from shadow.look import present_run
from shadow.readback import TallyReader
from shadow.settings import ShadowSettings
from shadow.tally import Run

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
#: The history ends and the stream begins here.
CUT = "2026-02-12"
FIRST_PART = 60_000
#: Records that are no transactions.
BAD = 3
OLD_FEATURES = (
    "amount,hour_of_day,channel,country,merchant_category,card_count_1d,card_mean_30d,card_mean_7d,device_age_days"
)
WAIT_SECONDS = 90.0


class Demo:
    """Runs the commands that a user would run, in a folder of its own."""

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
        """A line of the story, with the time since the start."""
        print(f"\n[{time.monotonic() - self.began:5.1f} s] {text}", flush=True)

    def run(self, *argv: str, expect: int | None = 0, quiet: bool = False) -> str:
        """Run a command and show it; returns what it printed. Raises UserError if it ends with another code."""
        print(f"  $ {shlex.join(argv)}", flush=True)
        done = subprocess.run(
            [str(BIN / argv[0]), *argv[1:]], env=self.env, cwd=self.folder, stdout=subprocess.PIPE, check=False
        )
        text = done.stdout.decode()
        if not quiet:
            print("".join(f"    {line}\n" for line in text.splitlines()), end="", flush=True)
        if expect is not None and done.returncode != expect:
            raise UserError(f"{' '.join(argv[:2])}: ended with code {done.returncode}, {expect} expected")
        return text.strip()

    def models(self) -> dict[str, str]:
        """The history, and the four bundles that are trained on it."""
        self.say("A history of card payments: three patterns of fraud; in France, labels take weeks longer to arrive.")
        self.run(
            "scorer", "simulate", "--out", "history.parquet", "--transactions", "200000", "--days", "63", "--seed", "7"
        )
        self.say("Live: last quarter's model, on few features and two weeks of data. And its A/A twin, another seed.")
        train = ["scorer", "train", "history.parquet", "--to", CUT]
        old = ["--from", "2026-01-15"]
        live = self.run(*train, *old, "--features", OLD_FEATURES, "--param", "num_iterations=60")
        control = self.run(*train, *old, "--twin", live)
        self.say("A better candidate: every feature, six weeks of data.")
        better = self.run(*train, "--parent", live)
        self.say("A tempting one: the same, on labels as they are known today. Fraud in France looks legitimate still.")
        tempting = self.run(*train, "--labels-known-by", CUT, "--parent", live)
        return {"live": live, "control": control, "candidate": better, "challenger": tempting}

    def start(self, bundles: dict[str, str]) -> None:
        """`shadow up` on the embedded stack; returns when everything is ready."""
        self.say("Everything starts: broker, store, scorer, a shadow for each slot, serve.")
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
        # A group of its own: Ctrl-C reaches this process alone, which then stops the other in order.
        self.up = subprocess.Popen(
            [str(BIN / argv[0]), *argv[1:]], env=self.env, cwd=self.folder, start_new_session=True
        )
        self.wait("shadow up", env_file.exists)
        told = dict(line.removeprefix("export ").split("=", 1) for line in env_file.read_text().splitlines())
        self.env |= {name: value.strip("'") for name, value in told.items()}
        self.url = self.env.pop("UP_URL")
        os.environ.update({n: v for n, v in self.env.items() if n.startswith(("SCORER_", "SHADOW_"))})
        self.wait("shadow serve", lambda: self.get("/readyz") is not None)

    def wait(self, what: str, is_there: Any, seconds: float = WAIT_SECONDS) -> None:
        """Until something is there. Raises UserError after a deadline, or when `shadow up` has ended."""
        deadline = time.monotonic() + seconds
        while not is_there():
            if self.up is not None and self.up.poll() is not None:
                raise UserError(f"shadow up: ended with code {self.up.returncode}; see {self.folder / 'up.log'}")
            if time.monotonic() > deadline:
                raise UserError(f"{what}: not there after {seconds:g} s; see {self.folder / 'up.log'}")
            time.sleep(0.2)

    def get(self, path: str) -> Any:
        """A page of serve: JSON under /api, else text; None if it is not there."""
        with suppress(OSError), urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:  # noqa: S310
            body = answer.read()
            return orjson.loads(body) if path.startswith("/api") else body
        return None

    def stream(self, *which: str) -> None:
        """Replay some of the history that nobody trained on."""
        self.sent += _sent(self.run("scorer", "replay", "history.parquet", "--from", CUT, *which))

    def spoil(self) -> None:
        """Send records that are no transactions."""
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
        """Wait until every slot has compared so many, with a progress bar."""
        shown = 0
        with click.progressbar(length=each * len(slots), label="    compared", show_pos=True) as bar:

            def done() -> bool:
                nonlocal shown
                found = sum(min(each, self.compared(slot)) for slot in slots)
                bar.update(found - shown)
                shown = found
                return found == each * len(slots)

            self.wait(f"{each} comparisons of {', '.join(slots)}", done)

    def compared(self, slot: str) -> int:
        """Comparisons of a slot, over all its runs."""
        return sum(run["compared"] for run in self.get(f"/api/runs?slot={slot}") or [])

    def stop(self) -> None:
        """Stop `shadow up` and all that it started."""
        if self.up is not None and self.up.poll() is None:
            self.up.send_signal(signal.SIGTERM)
            self.up.wait()


def _sent(told: str) -> int:
    """The number that `scorer replay` says it sent."""
    return int(told.rpartition("sent ")[2].split()[0])


async def read_back(slots: list[str]) -> dict[str, Any]:
    """Count what is on the topics and in Redis, from scratch."""
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
                    decision = orjson.loads(record.value)
                    offset = decision["source"]["offset"]
                    repeats += "repeat" in decision
                    bundles[decision["bundle"]] = bundles.get(decision["bundle"], 0) + 1
                    newest[partition] = max(newest.get(partition, (-1, "")), (offset, decision["bundle"]))
                else:
                    offset = int(dict(record.headers)["offset"])
                offsets[names[topic]].append((partition, offset))
    release = criteria.load(shadow_settings.release)
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
    """Raises UserError if a promise of the demo does not hold."""
    print(f"    {'ok ' if holds else 'NOT'} {what}", flush=True)
    if not holds:
        raise UserError(f"demo: {what}: does not hold")


def story(demo: Demo) -> dict[str, Any]:
    """The whole of it; returns what goes into build/demo.json."""
    bundles = demo.models()
    demo.start(bundles)
    demo.say(f"{FIRST_PART:,} transactions that no model has seen, at full speed; every slot scores each of them.")
    demo.stream("--limit", str(FIRST_PART))
    demo.spoil()
    slots = ["candidate", "challenger", "control"]
    demo.until_compared(slots, FIRST_PART)

    demo.say("The gate on the tempting model: better on average, as its metrics say.")
    for name in ("live", "challenger"):
        overall = orjson.loads(demo.run("scorer", "bundle", "show", bundles[name], "--json", quiet=True))["metrics"][
            "overall"
        ]
        print(f"    {name}: average precision {overall['average_precision']:.3f}, recall {overall['recall']:.3f}")
    demo.run("shadow", "gate", "--slot", "challenger", "--brief", expect=4)
    verdict = demo.get("/api/gate?slot=challenger")
    failed = [f for f in verdict["findings"] if f["verdict"] == "fail" and f["segment"] != "all"]
    segment = min(failed, key=lambda f: -(f["observed"] or 0))["segment"] if failed else ""
    check(verdict["decision"] == "reject" and segment == "country=FR", "it is rejected, and France is named")
    demo.run(
        "shadow", "disagreements", "--slot", "challenger", "--segment", "country=FR", "--sort", "amount", "--limit", "3"
    )

    demo.say("The gate on the better model; after a full clean period the system suggests it.")
    demo.run("shadow", "gate", "--slot", "candidate", "--brief", expect=0)
    demo.wait("suggestion", lambda: demo.get("/api/suggestions"))
    suggested = demo.get("/api/suggestions")
    check([s["slot"] for s in suggested] == ["candidate"], "the candidate, and it alone, is suggested")
    demo.say("A person accepts.")
    demo.run("shadow", "approve", "--slot", "candidate", "--by", "demo", "--reason", "clean for two weeks of traffic")

    demo.say("The rest of the stream goes through the new model; the old one is a shadow now, in slot previous.")
    demo.stream("--skip", str(FIRST_PART))
    demo.until_compared(["challenger", "control"], demo.sent - BAD)
    demo.wait("comparisons of previous", lambda: demo.compared("previous") >= demo.sent - FIRST_PART - BAD)

    demo.say("Read back from the topics and from Redis:")
    found = asyncio.run(read_back(slots))
    offsets = found["offsets"]
    sent, decided, refused = (offsets[name] for name in ("transactions", "decisions", "rejects"))
    both = decided + refused
    check(len(both) == len(set(both)) and set(both) == set(sent), "every transaction is decided or refused, once")
    check(len(refused) == BAD, "three records are dead letters")
    live = found["deployments"].slot("live")
    check(live.digest == bundles["candidate"], "the candidate is live")
    check(found["newest"] == [bundles["candidate"]], "the last decisions of every partition carry its digest")
    check(found["deployments"].slot("previous").digest == bundles["live"], "the old model is a shadow")
    check(all(found["compared"][slot] >= 10_000 for slot in slots), "three slots have compared 10,000 and more")
    for slot in (*slots, "previous"):
        demo.run("shadow", "verify", "--slot", slot)
    run = present_run(found["deployments"], "control")
    check(isinstance(run, Run) and run.live_epoch == live.epoch, "the control runs against the new live model")
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
    """Run the demo; returns the exit code. Nothing is left behind unless `--keep` is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end, until Ctrl-C")
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
        demo.say(f"Done; the figures are in {report.relative_to(ROOT)}.")
        print(
            "    What to look at next: README.md, 'Everyday tasks'. `make demo ARGS=--keep` leaves everything running."
        )
        if demo.keep:
            print(f"    Running until Ctrl-C: {demo.url}/api/docs. For another terminal:")
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
