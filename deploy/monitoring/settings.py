"""What rules and alerts may be tuned by: windows, limits and addresses. Production's are the defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from string import Template

MINUTE, HOUR, DAY = 60, 3600, 86_400


@dataclass(frozen=True)
class Windows:
    """Windows and waits in seconds. The expressions are the same whatever these are: a test takes seconds."""

    short: int = 5 * MINUTE  # of a present rate
    fast_short: int = 5 * MINUTE  # both windows of a fast burn of the latency budget
    fast_long: int = 1 * HOUR
    slow_short: int = 30 * MINUTE  # and of a slow one
    slow_long: int = 6 * HOUR
    usual: int = 1 * DAY  # what rejects are usual
    memory: int = 6 * HOUR  # who had traffic, or was seen, so recently is expected to go on
    event: int = 1 * HOUR  # how long an event is told that must never happen
    news: int = 15 * MINUTE  # how long a change is told
    soon: int = 1 * MINUTE  # waits before an alert fires
    swap: int = 2 * MINUTE  # in which every worker takes up a new live model
    steady: int = 5 * MINUTE
    patient: int = 15 * MINUTE
    unanswered: int = 1 * HOUR
    rotation: int = 15 * DAY  # two weeks, and a day to approve
    interval: int = 15  # of evaluation
    behind: int = 5 * MINUTE  # of decisions that a shadow may have before it


@dataclass(frozen=True)
class Limits:
    """Limits of the alerts."""

    #: The latency objective: of 1,000 decisions, 999 are acknowledged within 100 ms of the transaction's arrival at the
    #: broker. A bound of `scorer_end_to_end_seconds`, as it prints it.
    objective: str = "0.1"
    late_share: float = 0.001
    #: How many times as fast as the budget allows is too fast. Source: Beyer and others (2018), "The site reliability
    #: workbook", chapter 5: 2 % of a month's budget in an hour, 5 % in six hours.
    fast_burn: float = 14.4
    slow_burn: float = 6.0


@dataclass(frozen=True)
class Places:
    """Addresses that annotations and links begin with."""

    runbooks: str = "https://example.com/shadow-scorer/deploy/runbooks/alerts.md"
    grafana: str = "https://grafana.example.com"
    samples: str = "http://localhost:9101"


PRODUCTION = Windows()


def duration(seconds: int) -> str:
    """As Prometheus writes it.

    >>> [duration(n) for n in (10, 300, 5400, 21_600, 1_296_000)]
    ['10s', '5m', '90m', '6h', '15d']
    """
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def fill(expression: str, windows: Windows, limits: Limits) -> str:
    """An expression with its `$names` filled in. Raises KeyError for a name that there is not."""
    names: dict[str, str] = {name: duration(value) for name, value in asdict(windows).items()}
    names |= {"rotation": str(windows.rotation), "behind": str(windows.behind), "objective": limits.objective}
    names |= {"fast_burn": f"{limits.fast_burn * limits.late_share:g}"}
    names |= {"slow_burn": f"{limits.slow_burn * limits.late_share:g}"}
    return Template(expression).substitute(names).strip()
