"""Windows, limits and addresses of the rules and alerts. The defaults are those of production."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from string import Template

MINUTE, HOUR, DAY = 60, 3600, 86_400


@dataclass(frozen=True)
class Windows:
    """Windows and waits in seconds. Tests run the same expressions with windows of seconds."""

    short: int = 5 * MINUTE  # window of a current rate
    fast_short: int = 5 * MINUTE  # windows of a fast burn of the latency budget
    fast_long: int = 1 * HOUR
    slow_short: int = 30 * MINUTE  # windows of a slow burn
    slow_long: int = 6 * HOUR
    usual: int = 1 * DAY  # window of the usual share of rejects
    memory: int = 6 * HOUR  # traffic or a process seen within this time is expected to go on
    event: int = 1 * HOUR  # an event that must never happen stays an alert for this long
    recent: int = 30 * MINUTE  # scorers that ran within this time are missed
    news: int = 15 * MINUTE  # a change stays an alert for this long
    soon: int = 1 * MINUTE  # waits before an alert fires, from here
    swap: int = 2 * MINUTE  # enough for every worker to swap to a new live model
    steady: int = 5 * MINUTE
    patient: int = 15 * MINUTE
    unanswered: int = 1 * HOUR  # to here
    rotation: int = 14 * DAY  # greatest age of the data of a live model: two weeks
    interval: int = 15  # between evaluations
    behind: int = 5 * MINUTE  # decisions of this time may wait for a shadow
    unarchived: int = 15 * MINUTE  # records of this time may wait for the archive
    overdue: int = 2 * HOUR  # a snapshot of merchant risk may be late by so much
    unerased: int = 1 * DAY  # an erasure of a card may wait for the archive so long


@dataclass(frozen=True)
class Limits:
    """Limits of the alerts."""

    #: The latency objective: 99.9 % of decisions are acknowledged within 100 ms of the transaction's arrival at the
    #: broker. `objective`: in seconds, as `scorer_end_to_end_seconds` prints this bucket.
    objective: str = "0.1"
    late_share: float = 0.001
    #: Transactions a second that one scorer decides where it shares its machine with others: two thirds of what
    #: docs/performance.md measures on a core.
    scorer_rate: int = 20_000
    #: Burn rates of the latency budget that are too fast; 1 uses up a month's budget in a month. Source: Beyer and
    #: others (2018), "The site reliability workbook", chapter 5: 2 % of a month's budget in an hour, 5 % in six hours.
    fast_burn: float = 14.4
    slow_burn: float = 6.0

    @property
    def lag_records(self) -> int:
        """Transactions that may wait for each scorer: what it decides within the latency objective."""
        return round(self.scorer_rate * float(self.objective))


@dataclass(frozen=True)
class Places:
    """Addresses in annotations and links: of the runbook, of Grafana, of `shadow serve` for browsers."""

    runbooks: str = "https://example.com/shadow-scorer/deploy/runbooks/alerts.md"
    grafana: str = "https://grafana.example.com"
    samples: str = "http://localhost:9101"


PRODUCTION = Windows()


def duration(seconds: int) -> str:
    """A duration as Prometheus writes it.

    >>> [duration(n) for n in (10, 300, 5400, 21_600, 1_296_000)]
    ['10s', '5m', '90m', '6h', '15d']
    """
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def fill(expression: str, windows: Windows, limits: Limits) -> str:
    """An expression with its `$names` filled in. Raises KeyError for an unknown name."""
    names: dict[str, str] = {name: duration(value) for name, value in asdict(windows).items()}
    names |= {"rotation": str(windows.rotation), "behind": str(windows.behind)}
    names |= {"unarchived": str(windows.unarchived), "unerased": str(windows.unerased), "overdue": str(windows.overdue)}
    names |= {"objective": limits.objective}
    names |= {"fast_burn": f"{limits.fast_burn * limits.late_share:g}"}
    names |= {"slow_burn": f"{limits.slow_burn * limits.late_share:g}"}
    return Template(expression).substitute(names).strip()
