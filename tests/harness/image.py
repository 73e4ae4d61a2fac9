"""The image, built by buildah without a container engine, and its processes run as a container would run them.

The base is made here by mmdebstrap from the packages of this machine's Debian, and given by `ARG BASE`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from harness.manifests import Manifest
from harness.places import ROOT
from harness.references import settings_of
from harness.stack import get
from shadow.local.process import die_with_parent

#: What builds and runs it.
TOOLS = ("buildah", "mmdebstrap", "bwrap")
WORK = ROOT / "build" / "image"
BASE = WORK / "base.tar"
NAME = "localhost/shadow-scorer"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
USER = "10001"


def _run(*argv: str, seconds: float = 900) -> str:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}\n{(done.stdout + done.stderr).decode()[-4000:]}"
    return done.stdout.decode()


def _buildah(*argv: str) -> str:
    at = ("--root", str(WORK / "storage"), "--runroot", str(WORK / "run"), "--storage-driver", "vfs")
    return _run("buildah", *at, *argv).strip()


def _sources() -> list[str]:
    folder = Path("/etc/apt")
    every = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    return [
        str(path) for path in every if path.suffix in (".list", ".sources") and path.is_file() and path.stat().st_size
    ]


def _codename() -> str:
    told = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return told["VERSION_CODENAME"].strip('"')


def _make_base() -> None:
    """A Debian with Python, as a user's base has it; this machine's certificates are those of its index."""
    WORK.mkdir(parents=True, exist_ok=True)
    if not BASE.is_file():
        packages = "python3,python3-venv,ca-certificates"
        made = BASE.with_suffix(".part.tar")
        _run("mmdebstrap", "--quiet", "--variant=apt", f"--include={packages}", _codename(), str(made), *_sources())
        made.rename(BASE)
    container = _buildah("from", "scratch")
    _buildah("add", "--quiet", container, str(BASE), "/")
    _buildah("add", "--quiet", container, str(CERTIFICATES), str(CERTIFICATES))
    _buildah("commit", "--quiet", "--rm", container, "localhost/base")


@dataclass(frozen=True)
class Image:
    """What was built: its configuration, and its files below a folder."""

    config: dict[str, Any]
    root: Path

    def command(self, argv: Sequence[str], env: Mapping[str, str], mounts: Mapping[str, Path | None]) -> list[str]:
        """How a process is run: the first of its own process space, no privilege, no file to write but in `mounts`.

        mounts: path in the container to a folder that it may read, or None for an empty one of its own.
        """
        of_image = dict(line.split("=", 1) for line in self.config["Env"])
        command = ["bwrap", "--ro-bind", str(self.root), "/", "--proc", "/proc", "--dev", "/dev"]
        command += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1", "--die-with-parent", "--clearenv"]
        for at, folder in mounts.items():
            command += ["--ro-bind", str(folder), at] if folder is not None else ["--perms", "0777", "--tmpfs", at]
        for name, value in {**of_image, **env}.items():
            command += ["--setenv", name, value]
        command += ["--chdir", self.config["WorkingDir"], "--"]
        # setpriv becomes the process, so that this is the first one; as another user it would outlive its parent.
        user, group = self.config["User"].split(":")
        command += ["setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"]
        return [*command, "--bounding-set=-all", "--inh-caps=-all", "--pdeathsig", "KILL", *argv]


def build() -> Image:
    """Build the image anew; the base is kept."""
    for stale in (WORK / "storage", WORK / "run"):
        shutil.rmtree(stale, ignore_errors=True)
    _make_base()
    return _built(NAME)


def build_archive() -> Image:
    """Build the archive's image; `build` comes before it."""
    return _built(f"{NAME}-archive", "--build-arg", "LOCK=requirements/archive.lock")


def _built(name: str, *more: str) -> Image:
    file = ROOT / "deploy" / "docker" / "Dockerfile"
    how = ["--isolation", "chroot", "--build-arg", "BASE=localhost/base", "--format", "oci", *more]
    index = Path("/etc/pip.conf")
    if index.is_file():
        how += ["--secret", f"id=pip,src={index}"]
    _buildah("bud", "--quiet", *how, "--tag", name, "--file", str(file), str(ROOT))
    config = orjson.loads(_buildah("inspect", "--type", "image", name))["OCIv1"]["config"]
    container = _buildah("from", name)
    root = Path(_buildah("mount", container))
    for at in (
        "cache",
        "kafka",
        "archive",
        "settings/view",
        "settings/release",
    ):  # a container engine makes what it mounts on
        (root / at).mkdir(parents=True, exist_ok=True)
    return Image(config, root)


@dataclass
class Contained:
    """A process of the image that runs."""

    argv: list[str]
    port: int
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=die_with_parent
            )

    def page(self, name: str) -> bytes | None:
        """A page that it serves; None if it is not there or not well."""
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log.read_text()[-2000:]}"
        return get(f"http://127.0.0.1:{self.port}/{name}")

    @property
    def first(self) -> int:
        """The first process of its space, as this machine numbers it."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    def terminate(self) -> None:
        """SIGTERM to the first process, as a container engine does."""
        os.kill(self.first, signal.SIGTERM)

    def end(self) -> None:
        """Whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def mounts_of(
    manifests: Sequence[Manifest], template: Manifest, container: Manifest, folder: Path
) -> dict[str, Path | None]:
    """What the manifest mounts into a container: its ConfigMaps as folders of files, and empty ones."""
    maps = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
    found: dict[str, Path | None] = {}
    for mount in container.get("volumeMounts", []):
        volume = volumes[mount["name"]]
        found[mount["mountPath"]] = None
        if "configMap" in volume:
            files = folder / volume["configMap"]["name"]
            files.mkdir(parents=True, exist_ok=True)
            for name, text in maps[volume["configMap"]["name"]].items():
                (files / name).write_text(text)
            found[mount["mountPath"]] = files
    return found


def env_of(manifests: Sequence[Manifest], container: Manifest, here: Mapping[str, str]) -> dict[str, str]:
    """Environment of a container, with what is elsewhere here; settings of the other program are left out."""
    env = settings_of(manifests, container)
    prefixes = {name.partition("_")[0] for name in env}
    return env | {name: value for name, value in here.items() if name.partition("_")[0] in prefixes}
