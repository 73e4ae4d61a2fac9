"""Every setting of the scorer, declared once: name, type, bounds, default and meaning.

Values come from the environment (`SCORER_KAFKA=…`; nested ones as JSON) and, below it, from the YAML file that
`SCORER_SETTINGS` names. Nothing else reads the environment.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)
from pydantic_settings import (
    SettingsError as SourceError,
)

from scorer.errors import SettingsError
from scorer.events import Mapping
from scorer.money import Money
from scorer.pace import SLOWEST

Seconds = Annotated[float, Field(gt=0)]
FetchWait = Annotated[
    int,
    Field(
        ge=1,
        le=5000,
        description="longest wait of a fetch; a busy stream's gathers what comes in half of it; both are up to four "
        "times as long while the worker is behind",
    ),
]


class Topics(BaseModel):
    """Names of the topics."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transactions: str = "transactions"
    decisions: str = "decisions"
    rejected: str = "transactions.rejected"
    labels: str = "labels"
    deployments: str = "deployments"
    velocity: str = "velocity"


class CommonSettings(BaseSettings):
    """What scorer and shadow share."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_nested_delimiter=None)

    kafka: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1:9092",), min_length=1, description="brokers to start from, as host:port, separated by commas"
    )
    kafka_security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="how brokers are spoken to: in the open, within TLS, as a user, or both"
    )
    kafka_ca: Path | None = Field(
        None,
        description="PEM file of the authorities that brokers' certificates are checked against; default: the system's",
    )
    kafka_certificate: Path | None = Field(
        None, description="PEM file of the certificate that brokers know this client by (mutual TLS)"
    )
    kafka_key: Path | None = Field(None, description="PEM file of its private key; default: it is in kafka_certificate")
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="how a user proves who it is, with sasl_…"
    )
    kafka_user: str | None = Field(None, min_length=1, description="user, with sasl_…")
    kafka_password: SecretStr | None = Field(None, min_length=1, description="its password")
    topics: Topics = Field(default_factory=Topics, description="names of the topics, as an object")
    store: str = Field("bundles", description="where bundles lie: a folder or an fsspec address")
    cache: Path = Field(Path(".cache/bundles"), description="folder of this worker's copies of bundles")
    clock: Literal["wall", "event"] = Field(
        "wall", description="wall, or event: scored_at and every duration follow the input (replays, the demo)"
    )
    batch_records: int = Field(5000, ge=1, le=100_000, description="most records of a batch")
    session_seconds: Seconds = Field(10.0, description="a worker not heard of for so long loses its partitions")
    heartbeat_seconds: Seconds = Field(
        3.0, description="how often a worker is heard of; at most a third of the session"
    )
    instance_id: str | None = Field(
        None,
        min_length=1,
        description="name by which Kafka knows this worker again after a restart (static membership); unique",
    )
    fetch_wait_ms: FetchWait = 20
    request_seconds: Seconds = Field(40.0, description="longest wait for an answer from Kafka")
    commit_seconds: Seconds = Field(0.5, description="how often finished offsets are committed")
    http_host: str = Field("127.0.0.1", description="address of /metrics, /livez and /readyz")
    worker_id: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        min_length=1,
        description="name of this worker in logs and on the deployments topic; default: host and process",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least level that is logged")
    log_format: Literal["json", "text"] = Field("json", description="json, or text for people")

    @field_validator("kafka", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("kafka")
    @classmethod
    def _host_and_port(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not address.rpartition(":")[2].isdigit():
                raise ValueError(f"{address!r} is not host:port")
        return value

    @property
    def bootstrap(self) -> str:
        """Brokers as Kafka clients want them."""
        return ",".join(self.kafka)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over environment over file."""
        path = os.environ.get(f"{settings_cls.model_config['env_prefix']}SETTINGS")
        if not path:
            return init_settings, env_settings
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=path)


class ScorerSettings(CommonSettings):
    """Settings of the scorer; environment variables begin with SCORER_."""

    model_config = SettingsConfigDict(env_prefix="SCORER_")

    # twice a shadow's is 2 to 5 % faster: of more transactions more are of the same card, whose state is written once
    batch_records: int = Field(10_000, ge=1, le=100_000, description="most records of a batch")
    group: str = Field("scorer", min_length=1, description="consumer group of the live path")
    view: Path = Field(Path("features.yaml"), description="file of the feature view")
    mapping: Mapping = Field(
        default_factory=lambda: Mapping.model_validate({}), description="how the fields of transactions are called here"
    )
    money: Money = Field(
        default_factory=lambda: Money.model_validate({}), description="reporting currency and dated exchange rates"
    )
    partitions: int = Field(8, ge=1, le=10_000, description="partitions of `transactions` where it is created here")
    replication: int = Field(1, ge=1, le=10, description="replicas of the topics that are created here")
    create_topics: bool = Field(True, description="create the topics that are missing")
    topic_configs: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="Kafka's own settings of topics that are created here, over ours: "
        '`{"decisions": {"retention.ms": "1814400000"}}`',
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "none", description="compression of decisions on the wire"
    )
    require_idempotence: bool = Field(
        True, description="refuse to start on a broker without idempotent producers (the embedded one has none)"
    )
    fence: Literal["auto", "on", "off"] = Field(
        "auto",
        description="have the broker refuse a scorer whose partitions another has taken over: auto, where it can "
        "(Apache Kafka; its ACLs must let it write transactional ids that begin with `<group>-`), on or refuse to "
        "start, or off",
    )
    ahead_seconds: Seconds = Field(
        300.0,
        description="a transaction dated further ahead of its arrival than this is decided but not counted in velocity",
    )
    http_port: int = Field(9100, ge=0, le=65535, description="port of /metrics, /livez and /readyz; 0 takes a free one")

    @field_validator("topic_configs")
    @classmethod
    def _of_our_topics(cls, value: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for name in value:
            if name not in Topics.model_fields:
                raise ValueError(f"{name!r} is none of {', '.join(Topics.model_fields)}")
        return value


Chosen = TypeVar("Chosen", bound=CommonSettings)


def load(kind: type[Chosen], **given: Any) -> Chosen:
    """Settings from arguments, environment and file; arguments that are None do not count.

    Raises SettingsError with one line that names the setting, its variable and the mend.
    """
    prefix = kind.model_config["env_prefix"]
    path = os.environ.get(f"{prefix}SETTINGS")
    if path and not Path(path).is_file():
        raise SettingsError(f"{prefix}SETTINGS: no file {path}; name an existing YAML file")
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(prefix)
        and name != f"{prefix}SETTINGS"
        and name[len(prefix) :].lower() not in kind.model_fields
    )
    if unknown:
        raise SettingsError(f"{unknown[0]}: no such setting; see docs/settings.md")
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, first["loc"]))
        variable = prefix + str(first["loc"][0]).upper() if first["loc"] else prefix
        mend = "remove it, or see docs/settings.md" if first["type"] == "extra_forbidden" else f"set {variable}"
        raise SettingsError(f"setting {name}: {first['msg']}; {mend}") from None
    except SourceError as error:
        raise SettingsError(f"settings: {error}; nested settings are given as JSON") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML ({str(error).splitlines()[0]})") from None


def checked_timing(settings: CommonSettings) -> None:
    """Raises SettingsError where the times of a group member do not fit each other."""
    if settings.heartbeat_seconds > settings.session_seconds / 3 + 1e-9:
        raise SettingsError(
            f"setting heartbeat_seconds: {settings.heartbeat_seconds:g} is more than a third of session_seconds "
            f"({settings.session_seconds:g}); lower it"
        )
    if settings.request_seconds < settings.session_seconds:
        raise SettingsError(
            f"setting request_seconds: {settings.request_seconds:g} is less than session_seconds "
            f"({settings.session_seconds:g}); raise it"
        )
    if settings.request_seconds < SLOWEST * settings.fetch_wait_ms / 1000:
        raise SettingsError(
            f"setting fetch_wait_ms: four times {settings.fetch_wait_ms} ms, which a fetch may wait, is more than "
            f"request_seconds ({settings.request_seconds:g}); lower it"
        )
