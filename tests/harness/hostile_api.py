"""Asks a `shadow serve` for everything that its OpenAPI document offers, and for much that it does not.

Needs hypothesis and httpx only, and shares no code with the server. Right and wrong values are generated apart, so what
the answer must be is known beforehand.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

#: An answer that takes longer hangs.
HANG_SECONDS = 15.0
CARD = "4111111111111111"
#: Texts that have broken servers before.
NASTY = (
    *(
        "\0",
        "\n",
        "\r\nX: y",
        "%",
        "%00",
        "..",
        "../../etc/passwd",
        "*",
        "{candidate:0}",
        "}{",
        ":",
        " ",
        "'",
        '"',
        "$",
    ),
    *("\N{SNOWMAN}", "\N{RIGHT-TO-LEFT OVERRIDE}", "\ud800", "\N{FULLWIDTH DIGIT ONE}", "a" * 3000, "-1", "1e999"),
    *("NaN", "null", "true", "[]", "{}", "<script>alert(1)</script>", "{{7*7}}", "' or 1=1--", CARD),
)
#: What decides of releases takes a person's own token, which no token of a service is.
DECIDES = ("/api/suggestions/approve", "/api/suggestions/reject", "/api/rollback")
HOSTS = ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.255.255.254", "a b", "[::2]", "0")
nasty = st.one_of(st.sampled_from(NASTY), st.text(max_size=40))
numbers = st.one_of(st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6).filter(math.isfinite))
times = st.sampled_from(["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5+01:00", "1795554840141", "0", "9" * 30])
slots = st.sampled_from(["candidate", "control", "live", "previous", "nobody", "a", "a-1"])

#: Right values of each parameter, in text.
RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "slot": slots,
    "run": st.sampled_from(["L1-C1", "L1-C2", "L999999999-C0"]),
    "direction": st.sampled_from(["live_only", "candidate_only"]),
    "agreements": st.sampled_from(["true", "false", "1", "0"]),
    "segment": st.sampled_from(["all", "country=FR", "nowhere", "\N{SNOWMAN}", ""]),
    **dict.fromkeys(["min_amount", "max_amount", "min_gap", "max_gap"], numbers),
    **dict.fromkeys(["since", "until", "scored_since", "scored_until", "at"], times),
    "within_seconds": st.floats(1e-3, 1e9),
    **dict.fromkeys(["card", "transaction"], st.one_of(st.just("t1"), nasty)),
    "sort": st.sampled_from(["time", "amount", "gap"]),
    "ascending": st.booleans().map(lambda value: str(value).lower()),
    "limit": st.integers(1, 100),
    "days": st.integers(1, 100),
    "after": st.one_of(st.integers(0, 200), st.just(10**30)),
    "skip": st.integers(0, 2**31),
    "where": st.sampled_from(["hour=13", "nothing=1", "a%3Db=", "merchant_id=<script>", "hour=\N{SNOWMAN}"]),
    "top_feature": st.sampled_from(["amount", "nothing", "\N{SNOWMAN}"]),
    "label": st.sampled_from(["fraud", "legit", "unsure", "contradictory", "waiting", "none"]),
    "min_size": st.floats(0, 1),
    "beyond_noise": st.booleans().map(lambda value: str(value).lower()),
    "cursor": st.just(""),
    "field": st.sampled_from(["hour", "segment.country", "direction", "nothing", "top_feature", "label"]),
    "top": st.integers(1, 100),
    "threshold": st.floats(0, 1),
    "by": st.sampled_from(["hour", "day"]),
    "format": st.sampled_from(["csv", "jsonl", "parquet"]),
}
#: Wrong ones. A parameter that is not here takes any text.
WRONG: dict[str, st.SearchStrategy[Any]] = {
    "slot": st.sampled_from(["", "A", "-", "a" * 40, "a:b", "candidate\n", "\0", "{candidate:0}", "\N{SNOWMAN}", "1"]),
    "run": st.sampled_from(["L1", "L1-C1\n", "L-1-C1", f"L{'9' * 400}-C1", "", "\N{SNOWMAN}", "l1-c1", "L1-C\u0661"]),
    **dict.fromkeys(["direction", "sort"], st.sampled_from(["", "both", "TIME", "\0"])),
    **dict.fromkeys(["agreements", "ascending"], st.sampled_from(["", "2", "maybe", "\0"])),
    **dict.fromkeys(
        ["min_amount", "max_amount", "min_gap", "max_gap", "within_seconds"],
        st.sampled_from(["", "x", "1,5", "0x_", "--1"]),
    ),
    **dict.fromkeys(
        ["since", "until", "scored_since", "scored_until", "at"],
        st.sampled_from(
            ["", "yesterday", "-5", "1.5", "2026-13-45T00:00:00Z", "0000-01-01T00:00:00Z", "9" * 5000, "\0"]
        ),
    ),
    **dict.fromkeys(["limit", "days"], st.sampled_from(["", "0", "-1", "10001", "1.5", "9" * 30, "x"])),
    "where": st.sampled_from(["", "x", "=1", "a=" + "b" * 400]),
    "label": st.sampled_from(["", "maybe", "\0"]),
    "min_size": st.sampled_from(["", "x", "-1", "nan", "inf"]),
    "beyond_noise": st.sampled_from(["", "2", "maybe"]),
    "cursor": st.sampled_from(["AAAA", "\0", "a" * 201, "\N{SNOWMAN}", "AAAAAMDMWUAAAAAAAADgPwAAAAAAAAAA"]),
    "top": st.sampled_from(["", "0", "101", "x"]),
    "threshold": st.sampled_from(["", "x", "1.5", "-1", "nan"]),
    "by": st.sampled_from(["", "week"]),
    "format": st.sampled_from(["", "xlsx", "\0"]),
    **dict.fromkeys(["after", "skip"], st.sampled_from(["", "-1", "1.5", "x", "9" * 5000])),
}
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), nasty),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(nasty, inner, max_size=4)),
    max_leaves=12,
)


def makes_no_question(params: Mapping[str, Any]) -> bool:
    """Whether parameters that are right each for itself may be refused together, or by the explorer only."""
    texts = [str(params[name]) for name in ("card", "transaction", "segment") if name in params]
    pairs = (("min_amount", "max_amount"), ("min_gap", "max_gap"))
    is_crossed = any(low in params and high in params and params[low] > params[high] for low, high in pairs)
    return is_crossed or any(not text or len(text) > 300 for text in texts)


@dataclass
class Found:
    """What a probe has seen. faults: the first of each kind, to be told."""

    target: str = "api"
    tried: int = 0
    crashes: int = 0
    hangs: int = 0
    wrong: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """Its counts, without the faults."""
        return {name: value for name, value in asdict(self).items() if name != "faults"}

    @property
    def is_clean(self) -> bool:
        """Whether nothing fell."""
        return not (self.crashes or self.hangs or self.wrong)


class Probe:
    """Asks one server, and counts what is not as it should be."""

    def __init__(self, address: str, read: str | None, write: str | None) -> None:
        self.found = Found()
        self._client = httpx.Client(base_url=address, timeout=HANG_SECONDS)
        self._read, self._write = _bearer(read), _bearer(write)
        document = self._client.get("/api/openapi.json", headers=self._read).json()
        self.operations = [
            (method.upper(), path, [one["name"] for one in told.get("parameters", ())])
            for path, methods in document["paths"].items()
            for method, told in methods.items()
        ]
        self.required = {
            path: [one["name"] for one in told.get("parameters", ()) if one.get("required")]
            for path, methods in document["paths"].items()
            for told in methods.values()
        }

    def ask(self, method: str, path: str, expected: set[int], why: str, **more: Any) -> None:
        """Ask once. Any answer of the server's own fault is a crash, any other that is not expected is wrong."""
        self.found.tried += 1
        try:
            answer = self._client.request(method, path, **more)
        except httpx.TimeoutException:
            self.found.hangs += 1
            self._tell(f"hang: {method} {path} {why}", more)
            return
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            self.found.crashes += 1
            self._tell(f"crash: {method} {path} {why}: {error!r}", more)
            return
        if answer.status_code >= 500 and answer.status_code not in expected:
            self.found.crashes += 1
            self._tell(f"crash: {method} {path} {why}: {answer.status_code} {answer.text[:300]}", more)
        elif answer.status_code not in expected or not self._is_well_formed(answer):
            self.found.wrong += 1
            self._tell(f"wrong: {method} {path} {why}: {answer.status_code} {answer.text[:300]}", more)

    def _is_well_formed(self, answer: httpx.Response) -> bool:
        headers = answer.headers
        if headers.get("x-content-type-options") != "nosniff" or "content-security-policy" not in headers:
            return False
        if "server" in headers or "Traceback" in answer.text:
            return False
        if answer.status_code >= 400 and CARD in answer.text:
            return False
        if (
            headers.get("content-type", "").startswith(("application/json", "application/problem+json"))
            and answer.request.method != "HEAD"
        ):
            try:
                body = json.loads(answer.text, parse_constant=_refuse)
            except ValueError:
                return False
            return answer.status_code < 400 or answer.status_code == 412 or "detail" in body
        return True

    def _tell(self, fault: str, more: Mapping[str, Any]) -> None:
        self.found.faults.setdefault(fault[:160], f"{fault}\n  {str(dict(more))[:500]}")

    def read(self, data: st.DataObject) -> None:
        """A documented operation, with right values, or with one that is wrong."""
        method, path, names = data.draw(st.sampled_from([one for one in self.operations if one[0] == "GET"]))
        chosen = data.draw(st.lists(st.sampled_from(names or ["slot"]), unique=True)) if names else []
        chosen = list(dict.fromkeys([*chosen, *self.required.get(path, ())]))
        params = {name: data.draw(RIGHT[name]) for name in chosen}
        expected, why = {200, 404, 412}, "right"
        if makes_no_question(params):
            expected |= {422}
        if path == "/readyz":
            expected |= {503}
        broken = [name for name in names if name in WRONG]
        is_wrong: bool = data.draw(st.booleans())
        if broken and is_wrong:
            name = data.draw(st.sampled_from(broken))
            params[name] = data.draw(WRONG[name])
            # a cursor is read last, so what is not there is told first
            expected, why = {422, 404} if name == "cursor" else {422}, f"wrong {name}"
        try:
            httpx.QueryParams(params).__str__().encode()
        except UnicodeEncodeError:  # a lone surrogate is in no address
            return
        self.ask(
            method,
            path,
            expected | ({414} if len(str(params)) > 2000 else set()),
            why,
            params=params,
            headers=self._read,
        )

    def stranger(self, data: st.DataObject) -> None:
        """Without a token, or by another name of the host."""
        method, path, _ = data.draw(st.sampled_from(self.operations))
        by_name: bool = data.draw(st.booleans())
        if by_name:
            headers = {**self._read, "Host": data.draw(st.sampled_from(HOSTS))}
            self.ask(method, path, {400}, f"host {headers['Host']}", headers=headers)
            return
        given = data.draw(
            st.sampled_from([None, "Bearer", "Bearer x", "Basic eDp4", "Basic \xff", "Bearer " + "x" * 4000])
        )
        headers = {} if given is None else {"Authorization": given}
        is_open = path in ("/livez", "/readyz")
        writes = path in ("/api/review/next", "/api/review/mark")
        is_guarded = bool(self._write if writes else self._read)
        expected = {401} if is_guarded and not is_open else {200, 401, 403, 404, 412, 422, 503}
        expected |= {403} if path in DECIDES else set()
        self.ask(method, path, expected, f"token {str(given)[:12]}", headers=_encoded(headers))

    def write(self, data: st.DataObject) -> None:
        """A body that is none, to what takes one."""
        path = data.draw(st.sampled_from([path for method, path, _ in self.operations if method == "POST"]))
        names = ["by", "count", "slot", "show_models", "transaction_id", "verdict", "reason", "x", "suggestion", "text"]
        names += ["threshold", "force", "live_epoch", "id", "day", "segment", "replace"]
        body = data.draw(
            st.one_of(
                values.map(lambda value: json.dumps(value).encode()),
                st.dictionaries(st.sampled_from(names), values).map(lambda value: json.dumps(value).encode()),
                st.binary(max_size=200),
                st.just(b"[" * 20_000),
                st.just(b"x" * 70_000),
            )
        )
        kind = data.draw(st.sampled_from(["application/json", "text/plain", "multipart/form-data; boundary=x", "\xff"]))
        headers = {**self._write, **(self._read if path == "/api/gate/ready" else {})}
        expected = {413} if len(body) > 65_536 else {200, 400, 403, 404, 409, 412, 422}
        expected |= {401} if path in DECIDES else set()
        self.ask("POST", path, expected, "body", content=body, headers=_encoded({**headers, "Content-Type": kind}))

    def anything(self, data: st.DataObject) -> None:
        """A method and a path that nobody documented."""
        method = data.draw(st.sampled_from(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "FOO"]))
        path = "/" + data.draw(st.text("abc/.%0:;\\~ \N{SNOWMAN}", max_size=30))
        known = data.draw(st.sampled_from(["", *(path for _, path, _ in self.operations)]))
        try:
            self.ask(method, known + path, {200, 307, 400, 404, 405}, "any path", headers=self._read)
        except (httpx.InvalidURL, UnicodeError):
            self.found.tried -= 1


def probe(address: str, tries: int, at: int = 1, read: str | None = None, write: str | None = None) -> Found:
    """Ask a server so many times.

    address: `http://host:port`. at: the seed. read, write: its tokens, if it has them.
    """
    asking = Probe(address, read, write)
    kinds = [asking.read, asking.read, asking.stranger, asking.write, asking.anything]

    @seed(at)
    @settings(
        max_examples=tries,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def go(data: st.DataObject) -> None:
        data.draw(st.sampled_from(kinds))(data)

    go()
    started = time.monotonic()
    asking.ask("GET", "/livez", {200}, "afterwards")
    assert time.monotonic() - started < HANG_SECONDS
    return asking.found


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """With any bytes in them, as httpx takes only ASCII as text."""
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


def _refuse(constant: str) -> None:
    raise ValueError(constant)
