"""A suggestion's dossier on the real stack: the verdict comes again from it alone, without Kafka and Redis."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson

from harness.models import Models
from harness.patience import PATIENCE_SECONDS
from harness.signing import signing
from harness.stack import BIN, Stack, get, wait_for
from harness.tallied import fill
from scorer.deployments.ledger import read
from scorer.deployments.records import Suggestion
from shadow.comparison.totals import Run
from shadow.gate.criteria import parse
from shadow.release.dossier import digest_of

RELEASE = "schema: 1\nminimum_covered_hours: 24\n"
#: By outcome in each hour: both allow, both block, live alone, the candidate alone.
TWIN, GOOD = (1000, 60, 3, 3), (1000, 60, 4, 4)


def alone(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """A command without any setting, as on another machine."""
    folder.mkdir(exist_ok=True)
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [str(BIN / argv[0]), *argv[1:]]
    return subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )


def suggested(stack: Stack, seen: int) -> list[Suggestion]:
    """Every suggestion on the ledger, once there are more than `seen`."""

    def there() -> list[Suggestion]:
        found = [line.entry for line in asyncio.run(read(stack.settings())).ledger]
        made = [entry for entry in found if isinstance(entry, Suggestion)]
        return made if len(made) > seen else []

    made: list[Suggestion] = wait_for("suggestion", there)
    return made


def test_a_dossier_is_replayed_alone_and_refused_once_a_byte_is_changed(
    stack: Stack, models: Models, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(models.env["SCORER_STORE"], store, ignore=shutil.ignore_patterns("dossiers"))
    (stack.folder / "release.yaml").write_text(RELEASE)
    stack.env |= {"SHADOW_RELEASE": str(stack.folder / "release.yaml"), "SHADOW_STORE": str(store)}
    stack.deploy(models.candidate, "candidate")
    stack.deploy(models.control, "control")
    keys = signing(stack, test="releaser", serve="gate")
    stack.env |= {"SCORER_SIGNING_KEY": keys["test"]}
    segments = parse(RELEASE).segments
    fill(stack.store.address, "control", Run(1, 1), 48, [TWIN], segments)
    fill(stack.store.address, "candidate", Run(1, 1), 48, [GOOD], segments)
    serve = stack.start("shadow", "serve", env={"SHADOW_SIGNING_KEY": keys["serve"]})
    (first,) = suggested(stack, 0)
    assert first.dossier is not None
    (line,) = [r for r in stack.read("deployments") if b'"kind":"suggestion"' in (r.value or b"")]
    assert len(line.value) < 8_000
    page = f"http://127.0.0.1:{serve.port}/api/suggestions"
    (over_http,) = wait_for("suggestion", lambda: orjson.loads(get(page) or b"[]"))
    assert over_http["dossier"] == first.dossier

    # the candidate is deployed again: another run, another suggestion, whose dossier names the first one
    stack.deploy(models.candidate, "candidate", discard=True)
    fill(stack.store.address, "candidate", Run(1, 2), 48, [GOOD], segments)
    _, second = suggested(stack, 1)
    assert second.dossier is not None
    path = store / "dossiers" / f"{second.dossier}.json"
    content = path.read_bytes()
    body: dict[str, Any] = orjson.loads(content)
    assert body["before"] == first.dossier
    assert body["bundles"]["candidate"]["digest"] == models.candidate
    assert body["bundles"]["candidate"]["training"]["fingerprint"]
    assert digest_of(content) == second.dossier
    assert f"dossier: {first.dossier[:12]}" in stack.run("shadow", "history")

    ledger = stack.run("shadow", "history", "--json").splitlines()
    serve.stop()
    stack.store.stop()
    stack.broker.stop()
    told = stack.run("shadow", "replay", second.dossier[:10])
    assert told.startswith(
        f"dossier {second.dossier[:12]} (slot candidate, run L1-C2): the same verdict, byte for byte"
    )
    rows = [orjson.loads(row) for row in ledger]
    assert [row["signed_by"] for row in rows if row["kind"] == "suggestion"] == ["serve", "serve"]
    signature = path.with_suffix(".sig")
    signed = signature.read_bytes()
    for other, why in (
        (store / "dossiers" / f"{first.dossier}.sig", "its signature is not that of serve"),
        (path, "its signature cannot be read"),
    ):
        signature.write_bytes(other.read_bytes())
        assert f"is not to be trusted: {why}" in stack.fails("shadow", "replay", second.dossier)
        assert f"is not to be trusted: {why}" in stack.fails("shadow", "replay", str(path))
    signature.unlink()
    assert ".sig: is missing in store" in stack.fails("shadow", "replay", second.dossier)
    assert "cannot be read (No such file or directory)" in stack.fails("shadow", "replay", str(path))
    signature.write_bytes(signed)
    assert stack.run("shadow", "replay", str(path)) == told

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copy = shutil.copy(path, elsewhere)
    done = alone(elsewhere, "shadow", "replay", str(copy))
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, told, "")

    Path(copy).write_bytes(content.replace(b'"compared"', b'"comparex"', 1).replace(b"1", b"2", 1))
    done = alone(elsewhere, "shadow", "replay", str(copy))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: dossier {second.dossier[:12]}: its content was changed (digest ")
    assert done.stderr.count("\n") == 1

    stricter = stack.folder / "stricter.yaml"
    stricter.write_text(RELEASE.replace("24", "100"))
    told = stack.run("shadow", "replay", "--criteria", str(stricter))
    assert told.count("promote → hold; hold: evidence still missing for covered_hours in all") == 2
    assert told.count("covered_hours in all: pass → insufficient") == 2
    assert told.splitlines()[-1] == f"2 of 2 verdicts flip under {stricter}"
    told = stack.run("shadow", "replay", "--criteria", str(stack.folder / "release.yaml"))
    assert told == f"0 of 2 verdicts flip under {stack.folder / 'release.yaml'}"
    rows = stack.run("shadow", "replay", "--json", first.dossier, second.dossier).splitlines()
    assert [orjson.loads(row)["same"] for row in rows] == [True, True]
    path.write_bytes(content[:-1])
    told = stack.run("shadow", "replay", "--criteria", str(stricter), expect=1)
    assert f"dossier {second.dossier[:12]}: its content was changed" in told
    assert f"1 of 1 verdicts flip under {stricter}" in told
    assert "no dossiers in store" in stack.fails("shadow", "replay", "0" * 9)
    assert "expected a dossier, or --criteria" in stack.fails("shadow", "replay")
