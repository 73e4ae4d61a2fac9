"""`shadow replay`: judges dossiers again, from what they hold alone: by their own criteria, or by others."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from scorer.bundles.store import BundleStore, StoreError
from scorer.deployments.key_files import trusted_keys
from scorer.errors import UserError
from scorer.process.screen import say
from scorer.settings import load
from shadow.release.archive import all_dossiers, fetch_dossier, open_dossier, versions
from shadow.release.criteria_file import load_release
from shadow.release.dossier import Dossier, DossierError, Replayed
from shadow.release.dossier import replay as judge_again
from shadow.settings import ShadowSettings

#: Findings that are listed for a dossier, at most; `--json` has all.
LISTED = 12


@click.command()
@click.argument("dossiers", nargs=-1, metavar="[DOSSIER]...")
@click.option(
    "--criteria",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another release.yaml: list which verdicts flip under it, and why. Without DOSSIER: of all in the store.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one dossier a line.")
def replay(dossiers: Sequence[str], criteria: Path | None, as_json: bool) -> None:
    """Judge dossiers again, without Kafka and Redis. DOSSIER: a digest, its first digits, or a file DIGEST.json.

    By its own criteria a dossier has to give the same verdict, byte for byte; else this exits with 1 and names the
    findings that differ. It also exits with 1 if a dossier of the store was changed.
    """
    if not dossiers and criteria is None:
        raise UserError("expected a dossier, or --criteria for all of the store; `shadow history` names them")
    release = None if criteria is None else load_release(criteria)
    is_same = True
    flips = total = 0
    unjudged: list[str] = []
    unreadable: list[str] = []
    for dossier in _opened(dossiers, unreadable):
        total += 1
        try:
            found = judge_again(dossier, release)
        except DossierError as error:
            if dossiers:
                raise
            unjudged.append(str(error))
            continue
        is_same &= found.is_same
        flips += found.was != found.now
        if as_json:
            click.echo(orjson.dumps(_json(dossier, found)))
        elif release is None:
            _tell(dossier, found)
        elif found.was != found.now:
            _tell_flip(dossier, found)
    for line in [*unjudged, *unreadable]:
        click.echo(line, err=True)
    if release is not None and not as_json:
        judged = total - len(unjudged)
        more = f"; {len(unjudged)} cannot be judged by them" if unjudged else ""
        say(f"{flips} of {judged} verdicts flip under {criteria}{more}")
    if unreadable or (release is None and not is_same):
        sys.exit(1)


def _opened(names: Sequence[str], unreadable: list[str]) -> Iterator[Dossier]:
    """The dossiers that are named, or all of the store. Files need no settings but the trusted keys, if there are any.

    unreadable: takes why one of the store cannot be read, where none is named.
    """
    files = [Path(name) for name in names]
    settings = load(ShadowSettings)
    trusted = trusted_keys(settings)
    if names and all("/" in name or path.suffix or path.exists() for name, path in zip(names, files, strict=True)):
        yield from (open_dossier(path, trusted) for path in files)
        return
    store = BundleStore(settings.store, settings.cache, settings.store_seconds)
    if names:
        for name, path in zip(names, files, strict=True):
            yield open_dossier(path, trusted) if path.exists() or path.suffix else fetch_dossier(store, name, trusted)
        return
    found = []
    for digest in all_dossiers(store):
        try:
            found.append(fetch_dossier(store, digest, trusted))
        except StoreError:
            raise
        except UserError as error:  # one that was changed hides no other
            unreadable.append(str(error))
    yield from sorted(found, key=lambda dossier: (str(dossier.body["at"]), dossier.digest))


def _tell(dossier: Dossier, found: Replayed) -> None:
    if found.is_same:
        say(f"{dossier.name}: the same verdict, byte for byte: {found.reason}")
        return
    say(f"{dossier.name}: ANOTHER verdict: it was {found.was}, and is {found.now} now; {_why(dossier)}")
    _list(found)


def _why(dossier: Dossier) -> str:
    """Why a replay may differ: by other versions; there is no other cause that is known."""
    was, now = dossier.body["versions"], versions()
    changed = [f"{name} was {was.get(name)}, is {now[name]}" for name in now if was.get(name) != now[name]]
    return ", ".join(changed) or "the versions are the same, so the code or the machine was changed"


def _tell_flip(dossier: Dossier, found: Replayed) -> None:
    at = str(dossier.body["at"])
    say(f"{at}  {dossier.name}: {found.was} → {found.now}; {found.reason}")
    _list(found)


def _list(found: Replayed) -> None:
    for one in found.differences[:LISTED]:
        say(f"    {one.told}", " " * 8)
    if len(found.differences) > LISTED:
        say(f"    and {len(found.differences) - LISTED} more, which --json lists")


def _json(dossier: Dossier, found: Replayed) -> dict[str, Any]:
    return {
        "dossier": dossier.digest,
        "before": dossier.body["before"],
        "at": dossier.body["at"],
        "slot": dossier.body["slot"],
        "run": str(dossier.evidence.candidate.run),
        "was": found.was,
        "now": found.now,
        "same": found.is_same,
        "reason": found.reason,
        "versions": dossier.body["versions"],
        "differences": [
            {name: getattr(one, name) for name in ("criterion", "segment", "was", "now", "reason")}
            for one in found.differences
        ],
    }
