"""Small made-up files in the layout of public data sets, written as their makers wrote them."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Rows = Iterator[list[Any]]
START = datetime(2019, 1, 1, tzinfo=UTC)


def _moments(chance: random.Random, n: int) -> list[datetime]:
    return sorted(START + timedelta(seconds=chance.randrange(60 * 86_400)) for _ in range(n))


def _luhn(digits: str) -> str:
    """A number with its check digit, which a reader must not let through."""
    total = sum(sum(divmod(int(d) * (1 + at % 2), 10)) for at, d in enumerate(reversed(digits + "0")))
    return digits + str(-total % 10)


def sparkov(chance: random.Random, n: int) -> Rows:
    head = (
        ",trans_date_trans_time,cc_num,merchant,category,amt,first,last,gender,street,city,state,zip,lat,long,city_pop"
    )
    yield f"{head},job,dob,trans_num,unix_time,merch_lat,merch_long,is_fraud".split(",")
    cards = [_luhn(f"4{chance.randrange(10**14):014}") for _ in range(40)]
    for at, when in enumerate(_moments(chance, n)):
        bad = chance.random() < 0.06
        yield [
            at,
            f"{when:%Y-%m-%d %H:%M:%S}",
            chance.choice(cards),
            f"fraud_Kub, Mann and {chance.randrange(30)}",
            chance.choice(["misc_net", "grocery_pos", "travel"]),
            round(chance.uniform(400, 900) if bad else chance.uniform(1, 300), 2),
            "Jennifer",
            "Banks",
            "F",
            "561 Perry Cove",
            "Moravian Falls",
            chance.choice(["NC", "WA"]),
            "08654",
            36.0788,
            -81.1781,
            chance.randrange(10**6),
            "Psychologist, counselling",
            "1988-03-09",
            f"{chance.getrandbits(128):032x}",
            int(when.timestamp()),
            36.011293,
            -82.048315,
            int(bad),
        ]


def tabformer(chance: random.Random, n: int) -> Rows:
    yield [
        "User",
        "Card",
        "Year",
        "Month",
        "Day",
        "Time",
        "Amount",
        "Use Chip",
        "Merchant Name",
        "Merchant City",
        "Merchant State",
        "Zip",
        "MCC",
        "Errors?",
        "Is Fraud?",
    ]
    for when in _moments(chance, n):
        bad, refund = chance.random() < 0.06, chance.random() < 0.03
        amount = -99.0 if refund else chance.uniform(400, 900) if bad else chance.uniform(1, 300)
        online = chance.random() < 0.3
        yield [
            chance.randrange(20),
            chance.randrange(3),
            when.year,
            when.month,
            when.day,
            f"{when:%H:%M}",
            f"${amount:.2f}",
            "Online Transaction" if online else "Swipe Transaction",
            chance.randrange(-(2**62), 2**62),
            "ONLINE" if online else "La Verne",
            "" if online else "CA",
            "" if online else "91750.0",
            "5300",
            chance.choice(["", "", "", "Insufficient Balance", "Bad PIN,Technical Glitch"]),
            "Yes" if bad else "No",
        ]


def paysim(chance: random.Random, n: int) -> Rows:
    head = "step,type,amount,nameOrig,oldbalanceOrg,newbalanceOrig,nameDest,oldbalanceDest,newbalanceDest,isFraud"
    yield f"{head},isFlaggedFraud".split(",")
    for step in sorted(chance.randrange(1, 744) for _ in range(n)):
        bad = chance.random() < 0.06
        amount = chance.uniform(10**5, 10**7) if bad else chance.uniform(1, 10**4)
        yield [
            step,
            chance.choice(["TRANSFER", "CASH_OUT"] if bad else ["PAYMENT", "DEBIT", "CASH_IN"]),
            round(amount, 2),
            f"C{chance.randrange(10**9)}",
            170136.0,
            160296.36,
            f"M{chance.randrange(10**9)}",
            0.0,
            0.0,
            int(bad),
            0,
        ]


def ulb(chance: random.Random, n: int) -> Rows:
    yield ["Time", *(f"V{at}" for at in range(1, 29)), "Amount", "Class"]
    for at, second in enumerate(sorted(chance.randrange(172_792) for _ in range(n))):
        bad = chance.random() < 0.06
        told = "1e+05" if at == n // 2 else second  # as R writes it
        parts = [repr(chance.gauss(3.0 if bad else 0.0, 1.0)) for _ in range(28)]
        yield [told, *parts, round(chance.uniform(0, 300), 2), f"{int(bad)}"]


def ieee_cis(chance: random.Random, n: int) -> Rows:
    head = [
        "TransactionID",
        "isFraud",
        "TransactionDT",
        "TransactionAmt",
        "ProductCD",
        *(f"card{at}" for at in range(1, 7)),
    ]
    head += ["addr1", "addr2", "dist1", "dist2", "P_emaildomain", "R_emaildomain"]
    counts = {"C": 14, "D": 15, "M": 9, "V": 339}
    yield [*head, *(f"{letter}{at}" for letter, last in counts.items() for at in range(1, last + 1))]
    for at, second in enumerate(sorted(chance.randrange(86_400, 86_400 * 60) for _ in range(n))):
        bad = chance.random() < 0.06
        yield [
            2_987_000 + at,
            int(bad),
            second,
            chance.uniform(400, 900) if bad else float(chance.randrange(300)),
            "W",
            chance.randrange(1000, 1040),
            chance.choice(["", "404.0"]),
            "150.0",
            "visa",
            "142.0",
            "debit",
            "315.0",
            "87.0",
            "19.0",
            "",
            chance.choice(["", "gmail.com"]),
            "",
            *(float(chance.randrange(3)) for _ in range(14)),
            *(chance.choice(["", "14.0"]) for _ in range(15)),
            *(chance.choice(["", "M2" if m == 4 else "T", "M0" if m == 4 else "F"]) for m in range(1, 10)),
            *(chance.choice(["", "1.0"]) for _ in range(339)),
        ]


LAYOUTS: dict[str, tuple[str, Callable[[random.Random, int], Rows]]] = {
    "sparkov": ("fraudTrain.csv", sparkov),
    "tabformer": ("card_transaction.v1.csv", tabformer),
    "paysim": ("PS_20174392719_1491204439457_log.csv", paysim),
    "ulb": ("creditcard.csv", ulb),
    "ieee_cis": ("train_transaction.csv", ieee_cis),
}


def write(name: str, folder: Path, n: int = 1500, seed: int = 1) -> Path:
    """A file of n made-up rows in a layout."""
    file, rows = LAYOUTS[name]
    with (folder / file).open("w", newline="") as out:
        csv.writer(
            out, quoting=csv.QUOTE_NONNUMERIC if name == "ulb" else csv.QUOTE_MINIMAL, lineterminator="\n"
        ).writerows(rows(random.Random(seed), n))
    return folder / file
