"""A library that lacks a name we rely on is refused at import, and no other module of ours touches private names."""

from __future__ import annotations

import ast
import dis
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, FetchResult
from aiokafka.producer.transaction_manager import TransactionManager
from faust.app.base import App
from faust.transport.consumer import Consumer, ThreadDelegateConsumer
from faust.transport.drivers import aiokafka as driver
from mode.utils import futures

from scorer.errors import LibraryError, UserError
from scorer.kafka import aiokafka_internals
from scorer.kafka.private_names import require
from scorer.streaming import faust_internals
from scorer.streaming.app import BatchApp
from scorer.streaming.consumer import BatchConsumer
from scorer.streaming.thread import ConsumerThread

ROOT = Path(__file__).parents[4]
LISTED = {
    name.rpartition(".")[2]
    for names in (aiokafka_internals.NAMES, faust_internals.NAMES, faust_internals.MODE_NAMES)
    for wanted in names.values()
    for name in wanted
}


def test_the_installed_libraries_have_every_name() -> None:
    aiokafka_internals.check()
    faust_internals.check()


@pytest.mark.parametrize(
    ("check", "owner", "name"),
    [
        (aiokafka_internals.check, Fetcher, "_proc_fetch_request"),
        (aiokafka_internals.check, TransactionManager, "increment_sequence_number"),
        (faust_internals.check, App, "_new_transport"),
        (faust_internals.check, Consumer, "_new_offset"),
        (faust_internals.check, Consumer, "consumer_stopped_errors"),
        (faust_internals.check, driver.AIOKafkaConsumerThread, "_fetch_records"),
        (faust_internals.check, futures, "notify"),
    ],
)
def test_a_missing_name_is_refused(
    check: Callable[[], None], owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)
    with pytest.raises(LibraryError, match=rf"\.{name} is missing"):
        check()


def renamed(init: Any, old: str) -> Any:
    """The same `__init__`, assigning to another attribute."""
    code = init.__code__
    code = code.replace(co_names=tuple(f"{name}_renamed" if name == old else name for name in code.co_names))
    return FunctionType(code, init.__globals__, closure=init.__closure__)


@pytest.mark.parametrize(
    ("check", "owner", "name"),
    [
        (aiokafka_internals.check, AIOKafkaConsumer, "_fetcher"),
        (aiokafka_internals.check, AIOKafkaConsumer, "_fetch_max_wait_ms"),
        (aiokafka_internals.check, Fetcher, "_fetch_min_bytes"),
        (aiokafka_internals.check, FetchResult, "_partition_records"),
        (aiokafka_internals.check, TransactionManager, "_sequence_numbers"),
        (faust_internals.check, Consumer, "_unacked_messages"),
        (faust_internals.check, ThreadDelegateConsumer, "_thread"),
    ],
)
def test_an_attribute_that_init_no_longer_sets_is_refused(
    check: Callable[[], None], owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, "__init__", renamed(owner.__init__, name))
    with pytest.raises(LibraryError, match=rf"{owner.__name__}\.{name} is missing"):
        check()


def test_a_refusal_is_one_line_with_the_version_to_install() -> None:
    with pytest.raises(UserError) as error:
        require("aiokafka", "0.14.0", {"aiokafka.nowhere": ("Class._name",)})
    assert re.fullmatch(
        r"aiokafka [\d.]+: aiokafka\.nowhere\.Class\._name is missing; "
        r"shadow-scorer needs aiokafka 0\.14\.0: pip install aiokafka==0\.14\.0",
        str(error.value),
    )


@pytest.mark.parametrize(
    ("distribution", "tested"),
    [
        ("aiokafka", aiokafka_internals.TESTED),
        ("faust-streaming", faust_internals.TESTED),
        ("mode-streaming", faust_internals.TESTED_MODE),
    ],
)
def test_the_version_to_install_is_the_locked_one(distribution: str, tested: str) -> None:
    assert f"{distribution}=={tested} " in (ROOT / "requirements" / "base.lock").read_text()


def private_of_others(path: Path) -> Iterator[str]:
    """Underscored attributes that a module takes of anything but itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            of = node.value
            is_super = isinstance(of, ast.Call) and isinstance(of.func, ast.Name) and of.func.id == "super"
            if not is_super and not (isinstance(of, ast.Name) and of.id in ("self", "cls")):
                yield node.attr


@pytest.mark.parametrize("module", [aiokafka_internals, faust_internals])
def test_every_private_name_in_use_is_listed(module: ModuleType) -> None:
    used = set(private_of_others(Path(str(module.__file__))))
    assert used
    assert used <= LISTED


def test_no_other_module_touches_private_names_of_a_library() -> None:
    ours = {Path(str(module.__file__)) for module in (aiokafka_internals, faust_internals)}
    found = {
        (str(path.relative_to(ROOT)), name)
        for folder in ("scorer", "shadow")
        for path in (ROOT / folder).rglob("*.py")
        if path not in ours
        for name in private_of_others(path)
        if name in LISTED
    }
    assert not found


@pytest.mark.parametrize(
    "kind",
    [BatchApp, BatchConsumer, ConsumerThread, aiokafka_internals.PartitionEpochs],
    ids=lambda kind: kind.__name__,
)
def test_every_private_name_that_a_subclass_shares_with_its_library_is_listed(kind: type) -> None:
    theirs = {name for base in kind.__mro__[1:] for name in (*vars(base), *assigned(base))}
    ours = {*vars(kind)} | {
        step.argval
        for method in vars(kind).values()
        if inspect.isfunction(method)
        for step in dis.get_instructions(method)
        if step.opname in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "LOAD_SUPER_ATTR")
    }
    shared = {name for name in ours & theirs if name.startswith("_") and not name.startswith("__")}
    assert shared - {"_abc_impl"}
    assert shared - {"_abc_impl"} <= LISTED


def assigned(kind: type) -> set[str]:
    init = vars(kind).get("__init__")
    steps = dis.get_instructions(init) if inspect.isfunction(init) else ()
    return {step.argval for step in steps if step.opname == "STORE_ATTR"}
