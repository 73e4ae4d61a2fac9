"""Errors that a person can fix, each told in one line."""

import re

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class UserError(Exception):
    """Names what is wrong, where, and how to fix it. A command prints it as one line and exits with 2.

    It stays one line whatever the names and texts in it hold.
    """

    def __str__(self) -> str:
        return _CONTROL.sub(" ", super().__str__())


class SettingsError(UserError):
    """A setting is missing, unknown or out of bounds."""


class BundleError(UserError):
    """A bundle is missing, damaged, or does not fit the feature view."""


class UnavailableError(BundleError):
    """A bundle cannot be had just now. That says nothing of the bundle: it may be tried again."""


class BrokerError(UserError):
    """Kafka cannot be reached, or a topic is not set up as it must be."""


class LibraryError(UserError):
    """An installed library is not of the version that this program needs."""


class CurrencyError(UserError):
    """The reporting currency is not that of this deployment's decisions."""


class ModelFailedError(UserError):
    """The live model cannot score at all."""
