"""Exploration as the settings declare it, checked as a whole, and said in one line."""

from __future__ import annotations

import logging
import math

from scorer.errors import SettingsError
from scorer.pipeline.exploration import Exploration, key_of
from scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

#: What exploration needs beside `explore_probability`.
NEEDED = ("explore_budget", "explore_maximum", "explore_partitions", "explore_key")


def exploration_of(settings: ScorerSettings) -> Exploration | None:
    """What is declared; None if exploration is off. Raises SettingsError if its settings do not fit each other."""
    given = [name for name in NEEDED if getattr(settings, name) is not None]
    if settings.explore_probability is None:
        if given:
            raise SettingsError(
                f"setting explore_probability: missing, although {given[0]} is set; set SCORER_EXPLORE_PROBABILITY, or "
                f"remove {given[0]} to keep exploration off"
            )
        return None
    missing = next((name for name in NEEDED if name not in given), None)
    budget, maximum, partitions = settings.explore_budget, settings.explore_maximum, settings.explore_partitions
    key = settings.explore_key_bytes
    if missing is not None or budget is None or maximum is None or partitions is None or key is None:
        raise SettingsError(
            f"setting {missing}: missing, although explore_probability is set; set SCORER_{str(missing).upper()}, or "
            "remove explore_probability to switch exploration off"
        )
    if settings.fence == "off":
        raise SettingsError(
            "setting fence: off, but exploration needs it to keep within its budget while a partition moves; set "
            "SCORER_FENCE=auto, or remove explore_probability"
        )
    money = settings.money
    share, most = _minor(budget / partitions, money.digits), _minor(maximum, money.digits)
    if most < 1:
        raise SettingsError(
            f"setting explore_maximum: {maximum:g} {money.currency} is less than its smallest unit; raise it"
        )
    if most > share:
        raise SettingsError(
            f"setting explore_maximum: {maximum:g} {money.currency}, but explore_budget {budget:g} over {partitions} "
            f"partitions is {share / 10**money.digits:g} in each, so nothing would be released; lower it, or raise "
            "explore_budget"
        )
    return Exploration(settings.explore_probability, share, most, partitions, key_of(key))


def say(settings: ScorerSettings, exploration: Exploration, partitions: int, is_fencing: bool) -> None:
    """Log at the start of a worker that exploration is on. partitions: that `transactions` has. is_fencing: whether the
    broker refuses a scorer that has lost a partition."""
    unit, code = 10**settings.money.digits, settings.money.currency
    log.warning(
        "exploration is on: of would-be blocks up to %s %s, %g in 100 are released at random, within %s %s a day "
        "(UTC), %s in each of %d partitions",
        f"{exploration.maximum / unit:,g}",
        code,
        100 * exploration.probability,
        f"{settings.explore_budget:,g}",
        code,
        f"{exploration.share / unit:,g}",
        exploration.partitions,
    )
    if not is_fencing:
        log.warning(
            "exploration: this broker has no fence, so a scorer that was taken for dead may release beyond the budget "
            "what it had begun to write"
        )
    if partitions > exploration.partitions:
        log.warning(
            "exploration: %s has %d partitions, and only the first %d are explored; see explore_partitions",
            settings.topics.transactions,
            partitions,
            exploration.partitions,
        )
    elif partitions < exploration.partitions:
        log.warning(
            "exploration: %s has only %d partitions, so %d of %d shares of the budget are never used; see "
            "explore_partitions",
            settings.topics.transactions,
            partitions,
            exploration.partitions - partitions,
            exploration.partitions,
        )


def _minor(units: float, digits: int) -> int:
    """Minor units, rounded down, so that shares never add up to more than the budget."""
    return math.floor(round(units * 10.0**digits, 6))
