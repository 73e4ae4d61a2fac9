"""How our Kafka clients connect (addresses, TLS, user), and why a connection failed."""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from scorer.errors import BrokerError, SettingsError
from scorer.kafka.bearer import FromEndpoint, FromFunction, InFile, TokenError, Tokens, as_fields, imported, tokens
from scorer.settings import CommonSettings

#: How long to wait for a broker to say why it refuses, in milliseconds.
REFUSAL_MS = 5000
#: What a broker answers a user that lacks a right.
FORBIDDEN = (
    TopicAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    ClusterAuthorizationFailedError,
)


def connection(settings: CommonSettings) -> dict[str, Any]:
    """Options of an aiokafka client: brokers, protocol, certificates, user.

    Reads the certificate files each time, so that renewed ones are used. Raises SettingsError if settings contradict
    each other, or a file is missing or holds no usable certificate.
    """
    _check(settings)
    options: dict[str, Any] = {"bootstrap_servers": settings.bootstrap}
    if settings.kafka_security == "plaintext":
        return options
    options["security_protocol"] = settings.kafka_security.upper()
    if _is_tls(settings):
        options["ssl_context"] = _tls(settings)
    if is_bearer(settings):
        options |= {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": _tokens(settings)}
    elif settings.kafka_password is not None:
        options |= {
            "sasl_mechanism": settings.kafka_mechanism,
            "sasl_plain_username": settings.kafka_user,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return options


def forbidden(settings: CommonSettings, error: BaseException) -> BrokerError:
    """The error to raise when this user lacks a right."""
    return BrokerError(
        f"kafka {settings.bootstrap}: this user lacks a right ({error}); docs/rights.md lists those that it needs"
    )


async def unreachable(settings: CommonSettings, error: BaseException) -> BrokerError:
    """The error to raise when no broker could be reached, or it refused. Asks the first broker why.

    aiokafka's own error mentions neither a wrong password nor an untrusted certificate. Raises as `connection` does.
    """
    if isinstance(error, FORBIDDEN):
        return forbidden(settings, error)
    options = {name: value for name, value in connection(settings).items() if name != "bootstrap_servers"}
    host, _, port = settings.kafka[0].rpartition(":")
    try:
        tried = await create_conn(host, int(port), request_timeout_ms=REFUSAL_MS, **options)
        tried.close()
    except (KafkaError, OSError, TimeoutError) as refused:
        error = refused
    prefix = settings.model_config["env_prefix"]
    if isinstance(error, TokenError):
        return BrokerError(f"kafka {settings.bootstrap}: no token ({error}); see {prefix}KAFKA_TOKEN_…")
    fix = f"start it, or correct {prefix}KAFKA"
    if settings.kafka_security != "plaintext":
        fix += f" or the {prefix}KAFKA_… settings for TLS and {'token' if is_bearer(settings) else 'user'}"
    return BrokerError(f"kafka {settings.bootstrap}: cannot be reached ({error}); {fix}")


def _is_tls(settings: CommonSettings) -> bool:
    return settings.kafka_security in ("ssl", "sasl_ssl")


def is_sasl(settings: CommonSettings) -> bool:
    """Whether clients say who they are."""
    return settings.kafka_security.startswith("sasl_")


def is_bearer(settings: CommonSettings) -> bool:
    """Whether clients say so by a token."""
    return is_sasl(settings) and settings.kafka_mechanism == "OAUTHBEARER"


def _tokens(settings: CommonSettings) -> Tokens:
    """Where the settings have tokens come from. Raises SettingsError for a function that cannot be imported."""
    fields = as_fields(settings.kafka_token_fields)
    if settings.kafka_token_file is not None:
        return tokens(InFile(settings.kafka_token_file))
    if settings.kafka_token_url is not None:
        secret = "" if settings.kafka_password is None else settings.kafka_password.get_secret_value()
        return tokens(FromEndpoint(settings.kafka_token_url, settings.kafka_user or "", secret, fields))
    name = settings.kafka_token_function or ""
    try:
        return tokens(FromFunction(name, imported(name), fields))
    except ValueError as error:
        raise SettingsError(
            f"setting kafka_token_function: {name} {error}; install its package beside this one, or correct "
            f"{settings.model_config['env_prefix']}KAFKA_TOKEN_FUNCTION"
        ) from None


_SOURCES = ("kafka_token_file", "kafka_token_url", "kafka_token_function")


def _check(settings: CommonSettings) -> None:
    """Raises SettingsError for a user without SASL, a token without its mechanism or a certificate without TLS: clients
    would silently ignore them."""
    security, prefix = settings.kafka_security, settings.model_config["env_prefix"]
    user, files = ("kafka_user", "kafka_password"), ("kafka_ca", "kafka_certificate", "kafka_key")
    token = (*_SOURCES, "kafka_token_fields")
    given = {name for name in (*user, *files, *token) if getattr(settings, name) not in (None, {})}
    sources = [name for name in _SOURCES if name in given]
    if is_bearer(settings):
        if len(sources) != 1:
            told = f"{' and '.join(sources)} are set, one expected; remove the others" if sources else "no token"
            fix = "" if sources else f"; set one of {', '.join(f'{prefix}{name.upper()}' for name in _SOURCES)}"
            raise SettingsError(f"setting kafka_mechanism: with OAUTHBEARER, {told}{fix}")
        if sources != ["kafka_token_url"]:
            for name in sorted(given & {*user, *(("kafka_token_fields",) if sources == ["kafka_token_file"] else ())}):
                raise SettingsError(f"setting {name}: has no effect with {sources[0]}; remove one of the two")
            user = ()  # type: ignore[assignment]
    else:
        for name in sorted(given & set(token)):
            raise SettingsError(
                f"setting {name}: has no effect without OAUTHBEARER; remove it, or set {prefix}KAFKA_MECHANISM and "
                f"{prefix}KAFKA_SECURITY"
            )
    wanted = {*(user if is_sasl(settings) else ()), *(("kafka_certificate",) if "kafka_key" in given else ())}
    idle = given & {*(() if is_sasl(settings) else user), *(() if _is_tls(settings) else files)}
    for name in sorted(idle):
        raise SettingsError(f"setting {name}: has no effect with {security}; remove it, or set {prefix}KAFKA_SECURITY")
    for name in sorted(wanted - given):
        raise SettingsError(f"setting {name}: is missing with {security}; set {prefix}{name.upper()}")


def _tls(settings: CommonSettings) -> ssl.SSLContext:
    """The TLS context of the settings. Raises SettingsError for a file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(settings, "kafka_ca", error) from None
    if settings.kafka_certificate is not None:
        try:
            context.load_cert_chain(settings.kafka_certificate, settings.kafka_key, password="")
        except (OSError, ssl.SSLError) as error:
            raise _unusable(settings, "kafka_certificate", error) from None
    return context


def _unusable(settings: CommonSettings, name: str, error: Exception) -> SettingsError:
    told = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
    return SettingsError(
        f"setting {name}: {getattr(settings, name)} cannot be used ({told}); name a PEM file "
        f"({settings.model_config['env_prefix']}{name.upper()})"
    )
