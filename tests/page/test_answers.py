"""The questions of an analyst, each asked of the pages in a real browser and answered by a test that knows better.

What is in the store was stated row by row, so every number here is added up from these rows, not from what the product
computes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from harness import story
from harness.browser import Browser
from harness.places import ROOT
from harness.stack import Stack, Worker
from harness.stated import Told, staged
from page.test_explorer import Analyst

pytestmark = pytest.mark.needs("browser")
PEOPLE = {
    name: {"token": hashlib.sha256(f"token-{name}".encode()).hexdigest(), "role": "reviewer"} for name in ("ann", "ben")
}
ROWS = story.rows()
DIFFER = [row for row in ROWS if row.differs()]
WEEKS = story.DAYS / 7
WORDS = {(True, False): "live alone", (False, True): "candidate alone"}
WORDS |= {(True, True): "both block", (False, False): "both allow"}


def who(row: Told, slot: str = "candidate") -> str:
    return WORDS[row.blocks("live"), row.blocks(slot)]


def floor() -> float:
    """What 95 % of the control's differences are no larger than."""
    sizes = sorted(abs(row.gap("control")) for row in ROWS if row.differs("control"))
    return next(size for n, size in enumerate(sizes, 1) if n >= 0.95 * len(sizes))


def is_stolen(row: Told) -> bool:
    return row.card.startswith("card-90")


def card_days(rows: Sequence[Told]) -> int:
    """The gate counts a card once a day, as whoever steals one uses it again and again."""
    return len({(row.card, row.at[:10]) for row in rows})


SIDES = ("candidate alone", "live alone")
LIVE_DAYS = card_days([row for row in ROWS if row.blocks("live")])
BEYOND = [row for row in DIFFER if abs(row.gap()) > floor()]


def euros(rows: Sequence[Told], weeks: float = 1.0) -> str:
    return f"EUR {sum(row.minor for row in rows) / 100 / weeks:,.0f}"


def percents(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %"


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    with Stack(tmp_path_factory.mktemp("answered"), {}) as stack:
        staged(stack, ROWS, story.RELEASE, story.SLOTS)
        yield stack.start("shadow", "serve", env={"SHADOW_PEOPLE": json.dumps(PEOPLE), "SHADOW_READ_TOKEN": "reads"})


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


class Reader(Analyst):
    """Somebody who has typed their token, and reads tables."""

    def __init__(self, browser: Browser, serve: Worker, name: str = "ann") -> None:
        super().__init__(browser, serve)
        self.become(name)

    def become(self, name: str) -> None:
        typed = base64.b64encode(f"any:token-{name}".encode()).decode()
        self.browser.devtools("Network.enable")
        self.browser.devtools("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {typed}"})

    def post(self, path: str, body: dict[str, Any], name: str) -> None:
        headers = {"content-type": "application/json", "authorization": f"Bearer token-{name}"}
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), headers)
        urllib.request.urlopen(request, timeout=60).close()

    def table(self, heading: str) -> list[list[str]]:
        """The cells of the table that follows a heading."""
        found: list[list[str]] = self.browser.run(
            f"return [...document.querySelectorAll({heading + ' + table tbody tr'!r})]"
            ".map(r => [...r.children].map(c => c.innerText.trim()))"
        )
        return found

    def samples(self) -> dict[str, tuple[str, str]]:
        """Who blocks each transaction of the list, and its amount, on all of its pages in order."""
        found: dict[str, tuple[str, str]] = {}
        while True:
            for cells in self.table("#samples"):
                found[cells[0].split()[0]] = cells[2].removeprefix("▶ ").removeprefix("◀ "), cells[1]
            if not self.browser.run("return Boolean(document.querySelector('a[rel=next]'))"):
                return found
            self.click("Next page")

    def facet(self, title: str) -> dict[str, int]:
        """The values of a facet and their numbers."""
        found = self.browser.run(
            "return [...document.querySelectorAll('aside details details')].filter("
            f"e => e.querySelector('summary').innerText.trim() === {title!r})"
            ".flatMap(e => [...e.querySelectorAll('li a')]"
            ".map(a => [...a.querySelectorAll('span')].map(s => s.innerText.trim())))"
        )
        return {name: int(number.replace(",", "")) for name, number in found}

    def card(self, slot: str) -> str:
        """The card of a slot on the overview, once the gate has judged it."""

        def told() -> str:
            self.open("/")
            text = str(self.browser.run(f"return document.getElementById('card-{slot}').closest('article').innerText"))
            return text if f"of {len(ROWS):,} transactions" in text else ""

        return str(self.until("a judged card", told))


@pytest.fixture(scope="module")
def ann(browser: Browser, serve: Worker) -> Reader:
    return Reader(browser, serve)


def is_exactly(reader: Reader, rows: Sequence[Told]) -> None:
    """The page is about these transactions and no others: their number, their money, and each by its id."""
    assert reader.headline() == len(rows)
    assert f"In money {euros(rows)}" in reader.text("#headline")
    assert reader.samples() == {row.id: (who(row), f"{row.amount:,.2f}") for row in rows}


@pytest.mark.parametrize("slot", ["candidate", "challenger"])
def test_how_often_they_differ_overall_and_by_segment(ann: Reader, slot: str) -> None:
    differ = [row for row in ROWS if row.differs(slot)]
    live = sum(row.blocks("live") for row in differ)
    told = ann.card(slot)
    assert f"They differ on {len(differ)} of {len(ROWS):,} transactions ({percents(len(differ), len(ROWS))})" in told
    assert f"live alone blocks {live}, the candidate alone {len(differ) - live}." in told
    ann.browser.run(f"document.getElementById('by-segment-{slot}').click()")
    rows = {cells[0]: cells[1:] for cells in ann.table(f"#segments-{slot} summary")}
    for field in ("country", "channel"):
        for value in {row.fields[field] for row in ROWS}:
            mine = [row for row in ROWS if row.fields[field] == value]
            apart = sum(row.differs(slot) for row in mine)
            net = sum(row.minor * (row.blocks(slot) - row.blocks("live")) for row in mine) / 100
            assert rows[f"{field} {value}"] == [
                f"{percents(apart, len(mine))} ({apart})",
                percents(sum(row.blocks("live") for row in mine), len(mine)),
                percents(sum(row.blocks(slot) for row in mine), len(mine)),
                f"EUR {net:,.0f}",
            ]


def test_which_transactions_differ_and_who_blocks_each(ann: Reader) -> None:
    ann.open("/explore?noise=show")
    found = ann.samples()
    assert {name: one[0] for name, one in found.items()} == {row.id: who(row) for row in DIFFER}
    assert list(found) == [row.id for row in sorted(DIFFER, key=lambda row: -abs(row.gap()))], "the widest gap first"
    ann.open("/explore?noise=show")
    assert ann.facet("Who blocks") == Counter(who(row) for row in DIFFER)


SLICES: dict[str, tuple[dict[str, str], Callable[[Told], bool]]] = {
    "merchant": ({"where": "merchant_id=m-53"}, lambda row: row.fields["merchant_id"] == "m-53"),
    "hour": ({"where": "hour=14"}, lambda row: row.at[11:13] == "14"),
    "day of the week": (
        {"where": "weekday=Saturday"},
        lambda row: datetime.fromisoformat(row.at).strftime("%A") == "Saturday",
    ),
    "card": ({"card": "card-903"}, lambda row: row.card == "card-903"),
    "amount": ({"min_amount": "20", "max_amount": "60"}, lambda row: 2_000 <= row.minor <= 6_000),
    "attribute": ({"where": "merchant_category=travel"}, lambda row: row.fields["merchant_category"] == "travel"),
    "time": (
        {"since": "2026-01-17T00:00:00Z", "until": "2026-01-18T12:00:00Z"},
        lambda row: "2026-01-17" <= row.at < "2026-01-18T12",
    ),
    "two at once": (
        {"where": "device_age_days=1", "max_amount": "15"},
        lambda row: row.fields["device_age_days"] == 1 and row.minor <= 1_500,
    ),
}


@pytest.mark.parametrize("name", SLICES)
def test_any_slice_is_typed_in(ann: Reader, name: str) -> None:
    typed, is_meant = SLICES[name]
    rows = [row for row in DIFFER if is_meant(row)]
    assert 0 < len(rows) < len(DIFFER)
    ann.open("/explore?noise=show")
    ann.browser.run(
        f"const f = document.querySelector('#filters'); for (const [n, v] of Object.entries({json.dumps(typed)}))"
        " f.elements[n].value = v; f.requestSubmit()"
    )
    ann.until("the slice", lambda: len(ann.browser.run("return [...document.querySelectorAll('.chips li')]")) > 1)
    is_exactly(ann, rows)


def test_a_slice_is_clicked_together_and_each_facet_shows_the_alternatives(ann: Reader) -> None:
    ann.open("/explore?noise=show")
    for name in ("FR", "online", "gaming", "live alone"):
        ann.click(name, "aside")
    tests: dict[str, Callable[[Told], bool]] = {
        "country": lambda row: row.fields["country"] == "FR",
        "channel": lambda row: row.fields["channel"] == "online",
        "merchant category": lambda row: row.fields["merchant_category"] == "gaming",
        "Who blocks": lambda row: who(row) == "live alone",
    }
    values: dict[str, Callable[[Told], str]] = {
        "country": lambda row: row.fields["country"],
        "channel": lambda row: row.fields["channel"],
        "merchant category": lambda row: row.fields["merchant_category"],
        "Who blocks": who,
    }
    for title, value in values.items():
        left = [row for row in DIFFER if all(test(row) for name, test in tests.items() if name != title)]
        assert ann.facet(title) == Counter(map(value, left)), f"{title}: what there would be without it"
    is_exactly(ann, [row for row in DIFFER if all(test(row) for test in tests.values())])


def test_which_features_drive_all_differences_of_a_filter(ann: Reader) -> None:
    rows = [row for row in DIFFER if row.fields["country"] == "DE" and who(row) == "live alone"]
    sizes: Counter[str] = Counter()
    net: Counter[str] = Counter()
    first: Counter[str] = Counter()
    for row in rows:
        apart = {name: theirs - ours for name, _, ours, theirs in row.why["candidate"]}
        for name, value in apart.items():
            sizes[name] += abs(value)
            net[name] += value
        first[max(apart, key=lambda name: abs(apart[name]))] += 1
    ann.open("/explore?noise=show&segment=country%3DDE&direction=live_only")
    told = ann.table("#drivers")
    whole = sum(sizes.values())
    assert [cells[0] for cells in told] == [name.replace("_", " ") for name, _ in sizes.most_common()]
    for cells, (name, size) in zip(told, sizes.most_common(), strict=True):
        assert cells[1] == f"{100 * size / whole:.0f} %"
        mean = net[name] / len(rows)
        if abs(mean) >= 0.02:
            verb = "raises" if mean > 0 else "lowers"
            assert cells[2] == f"{verb} the candidate's score by {abs(mean):.2f}"
        assert cells[3] == f"{100 * first[name] / len(rows):.0f} % of the transactions"
    assert f"From {len(rows)} samples with an explanation, of {len(rows)}." in ann.text()


def test_why_this_one_in_words_with_the_values_beside(ann: Reader) -> None:
    row = max(DIFFER, key=lambda one: abs(one.gap()))
    ann.open("/explore")
    ann.press("j")
    ann.press("Enter")
    ann.until("the transaction", lambda: "Why the two models differ" in ann.text())
    assert ann.text("h1") == (
        f"Live allows it, the candidate would block it: live scores {row.scores['live']:.3f}, below its threshold of "
        f"0.500; the candidate scores {row.scores['candidate']:.3f}, at or above its threshold of 0.500."
    )
    apart = sorted(row.why["candidate"], key=lambda one: -abs(one[3] - one[2]))
    told = ann.table("main > h2:nth-of-type(2)")
    assert len(told) == len(apart)
    for (name, value, ours, theirs), cells in zip(apart, told, strict=True):
        shown = str(row.fields.get(name)) if isinstance(row.fields.get(name), str) else f"{value:.3g}"
        assert cells[0].startswith(f"{name.replace('_', ' ')} is {shown}: ")
        said = "both see it alike"
        if abs(theirs - ours) >= 0.02:
            said = "more risk in it than live" if theirs > ours else "less risk in it than live"
        assert cells[0].endswith(said)
        assert cells[1:] == [shown, f"{ours:+.2f}", f"{theirs:+.2f}", f"{theirs - ours:+.2f}"]


def test_whether_it_is_more_than_noise(ann: Reader) -> None:
    assert 0 < len(BEYOND) < len(DIFFER)
    ann.open("/explore")
    told = ann.text("#headline")
    assert f"Left out as noise: about {len(DIFFER) - len(BEYOND)} " in told
    assert f"by at most {floor():.3g}, as those of two equal models do" in told
    is_exactly(ann, BEYOND)
    apart, twins = (card_days([row for row in ROWS if row.differs(slot)]) for slot in ("candidate", "control"))
    more = f"{100 * (apart - twins) / LIVE_DAYS:.1f} %"
    told = f"Yes. Disagrees with live more often than the A/A control, by {more} of live's blocks"
    assert told in ann.card("candidate").split("More than noise?")[1]


def test_what_it_is_in_money_a_week_with_its_currency(ann: Reader) -> None:
    told = ann.card("candidate")
    for slot in ("live", "candidate"):
        assert f"{euros([row for row in ROWS if row.blocks(slot)], WEEKS)} a week" in told
    gained = [row for row in ROWS if who(row) == "candidate alone"]
    lost = [row for row in ROWS if who(row) == "live alone"]
    assert f"{euros(gained, WEEKS)} that live allows, less {euros(lost, WEEKS)} that only live blocks" in told
    ann.open("/explore?noise=show")
    assert f"In money {euros(DIFFER)}, {euros(DIFFER, WEEKS)} a week." in ann.text("#headline")


def test_money_a_week_of_a_span_of_time_is_that_of_its_weeks(ann: Reader) -> None:
    rows = [row for row in DIFFER if row.at >= "2026-01-17"]
    ann.open("/explore?noise=show&since=2026-01-17T00:00:00Z")
    assert f"In money {euros(rows)}, {euros(rows, 8 / 7)} a week." in ann.text("#headline"), (
        "eight days, not all twenty"
    )
    rows = [row for row in rows if row.at < "2026-01-19"]
    ann.open("/explore?noise=show&since=2026-01-17T00:00:00Z&until=2026-01-19T00:00:00Z")
    assert f"In money {euros(rows)}." in ann.text("#headline"), "two days are told as they are"
    ann.open("/explore?noise=show&where=hour%3D14")
    assert "a week" not in ann.text("#headline"), "an hour of each day is no span"


def test_since_when_is_a_bar_for_each_day(ann: Reader) -> None:
    ann.open("/explore?noise=show&segment=country%3DFR")
    titles = ann.browser.run("return [...document.querySelectorAll('figure rect.fb title')].map(t => t.textContent)")
    rows = [row for row in DIFFER if row.fields["country"] == "FR"]
    sides = {
        side: Counter(row.at[:10] for row in rows if who(row) == side) for side in ("live alone", "candidate alone")
    }
    days = sorted({row.at[:10] for row in rows})
    told = {title[:10]: title for title in titles}
    assert min(told) == days[0]
    assert max(told) == days[-1]
    for day, title in told.items():
        live, candidate = sides["live alone"][day], sides["candidate alone"][day]
        assert title == f"{day}: about {live} by live alone, {candidate} by the candidate alone"
    heights = ann.browser.run(
        "return [...document.querySelectorAll('figure rect.fb')]"
        ".map(r => [r.querySelector('title').textContent.slice(0, 10), r.height.baseVal.value])"
    )
    tallest = max(heights, key=lambda one: one[1])
    assert sides["candidate alone"][tallest[0]] == max(sides["candidate alone"].values())


def test_what_else_there_is_of_this_card(ann: Reader) -> None:
    row = next(row for row in DIFFER if row.card == "card-902")
    ann.open(f"/explore/transaction?transaction={row.id}")
    told = {cells[0].split()[0]: cells[1:] for cells in ann.table("main > h2:nth-of-type(4)")}
    of_card = {one.id: one for one in ROWS if one.card == row.card}
    assert {one.id for one in of_card.values() if one.differs()} <= told.keys() <= of_card.keys()
    assert len(told) > 5
    for name, cells in told.items():
        one = of_card[name]
        scores = f"{one.scores['live']:.3f} → {one.scores['candidate']:.3f}"
        assert cells == [one.at[:19].replace("T", " "), f"{one.amount:,.2f}", who(one), scores]
    assert list(told) == sorted(told, key=lambda name: of_card[name].at, reverse=True), "newest first"


def test_a_case_is_marked_here_and_the_next_one_comes(ann: Reader) -> None:
    ann.open("/explore?label=waiting&noise=show&direction=live_only")
    (first, *_) = ann.samples()
    ann.open(f"/explore/transaction?transaction={first}")
    ann.click("Mark this one and take the next")
    case = "return document.querySelector('form.mark [name=transaction]')?.value ?? ''"
    assert ann.browser.run(case) == first
    ann.browser.run("window.isOld = true")
    ann.press("l")
    ann.until("the next", lambda: ann.browser.run("return !window.isOld && document.readyState === 'complete'"))
    assert ann.browser.run(case) not in ("", first)
    ann.open(f"/explore/transaction?transaction={first}")
    assert [cells[:2] for cells in ann.table("main > h2:nth-of-type(3)")] == [["ann", "legit"]]


def test_what_colleagues_decided_is_a_list_with_notes_and_assignments(ann: Reader) -> None:
    rows = [row for row in DIFFER if who(row) == "candidate alone" and is_stolen(row)]
    ann.open("/explore?label=waiting&noise=show")
    waiting = ann.samples()
    rows = [row for row in rows if row.id in waiting]
    assert len(rows) >= 2
    said, given = rows[0], rows[1]
    body = {"transaction_id": said.id, "verdict": "fraud", "reason": "the bank says stolen"}
    ann.post("/api/review/mark", body, "ben")
    ann.open(f"/review?case={given.id}")
    ann.browser.run("const i = document.querySelector('[name=to]'); i.value = 'ben'; i.form.submit()")
    ann.until("the next case", lambda: given.id not in ann.text() and "Was this fraud?" in ann.text("h1"))
    ann.open("/review/done?name=ben")
    assert [cells[:4] for cells in ann.browser.run(
        "return [...document.querySelectorAll('table tbody tr')].map(r => [...r.children].map(c => c.innerText.trim()))"
    )] == [[said.id, f"{said.amount:,.2f} EUR", "ben", "fraud"]]  # fmt: skip
    assert "the bank says stolen" in ann.text("table")
    ann.open(f"/explore/transaction?transaction={said.id}")
    assert [cells[:2] for cells in ann.table("main > h2:nth-of-type(3)")] == [["ben", "fraud"]]
    ann.open(f"/explore/transaction?transaction={given.id}")
    assert "Assigned to ben by ann." in ann.text()


def links(board_folder: Path) -> list[str]:
    """Addresses of the explorer behind a point of the dashboards' charts."""
    text = "".join(path.read_text() for path in sorted(board_folder.rglob("*.json")))
    return sorted(set(re.findall(r'"url": "([^"]*/explore[^"]*&at=[^"]*)"', text)))


@pytest.mark.parametrize("link", links(ROOT / "deploy" / "grafana"))
def test_a_point_in_grafana_leads_to_its_samples(ann: Reader, link: str) -> None:
    """The board's own link, filled in as Grafana does."""
    point = next(row for row in DIFFER if row.fields["country"] == "FR" and who(row) == "candidate alone")
    moment = datetime.fromisoformat(point.at)
    values = {
        "${samples}": "",
        "${__field.labels.slot:percentencode}": "candidate",
        "${__field.labels.outcome:percentencode}": "candidate_only",
        "${__field.labels.segment:percentencode}": quote("country=FR", safe=""),
        "${__value.time}": str(int(moment.timestamp() * 1000)),
    }
    address = link
    for name, value in values.items():
        address = address.replace(name, value)
    assert "$" not in address
    rows = [row for row in DIFFER if abs((datetime.fromisoformat(row.at) - moment).total_seconds()) < 300]
    query = urlsplit(address).query
    if "direction=" in query:
        rows = [row for row in rows if who(row) == "candidate alone"]
    if "segment=" in query:
        rows = [row for row in rows if row.fields["country"] == "FR"]
    ann.open(address)
    is_exactly(ann, rows)


def test_what_another_threshold_would_do(ann: Reader) -> None:
    ann.open("/explore?noise=show&segment=country%3DFR")
    ann.browser.run("const f = document.querySelector('#what-if + form'); f.threshold.value = '0.6'; f.requestSubmit()")
    ann.until("the answer", lambda: "With a threshold of 0.6" in ann.text())
    rows = [row for row in ROWS if row.fields["country"] == "FR"]
    blocks = [row for row in rows if row.scores["candidate"] >= 0.6]
    alone = [row for row in blocks if not row.blocks("live")]
    lost = [row for row in rows if row.blocks("live") and row.scores["candidate"] < 0.6]
    of_live = sum(row.blocks("live") for row in rows)
    number = r"(?:EUR )?([\d,]+)(?: \(([\d,]+) to ([\d,]+)\))?"
    found = re.search(
        rf"would block {number} of {len(rows):,} transactions; live blocks {of_live}\.\s+"
        rf"It alone would block {number}, {number}; it would let through {number} that live blocks, {number}\.",
        ann.text(),
    )
    assert found, ann.text()[-600:]
    money = [sum(row.minor for row in some) / 100 for some in (alone, lost)]
    truths = (len(blocks), len(alone), money[0], len(lost), money[1])
    for at, truth in enumerate(truths):
        value, low, high = (
            None if one is None else int(one.replace(",", "")) for one in found.groups()[3 * at : 3 * at + 3]
        )
        assert value is not None
        assert (value if low is None else low) - 1 <= truth <= (value if high is None else high) + 1


def test_two_candidates_are_side_by_side(ann: Reader) -> None:
    ann.card("challenger")
    ann.open("/")
    ann.click("Compare the candidates with each other")
    assert f"Both runs cover the same {24 * story.DAYS} event hours and {len(ROWS):,} transactions." in ann.text()
    apart = {row.id: row for row in ROWS if row.blocks("candidate") != row.blocks("challenger")}
    assert ann.text("#differ") == f"They decide {len(apart)} transactions differently"
    for slot, other in (("candidate", "challenger"), ("challenger", "candidate")):
        alone = [row for row in apart.values() if row.blocks(slot) and not row.blocks(other)]
        assert f"{slot} alone blocks {len(alone)}, {euros(alone)}." in ann.text()
    by_segment = {cells[0]: cells[1:] for cells in ann.table("#differ ~ .soft")}
    for country in ("DE", "FR", "GB"):
        mine = [row for row in apart.values() if row.fields["country"] == country]
        sides = [sum(row.blocks(slot) for row in mine) for slot in ("candidate", "challenger")]
        assert by_segment[f"country {country}"] == [str(side) for side in sides]
    listed = ann.table("#transactions")
    assert len(listed) > 10
    for cells in listed:
        row = apart[cells[0].split()[0]]
        for cell, slot in zip(cells[3:5], ("candidate", "challenger"), strict=True):
            assert cell.startswith("▶ blocks" if row.blocks(slot) else "allows")
            assert f"score {row.scores[slot]:.3f}" in cell
    rates = {cells[0]: cells[1:4] for cells in ann.table("#rates")}
    for country in ("DE", "FR", "GB"):
        rows = [row for row in ROWS if row.fields["country"] == country]
        told = [
            percents(sum(row.blocks(slot) for row in rows), len(rows)) for slot in ("live", "candidate", "challenger")
        ]
        assert rates[f"country {country}"] == told


def test_past_releases_say_who_what_when_and_why(ann: Reader) -> None:
    ann.open("/release")
    told = ann.browser.run("return [...document.querySelectorAll('#history ~ p.entry')].map(e => e.innerText)")
    assert len(told) == 5
    for by, reason, slot in (("ann", "the first model", "live"), ("ben", "it knows the newest year", "live")):
        (entry,) = [one for one in told if reason in one]
        assert re.search(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d.*{by}.*{slot}", entry, re.DOTALL), entry
    assert [("first model" in one) for one in told] == [False] * 4 + [True], "newest first"


def test_whether_it_is_good_or_bad_once_people_have_said_so(ann: Reader) -> None:
    """The last of all, for it answers every case: what is stolen in the story is fraud, all else is not."""
    ann.open("/explore?noise=show&label=waiting")
    waiting = set(ann.samples())
    cases = [row for row in DIFFER if row.id in waiting]
    for row in cases:
        verdict = "fraud" if is_stolen(row) else "legit"
        ann.post("/api/review/mark", {"transaction_id": row.id, "verdict": verdict}, "ann")

    def is_told() -> bool:
        ann.open("/explore?noise=show")
        return "waits for review" not in ann.facet("Label")

    ann.until("every answer, at the gate's next look", is_told)
    found = ann.facet("Label")
    stolen = sum(is_stolen(row) for row in cases)
    assert stolen <= found["fraud"] <= stolen + 1, "but for what was marked before"
    assert len(cases) - stolen <= found["legit"] <= len(cases) - stolen + 2
    ann.open("/explore?noise=show&label=fraud")
    fraud = ann.samples()
    assert {row.id for row in cases if is_stolen(row)} <= set(fraud)
    told = ann.card("candidate").split("Good or bad?")[1].split("Clean period")[0]
    for words, is_meant in (("fraud", is_stolen), ("honest customers", lambda row: not is_stolen(row))):
        gained, lost = (card_days([row for row in DIFFER if is_meant(row) and who(row) == side]) for side in SIDES)
        share = re.search(rf"Blocks more {words} than live, by ([\d.]+) % of live's blocks", told)
        assert share, told
        assert float(share[1]) == pytest.approx(100 * (gained - lost) / LIVE_DAYS, abs=3), words
