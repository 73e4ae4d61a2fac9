"""The id of the schema of decisions: stated, or that of a Schema Registry, which is asked once, at the start."""

from __future__ import annotations

import asyncio
import logging
import time

from scorer.errors import SettingsError, UserError
from scorer.pipeline import decision_avro
from scorer.pipeline.avro import ITEMS
from scorer.pipeline.view import FeatureView
from scorer.schemas.registry import AwayError, RefusedError, RegistryClient
from scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

#: How long a registry that is away is waited for; and between two attempts.
WAIT_SECONDS, AGAIN_SECONDS = 30.0, 1.0


def registry_of(settings: ScorerSettings) -> str | None:
    """The registry to ask; None if decisions need none. Raises SettingsError if neither it nor an id is named."""
    if settings.decisions_format == "json" or settings.decisions_schema_id is not None:
        return None
    encoding = settings.mapping.encoding
    registry = settings.decisions_registry or (None if encoding is None else encoding.registry)
    if registry is None:
        raise SettingsError(
            "setting decisions_format: avro needs the id of the schema; set SCORER_DECISIONS_REGISTRY, or "
            "SCORER_DECISIONS_SCHEMA_ID"
        )
    return registry


def require_room(settings: ScorerSettings, view: FeatureView) -> None:
    """Raise SettingsError if decisions in Avro would have more features than a reader of ours takes."""
    if settings.decisions_format == "avro" and len(view.names) > ITEMS:
        raise SettingsError(
            f"setting decisions_format: avro holds at most {ITEMS} features, the view has {len(view.names)}; set "
            "SCORER_DECISIONS_FORMAT=json"
        )


async def schema_id(settings: ScorerSettings, has_risk: bool = False) -> int | None:
    """The id by which decisions are written in Avro; None for JSON. has_risk: whether the feature view has merchant
    risk, whose decisions have a schema with more fields, under the same subject.

    Raises SettingsError as `registry_of` does, UserError if the registry refuses the schema or this user, or stays
    away.
    """
    address = registry_of(settings)
    if address is None:
        return None if settings.decisions_format == "json" else settings.decisions_schema_id
    subject = f"{settings.topics.decisions}-value"
    client = RegistryClient(address, settings)
    until = time.monotonic() + WAIT_SECONDS
    try:
        return await _asked(client, subject, decision_avro.text(has_risk), until)
    except RefusedError as error:
        raise UserError(f"registry {address}: refuses the schema of decisions under {subject}: {error}") from None
    except AwayError as error:
        raise UserError(
            f"registry {address}: {error}; start again once it answers, or set SCORER_DECISIONS_SCHEMA_ID, for which "
            "none is asked"
        ) from None
    finally:
        await client.close()


async def _asked(client: RegistryClient, subject: str, schema: str, until: float) -> int:
    has_said = False
    while True:
        try:
            number = await client.register(subject, schema)
        except AwayError as error:
            if time.monotonic() + AGAIN_SECONDS > until:
                raise
            if not has_said:
                log.warning("registry %s: %s; decisions in Avro wait for it", client.address, error)
                has_said = True
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            log.info("registry %s: decisions have schema %d (%s)", client.address, number, subject)
            return number
