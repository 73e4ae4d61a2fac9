"""A store of objects that speaks S3, from the environment of the attack."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.patience import PATIENCE_SECONDS
from harness.places import ATTACK
from harness.stack import get, wait_for
from shadow.local.process import die_with_parent, free_port

REGION = "eu-central-1"
_MAKE = (
    "import boto3, sys; boto3.client('s3').create_bucket(Bucket=sys.argv[1], CreateBucketConfiguration="
    "{'LocationConstraint': sys.argv[2]})"
)


@contextmanager
def s3_with(bucket: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
    """A server with a bucket, and the environment of who uses it. folder: takes its log, `s3.log`."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    argv = [str(ATTACK / "bin" / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "s3.log").open("wb") as log:
        server = subprocess.Popen(argv, stdout=log, stderr=log, preexec_fn=die_with_parent)
    env = {"AWS_ENDPOINT_URL": address, "AWS_DEFAULT_REGION": REGION}
    env |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    try:
        wait_for("the S3 server", lambda: get(f"{address}/moto-api/data.json"))
        subprocess.run(
            [str(ATTACK / "bin" / "python"), "-c", _MAKE, bucket, REGION],
            env={**os.environ, **env},
            check=True,
            timeout=PATIENCE_SECONDS,
        )
        yield server, env
    finally:
        server.kill()
        server.wait()
