"""A real registry behind TLS: trusted by the authority that the settings name, and by no other."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from harness import registry as real
from harness.certificates import certificate
from scorer.pipeline.encoding import Encoding
from scorer.schemas.schemas import Schemas
from scorer.settings import ScorerSettings, load
from shadow.local.process import free_port

pytestmark = [pytest.mark.needs("registry", "openssl")]
SCHEMA = json.dumps({"type": "record", "name": "T", "fields": [{"name": "id", "type": "string"}]})


def test_a_registry_is_trusted_by_the_named_authority_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("localhost", "other"):
        certificate(tmp_path, name, "-addext", f"subjectAltName=DNS:{name}")
    right, other = tmp_path / "localhost.pem", tmp_path / "other.pem"
    secure = free_port()
    options = [
        f"-Dquarkus.http.ssl-port={secure}",
        f"-Dquarkus.http.ssl.certificate.files={right}",
        f"-Dquarkus.http.ssl.certificate.key-files={tmp_path / 'localhost.key'}",
    ]
    with real.Registry(tmp_path, options=options) as registry:
        number = registry.register("payments", SCHEMA)
        value = b"\0" + number.to_bytes(4, "big") + b"\x02a"

        def read(host: str, authority: Path | None) -> object:
            """What a record says, read with the registry's schema; None if its schema could not be had."""

            async def go() -> object:
                settings = load(ScorerSettings, registry_ca=authority)
                address = f"https://{host}:{secure}/apis/ccompat/v7"
                schemas = Schemas(Encoding(kind="avro", registry=address, wait_seconds=0), settings)
                await schemas.check()
                wire = await schemas.known([value])
                return wire.parse([value])[1].get(0)

            caplog.clear()
            with caplog.at_level(logging.WARNING):
                return asyncio.run(go())

        assert read("localhost", right) == {"id": "a"}
        for host, authority in (("localhost", None), ("localhost", other), ("127.0.0.1", right)):
            assert read(host, authority) is None
            assert "certificate verify failed" in caplog.text, (host, authority)
