"""Where things are: the repository, and data that is not part of it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = (ROOT / os.environ.get("DATA", "../shared/data")).resolve()
#: A public simulated data set of card payments.
HANDBOOK = DATA / "handbook-2018-04-01_2018-08-14.parquet"
#: Custom resource definitions of KEDA, Argo Rollouts, the Prometheus Operator and Strimzi, from these projects.
CRDS = (ROOT / os.environ.get("CRDS", "../shared/crds")).resolve()
#: An environment of its own for checks of what is in deploy/.
DEPLOY_BIN = ROOT / ".venv" / "deploy" / "bin"
#: Debian's libfaketime, which shows a process the clock that a file says.
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
#: An environment of its own for what attacks the API, and for stores of objects and a server to test them on.
ATTACK = ROOT / os.environ.get("ATTACK", ".venv/attack")
