"""How every Kafka client of ours speaks to brokers, in the open or within TLS, as whom; and why it could not."""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError
from faust import SASLCredentials, SSLCredentials

from scorer.errors import BrokerError, SettingsError
from scorer.settings import CommonSettings

#: Longest wait for one broker's refusal, in milliseconds.
REFUSAL_MS = 5000


def connection(settings: CommonSettings) -> dict[str, Any]:
    """Options of an aiokafka client: brokers, protocol, certificates, user.

    Certificates are read anew for each client. Raises SettingsError where settings do not fit each other, or a file is
    not there or no certificate.
    """
    _check(settings)
    options: dict[str, Any] = {"bootstrap_servers": settings.bootstrap}
    if settings.kafka_security == "plaintext":
        return options
    options["security_protocol"] = settings.kafka_security.upper()
    if _is_tls(settings):
        options["ssl_context"] = _tls(settings)
    if settings.kafka_password is not None:
        options |= {
            "sasl_mechanism": settings.kafka_mechanism,
            "sasl_plain_username": settings.kafka_user,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return options


def credentials(settings: CommonSettings) -> SASLCredentials | SSLCredentials | None:
    """The same for Faust, None in the open. Raises as `connection` does."""
    options = connection(settings)
    context = options.get("ssl_context")
    if _is_sasl(settings):
        return SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return SSLCredentials(context) if context is not None else None


async def unreachable(settings: CommonSettings, error: BaseException) -> BrokerError:
    """One line for brokers that could not be reached, with what the first of them answers: aiokafka's own error tells
    neither a wrong password nor a certificate that is not trusted."""
    options = {name: value for name, value in connection(settings).items() if name != "bootstrap_servers"}
    host, _, port = settings.kafka[0].rpartition(":")
    try:
        tried = await create_conn(host, int(port), request_timeout_ms=REFUSAL_MS, **options)
        tried.close()
    except (KafkaError, OSError, TimeoutError) as refused:
        error = refused
    mend = "start it or set another address"
    if settings.kafka_security != "plaintext":
        mend += f", or mend {settings.model_config['env_prefix']}KAFKA_SECURITY and what goes with it"
    return BrokerError(f"kafka {settings.bootstrap}: cannot be reached ({error}); {mend}")


def _is_tls(settings: CommonSettings) -> bool:
    return settings.kafka_security in ("ssl", "sasl_ssl")


def _is_sasl(settings: CommonSettings) -> bool:
    return settings.kafka_security.startswith("sasl_")


def _check(settings: CommonSettings) -> None:
    """A user without SASL, or a certificate without TLS, would be left out and nobody told."""
    security, prefix = settings.kafka_security, settings.model_config["env_prefix"]
    user, files = ("kafka_user", "kafka_password"), ("kafka_ca", "kafka_certificate", "kafka_key")
    given = {name for name in (*user, *files) if getattr(settings, name) is not None}
    wanted = {*(user if _is_sasl(settings) else ()), *(("kafka_certificate",) if "kafka_key" in given else ())}
    idle = given & {*(() if _is_sasl(settings) else user), *(() if _is_tls(settings) else files)}
    for name in sorted(idle):
        raise SettingsError(f"setting {name}: of no use with {security}; remove it, or set {prefix}KAFKA_SECURITY")
    for name in sorted(wanted - given):
        raise SettingsError(f"setting {name}: is missing ({security}); set {prefix}{name.upper()}")


def _tls(settings: CommonSettings) -> ssl.SSLContext:
    """Raises SettingsError for a file that cannot be used."""
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
