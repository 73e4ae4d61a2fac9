"""Files, settings and arguments that people write: each is read, or refused in one line; nothing else happens.

Texts are read in this process. Commands run in forks of a server that has imported them, each in a folder of odd files,
with no broker and no store to reach.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attack.counts import Counts, Hung, within
from harness.places import ROOT
from scorer.errors import UserError
from scorer.settings import CommonSettings, ScorerSettings, load

SECONDS = 20.0
#: Processor time after which the system ends a command, and time after which it is ended.
CPU_SECONDS, COMMAND_SECONDS = 20, 90
LOCAL = ROOT / "deploy" / "local"

#: What takes the place of a value.
ODD = (
    *(
        "2026-13-45",
        "0x_",
        "0b_",
        "1__0",
        "!!float '_'",
        "!!int '0o_'",
        "!!timestamp x",
        "!!binary '*'",
        "=",
        "<<",
        "~",
    ),
    *(
        ".nan",
        ".inf",
        "-.inf",
        "1e999",
        "-1",
        "0",
        "190:20:30",
        "9" * 5000,
        "1" * 400,
        "''",
        "[]",
        "{}",
        "[[]]",
        "null",
    ),
    *("{a: b}", "[1, x, null]", "&a [*a]", "*b", "!x y", "!!python/object:os.system x", "'\\0'", '"\\ud800"', "? x"),
    *(
        "|\n  text",
        "'é\u2028\u200b'",
        "x" * 3000,
        "true",
        "No",
        "@x",
        "`",
        "%x",
        "\t",
        "- - - x",
        "00:00",
        "2026-02-30T25:61:00Z",
    ),
    *("[" * 2000, "{a: " * 1500, "- " * 3000 + "x", "*" * 10, "&" * 5),
)
#: Whole texts that are not even that.
WHOLE = (
    "",
    " ",
    "\x00",
    "\ufeff",
    "---\n---\n",
    "...",
    "%YAML 9.9\n---\n",
    "- 1",
    "7",
    "a: 1\na: 2",
    "{",
    "[" * 50_000,
    "{" * 50_000,
    "a:\n" * 1,
    "? [1]\n: 2",
    "<<: [1]",
    "{<<: {a: 1}, <<: 2}",
    "'",
    '"',
    "\r\r",
    "a: &x\n  - *x",
    "- " * 50_000,
    "a: &a [x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
)


def changed(text: str, chance: random.Random) -> str:
    """A text with something changed: a value, a line, or a few characters."""
    if chance.random() < 0.03:
        return chance.choice(WHOLE)
    lines = text.split("\n")
    for _ in range(chance.choice((1, 1, 2, 4))):
        at, roll = chance.randrange(len(lines)), chance.randrange(8)
        if roll < 3 and ":" in lines[at]:
            name, _, _ = lines[at].partition(":")
            lines[at] = f"{name}: {chance.choice(ODD)}"
        elif roll == 3:
            del lines[at : at + 1]
            lines = lines or [""]
        elif roll == 4:
            lines.insert(at, chance.choice(lines))
        elif roll == 5:
            lines[at] = " " * chance.randint(1, 4) + lines[at]
        elif roll == 6:
            where = chance.randrange(len(lines[at]) + 1)
            lines[at] = (
                lines[at][:where] + chance.choice(tuple("{}[]:,&*#?|-<>=!%@\"'\\\x00\t\x85 é")) + lines[at][where:]
            )
        else:
            words = lines[at].split(" ")
            words[chance.randrange(len(words))] = chance.choice(ODD)
            lines[at] = " ".join(words)
    return "\n".join(lines)


def _held(counts: Counts, read: Callable[[], object], what: str) -> None:
    """One try: it returns, or says in one line what is wrong."""
    counts.tried += 1
    try:
        with within(SECONDS):
            read()
        counts.saw("accepted")
    except UserError as error:
        counts.saw("refused")
        if "\n" in str(error) or not str(error).strip():
            counts.mistake(f"{what}: not one line: {error}")
    except Hung:
        counts.hang(what)
    except BaseException as error:
        counts.crash(f"{what}: {type(error).__name__}: {error}")


def _digest(text: str) -> str:
    from shadow.gate.criteria import parse

    return parse(text).digest


def texts(seed: int, n: int) -> list[Counts]:
    """Release criteria, feature views and settings."""
    from scorer.bundles.view_file import load_view
    from shadow.release.criteria_file import excusing, load_release
    from shadow.settings import ShadowSettings

    chance = random.Random(seed)
    release, view = (LOCAL / "release.yaml").read_text(), (LOCAL / "features.yaml").read_text()
    of_release, of_view, of_settings = Counts("release.yaml"), Counts("feature view"), Counts("settings")
    with tempfile.TemporaryDirectory(prefix="attack-") as temporary:
        path = Path(temporary) / "file.yaml"
        for _ in range(n // 3):
            text = changed(release, chance)
            _held(of_release, partial(_digest, text), f"release.yaml {text[:200]!r}")
            if chance.random() < 0.1:
                _held(of_release, partial(excusing, text, ["*: country=FR"]), f"excusing {text[:200]!r}")
                path.write_bytes(text.encode("utf-16" if chance.random() < 0.5 else "utf-8", "surrogatepass"))
                _held(of_release, lambda: load_release(path), f"release.yaml as a file {text[:200]!r}")
            text = changed(view, chance)
            path.write_bytes(text.encode(chance.choice(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1")), "replace"))
            _held(of_view, lambda: load_view(path).id, f"view {text[:200]!r}")
            _settings(of_settings, ShadowSettings, path, chance)
        for odd in (Path(temporary), Path(temporary) / "none", Path("/dev/null"), Path("x" * 5000), Path("a\0b")):
            _held(of_view, partial(load_view, odd), f"view at {odd}")
            _held(of_release, partial(load_release, odd), f"release.yaml at {odd}")
    return [of_release, of_view, of_settings]


#: Values of settings in the environment.
CELLS = (
    "",
    " ",
    "0",
    "-1",
    "1e999",
    "nan",
    "inf",
    "9" * 5000,
    "true",
    "x",
    "x" * 3000,
    "[]",
    "{}",
    "null",
    "[" * 3000,
    '{"a":' * 2000,
    '{"a": 1}',
    '{"fields": {"amount": 7}}',
    '{"currency": "EUR", "rates": {"USD": {"2026-13-45": 1}}}',
    ":",
    ",",
    "a:b:c",
    ":9092",
    '{"currency": "EUR", "rates": {"USD": {"2026-01-01": "nan"}}}',
    '{"currency": "EUR", "rates": {"USD": {}}}',
    "127.0.0.1:99999",
    '{"decisions": ""}',
    '{"transactions": {"retention.ms": 1}}',
    '{"decisions": {"a": null}}',
    "é\u2028",
    "../..",
    "/dev/null",
    "\udc80\udcff",
    "http://[::1",
    "s3://",
    "redis://[",
    "redis+cluster://",
    "NaN",
    "Infinity",
    '{"x": NaN}',
    "1" * 400,
    '{"fields": {"transaction_id": "a", "card_id": "a"}}',
    '{"drop": "x", "defaults": {"amount": []}}',
    "2026-01-01",
    "\t\n",
)


def _settings(counts: Counts, shadow: type[CommonSettings], path: Path, chance: random.Random) -> None:
    kinds: tuple[tuple[type[CommonSettings], str], ...] = (ScorerSettings, "SCORER_"), (shadow, "SHADOW_")
    kind, prefix = chance.choice(kinds)
    names = list(kind.model_fields)
    given = {
        f"{prefix}{chance.choice(names).upper()}": chance.choice(CELLS) for _ in range(chance.choice((0, 1, 1, 2)))
    }
    if chance.random() < 0.1:
        given[prefix + chance.choice(("X", "é", "KAFKA_", "_", "SETTINGS_"))] = "1"
    if chance.random() < 0.5:
        lines = [f"{chance.choice(names)}: {chance.choice((*ODD, *CELLS))}" for _ in range(chance.randint(0, 3))]
        path.write_bytes(changed("\n".join(lines) or "kafka: x:1", chance).encode("utf-8", "surrogatepass"))
        given[f"{prefix}SETTINGS"] = str(path)
    elif chance.random() < 0.1:
        given[f"{prefix}SETTINGS"] = chance.choice((str(path.parent), "x" * 5000, "/dev/null", "none.yaml", "\udc80"))
    with _environment(given):
        _held(counts, lambda: load(kind), f"settings {str(given)[:300]}")


@contextmanager
def _environment(given: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("SCORER_", "SHADOW_"))]:
        del os.environ[name]
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# --- commands ---

FILES = (
    "model.txt",
    "rows.csv",
    "history.parquet",
    "lines.jsonl",
    "release.yaml",
    "view.yaml",
    "folder",
    "none",
    "binary",
    "empty",
    "labels.csv",
)
SIGNED = ("--by", "ann", "--reason", "because")
#: Arguments of each command: some are right, some are replaced.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("scorer", "bundle", "create", "--model", "model.txt", "--threshold", "0.5"),
    (
        "scorer",
        "bundle",
        "create",
        "--model",
        "model.txt",
        "--threshold",
        "0.5",
        "--features",
        "a,b",
        "--link",
        "0:1000",
    ),
    ("scorer", "bundle", "create", "--model", "model.txt", "--threshold", "0.5", "--calibration", "lines.jsonl"),
    ("scorer", "bundle", "create", "--model", "model.txt", "--threshold", "0.5", "--check", "rows.csv"),
    ("scorer", "bundle", "show", "folder"),
    ("scorer", "bundle", "show", "abcdabcd", "--json"),
    ("scorer", "simulate", "--out", "out.parquet", "--transactions", "10", "--days", "2", "--seed", "1"),
    ("scorer", "train", "rows.csv", "--label", "is_fraud", "--block-rate", "0.1", "--param", "num_leaves=7"),
    ("scorer", "train", "lines.jsonl", "--from", "2026-01-01", "--to", "2026-02-01", "--features", "amount"),
    ("scorer", "replay", "rows.csv", "--rate", "10", "--limit", "5"),
    ("scorer", "replay", "--rejected", "--dry-run"),
    ("scorer", "deploy", "folder", "--slot", "candidate", *SIGNED),
    ("scorer", "deploy", "--block-all", *SIGNED),
    (
        "scorer",
        "topics",
    ),
    ("shadow", "gate", "--slot", "candidate", "--brief"),
    ("shadow", "plan", "--transactions", "1000", "--block-rate", "0.01"),
    ("shadow", "labels", "load", "labels.csv", "--source", "chargeback", "--by", "acquirer"),
    ("shadow", "labels", "show", "tx"),
    ("shadow", "disagreements", "--slot", "candidate", "--segment", "country=FR", "--sort", "gap", "--limit", "3"),
    ("shadow", "report", "--slot", "candidate", "--out", "report.html"),
    ("shadow", "review", "next", "--slot", "candidate", "--by", "ann"),
    ("shadow", "review", "mark", "tx", "fraud", *SIGNED),
    ("shadow", "erase", "--card", "card"),
    ("shadow", "verify", "--slot", "candidate"),
    ("shadow", "approve", "--slot", "candidate", *SIGNED),
    ("shadow", "rollback", *SIGNED),
)
WORDS = (
    "",
    " ",
    "-",
    "--",
    "-1",
    "0",
    "nan",
    "inf",
    "1e999",
    "9" * 400,
    "x",
    "é\u2028\u200b",
    "a\nb",
    "../..",
    "/dev/null",
    "/",
    "~",
    "@none",
    "@binary",
    "@folder",
    "4111111111111111",
    "--help",
    "--x",
    "-h",
    "2026-13-45",
    "0001-01-01",
    "9999-12-31T23:59:59+14:00",
    "1,2,,",
    "a=b=c",
    "=",
    "\udcff",
    "country",
    "country=",
    "abcdabcd",
    "ab" * 32,
    "%s{}",
    "\x1b[31m",
)


def commands(seed: int, n: int) -> Counts:
    """Command lines."""
    counts, chance = Counts("command lines"), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="attack-") as temporary:
        folder = Path(temporary)
        _write_files(folder)
        for _ in range(n):
            argv = list(chance.choice(COMMANDS))
            for _ in range(chance.choice((0, 1, 1, 2, 3))):
                at = chance.randrange(2, len(argv)) if len(argv) > 2 else 2
                roll = chance.random()
                if roll < 0.45 and at < len(argv):
                    argv[at] = chance.choice(FILES if roll < 0.15 else WORDS)
                elif roll < 0.6:
                    del argv[at : at + 1]
                elif roll < 0.8:
                    argv.insert(at, chance.choice(WORDS))
                else:
                    argv += argv[at : at + 2]
            counts.tried += 1
            _run(argv, folder, counts)
    return counts


def _write_files(folder: Path) -> None:
    from attack.bundles import originals

    of = originals()[0]
    (folder / "folder").mkdir()
    (folder / "folder" / "model.txt").write_bytes(of.model)
    (folder / "folder" / "manifest.json").write_bytes(of.manifest)
    (folder / "model.txt").write_bytes(of.model)
    head = "transaction_id,occurred_at,card_id,merchant_id,amount,currency,is_fraud\n"
    rows = "".join(f"t{i},2026-01-0{i % 9 + 1}T00:00:00Z,c{i % 5},m,{i}.5,EUR,{i % 3 == 0:d}\n" for i in range(300))
    (folder / "rows.csv").write_text(head + rows)
    (folder / "history.parquet").write_bytes(b"PAR1" + bytes(range(256)) + b"PAR1")
    lines = (head.strip().split(",")[at % 7] for at in range(9))
    (folder / "lines.jsonl").write_text("".join(json.dumps({name: [name]}) + "\n" for name in lines) + "{\n")
    (folder / "release.yaml").write_text((LOCAL / "release.yaml").read_text())
    (folder / "view.yaml").write_text("name: v\nattributes:\n  - {name: age, kind: number}\n")
    (folder / "binary").write_bytes(bytes(range(256)) * 20)
    (folder / "empty").write_bytes(b"")
    (folder / "labels.csv").write_text(
        "transaction_id,verdict,at\nt1,fraud,yesterday\n,,\nt2,legit,2026-01-01T00:00:00Z\n"
    )


def _run(argv: list[str], folder: Path, counts: Counts) -> None:
    from shadow.local.process import free_port

    nowhere = f"127.0.0.1:{free_port()}"
    given = {
        "SCORER_KAFKA": nowhere,
        "SHADOW_KAFKA": nowhere,
        "SHADOW_REDIS": f"redis://{nowhere}/0",
        "SCORER_VIEW": "view.yaml",
        "SCORER_STORE": "store",
        "SHADOW_STORE": "store",
        "SCORER_CACHE": "cache",
        "SHADOW_CACHE": "cache",
        "SHADOW_RELEASE": "release.yaml",
    }
    out = tempfile.TemporaryFile()  # noqa: SIM115 - the fork writes to it
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.chdir(folder)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream in (1, 2):
                os.dup2(out.fileno(), stream)
            with _environment(given):
                sys.argv = argv
                sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
                sys.stderr = os.fdopen(2, "w", errors="backslashreplace")  # as the interpreter's own
                _main(argv[0])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        except BaseException:
            import traceback

            code = 70
            traceback.print_exc()
        finally:  # whatever is raised above: the fork must not go on as the attack, which would remove its folder
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
    shown = " ".join(argv)[:300]
    try:
        with within(COMMAND_SECONDS):
            _, status = os.waitpid(child, 0)
    except Hung:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        counts.hang(shown)
        return
    ended = os.waitstatus_to_exitcode(status)
    out.seek(0)
    told = out.read().decode(errors="replace")
    out.close()
    counts.saw(f"exit {ended}")
    if ended < 0 or "Traceback (most recent call last)" in told:
        counts.crash(f"{shown}: ended with {ended}: {told[-600:]}")
    elif ended not in (0, 1, 2, 3, 4):
        counts.mistake(f"{shown}: exit {ended}: {told[-200:]}")
    elif ended == 2 and sum(line.lower().startswith("error") for line in told.splitlines()) != 1:
        counts.mistake(f"{shown}: not told in one line: {told[-300:]}")


def _main(program: str) -> None:
    if program == "scorer":
        from scorer.cli import main
    else:
        from shadow.cli import main
    main()


if __name__ == "__main__":
    found = (
        [commands(int(sys.argv[2]), int(sys.argv[3]))] if sys.argv[1] == "commands" else texts(*map(int, sys.argv[2:4]))
    )
    for one in found:
        print(one.row(), one.seen, *one.told, sep="\n")
