"""Errors that a person can mend, each told in one line."""


class UserError(Exception):
    """What is wrong, where, and the mend. Commands print it as one line and exit with 2."""


class SettingsError(UserError):
    """A setting is missing, unknown or out of bounds."""


class BundleError(UserError):
    """A bundle is missing, damaged, or does not fit the feature view."""


class BrokerError(UserError):
    """Kafka cannot be reached or its topics are not as they must be."""
