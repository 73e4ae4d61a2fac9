"""How much the name of a source's field is like one of ours, by its words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import groupby

Words = tuple[str, ...]

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
#: Other names of our fields, the likeliest first.
NAMES = {
    "transaction_id": (
        "transaction id", "payment id", "transaction number", "auth id",
        "authorization id", "authorisation id", "transaction uuid", "psp reference", "transaction reference",
        "payment reference", "retrieval reference number", "rrn", "event id", "message id", "request id", "uuid",
        "reference", "id",
    ),
    "card_id": (
        "card id", "card token", "pan token", "token", "card hash", "card number", "card no", "card num", "cc num",
        "pan", "card", "card ref", "card reference", "payment instrument id", "payment token", "account id",
        "account token", "account number", "account", "card fingerprint", "fingerprint", "card alias", "alias",
        "payer vpa", "vpa", "wallet id", "name orig", "client id", "customer id", "user id",
    ),
    "merchant_id": (
        "merchant id", "merchant", "mid", "merchant number", "merchant code", "card acceptor id", "acceptor id",
        "merchant token", "merchant ref", "merchant account",
        "merchant account code", "shop id", "store id", "payee id", "name dest", "terminal id",
        "merchant name", "payee vpa", "seller id", "location id", "payee", "seller", "shop", "store",
    ),
    "occurred_at": (
        "occurred at", "transaction time", "transaction timestamp", "transaction date", "trans date trans time",
        "transaction date time",
        "transaction at", "transmission date time", "authorized at", "authorised at", "auth time", "event time",
        "created at", "creation time", "created", "timestamp", "date time", "datetime", "time", "ts ms", "ts", "date",
    ),
    "amount": (
        "amount", "transaction amount", "amt", "amount value", "amount minor", "amount cents", "amount in cents",
        "amount in minor units", "minor units", "cents", "gross amount", "total amount", "amount total", "total",
        "value", "price",
    ),
    "currency": (
        "currency", "currency code", "amount currency", "transaction currency", "ccy", "cur", "curr", "iso currency",
    ),
}  # fmt: skip
#: Short and foreign words for those above.
_MEANS = {
    word: plain
    for plain, several in {
        "transaction": "txn tx trx trn trans transaktion buchung",
        "payment": "pmt",
        "amount": "amt betrag montant importe importo bedrag valor kwota belopp",
        "total": "ttl tot",
        "currency": "ccy cur curr cury waehrung wahrung devise moneda divisa moeda valuta waluta",
        "card": "crd karte karten carte tarjeta carta cartao kaart karta",
        "token": "tkn tok jeton",
        "merchant": "mrch mrcht mrchnt merch haendler handler commercant comercio esercente winkel",
        "account": "acct acc acnt konto compte cuenta conto",
        "number": "nbr num no nr nummer numero",
        "code": "cd",
        "reference": "ref refnum referenz",
        "id": "ident identifier identifiant identificador kennung",
        "time": "tm tmst tstamp zeit zeitpunkt heure hora ora",
        "timestamp": "ts zeitstempel horodatage",
        "date": "dt datum fecha data",
    }.items()
    for word in several.split()
}
_SYNONYMS = {
    ours: tuple(tuple(_MEANS.get(word, word) for word in name.split()) for name in names)
    for ours, names in NAMES.items()
}
_KNOWN = {word for synonyms in _SYNONYMS.values() for synonym in synonyms for word in synonym}
#: Words that tell whose a field is: `merchant.id` is no id of a transaction.
_OWNERS = {
    "transaction_id": {"transaction", "txn", "tx", "trx", "payment", "authorization"},
    "card_id": {"card", "pan", "account", "cardholder", "customer"},
    "merchant_id": {"merchant", "acceptor", "shop", "store", "payee", "terminal"},
    "occurred_at": {"time", "timestamp", "created", "occurred"},
    "amount": {"amount", "amt", "total"},
    "currency": {"currency", "ccy"},
}
#: Whose words say nothing against these of ours: a transaction's amount is just that.
_WHOLE = {"amount", "currency", "occurred_at"}
#: Ranks by how a name is like ours; less is more.
SAME, SYNONYM, ENDING, LEAF, PART, SIMILAR = 0, 10, 40, 70, 100, 130
_LEAST_RATIO = 0.84


def words(name: str) -> Words:
    """The words of a name, in lower case.

    >>> words("cardAcceptor.ID_no2")
    ('card', 'acceptor', 'id', 'no', '2')
    """
    return tuple(word.lower() for word in _WORD.findall(name))


def _plain(name: str) -> Words:
    """The words of a name, short and foreign ones as what they mean.

    >>> _plain("TXN_AMT"), _plain("Währung"), _plain("Kartentoken")
    (('transaction', 'amount'), ('currency',), ('card', 'token'))
    """
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return tuple(_MEANS.get(part, part) for word in words(bare) for part in _parts(word))


def _parts(word: str) -> Words:
    """A compound in two, if both halves are known words; German puts an s between some.

    >>> _parts("buchungsnummer")
    ('buchung', 'nummer')
    """
    for at in range(3, len(word) - 2):
        first, second = word[:at], word[at:]
        if second in _MEANS or second in _KNOWN:
            if first in _MEANS:
                return first, second
            if first[-1] == "s" and first[:-1] in _MEANS:
                return first[:-1], second
    return (word,)


def rank(ours: str, path: Sequence[str]) -> int | None:
    """How unlike a field at a path is to one of ours: the less, the liker; None if they have nothing in common.

    >>> rank("card_id", ("card", "token")), rank("merchant_id", ("card", "token"))
    (11, None)
    """
    synonyms = _SYNONYMS.get(ours, (_plain(ours),))
    parents, leaf = tuple(word for name in path[:-1] for word in _plain(name)), _plain(path[-1])
    whole = tuple(word for word, _ in groupby(parents + leaf))  # `merchant.id.id`
    if path[-1] == ours:
        return SAME + len(path) - 1
    if whole in synonyms:
        return SYNONYM + synonyms.index(whole)
    endings = [at for at, synonym in enumerate(synonyms) if len(synonym) > 1 and whole[-len(synonym) :] == synonym]
    if endings:
        return ENDING + endings[0]
    others = [
        owners
        for other, owners in _OWNERS.items()
        if other != ours and not (other == "transaction_id" and ours in _WHOLE)
    ]
    if ours in _OWNERS and any(set(whole) & owners for owners in others):
        return None
    if leaf in synonyms:
        return LEAF + synonyms.index(leaf)
    begins = [at for at, synonym in enumerate(synonyms) if leaf[:-1] == synonym]  # amount_eur, created_at_utc
    if begins and ours in ("amount", "occurred_at"):
        return PART + begins[0]
    parts = [at for at, synonym in enumerate(synonyms) if len(synonym) > 1 and set(synonym) <= set(whole)]
    if parts:
        return PART + parts[0]
    like = SequenceMatcher(None, "".join(leaf), "".join(_plain(ours))).ratio() if leaf else 0.0
    return SIMILAR if like >= _LEAST_RATIO else None
