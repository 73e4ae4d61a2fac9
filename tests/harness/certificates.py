"""Certificates of machines on loopback, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.patience import PATIENCE_SECONDS


def certificate(folder: Path, name: str, *more: str) -> None:
    """`name`.pem and `name`.key in a folder, signed by themselves unless more says otherwise."""
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
    subprocess.run([*argv, *files, *more], cwd=folder, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
