"""Bundles in a store of objects: put there, fetched, listed, and told in one line when it fails; on a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from attack.bundles import originals
from harness.objects import s3_with
from harness.patience import PATIENCE_SECONDS
from harness.places import ATTACK, ROOT

pytestmark = [pytest.mark.needs("attack")]
#: The backends of fsspec lie beside what attacks the API; what both environments have comes from this one.
WITH_BACKENDS = "import site, sys; site.addsitedir(sys.argv.pop(1)); from scorer.cli import main; main()"


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """An S3 server with a bucket, and the environment of who uses it."""
    with s3_with("models", tmp_path) as found:
        yield found


def backends() -> str:
    ask = "import site; print(site.getsitepackages()[0])"
    return subprocess.check_output([str(ATTACK / "bin" / "python"), "-c", ask], text=True).strip()


def test_a_bundle_goes_to_s3_and_comes_from_there(
    s3: tuple[subprocess.Popen[bytes], dict[str, str]], tmp_path: Path
) -> None:
    server, keys = s3
    model = originals()[0].model.replace(b"Column_0 Column_1 Column_2", b"amount hour_of_day day_of_week")
    (tmp_path / "model.txt").write_bytes(model)
    (tmp_path / "view.yaml").write_text("name: v\n")

    def scorer(
        *argv: str, cache: str, store: str = "s3://models/bundles", seconds: str = "90"
    ) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **keys, "SCORER_VIEW": "view.yaml"}
        env |= {"SCORER_STORE": store, "SCORER_CACHE": cache, "SCORER_STORE_SECONDS": seconds}
        program = [sys.executable, "-c", WITH_BACKENDS, backends(), *argv]
        return subprocess.run(
            program, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    create = ("bundle", "create", "--model", "model.txt", "--threshold", "0.5")
    made = scorer(*create, cache="one")
    assert made.returncode == 0, made.stderr
    digest = made.stdout.strip()
    for name in (digest, digest[:8]):  # the second one lists the store
        shown = scorer("bundle", "show", name, cache=f"of-{len(name)}")
        assert f"digest      {digest}" in shown.stdout, shown.stderr
    missing = scorer("bundle", "show", "ab" * 32, cache="two")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert f"bundle {'ab' * 6}: model.txt is missing in store s3://models/bundles; put it there\n" in missing.stderr
    for argv in (create, ("bundle", "show", digest)):
        none = scorer(*argv, cache="three", store="s3://no-such-bucket/bundles")
        assert none.returncode == 2
        assert len(none.stderr.splitlines()) == 1, none.stderr
    server.kill()
    server.wait()
    away = scorer("bundle", "show", digest, cache="four", seconds="5")
    assert away.returncode == 2
    assert len(away.stderr.splitlines()) == 1, away.stderr
    assert "store s3://models/bundles" in away.stderr
    assert scorer("bundle", "show", digest, cache="of-64").returncode == 0, "a copy needs no store"
