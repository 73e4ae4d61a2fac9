"""Which schemas are known: asks for those of a batch before it is decided, and remembers what it learned.

An id is asked for once. What the registry does not have is refused for MISSING_SECONDS and then asked for again; both
memories are bounded, and so is how much is asked for, because anybody who may write a record may write any id. While
the registry is away, records of known schemas go on; one of an unknown schema waits, with what comes after it, but the
longest wait counts once from when the registry was missed first. After it they are refused at once until it answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from scorer.errors import SettingsError
from scorer.pipeline.avro_schema import SchemaError
from scorer.pipeline.encoding import Encoding
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.wire import ONLY, Wire
from scorer.schemas.compiling import compiled, of_file, require
from scorer.schemas.registry import REQUEST_SECONDS, AwayError, MissingError, RegistryClient
from scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

#: Most schemas that are kept, and most ids that are known to be missing.
MOST_KNOWN, MOST_MISSING = 1000, 10_000
#: How long an id stays missing.
MISSING_SECONDS = 60.0
#: Ids that are asked for at a time; of one batch; and how many may be missing within MISSED_SECONDS until no more are.
AT_ONCE, MOST_ASKED, MOST_MISSED, MISSED_SECONDS = 8, 32, 200, 10.0
#: Time between two attempts while the registry is away.
AGAIN_SECONDS = 1.0


class Schemas:
    """The schemas of a mapping's encoding. wire: what reads with them, which this fills."""

    def __init__(self, encoding: Encoding, settings: ScorerSettings) -> None:
        """Raises SettingsError for a file that is no schema, LibraryError for a library that is missing."""
        require(encoding)
        self.wire = Wire(encoding)
        self._kind, self._wait = encoding.kind, encoding.wait_seconds
        self._client = None if encoding.registry is None else RegistryClient(encoding.registry, settings)
        if encoding.file is not None:
            try:
                read = of_file(encoding)
            except SchemaError as error:
                raise SettingsError(f"mapping.encoding.file: {encoding.file} {error}; correct it") from None
            except OSError as error:
                raise SettingsError(
                    f"mapping.encoding.file: {encoding.file}: {error.strerror}; name a readable file"
                ) from None
            self.wire.reads[ONLY] = read
        self._refused_until: dict[int, float] = {}
        self._missed: deque[float] = deque()
        self._away_since: float | None = None
        self._why = ""
        self.asked = 0  # how many requests there were
        self._probing: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Say if the registry does not answer. Raises UserError if it refuses this user."""
        if self._client is not None:
            try:
                why = await self._client.check()
            finally:
                await self._client.close()  # the worker has an event loop of its own
            if why is not None:
                log.warning("registry %s: %s; records wait until it answers", self._client.address, why)

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def known(self, values: Sequence[bytes | None]) -> Wire:
        """What reads some values, with all their schemas, as far as they can be had. Asks in turns, for a command."""
        for start in range(0, len(values), MOST_ASKED):
            await self.ready(values[start : start + MOST_ASKED])
        await self.close()
        return self.wire

    async def ready(self, values: Iterable[bytes | None], is_given_up: Callable[[], bool] = lambda: False) -> None:
        """Learn the schemas of some values, as far as that is possible; `wire` then tells of each that is not known.

        Waits for a registry that is away as long as the encoding says. is_given_up: ends the wait early.
        """
        if self._client is None:
            return
        ids = self.wire.ids(values)
        if ids.keys() <= self.wire.reads.keys():
            return
        began = time.monotonic()
        self._forget(began)
        wanted = self._wanted(ids)
        while wanted and not is_given_up():
            now = time.monotonic()
            if self._away_since is not None and now >= self._away_since + self._wait:
                self._say_away(wanted)
                return
            if now >= began + max(self._wait, REQUEST_SECONDS):  # it answers, but slowly
                return
            some = wanted[:AT_ONCE]
            answers = await asyncio.gather(*(self._learn(number, ids) for number in some))
            wanted = [number for number, is_done in zip(some, answers, strict=True) if not is_done] + wanted[AT_ONCE:]
            if not all(answers) and self._away_since is not None:
                left = self._away_since + self._wait - time.monotonic()
                await asyncio.sleep(min(AGAIN_SECONDS, max(0.0, left)))

    def _forget(self, now: float) -> None:
        """Forget ids that have been missing for long enough."""
        for number in [number for number, until in self._refused_until.items() if until <= now]:
            del self._refused_until[number]
            self.wire.reasons.pop(number, None)
        while self._missed and self._missed[0] < now - MISSED_SECONDS:
            self._missed.popleft()

    def _wanted(self, ids: Counter[int]) -> list[int]:
        """Ids to ask for, those of most records first."""
        unknown = [n for n, _ in ids.most_common() if n not in self.wire.reads and n not in self._refused_until]
        if len(unknown) > MOST_ASKED or len(self._missed) + len(unknown) > MOST_MISSED:
            log.warning("registry: records name %d schemas that are not known; some are not asked for", len(unknown))
        return unknown[: min(MOST_ASKED, max(0, MOST_MISSED - len(self._missed)))]

    async def _learn(self, number: int, ids: Counter[int]) -> bool:
        """Ask for a schema; False if the registry is away."""
        assert self._client is not None  # noqa: S101 - for mypy
        self.asked += 1
        left = REQUEST_SECONDS
        if self._away_since is not None:
            left = self._away_since + self._wait - time.monotonic()
        try:
            text = await self._client.schema(number, self._kind, max(0.5, min(REQUEST_SECONDS, left)))
            self._is_back()
            read = await asyncio.get_running_loop().run_in_executor(None, compiled, text, self.wire.encoding)
        except MissingError:
            self._is_back()
            self._missed.append(time.monotonic())
            self._refuse(number, f"the registry has no schema {number}")
        except SchemaError as error:
            self._is_back()
            log.error("registry %s: schema %d %s", self._client.address, number, error)
            self._refuse(number, f"schema {number} {error}")
        except AwayError as error:
            if self._away_since is None:
                self._away_since = time.monotonic()
                log.warning(
                    "registry %s: %s; known schemas go on, others wait up to %g s",
                    self._client.address,
                    error,
                    self._wait,
                )
            self._why = str(error)
            return False
        else:
            self._keep(number, ids)
            self.wire.reads[number] = read
            log.info("registry: learned schema %d", number)
        return True

    def _keep(self, number: int, ids: Counter[int]) -> None:
        """Make room for a schema: the oldest goes that these records do not need."""
        if len(self.wire.reads) >= MOST_KNOWN:
            oldest = next((known for known in self.wire.reads if known not in ids), None)
            if oldest is not None:
                del self.wire.reads[oldest]

    def _refuse(self, number: int, why: str) -> None:
        if len(self._refused_until) >= MOST_MISSING:
            oldest = next(iter(self._refused_until))
            del self._refused_until[oldest]
            self.wire.reasons.pop(oldest, None)
        self._refused_until[number] = time.monotonic() + MISSING_SECONDS
        self.wire.reasons[number] = why

    def _say_away(self, wanted: list[int]) -> None:
        """Refuse records of these ids until the registry answers."""
        assert self._client is not None  # noqa: S101 - for mypy
        for number in wanted:
            self.wire.reasons[number] = (
                f"{number} is not known, and the registry is away ({self._why}); send the record again once it answers"
            )
            self._refused_until[number] = time.monotonic() + AGAIN_SECONDS
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        """Ask until the registry answers again."""
        assert self._client is not None  # noqa: S101 - for mypy
        while self._away_since is not None:
            await asyncio.sleep(AGAIN_SECONDS)
            try:
                await self._client.schema(0, self._kind)
            except AwayError as error:
                self._why = str(error)
            except (MissingError, SchemaError):
                self._is_back()
            else:
                self._is_back()

    def _is_back(self) -> None:
        if self._away_since is not None:
            assert self._client is not None  # noqa: S101 - for mypy
            log.info(
                "registry %s: answers again after %.0f s", self._client.address, time.monotonic() - self._away_since
            )
            self._away_since = None


def schemas_of(mapping: FieldNames, settings: ScorerSettings) -> Schemas | None:
    """The schemas of a mapping; None for bare JSON. Raises as `Schemas` does."""
    return None if mapping.encoding is None else Schemas(mapping.encoding, settings)
