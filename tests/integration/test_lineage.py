"""Training by the commands that people have: it repeats, it can be remade and compared, and what is bad is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sklearn.metrics import average_precision_score

from scorer.bundles.bundle import Bundle
from scorer.bundles.manifest import manifest_of
from scorer.cli import cli
from scorer.errors import UserError

ROUNDS = ("--param", "num_iterations=8")
VIEW = "name: v\nattributes:\n- {name: age, kind: number}\n- {name: land, kind: category, values: [DE, FR]}\n"
START = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = ("transaction_id", "occurred_at", "card_id", "merchant_id", "amount", "currency", "age", "land", "is_fraud")


def rows(n: int = 3000, seed: int = 7) -> dict[str, list[Any]]:
    """Payments whose fraud follows from amount and land, made by nothing of the product's own."""
    rng = np.random.default_rng(seed)
    amount = np.round(rng.lognormal(3, 1, n), 2)
    foreign = rng.random(n) < 0.4
    fraud = rng.random(n) < np.clip(0.02 + 0.004 * amount * foreign, 0, 0.9)
    return {
        "transaction_id": [f"t{at}" for at in range(n)],
        "occurred_at": [START + timedelta(minutes=15 * at) for at in range(n)],
        "card_id": [f"c{card}" for card in rng.integers(0, 80, n)],
        "merchant_id": [f"m{one}" for one in rng.integers(0, 9, n)],
        "amount": amount.tolist(),
        "currency": ["EUR"] * n,
        "age": rng.integers(1, 900, n).tolist(),
        "land": np.where(foreign, "FR", "DE").tolist(),
        "is_fraud": fraud.astype(int).tolist(),
    }


class Place:
    """A folder with settings, in which commands run as processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "features.yaml").write_text(VIEW)
        self.env = {**os.environ, "SCORER_VIEW": "features.yaml", "SCORER_STORE": "store", "SCORER_CACHE": "cache"}

    def write(self, columns: dict[str, list[Any]], name: str = "rows.parquet") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), path)
        return path

    def command(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from scorer.cli import main; main()", *argv],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def run(self, *argv: str, **env: str) -> str:
        done = self.command(*argv, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def train(self, *argv: str, **env: str) -> str:
        return self.run("train", *argv, **(env or {}))

    def refused(self, *argv: str) -> str:
        """The one line of a command that ends with 2 and stores nothing."""
        before, command = self.stored(), cli.get_command(click.Context(cli), argv[0])
        assert command is not None
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            result = CliRunner().invoke(command, argv[1:], env=self.env)
        assert isinstance(result.exception, UserError), (result.output, result.exception)
        assert "\n" not in str(result.exception)
        assert self.stored() == before
        return str(result.exception)

    def stored(self) -> set[str]:
        store = self.folder / "store"
        return {path.name for path in store.iterdir()} if store.exists() else set()

    def bundle(self, digest: str) -> Bundle:
        return Bundle.load(self.folder / "store" / digest, digest)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    found = Place(tmp_path_factory.mktemp("lineage"))
    found.write(rows())
    return found


@pytest.fixture(scope="module")
def made(place: Place) -> str:
    return place.train("rows.parquet", *ROUNDS, "--by", "ada", "--note", "the first")


def test_the_same_training_gives_the_same_digest_whoever_says_what_about_it(place: Place, made: str) -> None:
    place.write(rows(), "copy/of it.parquet")
    again = place.command(
        "train", "copy/of it.parquet", *ROUNDS, "--by", "grace", "--note", "later", "--parent", made, "--threads", "5"
    )
    assert again.stdout.strip() == made
    assert "is there already" in again.stderr
    assert place.train("rows.parquet", *ROUNDS, "--seed", "2") != made
    assert place.train("rows.parquet", *ROUNDS, "--param", "num_leaves=30") != made
    assert place.bundle(made).manifest.made_by == "ada"


def test_a_file_in_another_writing_and_order_gives_the_same_digest(place: Place, made: str) -> None:
    table = rows()
    order = np.random.default_rng(1).permutation(len(table["amount"])).tolist()
    shuffled = {name: [cells[at] for at in order] for name, cells in table.items()}
    half = len(order) // 2
    place.write({name: cells[:half] for name, cells in shuffled.items()}, "parts/z.parquet")
    place.write({name: cells[half:] for name, cells in shuffled.items()}, "parts/a.parquet")
    assert place.train("parts", *ROUNDS) == made
    lines = [
        {name: cells[at].isoformat() if name == "occurred_at" else cells[at] for name, cells in table.items()}
        for at in range(len(order))
    ]
    (place.folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert place.train("rows.jsonl", *ROUNDS) == made


def test_a_tuned_training_is_remade_without_tuning_and_is_what_the_same_parameters_by_hand_give(
    place: Place, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    done = place.command("train", "rows.parquet", *ROUNDS, "--tune", "3", "--threads", "2")
    assert done.returncode == 0, done.stderr
    digest = done.stdout.strip()
    assert digest != made
    found = place.bundle(digest).manifest
    assert found.tuned is not None
    assert found.tuned.trials == 3
    assert found.lineage is not None
    parameters = found.lineage.recipe.parameters
    told = next(line for line in done.stderr.splitlines() if "best of 3 trials" in line)
    chosen = [f"{name}={parameters[name]:g}" for name in found.tuned.searched]
    assert told.endswith(" ".join(chosen))
    assert place.train("rows.parquet", *ROUNDS, *(word for one in chosen for word in ("--param", one))) == digest
    assert "best of 3 trials by optuna" in " ".join(place.run("bundle", "card", digest).split())
    (place.folder / "without" / "optuna").mkdir(parents=True)
    (place.folder / "without" / "optuna" / "__init__.py").write_text("raise ImportError('not here')")
    without = {"PYTHONPATH": f"{place.folder / 'without'}:{os.environ.get('PYTHONPATH', '')}"}
    assert place.run("reproduce", digest, **without) == f"the same: {digest}"
    twin = place.train("rows.parquet", "--twin", digest, **without)
    assert place.bundle(twin).manifest.tuned is None
    refused = place.command("train", "rows.parquet", "--tune", "3", **without)
    assert refused.returncode == 2
    assert refused.stderr.strip().count("\n") == 0
    assert "install the extra `tune`" in refused.stderr


def test_two_trainings_that_race_into_the_store_leave_one_whole_bundle(place: Place) -> None:
    with ThreadPoolExecutor(3) as pool:
        digests = set(pool.map(lambda by: place.train("rows.parquet", *ROUNDS, "--seed", "9", "--by", by), "abc"))
    assert len(digests) == 1
    assert place.bundle(digests.pop()).manifest.made_by in set("abc")


def test_the_manifest_says_all_that_it_takes(place: Place, made: str) -> None:
    manifest = place.bundle(made).manifest
    lineage = manifest.lineage
    assert lineage is not None
    assert lineage.data.transactions == 3000
    assert lineage.data.first == "2026-01-01T00:00:00.000Z"
    assert set(lineage.data.content) == {*COLUMNS, "label_available_at"} - {"currency"}, "which is in the amount"
    assert manifest.libraries.keys() == {"python", "lightgbm", "numpy", "pyarrow"}
    (source,) = manifest.sources or ()
    assert (source.name, source.rows) == ("rows.parquet", 3000)
    assert source.bytes == (place.folder / "rows.parquet").stat().st_size
    assert source.columns["age"] == "int64"
    split = lineage.split
    assert split.fit.transactions + split.calibration.transactions + split.test.transactions == 3000
    assert split.fit.last < split.calibration.first < split.calibration.last < split.test.first
    assert len(manifest.packages or "") == 64


def test_what_stands_beside_the_content_can_be_said_otherwise_and_nothing_else(place: Place, made: str) -> None:
    folder = place.folder / "store" / made
    text = (folder / "manifest.json").read_text()
    assert manifest_of(text.replace('"the first"', '"another"').encode()).note == "another"
    for was, put in (
        ('"num_leaves": 31', '"num_leaves": 32'),
        ('"dirty": null', '"dirty": false'),
        ('"rows": 2400', '"rows": 2401'),
    ):
        assert was in text
        other = place.folder / "edited" / made
        other.mkdir(parents=True, exist_ok=True)
        (other / "model.txt").write_bytes((folder / "model.txt").read_bytes())
        (other / "manifest.json").write_text(text.replace(was, put))
        done = place.command("bundle", "show", made, SCORER_STORE="edited", SCORER_CACHE="empty")
        assert done.returncode == 2
        assert "its content was changed" in done.stderr


def test_a_bundle_is_remade_elsewhere_with_other_threads_and_other_settings(place: Place, made: str) -> None:
    place.write(rows(), "else/where.parquet")
    (place.folder / "other.yaml").write_text("name: other\n")
    before = place.stored()
    told = place.run("reproduce", made[:10], "else/where.parquet", "--threads", "3", SCORER_VIEW="other.yaml")
    assert told == f"the same: {made}"
    assert place.run("reproduce", made) == f"the same: {made}", "the paths are in the manifest"
    assert place.stored() == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t["amount"].__setitem__(5, 99.5), "content of amount"),
        (lambda t: t["is_fraud"].__setitem__(5, 1 - t["is_fraud"][5]), "content of is_fraud"),
        (lambda t: t["land"].__setitem__(9, "DE" if t["land"][9] == "FR" else "FR"), "content of land"),
        (lambda t: [cells.pop() for cells in t.values()], "transactions: 3000 then, 2999 now"),
        (lambda t: t["card_id"].__setitem__(0, "c999"), "content of card_id"),
    ],
)
def test_data_that_differ_are_named_and_nothing_is_trained(place: Place, made: str, change: Any, told: str) -> None:
    table = rows()
    change(table)
    place.write(table, "changed.parquet")
    done = place.command("reproduce", made, "changed.parquet")
    assert done.returncode == 1
    assert f"differs: data: {told}" in done.stdout
    assert "not the same" in done.stderr
    assert "training on" not in done.stderr


def test_a_version_that_differs_is_named(place: Place, made: str) -> None:
    """A store may hold a bundle whose manifest was honestly made elsewhere."""
    text = json.loads((place.folder / "store" / made / "manifest.json").read_text())
    text["libraries"]["python"] = "3.9.1"
    manifest = json.dumps(text).encode()
    model = (place.folder / "store" / made / "model.txt").read_bytes()
    bundle = Bundle.read(model, manifest)
    bundle.write(place.folder / "store")
    done = place.command("reproduce", bundle.digest, "rows.parquet")
    assert done.returncode == 1
    assert "differs: version of python: 3.9.1 then, " in done.stdout
    assert "the trees are the same, byte for byte" in done.stderr
    (place.folder / "store" / bundle.digest / "manifest.json").unlink()


def test_what_cannot_be_remade_says_why(place: Place, made: str) -> None:
    foreign = place.run(
        "bundle", "create", "--model", f"store/{made}/model.txt", "--threshold", "0.5", "--note", "from elsewhere"
    )
    assert "was trained elsewhere" in place.refused("reproduce", foreign, "rows.parquet")
    assert "was trained elsewhere" in place.refused("train", "rows.parquet", "--twin", foreign)


def test_a_twin_of_other_data_or_another_range_is_refused(place: Place, made: str) -> None:
    twin = place.train("rows.parquet", "--twin", made)
    assert twin != made
    table = rows()
    table["amount"][7] += 1
    place.write(table, "others.parquet")
    assert "it was trained on other data" in place.refused("train", "others.parquet", "--twin", made)
    assert "other data" in place.refused("train", "rows.parquet", "--twin", made, "--to", "2026-01-25")
    assert "num_leaves" in place.refused("train", "rows.parquet", "--twin", made, "--param", "num_leaves=7")
    assert "--tune" in place.refused("train", "rows.parquet", "--twin", made, "--tune", "3")


def test_bundles_are_listed_compared_and_described_within_80_columns(place: Place, made: str) -> None:
    other = place.train("rows.parquet", *ROUNDS, "--without", "age", "--param", "num_leaves=9", "--note", "ü" * 300)
    listed = place.run("bundle", "list")
    assert {made[:12], other[:12]} <= {line.split()[0] for line in listed.splitlines()[1:]}
    found = {one["digest"]: one for one in json.loads(place.run("bundle", "list", "--json"))}
    assert found[made]["made_by"] == "ada"
    assert found[made]["lineage"] == "it was trained outside of a repository"
    compared = place.run("bundle", "diff", made, other[:9])
    assert "num_leaves" in compared
    assert any(line.split()[:1] == ["age"] and line.endswith("-") for line in compared.splitlines())
    assert "land=FR AP" in compared
    assert "data: the same" in compared
    card = place.run("bundle", "card", made)
    assert f"# Model {made[:12]}" in card
    assert "## Data" in card
    for text in (listed, compared, card, place.run("bundle", "card", other)):
        assert max(map(len, text.splitlines())) <= 80
    differing = json.loads(place.run("bundle", "diff", made, other, "--json"))
    assert differing["parameters.num_leaves"] == {"a": 31, "b": 9}


def test_the_repository_and_its_changes_are_in_the_manifest(place: Place, tmp_path: Path) -> None:
    inside = Place(tmp_path)
    path = inside.write(rows())
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com"]
    for argv in (["init", "-q"], ["add", "features.yaml"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *argv], cwd=tmp_path, check=True, capture_output=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    clean = inside.bundle(inside.train(path.name, *ROUNDS)).manifest.lineage
    assert clean is not None
    assert (clean.code.commit, clean.code.dirty, clean.doubt) == (head.stdout.strip(), False, None)
    (tmp_path / "features.yaml").write_text(VIEW + "# a remark\n")
    digest = inside.train(path.name, *ROUNDS)
    dirty = inside.bundle(digest).manifest.lineage
    assert dirty is not None
    assert dirty.code.dirty
    assert "changes that commit" in (dirty.doubt or "")
    outside = place.folder / "store"
    Bundle.load(tmp_path / "store" / digest, digest).write(outside)
    assert place.run("reproduce", digest, "rows.parquet") == f"the same: {digest}", "wherever the command runs"


def test_precision_in_the_manifest_is_what_somebody_else_counts(place: Place) -> None:
    """By scikit-learn, on the latest transactions, which LightGBM scores by itself."""
    digest = place.train("rows.parquet", "--param", "num_iterations=40")
    bundle = place.bundle(digest)
    table, split = rows(), bundle.manifest.lineage.split  # type: ignore[union-attr]
    n = split.test.transactions
    said = bundle.manifest.metrics["overall"]["average_precision"]
    low, high = bundle.manifest.metrics["intervals"]["overall"]["average_precision"]
    from scorer.bundles.view_file import load_view
    from scorer.pipeline.mapping import FieldNames
    from scorer.pipeline.transaction import Reading
    from scorer.sources.files import read_transactions
    from scorer.training.history import read_history

    view = load_view(place.folder / "features.yaml")
    chunks = read_transactions(place.folder / "rows.parquet", FieldNames.model_validate({}))
    history = read_history(chunks, view, Reading(attributes=view.attributes), "x")
    counted = average_precision_score(table["is_fraud"][-n:], bundle.score(history.matrix)[-n:])
    assert said == pytest.approx(counted, rel=0.1)
    assert low < said < high


@pytest.mark.parametrize(
    ("argv", "method"),
    [
        (("--precision", "0.5"), "precision"), (("--insult-cost", "20"), "cost"), (("--threshold", "0.25"), "given"),
        (("--block-rate", "0.1"), "block_rate"),
    ],
)  # fmt: skip
def test_the_threshold_is_chosen_by_what_a_person_asks_for(place: Place, argv: tuple[str, ...], method: str) -> None:
    digest = place.train("rows.parquet", *ROUNDS, *argv)
    assert place.bundle(digest).manifest.threshold_chosen["method"] == method
    assert place.run("reproduce", digest) == f"the same: {digest}"


def test_options_of_the_training_are_recorded_as_used_and_remade(place: Place) -> None:
    digest = place.train(
        "rows.parquet", "--param", "n_estimators=60", "--class-weight", "balanced", "--monotone", "amount=+1",
        "--early-stopping", "3", "--label-delay", "2d", "--from", "2026-01-03", "--to", "2026-01-31",
    )  # fmt: skip
    manifest = place.bundle(digest).manifest
    lineage = manifest.lineage
    assert lineage is not None
    assert lineage.recipe.parameters == {"num_iterations": 60}
    assert 1 <= manifest.parameters["num_iterations"] < 60
    assert manifest.parameters["scale_pos_weight"] > 2
    assert manifest.parameters["monotone_constraints"][0] == 1
    fit, late, test = lineage.split.fit, lineage.split.calibration, lineage.split.test
    gap = datetime.fromisoformat(late.first) - datetime.fromisoformat(fit.last)
    assert gap >= timedelta(days=2)
    assert datetime.fromisoformat(test.last) <= datetime(2026, 1, 29, tzinfo=UTC)
    assert fit.first >= "2026-01-03"
    assert place.run("reproduce", digest, "--threads", "2") == f"the same: {digest}"
    matrix = np.tile(np.full(len(manifest.features), 1.0), (200, 1))
    matrix[:, 0] = np.linspace(0, 500, 200)
    assert (np.diff(place.bundle(digest).score(matrix)) >= 0).all()


#: What is wrong with a table, options, and what is said.
BAD: list[tuple[str, Any, tuple[str, ...], str]] = [
    ("no fraud in the tail", lambda t: t["is_fraud"].__setitem__(slice(2400, None), [0] * 600), (), "--calibrate"),
    ("none in the test", lambda t: t["is_fraud"].__setitem__(slice(2700, None), [0] * 300), (), "to test on is fraud"),
    ("text labels", lambda t: t.__setitem__("is_fraud", ["maybe"] * 3000), (), "row 1: the label is_fraud is 'maybe'"),
    ("300", lambda t: t["is_fraud"].__setitem__(3, 300), (), "row 4: the label is_fraud is 300"),
    ("-1", lambda t: t["is_fraud"].__setitem__(3, -1), (), "row 4: the label is_fraud is -1"),
    ("0.7", lambda t: t.__setitem__("is_fraud", [0.7] * 3000), (), "row 1: the label is_fraud is 0.7"),
    ("all fraud", lambda t: t.__setitem__("is_fraud", [1] * 3000), (), "all 2400 transactions to fit on are fraud"),
    ("one class", lambda t: t.__setitem__("is_fraud", [0] * 3000), (), "0 frauds in 2400 transactions"),
    ("no label", lambda t: t.__setitem__("is_fraud", pa.nulls(3000, pa.int8())), (), "no label is known"),
    ("no labels", lambda t: t.pop("is_fraud"), (), "has no labels"),
    ("a missing column", lambda t: t.pop("age"), (), "feature age is missing in every transaction"),
    ("a constant column", lambda t: t.__setitem__("age", [5] * 3000), (), "feature age is 5 in every transaction"),
    ("NaN alone", lambda t: t.__setitem__("age", [float("nan")] * 3000), (), "feature age is missing"),
    ("no time", lambda t: t["occurred_at"].__setitem__(8, None), (), "row 9: occurred_at is empty"),
    (
        "contradictions",
        lambda t: (t["transaction_id"].__setitem__(1, "t0"), t["is_fraud"].__setitem__(slice(0, 2), [0, 1])),
        (), "1 ids are of several transactions",
    ),
    (
        "labels before transactions",
        lambda t: t.__setitem__("label_available_at", [m - timedelta(days=1, seconds=9) for m in t["occurred_at"]]),
        (), "row 1: its label was known before the transaction, as 3000 of 3000 were",
    ),
    ("times of labels", lambda t: None, ("--labels-known-by", "2026-02-01"), "do not say when they became known"),
    ("unknown", lambda t: None, ("--param", "lerning_rate=.1"), "did you mean learning_rate?"),
    ("objective", lambda t: None, ("--param", "objective=regression"), "cannot be set; the objective is binary"),
    ("abc", lambda t: None, ("--param", "learning_rate=abc"), "learning_rate=abc: expected a number above 0"),
    ("one leaf", lambda t: None, ("--param", "num_leaves=1"), "expected a whole number from 2"),
    ("no rounds", lambda t: None, ("--param", "num_iterations=0"), "expected a whole number from 1"),
    ("twice", lambda t: None, ("--param", "eta=.1", "--param", "learning_rate=.2"), "is given twice"),
    ("NaN", lambda t: None, ("--param", "learning_rate=NaN"), "expected a number above 0"),
    ("backwards", lambda t: None, ("--from", "2026-01-20", "--to", "2026-01-10"), "is not before --to"),
    ("later", lambda t: None, ("--from", "2027-01-20"), "no transactions in that time"),
    ("two rules", lambda t: None, ("--precision", "0.5", "--block-rate", "0.1"), "give one of them"),
    ("too precise", lambda t: None, ("--precision", "1"), "no threshold reaches it"),
    ("too dear", lambda t: None, ("--insult-cost", "1e12"), "give a lower cost"),
    ("delay", lambda t: None, ("--label-delay", "soon"), "expected a number with s, m, h or d"),
    ("long delay", lambda t: None, ("--label-delay", "60d"), "give more transactions"),
    ("monotone", lambda t: None, ("--monotone", "amount"), "expected FEATURE=+1"),
    ("no split", lambda t: None, ("--param", "min_data_in_leaf=100000"), "no tree has a split"),
    ("a category", lambda t: None, ("--monotone", "land=+1"), "is a category, whose codes have no order"),
    ("dart", lambda t: None, ("--param", "boosting=dart", "--early-stopping", "3"), "dart has no best round"),
    ("weight", lambda t: None, ("--class-weight", "heavy"), "expected balanced, or a number"),
    ("seed", lambda t: None, ("--param", "seed=3"), "give --seed"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "argv", "told"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_what_cannot_be_trained_on_is_one_line_and_stores_nothing(
    place: Place, change: Any, argv: tuple[str, ...], told: str
) -> None:
    table = rows()
    change(table)
    place.write(table, "bad.parquet")
    assert told in place.refused("train", "bad.parquet", *ROUNDS[: 0 if "--param" in argv else 2], *argv)


def test_a_refusal_is_told_in_one_line_and_ends_with_2(place: Place) -> None:
    done = place.command("train", "rows.parquet", "--param", "num_leaves=1")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == "error: --param num_leaves=1: expected a whole number from 2 to 131072"


def test_legitimate_rows_need_no_time_of_a_label_and_repeats_count_once(place: Place) -> None:
    table = rows()
    known = [
        m + timedelta(days=2) if fraud else None
        for m, fraud in zip(table["occurred_at"], table["is_fraud"], strict=True)
    ]
    table["label_available_at"] = known
    table["transaction_id"][11] = table["transaction_id"][10]
    table["is_fraud"][11] = table["is_fraud"][10] = 0
    table["is_fraud"][20] = None
    place.write(table, "known.parquet")
    done = place.command("train", "known.parquet", *ROUNDS, "--labels-known-by", "2026-02-03")
    assert done.returncode == 0, done.stderr
    assert "1 transactions bear the id of an earlier one" in done.stderr
    assert "1 transactions have no label" in done.stderr
    lineage = place.bundle(done.stdout.strip()).manifest.lineage
    assert lineage is not None
    assert (lineage.data.repeats, lineage.data.unknown) == (1, 1)
    assert lineage.data.labels_first is not None


def test_a_field_that_is_mapped_wins_over_a_stray_one_of_our_name(place: Place, made: str) -> None:
    table = rows()
    table["paid"], table["amount"] = table["amount"], [7.0] * 3000
    place.write(table, "stray.parquet")
    digest = place.train("stray.parquet", *ROUNDS, SCORER_MAPPING='{"fields": {"amount": "paid"}}')
    assert place.bundle(digest).model == place.bundle(made).model
    assert place.run("reproduce", digest, "stray.parquet") == f"the same: {digest}"


def test_tokens_need_the_same_key_to_be_remade(place: Place) -> None:
    table = rows()
    table["card_id"] = [f"4111 1111 1111 {1000 + int(card[1:])}" for card in table["card_id"]]
    place.write(table, "cards.parquet")
    env = {"SCORER_FILES": '{"tokens": ["card_id"]}', "SCORER_TOKEN_KEY": "0123456789abcdef"}
    digest = place.train("cards.parquet", *ROUNDS, **env)
    text = (place.folder / "store" / digest / "manifest.json").read_text()
    assert "0123456789abcdef" not in text
    assert "4111" not in text
    assert place.run("reproduce", digest, SCORER_TOKEN_KEY="0123456789abcdef") == f"the same: {digest}"
    done = place.command("reproduce", digest, SCORER_TOKEN_KEY="another key of them")
    assert done.returncode == 2
    assert "token_key" in done.stderr
