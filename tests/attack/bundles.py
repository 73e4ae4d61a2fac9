"""Bundles that are damaged byte by byte and field by field: the child that proves one may die of it, nobody else.

A proof takes a process of its own, most of whose time goes into imports. So a server imports once, and forks a child
for each damaged bundle that runs the product's own proof. What the child lets pass is then used as a worker uses it, in
another fork, on far more rows than the proof asks for.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from attack.counts import Counts
from harness.places import ROOT
from scorer.bundles import proof
from scorer.bundles.proof import prove
from scorer.errors import BundleError

#: Longest time of one child, and processor time after which the system ends it.
SECONDS, CPU_SECONDS = 60.0, 4
#: One in so many is also proven as a worker does it, with a process of its own.
WHOLE = 100
#: How a native fault ends a process.
DEADLY = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGSYS)
ROWS = 400
#: What takes the place of a number in a model's text, and of a cell in a manifest.
ODD_NUMBERS = (
    *("0", "-1", "1", "2", "3", "-2", "5", "6", "-6", "-7", "7", "100", "32767", "65536", "2147483647", "-2147483648"),
    *("4294967296", "99999999999999999999", "nan", "inf", "-inf", "1e308", "-1e308", "1e-320", "", "x", "0x10", "1.5"),
)
ODD_CELLS: tuple[Any, ...] = (
    *(None, "", "x", 0, -1, 1.5, 1e308, True, [], {}, [[]], {"a": {"b": []}}, "0" * 5000, 2**70, "\u0000", ["amount"]),
    *("2026-01-01T00:00:00", "0001-01-01T00:00:00+14:00", ["a", "a", "a"]),
)


@dataclass(frozen=True)
class Original:
    """A whole bundle to damage."""

    name: str
    model: bytes
    manifest: bytes


def originals() -> list[Original]:
    """Small models of several kinds with their manifests, made by LightGBM and written by hand."""
    import lightgbm
    import numpy as np

    rng = np.random.default_rng(3)
    matrix = np.c_[rng.normal(size=(600, 2)), rng.integers(0, 70, 600)]
    labels = ((matrix[:, 2] % 3 == 0) ^ (matrix[:, 0] > 0.7)).astype(int)
    made = []
    kinds: list[tuple[str, list[int], dict[str, Any]]] = [
        ("numbers", [], {}), ("categories", [2], {"max_cat_to_onehot": 1, "min_data_per_group": 5}),
        ("linear", [], {"linear_tree": True}),
    ]  # fmt: skip
    for name, categories, more in kinds:
        fit = {"objective": "binary", "verbosity": -1, "num_leaves": 6, "num_threads": 1, **more}
        data = lightgbm.Dataset(matrix, labels, categorical_feature=categories)
        model = lightgbm.train(fit, data, 4).model_to_string().encode()
        last = {"kind": "category", "values": [str(i) for i in range(70)]} if categories else {"kind": "number"}
        features = {"amount": {"kind": "event"}, "age": {"kind": "number"}, "shop": last}
        manifest = {
            "schema": 1, "features": [*features], "view": {"name": "v", "id": "v-00000000", "features": features},
            "threshold": 0.5, "threshold_chosen": {"method": "given"}, "training": None, "code_version": "0",
            "parameters": {"seed": 1}, "libraries": {"lightgbm": "4"}, "parent": None, "note": "remark",
            "metrics": {"overall": {"recall": 0.5}, "segments": {"a": {"recall": None}}},
            "created_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        made.append(Original(name, model, json.dumps(manifest).encode()))
    return made


def damaged(of: Original, chance: random.Random) -> tuple[str, bytes, bytes]:
    """How, and a model and a manifest of which one is damaged."""
    roll = chance.random()
    if roll < 0.35:
        return "bytes of the model", _bytes(of.model, chance), of.manifest
    if roll < 0.75:
        return "a field of the model", _field(of.model, chance), of.manifest
    if roll < 0.85:
        return "bytes of the manifest", of.model, _bytes(of.manifest, chance)
    return "a field of the manifest", of.model, _json_field(of.manifest, chance)


def _bytes(content: bytes, chance: random.Random) -> bytes:
    out = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at, roll = chance.randrange(len(out) + 1), chance.randrange(6)
        if roll == 0 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif roll == 1 and at < len(out):
            out[at] = chance.choice(b"0123456789-.e \n=\x00\xff")
        elif roll == 2:
            del out[at : at + chance.choice((1, 2, 40, 400))]
        elif roll == 3:
            out[at:at] = out[at : at + chance.choice((1, 10, 200))]
        elif roll == 4:
            out[at:at] = bytes(chance.choices(b"0123456789-. \n=", k=chance.randint(1, 6)))
        else:
            del out[at:]
    return bytes(out)


def _field(model: bytes, chance: random.Random) -> bytes:
    """A number, a list or a line of the model's text is another one; the sizes of trees are told right, mostly."""
    lines = model.decode().split("\n")
    end = lines.index("end of trees") if "end of trees" in lines else len(lines)
    at = chance.choice([i for i in range(end) if "=" in lines[i]])
    name, _, value = lines[at].partition("=")
    cells = value.split(" ")
    where = chance.randrange(len(cells))
    roll = chance.randrange(8)
    if roll < 5:
        cells[where] = chance.choice(ODD_NUMBERS)
    elif roll == 5:
        cells = cells[:where] + cells[where + 1 :]
    elif roll == 6:
        cells = cells * chance.choice((2, 20))
    else:
        chance.shuffle(cells)
    lines[at] = f"{name}={' '.join(cells)}" if chance.random() < 0.95 else chance.choice((name, "=", lines[at] * 2))
    text = "\n".join(lines)
    if chance.random() < 0.8:  # else the sizes alone would tell
        trees = re.split(r"^(?=Tree=)", text.partition("\nend of trees")[0] + "\n", flags=re.MULTILINE)[1:]
        sizes = " ".join(str(len(tree.encode())) for tree in trees)
        text = re.sub(r"^tree_sizes=.*$", f"tree_sizes={sizes}", text, count=1, flags=re.MULTILINE)
    return text.encode()


def _json_field(manifest: bytes, chance: random.Random) -> bytes:
    record = json.loads(manifest)
    inside: Any = record
    while True:
        key = chance.choice(list(inside)) if isinstance(inside, dict) else chance.randrange(len(inside))
        cell = inside[key]
        if isinstance(cell, (dict, list)) and cell and chance.random() < 0.6:
            inside = cell
            continue
        break
    if chance.random() < 0.1:
        del inside[key]
    else:
        inside[key] = chance.choice(ODD_CELLS)
    return json.dumps(record).encode()


# --- the server: forks a child for each bundle ---


def serve() -> None:
    """Run as a module: prove and use the bundles that lines on standard input name; answers are lines of JSON."""
    import numpy as np

    from scorer.bundles.bundle import Bundle
    from scorer.bundles.manifest import digest_of

    def use(model: bytes, manifest: bytes) -> None:
        bundle = Bundle.read(model, manifest)
        bundle.warm()
        rng = np.random.default_rng(len(model))
        k = len(bundle.features)
        rows = rng.normal(scale=3.0, size=(ROWS, k))
        rows[:, -1] = rng.integers(-3, 90, ROWS)
        rows[rng.random((ROWS, k)) < 0.1] = np.nan
        for matrix in (rows, rows[:1], rows * 1e9):
            scores = bundle.score(matrix)
            assert scores.shape == (len(matrix),), "another shape"
            if not bundle.text.is_linear:
                assert ((scores >= 0) & (scores <= 1)).all(), "no probability"
            assert np.array_equal(scores, bundle.score(matrix), equal_nan=True), "another answer to the same rows"
        if not bundle.text.is_linear:
            assert np.isfinite(bundle.contributions(rows[:50])).all(), "contributions are no numbers"

    for line in sys.stdin:
        model, manifest = (Path(part).read_bytes() for part in json.loads(line))
        digest = digest_of(model, manifest)
        told = tempfile.TemporaryFile()  # noqa: SIM115 - the fork writes to it

        def proven(model: bytes = model, manifest: bytes = manifest, digest: str = digest, told: Any = told) -> None:
            with tempfile.TemporaryFile() as given:
                given.write(len(manifest).to_bytes(8, "big") + len(model).to_bytes(8, "big") + manifest + model)
                given.seek(0)
                os.dup2(given.fileno(), 0)
                os.dup2(told.fileno(), 1)
                sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
                proof._child(digest)

        ended = _forked(proven)
        told.seek(0)
        answer = {"proof": ended, "told": told.read().decode(errors="replace")[-300:], "use": None}
        told.close()
        if ended == 0:
            answer["use"] = _forked(partial(use, model, manifest))
        print(json.dumps(answer), flush=True)


def _forked(work: Callable[[], None]) -> int:
    """The exit code of a fork that does some work; the negative number of the signal that ended it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit = lambda *_: None  # the proof's own are larger
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 3
        except AssertionError:
            code = 4
        except BaseException:
            code = 5
        try:
            sys.stdout.flush()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class Server:
    """The other end of `serve`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "attack.bundles", "serve"],
            cwd=ROOT / "tests",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **proof.ALONE},
        )

    def ask(self, folder: Path) -> dict[str, Any] | None:
        """What became of the bundle in a folder; None if no answer came in time."""
        given, answers = self._process.stdin, self._process.stdout
        assert given is not None
        assert answers is not None
        given.write(json.dumps([str(folder / "model.txt"), str(folder / "manifest.json")]).encode() + b"\n")
        given.flush()
        if not select.select([answers], [], [], SECONDS)[0]:
            return None
        line = answers.readline()
        if not line:
            raise RuntimeError("the server of proofs has ended")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def attack(seed: int, n: int) -> Counts:
    """Damage n bundles."""
    counts, chance, wholes = Counts("bundles"), random.Random(seed), originals()
    server = Server()
    try:
        with tempfile.TemporaryDirectory(prefix="attack-") as temporary:
            folder = Path(temporary)
            for of in wholes:  # an attack on nothing would be clean, too
                _check_whole(of, folder, server, counts)
            for at in range(n):
                of = chance.choice(wholes)
                how, model, manifest = damaged(of, chance)
                counts.tried += 1
                _put(folder, model, manifest)
                answer = server.ask(folder)
                what = f"{how} of {of.name}, seed {seed}, number {at}"
                if answer is None:
                    counts.hang(what)
                    server.close()
                    server = Server()
                    continue
                _judge(answer, how, what, counts)
                if at % WHOLE == 0:
                    _as_a_worker(model, manifest, answer, what, counts)
    finally:
        server.close()
    return counts


def _put(folder: Path, model: bytes, manifest: bytes) -> None:
    (folder / "model.txt").write_bytes(model)
    (folder / "manifest.json").write_bytes(manifest)


def _check_whole(of: Original, folder: Path, server: Server, counts: Counts) -> None:
    _put(folder, of.model, of.manifest)
    answer = server.ask(folder)
    if answer is None or (answer["proof"], answer["use"]) != (0, 0):
        counts.mistake(f"a whole bundle of {of.name} is refused: {answer}")


def _judge(answer: dict[str, Any], how: str, what: str, counts: Counts) -> None:
    ended, used = answer["proof"], answer["use"]
    if ended == 0:
        counts.saw(f"{how}: harmless")
        if used is not None and used < 0:
            counts.crash(f"{what}: was proven, and then killed its worker by signal {-used}")
        elif used:
            counts.mistake(f"{what}: was proven, and then ended its use with {used}")
    elif ended == 1 and answer["told"].count("\n") == 1:
        counts.saw(f"{how}: refused")
    elif -ended in DEADLY or -ended in (signal.SIGXCPU, signal.SIGKILL):
        counts.saw(f"{how}: killed the child")
    else:
        counts.crash(f"{what}: the proof ended with {ended}: {answer['told']}")


def _as_a_worker(model: bytes, manifest: bytes, answer: dict[str, Any], what: str, counts: Counts) -> None:
    """Whether the product's own call comes to the same end, in one line."""
    from scorer.bundles.manifest import digest_of

    began = time.monotonic()
    try:
        prove(model, manifest, digest_of(model, manifest))
        ended = 0
    except BundleError as error:
        ended = 1
        if "\n" in str(error):
            counts.mistake(f"{what}: told in several lines: {error}")
    except Exception as error:
        counts.crash(f"{what}: {type(error).__name__}: {error}")
        return
    if time.monotonic() - began > proof.SECONDS + 30:
        counts.hang(what)
    if (ended == 0) != (answer["proof"] == 0):
        counts.mistake(f"{what}: {answer['proof']} in a fork, but {ended} in a process of its own")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        found = attack(int(sys.argv[1]), int(sys.argv[2]))
        print(found.row(), found.seen, *found.told, sep="\n")
