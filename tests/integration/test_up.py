"""`shadow up`: one command runs everything, its pages are well formed, and nothing is left behind however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import BIN, FAST, get, wait_for
from scorer import metrics as scorer_metrics
from shadow import metrics as shadow_metrics
from shadow.local import embedded


class Up:
    """A running `shadow up`, marked so that all its descendants can be found."""

    def __init__(self, folder: Path, models: Models, mark: str, *argv: str, env: dict[str, str] | None = None) -> None:
        folder.mkdir()
        self.mark, self.env_file, self.log = f"UP_MARK={mark}", folder / "up.env", folder / "up.log"
        own = {f"{p}_{name}": value for p in ("SCORER", "SHADOW") for name, value in {**FAST, "CLOCK": "event"}.items()}
        own |= {"SCORER_CACHE": str(folder / "cache"), "SHADOW_CACHE": str(folder / "cache"), "UP_MARK": mark}
        self.outer = {n: value for n, value in os.environ.items() if not n.startswith(("SCORER_", "SHADOW_"))}
        self.env = {**self.outer, **models.env, **own, "SCORER_LOG_FORMAT": "text", "SHADOW_GATE_SECONDS": "0.5"}
        self.env |= env or {}
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [str(BIN / "shadow"), "up", "--env-file", str(self.env_file), *argv],
                env=self.env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def until_up(self, seconds: float = PATIENCE_SECONDS) -> dict[str, str]:
        """The environment of another terminal that took the settings in, once everything is ready."""

        def is_up() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            return "everything is up" in self.log.read_text()

        wait_for("up", is_up, seconds)
        lines = [line.removeprefix("export ").split("=", 1) for line in self.env_file.read_text().splitlines()]
        return {**self.outer, **{name: value.strip("'") for name, value in lines}}

    def descendants(self) -> list[str]:
        """Command lines of every process that this one started and that is still there."""
        told = self.env_file.read_text() if self.env_file.exists() else ""
        port = re.search(r"SHADOW_REDIS=redis://127.0.0.1:(\d+)", told)
        store = f"valkey-server 127.0.0.1:{port[1]}" if port else "no store"  # its title overwrites its environment
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if (self.mark.encode() in environment and command) or store in command:
                found.append(command)
        return found


@pytest.fixture
def up(models: Models, tmp_path: Path) -> Iterator[Callable[..., Up]]:
    made: list[Up] = []

    def start(*argv: str, env: dict[str, str] | None = None) -> Up:
        mark = f"{os.getpid()}-{len(made)}-{time.monotonic_ns()}"
        made.append(Up(tmp_path / str(len(made)), models, mark, *argv, env=env))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


def filled(models: Models) -> tuple[str, ...]:
    return (
        "--live", models.live, "--candidate", models.candidate, "--candidate", f"challenger={models.live}",
        "--control", models.control,
    )  # fmt: skip


def run(env: dict[str, str], *argv: str, cwd: Path) -> str:
    done = subprocess.run([str(BIN / argv[0]), *argv[1:]], env=env, cwd=cwd, capture_output=True, check=True)
    return done.stdout.decode()


def test_two_at_once_run_apart_and_ctrl_c_leaves_nothing(up: Callable[..., Up], models: Models, tmp_path: Path) -> None:
    both = [up(*filled(models)), up("--live", models.live)]
    envs = [one.until_up() for one in both]
    for env, limit in zip(envs, ("700", "300"), strict=True):
        run(env, "scorer", "replay", str(models.stream), "--limit", limit, cwd=tmp_path)
    url = envs[0]["UP_URL"]

    def compared(slot: str) -> int:
        return sum(run["compared"] for run in orjson.loads(get(f"{url}/api/runs?slot={slot}") or b"[]"))

    for slot in ("candidate", "challenger", "control"):
        wait_for(slot, lambda slot=slot: compared(slot) > 690)
        assert run(envs[0], "shadow", "verify", "--slot", slot, cwd=tmp_path).splitlines()[-1] == "equal"
    assert "why" in run(envs[0], "shadow", "disagreements", "--output", "jsonl", cwd=tmp_path)
    names = {line.split("|")[0].strip() for line in both[0].log.read_text().splitlines() if "|" in line}
    assert names == {"scorer", "shadows", "serve"}
    assert len(both[0].descendants()) == 6  # itself, three processes, broker and store
    for one in both:
        one.process.send_signal(signal.SIGINT)
    for one in both:
        assert one.process.wait(PATIENCE_SECONDS) in (0, 130)
        assert not one.descendants()
        assert "Traceback" not in one.log.read_text()
        *_, kafka, redis, bundles = one.log.read_text().splitlines()
        assert kafka.startswith("gone with the embedded Kafka: ")
        assert redis.startswith("gone with the embedded Redis: ")
        assert bundles.startswith("kept in ")


def test_up_again_with_the_same_bundles_keeps_every_run_and_replaces_nothing(
    up: Callable[..., Up], models: Models, tmp_path: Path
) -> None:
    with embedded.broker() as broker, embedded.store() as store:
        servers = {"SCORER_KAFKA": broker.address, "SHADOW_KAFKA": broker.address}
        servers |= {"SHADOW_REDIS": f"redis://{store.address}/0", "SCORER_REQUIRE_IDEMPOTENCE": "false"}
        first = up(*filled(models), env=servers)
        env = first.until_up(120)
        run(env, "scorer", "replay", str(models.stream), "--limit", "700", cwd=tmp_path)
        wait_for("compared", lambda: "0 transactions" not in run(env, "shadow", "evidence", cwd=tmp_path))
        told = run(env, "shadow", "history", cwd=tmp_path)
        assert told.count("deploy by shadow up (nobody was asked): ") == 4
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(PATIENCE_SECONDS) in (0, 130)
        assert "gone" not in "\n".join(first.log.read_text().splitlines()[-4:]), "these servers are somebody else's"
        before = run(env, "shadow", "evidence", cwd=tmp_path)
        assert before.count("run L1-C1") == 3

        again = up(*filled(models), env=servers)
        env = again.until_up(120)
        assert again.log.read_text().count("unchanged; bundle ") == 4
        assert run(env, "shadow", "history", cwd=tmp_path) == told
        assert run(env, "shadow", "evidence", cwd=tmp_path) == before
        again.process.send_signal(signal.SIGINT)
        assert again.process.wait(PATIENCE_SECONDS) in (0, 130)

        lost, other_live = "slot candidate: this would throw away the evidence of slot candidate", models.candidate
        live = f"--live {other_live}: slot live holds bundle {models.live[:12]}"
        for argv, why in ((("--candidate", models.control), lost), (("--live", other_live), live)):
            other = up(*argv, env=servers)
            assert other.process.wait(PATIENCE_SECONDS) == 2
            assert f"error: {why}" in other.log.read_text()
        assert run(env, "shadow", "history", cwd=tmp_path) == told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_after_a_kill(up: Callable[..., Up], models: Models, number: signal.Signals) -> None:
    one = up("--live", models.live)
    one.until_up()
    one.process.send_signal(number)
    one.process.wait(PATIENCE_SECONDS)
    wait_for("all gone", lambda: not one.descendants())


def test_no_process_is_left_after_a_failure_and_it_is_told(up: Callable[..., Up], models: Models) -> None:
    one = up("--live", "ab" * 32)
    assert one.process.wait(PATIENCE_SECONDS) == 2
    assert not one.descendants()
    (line,) = one.log.read_text().splitlines()
    assert line.startswith("error: bundle abababababab")


def test_all_ends_when_the_scorer_dies_and_a_shadow_comes_back(up: Callable[..., Up], models: Models) -> None:
    one = up("--live", models.live, "--candidate", models.candidate)
    one.until_up()

    def pids(word: str) -> list[int]:
        out = subprocess.run(["pgrep", "-f", word], capture_output=True, check=False).stdout.split()
        mine = [
            int(pid) for pid in out if one.mark.encode() in Path(f"/proc/{int(pid)}/environ").read_bytes().split(b"\0")
        ]
        return sorted(mine)

    (shadow,) = pids("run --slot candidate")
    os.kill(shadow, signal.SIGKILL)
    wait_for("another shadow", lambda: pids("run --slot candidate") not in ([shadow], []))
    assert "restarting in" in one.log.read_text()
    (scorer,) = pids("scorer run")
    os.kill(scorer, signal.SIGKILL)
    assert one.process.wait(PATIENCE_SECONDS) == 2
    assert not one.descendants()
    assert one.log.read_text().splitlines()[-1].startswith("error: scorer: ended with code -9")


@pytest.mark.needs("prometheus")
def test_every_page_is_well_formed_and_has_what_is_declared(
    up: Callable[..., Up], models: Models, tmp_path: Path
) -> None:
    one = up(*filled(models))
    env = one.until_up()
    run(env, "scorer", "replay", str(models.stream), "--limit", "2000", cwd=tmp_path)
    url = env["UP_URL"]
    wait_for("gate", lambda: b"shadow_gate_decision{" in (get(f"{url}/metrics") or b""))
    wait_for("runs", lambda: sum(run["compared"] for run in orjson.loads(get(f"{url}/api/runs") or b"[]")) > 1900)
    pages = {}
    for command in one.descendants():
        if "--slot" in command and "--slot candidate" not in command:
            continue
        if port := re.search(r"--http-port (\d+)", command):
            kind = re.search(r"bin/(scorer|shadow) (run|serve)", command)
            assert kind is not None
            pages[kind[0]] = page = get(f"http://127.0.0.1:{port[1]}/metrics") or b""
            told = subprocess.run(
                [str(shutil.which("promtool")), "check", "metrics"], input=page, capture_output=True, check=False
            )
            assert told.returncode == 0, told.stderr.decode()
            for health in ("livez", "readyz"):
                assert get(f"http://127.0.0.1:{port[1]}/{health}") is not None
    assert len(pages) == 3
    samples = re.findall(rb"^(\w+?)(?:\{.*\})? (\S+)$", b"\n".join(pages.values()), re.MULTILINE)
    moved = {name.decode() for name, value in samples if float(value) > 0}
    for name in ("scorer_score", "shadow_candidate_score", "scorer_end_to_end_seconds", "shadow_delay_seconds"):
        assert f"{name}_count" in moved, f"nothing was counted in {name}"
    declared = {
        "bin/scorer run": scorer_metrics.REGISTRY,
        "bin/shadow run": shadow_metrics.REGISTRY,
        "bin/shadow serve": shadow_metrics.SERVE_REGISTRY,
    }
    for kind, registry in declared.items():
        there = set(re.findall(rb"^# TYPE (\w+)", pages[kind], re.MULTILINE))
        names = {family.name for collector in registry._collector_to_names for family in collector.describe()}
        missing = {name for name in names if not {name.encode(), f"{name}_total".encode()} & there}
        assert not missing, kind
