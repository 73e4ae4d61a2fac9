"""A server answers to its own names and addresses, and to no name that a stranger can point at it."""

from __future__ import annotations

import ipaddress
import urllib.error
import urllib.request

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from scorer.process.health import Health, HealthServer
from scorer.process.hosts import Hosts

NAMES = ("serve", "shadow.example.com", "*.svc", "*.Internal.example")


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("localhost", None),
        ("LocalHost:9101", "127.0.0.1"),
        ("localhost.", "127.0.0.1"),
        ("127.0.0.1:9101", "10.0.0.7"),
        ("127.9.9.9", None),
        ("[::1]:9101", "::1"),
        ("10.0.0.7:9102", "10.0.0.7"),
        ("10.0.0.7", "::ffff:10.0.0.7"),
        ("[fe80::1]", "fe80::1%eth0"),
        ("serve", "10.0.0.7"),
        ("SERVE:80", "10.0.0.7"),
        ("shadow.example.com", "10.0.0.7"),
        ("serve.shadow-scorer.svc", "10.0.0.7"),
        ("a.internal.example:1", "10.0.0.7"),
    ],
)
def test_its_own_names_and_addresses_are_allowed(header: str, address: str | None) -> None:
    assert Hosts(NAMES).allow(header, address)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "evil.example",
        "evil.example:9101",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "serve.evil.example",
        "evilserve",
        "svc",
        ".svc",
        "xsvc",
        "10.0.0.8",
        "0.0.0.0",
        "[::]",
        "[fe80::2]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "localhost:",
        "localhost:port",
        "localhost:1:2",
        "localhost/",
        "user@localhost",
        "local host",
        "localhost\n",
        "[localhost]",
        "[serve]",
        "[::1",
        "loc\N{CYRILLIC SMALL LETTER A}lhost",
        "*.svc",
        "a" * 254,
    ],
)
def test_any_other_is_refused(header: str) -> None:
    assert not Hosts(NAMES).allow(header, "10.0.0.7")


@given(st.text(max_size=60), st.text(max_size=30))
def test_no_text_raises(header: str, address: str) -> None:
    Hosts(NAMES).allow(header, address)


LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)


@given(st.lists(LABEL, min_size=1, max_size=5), st.sampled_from(["", ":80", ".", ".:1"]))
def test_no_public_name_is_allowed_without_being_named(labels: list[str], rest: str) -> None:
    assert not Hosts(NAMES).allow(".".join([*labels, "com"]) + rest, "10.0.0.7")


@example(ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("::ffff:0:0"))
@given(st.ip_addresses(), st.ip_addresses())
def test_of_addresses_only_its_own_and_those_of_this_machine_are_allowed(
    asked: ipaddress.IPv4Address | ipaddress.IPv6Address, own: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    header = f"[{asked}]" if asked.version == 6 else str(asked)
    mapped, of_own = (getattr(address, "ipv4_mapped", None) or address for address in (asked, own))
    assert Hosts(()).allow(header, str(own)) == (mapped.is_loopback or mapped == of_own)
    assert Hosts(()).allow(header, str(asked))


@pytest.mark.parametrize(("bound", "status"), [("127.0.0.1", 400), ("0.0.0.0", 200)])
def test_a_worker_on_a_loopback_address_answers_to_no_foreign_name(bound: str, status: int) -> None:
    server = HealthServer(bound, 0, CollectorRegistry(), Health())
    try:
        for host, expected in (("evil.example", status), ("localhost", 200), (f"127.0.0.1:{server.port}", 200)):
            request = urllib.request.Request(f"http://127.0.0.1:{server.port}/metrics", headers={"Host": host})
            try:
                answer = urllib.request.urlopen(request, timeout=5)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                assert (answer.status, answer.headers["X-Content-Type-Options"]) == (expected, "nosniff")
    finally:
        server.stop()
