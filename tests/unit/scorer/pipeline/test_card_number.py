"""Card numbers are found however they are written, and hardly anything else is."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.card_numbers import (
    AROUND,
    BRANDS,
    PRINTED,
    SEPARATORS,
    Brand,
    a_card_number,
    cut_anywhere,
    digits_of,
    grouped,
)
from scorer.pipeline.card_number import find, masked
from scorer.pipeline.card_number_screen import screen

EVERY = [(brand, length) for brand in BRANDS for length in brand.lengths]


@pytest.mark.parametrize(("brand", "length"), EVERY, ids=lambda part: getattr(part, "name", part))
def test_every_brand_is_found_with_every_separator_and_text_around(brand: Brand, length: int) -> None:
    rng = random.Random(length)
    for separator in SEPARATORS:
        for before, after in AROUND:
            number = a_card_number(rng, brand, length)
            sizes = PRINTED.get(length, (6, length - 6))
            for text in (number, grouped(number, sizes, separator)):
                whole = f"{before}{text}{after}"
                assert number in ["".join(whole[at] for at in digits) for digits in find(whole)], whole


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SEPARATORS), st.sampled_from(AROUND))
def test_a_number_is_found_with_the_same_separator_at_any_places(
    seed: int, separator: str, around: tuple[str, str]
) -> None:
    rng = random.Random(seed)
    number = a_card_number(rng)
    sizes = cut_anywhere(rng, number)
    if separator == "." and len(sizes) == 2 and sizes[0] <= 3:
        return  # a decimal number
    if separator == "+" and len(number) <= 13:
        return  # a telephone number, as far as anybody can tell
    text = f"{around[0]}{grouped(number, sizes, separator)}{around[1]}"
    assert any("".join(text[at] for at in digits) == number for digits in find(text)), text


@pytest.mark.parametrize("shape", [(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3)])
def test_printed_groups_may_have_different_separators(shape: tuple[int, ...]) -> None:
    rng = random.Random(sum(shape))
    for _ in range(300):
        brand = rng.choice([brand for brand in BRANDS if sum(shape) in brand.lengths])
        number = a_card_number(rng, brand, sum(shape))
        text, at = "", 0
        for size in shape:
            text += number[at : at + size] + rng.choice(SEPARATORS)
            at += size
        assert find(text), text


def test_blanks_and_dashes_mix_in_any_groups() -> None:
    assert find("41111 111-11111 111")
    assert find("4111 1111-1111 1111")


def test_neighbouring_numbers_hide_nothing() -> None:
    for text in (
        "12 4111 1111 1111 1111 7",
        "1-4111-1111-1111-1111-2026",
        "4111111111111111,12.50,2026-01-31",
        "4111111111111111 5500000000000004",
        "qty 2: 378282246310005, 30569309025904",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301 4111111111111111",
        "DE89370400440532013000 4111111111111111",
        "+49 151 23456789, 4111111111111111",
    ):
        assert find(text), text
    assert len(find("4111111111111111 5500000000000004")) == 2


@pytest.mark.parametrize("zero", ["\uff10", "\u0660", "\u06f0", "\u0966", "\u0e50", "\U0001d7d8"])
def test_digits_of_other_scripts_are_digits(zero: str) -> None:
    text = "".join(chr(ord(zero) + int(digit)) for digit in "4111111111111111")
    assert find(text)
    assert masked(text) == text[:6] + "******" + text[-4:]
    assert screen([orjson.dumps({"note": text})]) == [0]
    assert screen([json.dumps({"note": text}).encode()]) == [0]


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(0, 18), st.integers(1, 9))
def test_one_wrong_digit_is_no_card_number(seed: int, place: int, by: int) -> None:
    number = a_card_number(random.Random(seed))
    place %= len(number)
    wrong = number[:place] + str((int(number[place]) + by) % 10) + number[place + 1 :]
    assert not find(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00.000Z", "2026-01-31 12:00:00.123456+00:00", "2026-01-30 12:00:00.000+01:00",
        "20260131120000", "31.12.2026 23:59:59", "1767225600000", "1767225600000000", "1767225600000000000",
        "00000000000000000000", "0000000000000000", "41111111111111111111", "141111111111111111111",
        "DE89 3704 0044 0532 0130 00", "DE89370400440532013000", "GB29NWBK60161331926819", "BE68 5390 0754 7034",
        "AT611904300234573201", "FR1420041010050500013M02606", "NL91ABNA0417164300", "CH9300762011623852957",
        "pay to gb29 nwbk 6016 1331 9268 19 today", "+49 151 23456789", "+6281234567890", "+1 (415) 555-2671",
        "192.168.100.200:8080", "62.168.100.200:8080", "10.0.0.1", "52.51998712345678", "52.51998712345678,13.40495",
        "-0.4539578763621486", "4.350000000000001", "1.4539578763621486e-05", "card-1", "t000000012", "",
        "f4111111-1111-1111-8111-111111111111", "41111111-1111-1111-8111-111111111111",
        "9b4111111111111111c03d", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "411111******1111", "4111 11** **** 1111", "4111x1111x1111x1111",
    ],
)  # fmt: skip
def test_what_is_written_in_another_way_is_none(text: str) -> None:
    assert find(text) == []
    assert masked(text) == text


@pytest.mark.slow
def test_a_million_random_uuids_hold_none() -> None:
    rng = np.random.default_rng(8)
    suspected = 0
    for _ in range(100):
        raw = rng.bytes(16 * 10_000)
        ids = [str(uuid.UUID(bytes=raw[at : at + 16], version=4)) for at in range(0, len(raw), 16)]
        suspects = [ids[at] for at in screen([b'{"transaction_id":"%s"}' % text.encode() for text in ids])]
        suspected += len(suspects)
        assert not [text for text in suspects if find(text)]
    assert suspected > 500, "else the quick look did not see them"


def numeric(length: int) -> Callable[[random.Random], str]:
    return lambda rng: "".join(rng.choices("0123456789", k=length))


def hexadecimal(length: int) -> Callable[[random.Random], str]:
    return lambda rng: "".join(rng.choices("0123456789abcdef", k=length))


def ean(rng: random.Random) -> str:
    body = "".join(rng.choices("0123456789", k=12))
    return body + str(-sum(int(d) * (3 if place % 2 else 1) for place, d in enumerate(body)) % 10)


def iban(rng: random.Random) -> str:
    account = "".join(rng.choices("0123456789", k=18))
    text = f"DE{98 - int(account + '131400') % 97:02}{account}"
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4)) if rng.random() < 0.5 else text


def timestamp(rng: random.Random) -> str:
    moment = np.datetime64("2020-01-01", "us") + np.timedelta64(rng.randrange(3 * 10**14), "us")
    unit = rng.choice(["s", "ms", "us"])
    return str(np.datetime_as_string(moment, unit=unit)).replace("T", rng.choice("T ")) + rng.choice(
        ["Z", "+02:00", ""]
    )


def address(rng: random.Random) -> str:
    return ".".join(str(rng.randrange(256)) for _ in range(4)) + f":{rng.randrange(65536)}"


#: Ids and texts of common shapes, and the most of 20,000 that may be refused. Where it is not none, nothing but the
#: digits themselves could tell them from a card number.
SHAPES: dict[str, tuple[Callable[[random.Random], str], float]] = {
    "32 hexadecimal": (hexadecimal(32), 0.0),
    "24 hexadecimal": (hexadecimal(24), 0.0),
    "64 hexadecimal": (hexadecimal(64), 0.0),
    "16 hexadecimal": (hexadecimal(16), 0.0002),
    "base 36": (lambda rng: "".join(rng.choices("0123456789abcdefghijklmnopqrstuvwxyz", k=22)), 0.0),
    "ULID": (lambda rng: "01J" + "".join(rng.choices("0123456789ABCDEFGHJKMNPQRSTVWXYZ", k=23)), 0.0),
    "10 digits": (numeric(10), 0.0),
    "11 digits": (numeric(11), 0.0),
    "20 digits": (numeric(20), 0.0),
    "32 digits": (numeric(32), 0.0),
    "date and counter": (lambda rng: f"20260131{rng.randrange(10**12):012}", 0.0),
    "date, dash, counter": (lambda rng: f"TX-20260131-{rng.randrange(10**6):06}", 0.0),
    "epoch ms": (lambda rng: str(1_500_000_000_000 + rng.randrange(5 * 10**11)), 0.0),
    "timestamp": (timestamp, 0.0),
    "IBAN": (iban, 0.0),
    "telephone with +": (lambda rng: f"+{rng.choice(['49 151 ', '62 812 ', '1 415 '])}{rng.randrange(10**8):08}", 0.0),
    "decimal": (lambda rng: repr(rng.uniform(-180, 180)), 0.0),
    "IPv4 and port": (address, 0.0),
    "EAN-13": (ean, 0.03),
    "12 digits": (numeric(12), 0.02),
    "13 digits": (numeric(13), 0.035),
    "16 digits": (numeric(16), 0.045),
    "19 digits": (numeric(19), 0.045),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_common_ids_are_refused_only_where_nothing_tells_them_apart(shape: str) -> None:
    make, most = SHAPES[shape]
    rng = random.Random(shape)
    refused = sum(bool(find(make(rng))) for _ in range(20_000))
    print(f"{shape}: {refused / 20_000:.2%}")
    assert refused / 20_000 <= most


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.sampled_from(SEPARATORS))
def test_masking_shows_the_first_six_and_the_last_four(seed: int, separator: str) -> None:
    rng = random.Random(seed)
    number = a_card_number(rng)
    text = f"card {grouped(number, PRINTED.get(len(number), (6, 6)), separator)}."
    told = masked(text)
    assert len(told) == len(text)
    assert digits_of(told) == number[:6] + number[-4:]
    assert told.count("*") - text.count("*") == len(number) - 10
    assert all(new in (old, "*") for old, new in zip(text, told, strict=True))
    assert masked(told) == told
