"""A client of the API of `shadow serve`, for notebooks and scripts. It needs the standard library only.

    from shadow.client import Client
    client = Client("http://127.0.0.1:9101", token="…")
    frame = pandas.DataFrame(client.rows(segment=["country=FR"], beyond_noise=True))
    client.facets(field=["merchant_id", "hour"], direction="candidate_only")["facets"]

Every filter of the API is an argument of the same name; one that may be repeated takes a list. What is asked for again
and has not changed is not sent again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPResponse
from typing import Any, TypedDict, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

#: Answers that are kept, with their entity tags.
KEPT = 64

#: A value of a filter: left out if None.
Value = str | int | float | bool | Sequence[str] | None


class Estimate(TypedDict):
    """A number of transactions of the whole stream, its standard error, and its 95 % interval."""

    value: float
    error: float
    low: float
    high: float
    samples: int


class FacetValue(TypedDict):
    """A value of a field. value: None where the field is missing."""

    value: str | None
    count: Estimate
    amount: float


class Facet(TypedDict):
    """The largest values of a field."""

    field: str
    values: list[FacetValue]
    more_values: int
    samples_in_more: int


class Facets(TypedDict):
    """An answer of `Client.facets`. estimate: of all that is meant. fields: those that facets may be asked of."""

    slot: str
    run: str
    samples: int
    estimate: Estimate
    amount: float
    currency: str | None
    facets: list[Facet]
    fields: list[str]


class Driver(TypedDict):
    """A feature that makes models differ, in log-odds."""

    feature: str
    share: float
    mean_difference: float
    error: float
    largest_in: float
    samples: int


class Drivers(TypedDict):
    """An answer of `Client.drivers`."""

    slot: str
    run: str
    samples: int
    estimate: Estimate
    features: list[Driver]
    explained: int


class Number(TypedDict):
    """A number, and what it lies between."""

    value: float
    low: float
    high: float


class WhatIf(TypedDict):
    """An answer of `Client.what_if`."""

    slot: str
    run: str
    currency: str | None
    threshold: float
    transactions: float
    live_blocks: float
    blocks: Number
    candidate_only: Number
    live_only: Number
    candidate_only_amount: Number
    live_only_amount: Number
    source: str


class Row(TypedDict):
    """A sample as a flat row. weight: the transactions that it stands for."""

    transaction_id: str
    card_id: str | None
    occurred_at: str
    scored_at: str
    outcome: str
    amount: float
    live_score: float | None
    live_threshold: float | None
    candidate_score: float
    candidate_threshold: float
    gap: float | None
    segments: str
    top_feature: str | None
    label: str
    inclusion_probability: float
    weight: float
    run: str
    transaction: str
    contributions: str


class ProblemError(Exception):
    """What the server refuses, as it says it. status: of HTTP, 0 if it could not be reached. errors: by field."""

    def __init__(self, status: int, title: str, detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(f"{detail} ({status} {title})" if status else detail)
        self.status, self.title, self.detail, self.errors = status, title, detail, tuple(errors)


class _NoRedirects(HTTPRedirectHandler):
    """The token goes to no other address than the one that it was given for."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """Asks one `shadow serve`. address: such as http://127.0.0.1:9101. Methods raise ProblemError."""

    def __init__(self, address: str, token: str | None = None, timeout: float = 60.0) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{address!r} is no address; expected one such as http://127.0.0.1:9101")
        self._address, self._timeout = address.rstrip("/"), timeout
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._opener = build_opener(_NoRedirects)
        self._kept: OrderedDict[str, tuple[str, bytes]] = OrderedDict()

    def samples(self, page: int = 500, **filters: Value) -> Iterator[dict[str, Any]]:
        """Every sample that is meant, page by page, with its transaction, both decisions and why they differ."""
        cursor: str | None = None
        while True:
            found = self._json("/api/samples", {**filters, "limit": page, "cursor": cursor})
            yield from found["page"]
            cursor = found["next"]
            if cursor is None:
                return

    def rows(self, limit: int = 100_000, **filters: Value) -> Iterator[Row]:
        """Every sample that is meant as a flat row, as they come: `pandas.DataFrame(client.rows())`."""
        with self._open("/api/export", {**filters, "format": "jsonl", "limit": limit}, {}) as answer:
            for line in answer:
                yield cast(Row, json.loads(line))

    def sample(self, transaction: str, slot: str = "candidate", run: str | None = None) -> dict[str, Any]:
        """One transaction: who blocks and why in words, what people said, other samples of its card."""
        return self._json("/api/sample", {"transaction": transaction, "slot": slot, "run": run})

    def facets(self, **filters: Value) -> Facets:
        """Where the differences are: the largest values of fields."""
        return cast(Facets, self._json("/api/facets", filters))

    def drivers(self, **filters: Value) -> Drivers:
        """Which features drive all differences that are meant."""
        return cast(Drivers, self._json("/api/drivers", filters))

    def what_if(self, threshold: float, **filters: Value) -> WhatIf:
        """What the candidate would block with another threshold."""
        return cast(WhatIf, self._json("/api/what-if", {**filters, "threshold": threshold}))

    def tallies(self, **filters: Value) -> dict[str, Any]:
        """Exact counts by event hour or day."""
        return self._json("/api/tallies", filters)

    def slots(self) -> dict[str, Any]:
        """What each slot holds."""
        return self._json("/api/slots", {})

    def verdict(self, slot: str = "candidate") -> dict[str, Any]:
        """The gate's last verdict on a slot."""
        return self._json("/api/gate/verdict", {"slot": slot})

    def save(self, path: str, format: str = "parquet", **filters: Value) -> int:
        """Write the samples that are meant into a file: csv, jsonl or parquet. Returns its bytes."""
        written = 0
        with self._open("/api/export", {**filters, "format": format}, {}) as answer, open(path, "wb") as out:
            while chunk := answer.read(1 << 16):
                written += out.write(chunk)
        return written

    def _json(self, path: str, filters: Mapping[str, Value]) -> dict[str, Any]:
        address = self._address_of(path, filters)
        tag, body = self._kept.get(address, ("", b""))
        try:
            with self._open(path, filters, {"If-None-Match": tag} if tag else {}) as answer:
                body = answer.read()
                if answer.headers["etag"]:
                    self._kept[address] = answer.headers["etag"], body
                    while len(self._kept) > KEPT:
                        self._kept.popitem(last=False)
        except _UnchangedError:
            self._kept.move_to_end(address)
        return cast(dict[str, Any], json.loads(body))

    def _open(self, path: str, filters: Mapping[str, Value], headers: Mapping[str, str]) -> HTTPResponse:
        request = Request(self._address_of(path, filters), headers={**self._headers, **headers})  # noqa: S310 - checked
        try:
            return cast(HTTPResponse, self._opener.open(request, timeout=self._timeout))
        except HTTPError as error:
            with error:
                if error.code == 304:
                    raise _UnchangedError from None
                raise _problem(error) from None
        except (URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise ProblemError(
                0, "", f"{self._address} cannot be reached: {reason}; is `shadow serve` running?"
            ) from None

    def _address_of(self, path: str, filters: Mapping[str, Value]) -> str:
        query: list[tuple[str, str]] = []
        for name, value in filters.items():
            if value is None:
                continue
            several = [value] if isinstance(value, str | int | float) else list(value)
            query += [(name, str(one).lower() if isinstance(one, bool) else str(one)) for one in several]
        return f"{self._address}{path}?{urlencode(query)}"


class _UnchangedError(Exception):
    """What is kept is still so."""


def _problem(error: HTTPError) -> ProblemError:
    try:
        told = json.loads(error.read(1 << 20))
        return ProblemError(error.code, told["title"], told["detail"], told.get("errors", ()))
    except (ValueError, KeyError, TypeError):
        return ProblemError(error.code, error.reason, f"the server answers {error.code}, and not as an API does")
