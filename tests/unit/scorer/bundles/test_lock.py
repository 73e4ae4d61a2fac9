"""One at a time beside a store, whoever is killed; and what cannot be locked is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scorer.bundles.lock import alone
from scorer.bundles.store import BundleStore
from scorer.errors import UserError

HOLD = """
import sys
from pathlib import Path
from scorer.bundles.lock import alone
from scorer.bundles.store import BundleStore
with alone(BundleStore(sys.argv[1], Path(sys.argv[2])), "rotations", "rotation"):
    print("held", flush=True)
    sys.stdin.read()
"""


def held(uri: str, cache: Path) -> subprocess.Popen[str]:
    """A process that holds the lock."""
    argv = [sys.executable, "-c", HOLD, uri, str(cache)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("uri", ["{}/bundles", "file://{}/bundles", "s3://bucket/bundles"])
def test_a_second_one_is_refused_until_the_first_is_gone_however_it_goes(uri: str, tmp_path: Path) -> None:
    uri, cache = uri.format(tmp_path), tmp_path / "cache"
    store = BundleStore(uri, cache)
    first = held(uri, cache)
    try:
        with pytest.raises(UserError, match=rf"another rotation runs here \(process {first.pid}\)"):  # noqa: SIM117
            with alone(store, "rotations", "rotation"):
                pytest.fail("two hold it")
    finally:
        first.kill()
        first.wait()
    for _ in range(2):
        with alone(store, "rotations", "rotation"):
            pass


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "bundles").write_text("a file, and no folder")
    with pytest.raises(UserError, match="cannot be made"):  # noqa: SIM117
        with alone(BundleStore(str(tmp_path / "bundles"), tmp_path), "rotations", "rotation"):
            pytest.fail("nothing is locked")
