"""The bundles and the stream of all scenarios, made once and kept in build/ until what makes them changes."""

from __future__ import annotations

import hashlib
import pickle
import shutil

from harness import models as shared
from harness.models import Models
from harness.places import ROOT

#: Simulated transactions, of which some half come after the models' training; and the longest stream of a scenario.
TRANSACTIONS, STREAM = 90_000, 40_000


def prepared() -> Models:
    """Bundles and stream."""
    folder = ROOT / "build" / "faults" / _fingerprint()
    note = folder / "models.pickle"
    if not note.is_file():
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.mkdir(parents=True)
        note.write_bytes(pickle.dumps(shared.make(folder, TRANSACTIONS, STREAM)))
    found: Models = pickle.loads(note.read_bytes())
    return found


def _fingerprint() -> str:
    """Of everything that has a say in them."""
    whole = hashlib.sha256(str(ROOT).encode())
    sources = ("bundle", "events", "features", "files", "pipeline", "simulate", "train", "velocity", "view")
    made_by = [ROOT / "scorer" / f"{name}.py" for name in sources] + [ROOT / "tests" / "harness" / "models.py"]
    for path in [*made_by, ROOT / "requirements.lock", ROOT / "deploy" / "local" / "features.yaml"]:
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]
