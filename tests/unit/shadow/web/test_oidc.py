"""Tokens of a real OpenID Connect provider, and those that attackers make of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import Request as Asked
from urllib.request import urlopen

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import HTTPException, Request
from oidc_provider_mock import User, run_server_in_thread  # type: ignore[import-untyped,unused-ignore]

from scorer.people import PersonRole
from shadow.settings import ShadowSettings
from shadow.web import oidc
from shadow.web.auth import operator_of, reader_of
from shadow.web.oidc import Provider, RefusedTokenError, UnavailableError

AUDIENCE = "shadow"
GROUPS: dict[str, PersonRole] = {"fraud": "releaser", "guests": "viewer"}


def asking(token: str) -> Request:
    headers = [(b"authorization", f"Bearer {token}".encode("latin-1"))]
    return Request({"type": "http", "headers": headers, "path": "/", "method": "GET", "client": ("10.9.9.9", 1)})


def settings(issuer: str, **more: Any) -> ShadowSettings:
    return ShadowSettings(oidc_issuer=issuer, oidc_audience=AUDIENCE, groups=GROUPS, **more)


def status_of(depends: Callable[[Request], Any], token: str) -> int:
    try:
        depends(asking(token))
    except HTTPException as error:
        return error.status_code
    return 200


class Keys:
    """A provider that says whatever a test needs: its keys can be changed, it can be slow, or lie."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked = 0
        self.delay = 0.0
        self.broken = False
        self.issuer_said: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                time.sleep(outer.delay)
                body = outer.answer(self.path)
                self.send_response(500 if outer.broken else 200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.rotate("one")

    def answer(self, path: str) -> bytes:
        if path.endswith("openid-configuration"):
            said = {"issuer": self.issuer_said or self.issuer, "jwks_uri": f"{self.issuer}/keys"}
            return json.dumps(said).encode()
        found = []
        for kid, key in self.keys.items():
            algorithm = (
                jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
            )
            found.append({**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"})  # type: ignore[arg-type]
        return json.dumps({"keys": found}).encode()

    def rotate(self, kid: str) -> None:
        self.keys = {kid: rsa.generate_private_key(public_exponent=65537, key_size=2048)}

    def token(
        self, kid: str = "one", key: Any = None, algorithm: str = "RS256", headers: Any = None, **claims: Any
    ) -> str:
        told = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "ann",
            "exp": time.time() + 60,
            "groups": ["fraud"],
            **claims,
        }
        told = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(told, key or self.keys[kid], algorithm, headers={"kid": kid, **(headers or {})})


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    made = Keys()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def provider(keys: Keys) -> Provider:
    return Provider(settings(keys.issuer))


def refused(provider: Provider, token: str) -> str:
    with pytest.raises(RefusedTokenError) as error:
        provider.person(token.encode("latin-1"))
    return str(error.value)


def signed_in(issuer: str, subject: str) -> str:
    """The id token that somebody gets who signs in at a real provider, by the authorization code flow."""
    back = "http://localhost/back"
    asked = {"client_id": AUDIENCE, "redirect_uri": back, "response_type": "code", "scope": "openid", "state": "s"}
    from urllib.request import HTTPRedirectHandler, build_opener

    class Stays(HTTPRedirectHandler):
        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            return None

    request = Asked(f"{issuer}/oauth2/authorize?{urlencode(asked)}", urlencode({"sub": subject}).encode())
    try:
        answer: Any = build_opener(Stays()).open(request)
    except Exception as error:
        answer = error
    query = dict(part.split("=", 1) for part in urlsplit(answer.headers["location"]).query.split("&"))
    told = {"grant_type": "authorization_code", "code": query["code"], "redirect_uri": back, "client_id": AUDIENCE,
            "client_secret": "any"}  # fmt: skip
    with urlopen(Asked(f"{issuer}/oauth2/token", urlencode(told).encode())) as found:
        return str(json.load(found)["id_token"])


def test_people_of_a_real_provider_are_known_by_their_groups() -> None:
    people = (
        User(sub="ann", claims={"groups": ["fraud"]}),
        User(sub="gus", claims={"groups": ["guests"]}),
        User(sub="eve"),
    )
    with run_server_in_thread(user_claims=people) as server:
        issuer = f"http://localhost:{server.server_port}"
        told = settings(issuer)
        reader, operator = reader_of(told), operator_of(told)
        for name, reads, writes in (("ann", 200, 200), ("gus", 200, 403), ("eve", 403, 403)):
            token = signed_in(issuer, name)
            assert (status_of(reader, token), status_of(operator, token)) == (reads, writes), name
        who = operator(asking(signed_in(issuer, "ann")))
        assert who is not None
        assert (who.name, who.role, who.verified) == ("ann", "releaser", "oidc")
        elsewhere = operator_of(told.model_copy(update={"oidc_audience": "another"}))
        assert status_of(elsewhere, signed_in(issuer, "ann")) == 401


def test_who_signs_what(keys: Keys, provider: Provider) -> None:
    assert provider.person(keys.token().encode()) == ("ann", ("fraud",))
    assert provider.person(keys.token(groups="fraud").encode()) == ("ann", ("fraud",))
    assert provider.person(keys.token(groups={"fraud": 1}).encode()) == ("ann", ())
    assert "expired" in refused(provider, keys.token(exp=time.time() - 60))
    assert "only later" in refused(provider, keys.token(nbf=time.time() + 600))
    assert "claim aud" in refused(provider, keys.token(aud="other"))
    assert "claim iss" in refused(provider, keys.token(iss="https://evil.example"))
    for claim in ("exp", "iss", "aud"):
        assert "missing" in refused(provider, keys.token(**{claim: None}))
    for name in ("", " ", "a\nb", "a\u202eb", 7, ["ann"], None, "x" * 201):
        assert refused(provider, keys.token(sub=name))


def test_tokens_that_nobody_has_signed(keys: Keys, provider: Provider) -> None:
    def part(told: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()

    claims = part({"iss": keys.issuer, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 60})
    for none in ("none", "None", "NONE", "", None, 1, ["RS256"]):
        assert refused(provider, f"{part({'alg': none, 'kid': 'one'})}.{claims}.")
    public = (
        keys.keys["one"]
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head = part({"alg": "HS256", "kid": "one", "typ": "JWT"})
    value = hmac.new(public, f"{head}.{claims}".encode(), hashlib.sha256).digest()
    forged = f"{head}.{claims}.{base64.urlsafe_b64encode(value).rstrip(b'=').decode()}"
    assert "algorithm" in refused(provider, forged)
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert "signature is wrong" in refused(provider, keys.token(key=stranger))
    curve = ec.generate_private_key(ec.SECP256R1())
    assert refused(provider, keys.token(key=curve, algorithm="ES256"))
    with_own = jwt.algorithms.RSAAlgorithm.to_jwk(stranger.public_key(), as_dict=True)
    for headers in ({"jwk": with_own}, {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example"}):
        assert "signature is wrong" in refused(provider, keys.token(key=stranger, headers=headers))
    for junk in ("..", "a.b.c", "é.é.é", f"{part([])}.{claims}.", "." * 500, "x" * 20_000, f"{'A' * 13_000}.b.c"):
        assert refused(provider, junk)


@pytest.mark.parametrize("kid", ["../../etc/passwd", "' OR 1=1", "x" * 300, "http://evil.example/k", "\x00", "two"])
def test_a_key_id_is_only_looked_up(keys: Keys, provider: Provider, kid: str) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert "key" in refused(provider, keys.token(kid, key=stranger))


def test_keys_rotate_and_made_up_key_ids_do_not_keep_us_asking(
    keys: Keys, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.person(keys.token().encode())
    before = keys.asked
    old = keys.token()
    for n in range(20):
        refused(provider, keys.token(f"made-up-{n}", key=keys.keys["one"]))
    assert keys.asked == before
    keys.rotate("two")
    monkeypatch.setattr(oidc, "PAUSE_SECONDS", 0.0)
    assert provider.person(keys.token("two").encode())[0] == "ann"
    assert "does not have" in refused(provider, old)


def test_a_provider_that_is_down_is_told_of_and_known_keys_go_on(
    keys: Keys, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.broken = True
    token = keys.token()
    with pytest.raises(UnavailableError, match="500"):
        provider.person(token.encode())
    told = settings(keys.issuer)
    assert status_of(reader_of(told), token) == 503
    keys.broken = False
    monkeypatch.setattr(oidc, "PAUSE_SECONDS", 0.0)
    provider.person(token.encode())
    keys.broken = True
    monkeypatch.setattr(oidc, "KEPT_SECONDS", 0.0)
    assert provider.person(token.encode())[0] == "ann"
    monkeypatch.setattr(oidc, "LONGEST_KEPT_SECONDS", 0.0)
    with pytest.raises(UnavailableError):
        provider.person(token.encode())


def test_a_slow_provider_keeps_one_thread_and_for_a_bounded_time(
    keys: Keys, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(oidc, "FIRST_SECONDS", 0.1)
    keys.delay = 30.0
    token = keys.token().encode()
    waited: list[float] = []

    def ask() -> None:
        begun = time.monotonic()
        with pytest.raises(UnavailableError):
            provider.person(token)
        waited.append(time.monotonic() - begun)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys.asked == 1
    assert len(waited) == 8
    assert sorted(waited)[-2] < sorted(waited)[-1], "one has waited for the provider, the others have not"


def test_a_document_of_somebody_else_is_not_believed(keys: Keys, provider: Provider) -> None:
    keys.issuer_said = "https://evil.example"
    with pytest.raises(UnavailableError, match="another issuer"):
        provider.person(keys.token().encode())


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"oidc_issuer": "http://idp.example", "oidc_audience": "x"}, "https"),
        ({"oidc_issuer": "https://u:p@idp.example", "oidc_audience": "x"}, "without user"),
        ({"oidc_issuer": "https://idp.example"}, "oidc_audience"),
        ({"groups": {"x": "owner"}}, "groups"),
    ],
)
def test_settings_that_make_no_sense_are_refused(told: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ShadowSettings(**told)
