"""Candidates that raise, give no number, are slow, are damaged, or want features that nobody has."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import orjson

from faults.arena import Arena
from faults.scenario import injected, scenario
from scorer.bundles.bundle import Bundle, create
from scorer.bundles.view_file import load_view


def _load(arena: Arena, digest: str) -> Bundle:
    return Bundle.load(Path(arena.stack.env["SCORER_STORE"]) / digest, digest)


def _store(arena: Arena, model: str, of: Bundle) -> str:
    """A bundle in the arena's store with another model; its digest."""
    view = load_view(arena.stack.env["SCORER_VIEW"])
    bundle = create(model.encode(), of.features, view, of.threshold)
    bundle.write(Path(arena.stack.env["SCORER_STORE"]))
    return bundle.digest


@scenario()
def candidate_raises(arena: Arena) -> None:
    """A candidate that raises whenever it is to score."""
    arena.scorer()
    arena.shadow("control", arena.models.control)
    arena.ready()
    arena.unscored["candidate"] = lambda partition, offset: True
    arena.stack.env |= injected("raising")

    arena.send(2000)
    arena.strike_at_once(arena.shadow, 4000, arena.behind_shadow)
    arena.ready()


#: The hour of the day whose transactions a spoiled candidate gives no number.
UNSCORED_HOUR = 15.0


@scenario()
def candidate_nan(arena: Arena) -> None:
    """A candidate whose scores are no numbers for some transactions: those of one hour of the day."""
    candidate, view = _load(arena, arena.models.candidate), load_view(arena.stack.env["SCORER_VIEW"])
    arena.scorer()
    arena.shadow("control", arena.models.control)
    arena.ready()
    at, hours = view.names.index("hour_of_day"), dict[tuple[int, int], float]()

    def is_unscored(partition: int, offset: int) -> bool:
        if not hours:
            for p, records in arena.wire.read("decisions")["decisions"].items():
                hours.update({(p, r.offset): orjson.loads(r.value)["features"][at] for r in records})
        return hours.get((partition, offset)) == UNSCORED_HOUR

    arena.unscored["candidate"] = is_unscored
    column = str(candidate.features.index("hour_of_day"))
    arena.stack.env |= {**injected("unscoring"), "UNSCORED_COLUMN": column, "UNSCORED_VALUE": str(UNSCORED_HOUR)}
    arena.send(2000)
    arena.strike_at_once(arena.shadow, 4000, arena.behind_shadow)
    arena.ready()


@scenario()
def candidate_slow_100x(arena: Arena) -> None:
    """A candidate of a hundred times the trees, each with a hundredth of the weight."""
    arena.own_store()
    good = _load(arena, arena.models.candidate)
    digest = _store(arena, _repeat_trees(good.model.decode(), 100), good)
    arena.scorer()
    arena.ready()
    arena.send(2000)
    arena.strike_at_once(lambda: arena.shadow(bundle=digest), 8000, arena.behind_shadow)
    arena.ready()


def _repeat_trees(text: str, times: int) -> str:
    head, *trees, last = re.split(r"(?=\nTree=\d+\n)", text)
    last, mark, tail = last.partition("\nend of trees")
    out = []
    for turn in range(times):
        for at, tree in enumerate([*trees, last]):
            tree = re.sub(r"Tree=\d+", f"Tree={turn * (len(trees) + 1) + at}", tree.rstrip("\n"))
            out.append(re.sub(r"(leaf_value|internal_value)=(.*)", lambda m: _scaled(m, times), tree) + "\n\n")
    return re.sub(r"tree_sizes=.*\n", "", head) + "".join(out) + mark + tail


def _scaled(match: re.Match[str], by: int) -> str:
    return f"{match[1]}={' '.join(repr(float(value) / by) for value in match[2].split())}"


@scenario()
def candidate_corrupt(arena: Arena) -> None:
    """A candidate's bundle is damaged in the store, when a shadow that has no copy starts anew."""
    store = arena.own_store()
    arena.scorer()
    shadow = arena.shadow(CACHE=str(arena.folder / "copies"))
    arena.ready()
    fences: dict[int, int] = {}

    def damage() -> None:
        shadow.kill()
        fences.update(arena.fences("candidate"))
        shutil.rmtree(arena.folder / "copies")
        model = store / arena.models.candidate / "model.txt"
        content = bytearray(model.read_bytes())
        content[len(content) // 2] ^= 1
        model.write_bytes(bytes(content))
        shadow.start()

    arena.unscored["candidate"] = lambda partition, offset: offset >= fences[partition]
    arena.strike(damage, part=4000, backlog=arena.behind_shadow)
    arena.ready()


@scenario()
def candidate_other_features(arena: Arena) -> None:
    """A candidate that was made for a feature which the scorer's view has not got."""
    arena.own_store()
    view = load_view(arena.stack.env["SCORER_VIEW"])
    more = orjson.loads(orjson.dumps(view.model_dump(mode="json")))
    more["attributes"].append({"name": "loyalty_points", "kind": "number"})
    other = arena.folder / "other.json"
    other.write_bytes(orjson.dumps({**more, "name": "other"}))
    env = {"SCORER_VIEW": str(other)}
    train = ("scorer", "train", str(arena.models.history), "--param", "num_iterations=5")
    digest = arena.stack.run(*train, "--features", "amount,country,loyalty_points", env=env)
    arena.scorer()
    arena.ready()
    arena.send(2000)
    arena.stack.deploy(digest, "candidate", env=env)
    arena.strike_at_once(lambda: arena.shadow(is_filled=True), 4000, arena.behind_shadow)
    arena.ready()
