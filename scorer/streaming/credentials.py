"""How Faust connects: the options of our other Kafka clients, in Faust's form. Apart, as only workers need Faust."""

from __future__ import annotations

from faust import SASLCredentials, SSLCredentials
from faust.auth import OAuthCredentials

from scorer.kafka.connection import connection, is_bearer, is_sasl
from scorer.settings import CommonSettings


def credentials(settings: CommonSettings) -> SASLCredentials | OAuthCredentials | SSLCredentials | None:
    """Certificates and user as `connection` has them; None with `plaintext`. Raises as `connection` does."""
    options = connection(settings)
    context = options.get("ssl_context")
    if is_bearer(settings):
        return OAuthCredentials(oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context)
    if is_sasl(settings):
        return SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return SSLCredentials(context) if context is not None else None
