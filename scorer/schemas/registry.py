"""A client of a Schema Registry that speaks Confluent's protocol, such as Confluent's, Karapace's or Apicurio's."""

from __future__ import annotations

import base64
import ssl
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from scorer.errors import SettingsError, UserError
from scorer.pipeline.avro_schema import LONGEST_SCHEMA, SchemaError
from scorer.schemas.compiling import SchemaText
from scorer.settings import ScorerSettings

#: Longest wait for one answer.
REQUEST_SECONDS = 5.0
#: Most schemas that a schema may need, and most bytes of an answer, in which a schema is a text within JSON.
MOST_REFERENCES, LONGEST_ANSWER = 100, 3 * LONGEST_SCHEMA
#: Codes by which a registry says that it has no such schema, subject or version.
_MISSING = (40401, 40402, 40403)
#: Answers to a schema that is not taken, however often it is sent: why, and what to do.
_REFUSALS = {
    403: "this user may not register schemas; register docs/schemas/decisions.avsc, or "
    "decisions-risk.avsc for a view with risk, or allow it",
    409: "it is not compatible with what is there; remove that, or relax the subject's compatibility",
    422: "the registry finds it not valid; look at its log",
}


class MissingError(Exception):
    """The registry says that it has no such schema."""


class AwayError(Exception):
    """The registry does not answer, or not as one does. The text says why. status: of its answer, 0 without one. said:
    what it said itself."""

    def __init__(self, why: str, status: int = 0, said: str = "") -> None:
        super().__init__(why)
        self.status, self.said = status, said


class RefusedError(Exception):
    """The registry does not take a schema. The text says why, and what to do."""


class RegistryClient:
    """Asks a registry for schemas. Use it within one event loop, and close it."""

    def __init__(self, address: str, settings: ScorerSettings) -> None:
        """Raises SettingsError for settings that contradict each other, or a file without certificates."""
        self.address = address
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        user, password, token = settings.registry_user, settings.registry_password, settings.registry_token
        if (user is None) != (password is None):
            raise SettingsError("setting registry_user: it and registry_password need each other; set both")
        if token is not None and user is not None:
            raise SettingsError("setting registry_token: set it, or registry_user and registry_password, not both")
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        elif user is not None and password is not None:
            both = f"{user}:{password.get_secret_value()}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(both).decode()}"
        self._tls: ssl.SSLContext | bool = True
        if settings.registry_ca is not None:
            try:
                self._tls = ssl.create_default_context(cafile=str(settings.registry_ca))
            except (OSError, ssl.SSLError) as error:
                raise SettingsError(
                    f"setting registry_ca: {settings.registry_ca}: {error.strerror or error}; name a PEM file"
                ) from None
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def check(self) -> str | None:
        """Why the registry does not answer now, None if it does. Raises UserError if it refuses this user."""
        try:
            await self._get("/schemas/types", REQUEST_SECONDS)
        except MissingError:
            return None
        except AwayError as error:
            if error.status == 401:
                raise self._unknown_user() from None
            return str(error)
        return None

    def _unknown_user(self) -> UserError:
        return UserError(
            f"registry {self.address}: refuses this user (401); correct registry_user and registry_password, "
            "or registry_token"
        )

    async def register(self, subject: str, schema: str) -> int:
        """The id of an Avro schema under a subject: looked up, or registered if it is not there.

        Raises AwayError; RefusedError if the registry does not take it, UserError if it refuses this user.
        """
        body = {"schema": schema, "schemaType": "AVRO"}
        path = f"/subjects/{quote(subject, safe='')}"
        try:
            try:
                found = await self._ask("POST", path, REQUEST_SECONDS, body)
            except MissingError:
                found = await self._ask("POST", f"{path}/versions", REQUEST_SECONDS, body)
        except MissingError:
            raise AwayError("404 for a path of the API; does the address have it?") from None
        except AwayError as error:
            if error.status == 401:
                raise self._unknown_user() from None
            if error.status in _REFUSALS:
                raise RefusedError(f"{_REFUSALS[error.status]} ({error}{error.said and ': ' + error.said})") from None
            raise
        number = found.get("id")
        if type(number) is not int or not 0 <= number < 2**31:
            raise AwayError("an answer without the id of the schema")
        return number

    async def schema(self, number: int, kind: str, seconds: float = REQUEST_SECONDS) -> SchemaText:
        """A schema by its id, with what it refers to. kind: `avro` or `protobuf`. seconds: longest wait for an answer.

        Raises MissingError, AwayError; SchemaError if it is of another kind, or has too many references.
        """
        found = await self._get(f"/schemas/ids/{number}", seconds)
        told = str(found.get("schemaType", "AVRO")).lower()
        if told != kind:
            raise SchemaError(f"is {told[:20]}, not {kind}; correct mapping.encoding.kind")
        references: dict[tuple[str, str], tuple[str, bytes]] = {}
        await self._collect(found, references, set(), seconds)
        return SchemaText(_text(found), tuple(references.values()))

    async def _collect(
        self,
        found: dict[str, Any],
        known: dict[tuple[str, str], tuple[str, bytes]],
        open_: set[tuple[str, str]],
        seconds: float,
    ) -> None:
        """Add what a schema refers to, each after what it needs itself. open_: those that need this one."""
        several = found.get("references") or []
        if not isinstance(several, list):
            raise AwayError("an answer without a list of references")
        for one in several:
            if not isinstance(one, dict) or not all(name in one for name in ("name", "subject", "version")):
                raise AwayError("a reference without name, subject and version")
            place = str(one["subject"]), str(one["version"])
            if place in open_:
                raise SchemaError(f"refers to itself by {place[0][:60]}")
            if place in known:
                continue
            if len(known) + len(open_) >= MOST_REFERENCES:
                raise SchemaError(f"refers to more than {MOST_REFERENCES} others")
            path = f"/subjects/{quote(place[0], safe='')}/versions/{quote(place[1], safe='')}"
            try:
                inner = await self._get(path, seconds)
            except MissingError:
                raise SchemaError(f"refers to {place[0][:60]} version {place[1][:20]}, which is missing") from None
            await self._collect(inner, known, open_ | {place}, seconds)
            known[place] = str(one["name"]), _text(inner)

    async def _get(self, path: str, seconds: float) -> dict[str, Any]:
        return await self._ask("GET", path, seconds)

    async def _ask(self, method: str, path: str, seconds: float, given: Any = None) -> dict[str, Any]:
        """The object that the registry answers; a list as {"list": …}. Raises MissingError, AwayError."""
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers)
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(
                method,
                f"{self.address}{path}",
                data=None if given is None else orjson.dumps(given),
                headers={} if given is None else {"Content-Type": "application/vnd.schemaregistry.v1+json"},
                timeout=timeout,
                ssl=self._tls,
                allow_redirects=False,
            ) as response:
                body = b""
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > LONGEST_ANSWER:
                        raise AwayError(f"an answer of more than {LONGEST_ANSWER} bytes")
                status = response.status
        except TimeoutError:
            raise AwayError(f"no answer in {seconds:.1f} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AwayError(str(error)[:200] or type(error).__name__) from None
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError:
            found = None
        if status == 404 and isinstance(found, dict) and found.get("error_code") in _MISSING:
            raise MissingError
        if status != 200:
            said = found.get("message") if isinstance(found, dict) else None
            one_line = " ".join(str(said or "").split())[:200]
            raise AwayError(f"{status} {response.reason or ''}".strip()[:80], status, one_line)
        if isinstance(found, list):
            return {"list": found}
        if not isinstance(found, dict):
            raise AwayError("an answer that is not JSON; does the address have the path of the API?")
        return found


def _text(found: dict[str, Any]) -> bytes:
    text = found.get("schema")
    if not isinstance(text, str):
        raise AwayError("an answer without a schema")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise SchemaError("is not UTF-8") from None
