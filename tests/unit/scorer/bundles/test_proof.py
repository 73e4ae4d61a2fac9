"""A damaged or foreign model dies, or is refused, in a child process: whoever asked lives and is told why."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import orjson
import pytest

from harness.places import ROOT
from scorer.bundles.bundle import Bundle, create
from scorer.bundles.manifest import digest_of
from scorer.bundles.notes import DEATHS, Notes
from scorer.bundles.proof import DeadlyBundleError, prove
from scorer.bundles.store import BundleStore
from scorer.errors import BundleError, UnavailableError
from scorer.pipeline.batch import Matrix
from scorer.pipeline.view import FeatureView

pytestmark = pytest.mark.slow  # each starts a child process

VIEW = FeatureView(name="v")


def trained(objective: str = "binary", **more: object) -> str:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(400, 3))
    labels = (matrix[:, 0] + 0.3 * rng.normal(size=400) > 0).astype(int)
    if objective == "multiclass":
        labels = rng.integers(0, 3, 400)
    fit = {"objective": objective, "verbosity": -1, "num_leaves": 7, **more}
    return lightgbm.train(fit, lightgbm.Dataset(matrix, labels), 5).model_to_string()


GOOD = create(trained().encode(), ("amount", "hour_of_day", "day_of_week"), VIEW, 0.5)


def damaged(pattern: str, by: str) -> bytes:
    text, n = re.subn(pattern, by, GOOD.model.decode(), count=1)
    assert n == 1, "the model has no such line"
    head, first, rest = text.partition("\nTree=0")
    trees = rest.partition("\nend of trees")[0].split("\nTree=")
    sizes = " ".join(
        str(len(f"Tree={at}{tree.removeprefix(str(at))}\n")) for at, tree in enumerate(["0" + trees[0], *trees[1:]])
    )
    return (re.sub(r"tree_sizes=.*", f"tree_sizes={sizes}", head) + first + rest).encode()


def test_a_good_bundle_is_proven() -> None:
    prove(GOOD.model, GOOD.manifest_bytes, GOOD.digest)


@pytest.mark.parametrize(
    "model",
    [
        damaged(r"left_child=-?\d+", "left_child=900000"),
        damaged(r"split_feature=\d+", "split_feature=77"),
        damaged(r"num_leaves=\d+", "num_leaves=100000000"),
        damaged(r"leaf_value=[^ ]+", "leaf_value=nan"),
        damaged(r"max_feature_idx=\d+", "max_feature_idx=-1"),
        damaged(r"leaf_value=[^ ]+", "leaf_value=1e308"),
        GOOD.model[: len(GOOD.model) // 2],
        GOOD.model.replace(b"end of trees", b""),
        b"tree\n",
        b"tree\n" + bytes(range(256)),
        trained("multiclass", num_class=3).encode(),
        trained("regression").encode(),
    ],
    ids=lambda model: f"{len(model)} bytes",
)
def test_whatever_a_model_does_the_one_who_asks_is_told_in_one_line(model: bytes) -> None:
    digest = digest_of(model, GOOD.manifest_bytes)
    told = ""
    try:
        prove(model, GOOD.manifest_bytes, digest)
    except BundleError as error:
        told = str(error)
    assert "\n" not in told
    if not told:  # some damage leaves a model that still answers like one
        assert Bundle.read(model, GOOD.manifest_bytes, digest).score(np.zeros((1, 3))).shape == (1,)


def test_a_model_of_several_classes_is_refused_by_its_text() -> None:
    model = trained("multiclass", num_class=3).encode()
    with pytest.raises(BundleError, match="3 numbers a row, expected one score; train with objective binary"):
        prove(model, GOOD.manifest_bytes, digest_of(model, GOOD.manifest_bytes))


def test_a_proof_that_is_not_done_in_time_is_ended_and_says_nothing_of_the_bundle() -> None:
    with pytest.raises(UnavailableError, match=r"took more than 0\.01 s to prove; is the machine too busy\? Try again"):
        prove(GOOD.model, GOOD.manifest_bytes, GOOD.digest, seconds=0.01)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children do not recognise damaged trees, and die of them."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'tests' / 'faults' / 'injected' / 'unchecked'}:{ROOT}")


def a_deadly_model() -> bytes:
    """A model that LightGBM dies of; the damage that does it is found by trying."""
    for pattern, by in (
        (r"left_child=-?\d+", "left_child=900000"),
        (r"split_feature=\d+", "split_feature=2000000000"),
        (r"right_child=-?\d+", "right_child=-900000"),
    ):
        model = damaged(pattern, by)
        try:
            prove(model, GOOD.manifest_bytes, digest_of(model, GOOD.manifest_bytes))
        except DeadlyBundleError:
            return model
        except BundleError:
            continue
    raise AssertionError("no damage is deadly to this version of LightGBM")


@pytest.mark.usefixtures("unchecked")
def test_a_deadly_bundle_is_remembered_and_not_tried_again(tmp_path: Path) -> None:
    model = a_deadly_model()
    digest = digest_of(model, GOOD.manifest_bytes)
    folder = tmp_path / "store" / digest
    folder.mkdir(parents=True)
    (folder / "model.txt").write_bytes(model)
    (folder / "manifest.json").write_bytes(GOOD.manifest_bytes)
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache")
    with pytest.raises(DeadlyBundleError, match="kills who parses it"):
        store.fetch(digest)
    with pytest.raises(BundleError, match="is not tried again, it has killed a process before"):
        store.fetch(digest)
    with pytest.raises(DeadlyBundleError):
        store.adopt(folder)


def test_what_died_while_it_parsed_a_bundle_gives_it_up_after_two_deaths(tmp_path: Path) -> None:
    notes = Notes(tmp_path, GOOD.digest)
    trying = tmp_path / f"{GOOD.digest}.trying"
    for deaths in range(1, DEATHS + 1):
        with notes.parsing():
            left = trying.read_text()
        assert left == "x" * deaths, "it is noted before"
        trying.write_text(left)  # as a dead process leaves it
    with pytest.raises(BundleError, match="2 processes died while they parsed it"), notes.parsing():
        pass
    with pytest.raises(BundleError, match="is not tried again"):
        notes.check()


def test_two_workers_may_parse_one_bundle_at_a_time(tmp_path: Path) -> None:
    one, other = Notes(tmp_path, GOOD.digest), Notes(tmp_path, GOOD.digest)
    with one.parsing(), other.parsing():
        pass
    with one.parsing():
        pass
    one.check()


def test_a_bundle_is_proven_once_for_each_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def noted(model: bytes, manifest: bytes, digest: str, compare: bool) -> None:
        assert not compare, "nobody asked for another predictor"
        asked.append(digest)

    monkeypatch.setattr("scorer.bundles.store.prove", noted)
    store = BundleStore(str(tmp_path / "store"), tmp_path / "cache")
    store.put(GOOD)
    for _ in range(3):
        store.fetch(GOOD.digest)
    assert asked == [GOOD.digest]
    monkeypatch.setattr("scorer.bundles.notes.version", lambda name: "99")
    store.fetch(GOOD.digest)
    assert asked == [GOOD.digest] * 2


def command(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    view = folder / "view.yaml"
    view.write_text("name: v\n")
    env = {"SCORER_STORE": str(folder / "store"), "SCORER_CACHE": str(folder / "cache"), "SCORER_VIEW": str(view)}
    program = [sys.executable, "-c", "from scorer.cli import main; main()", *argv]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT)), **env}
    return subprocess.run(program, env=env, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("unchecked")
def test_a_command_that_is_given_a_deadly_model_says_so_in_one_line(tmp_path: Path) -> None:
    model, folder = tmp_path / "model.txt", tmp_path / "bundle"
    folder.mkdir()
    for path in (model, folder / "model.txt"):
        path.write_bytes(a_deadly_model())
    (folder / "manifest.json").write_bytes(GOOD.manifest_bytes)
    features = ("--features", "amount,hour_of_day,day_of_week")
    for argv in (
        ("bundle", "create", "--model", str(model), "--threshold", "0.5", *features),
        ("bundle", "show", str(folder)),
        ("bundle", "show", "--json", str(folder)),
    ):
        done = command(tmp_path, *argv)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert re.fullmatch(r"[^\n]*kills who parses it \(SIG[A-Z]+\); train it again\n", done.stderr)
    assert not (tmp_path / "store").exists(), "nothing is put there"


def test_commands_still_wrap_and_show_a_good_model(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_bytes(
        GOOD.model.replace(b"Column_0 Column_1 Column_2", b"amount hour_of_day day_of_week")
    )
    made = command(tmp_path, "bundle", "create", "--model", str(tmp_path / "model.txt"), "--threshold", "0.5")
    assert made.returncode == 0, made.stderr
    digest = made.stdout.strip()
    for name in (digest, digest[:8], str(tmp_path / "store" / digest)):
        assert f"digest      {digest}" in command(tmp_path, "bundle", "show", name).stdout


#: What parses a model.
PARSING = (
    "Bundle.read", "Bundle.load", "cls.read", "create", "_parsed", "library().Booster", "lignum.load", "fast",
    "bundle.quickened",
)  # fmt: skip
#: Where the product may have a model parsed: a bundle's own module, the child, and what a child has proven before.
MAY_PARSE = {
    "scorer/bundles/bundle.py: Booster", "scorer/bundles/bundle.py: _parsed", "scorer/bundles/bundle.py: read",
    "scorer/bundles/proof.py: read", "scorer/bundles/store.py: read", "scorer/training/train.py: create",
    "scorer/bundles/predictor.py: load", "scorer/bundles/predictor.py: fast", "scorer/bundles/bundle.py: fast",
    "scorer/bundles/store.py: quickened",
}  # fmt: skip


def test_nothing_else_parses_a_model_in_its_own_process() -> None:
    found = set()
    for package in ("scorer", "shadow"):
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            if not any(name in text for name in ("Bundle", "lightgbm", "lignum")):
                continue
            for node in ast.walk(ast.parse(text)):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                if called in PARSING:
                    found.add(f"{path.relative_to(ROOT)}: {called.rpartition('.')[2]}")
    assert found == MAY_PARSE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("created_at", "2026-01-01T00:00:00"),
        ("metrics", {"overall": "x"}),
        ("metrics", {"segments": []}),
        ("metrics", {"segments": {"a": {"recall": "x"}}}),
    ],
)
def test_a_manifest_that_would_later_raise_is_refused_when_it_is_read(field: str, value: object) -> None:
    manifest = orjson.dumps({**orjson.loads(GOOD.manifest_bytes), field: value})
    with pytest.raises(BundleError, match=rf"manifest\.json: {field}"):
        Bundle.read(GOOD.model, manifest)


@pytest.mark.parametrize("shape", [(8, 4), (8, 3), (7, 4)])
def test_contributions_that_are_not_one_number_a_feature_are_refused(shape: tuple[int, int]) -> None:
    class Explained(Bundle):
        def contributions(self, matrix: Matrix) -> Matrix:
            return np.full(shape, np.nan if shape == (8, 4) else 0.0)

    with pytest.raises(BundleError, match="contributions are not one number a feature"):
        Explained(GOOD.digest, GOOD.manifest, GOOD.model, GOOD.manifest_bytes).explain()


def test_a_model_that_scores_but_cannot_be_explained_is_refused() -> None:
    """Contributions are made of the counts in a tree, which scores do not use."""
    model = re.sub(rb"(?<=_count=)[^\n]+", lambda counts: re.sub(rb"\d", b"0", counts[0]), GOOD.model)
    with pytest.raises(BundleError, match="contributions are not one number a feature"):
        prove(model, GOOD.manifest_bytes, digest_of(model, GOOD.manifest_bytes))
