"""Every setting of the scorer, and those that it shares with the shadow: name, type, bounds, default and meaning.

Values come from the environment (`SCORER_KAFKA=…`; nested ones as JSON), else from the YAML file that `SCORER_SETTINGS`
names. Nothing else reads the environment. `docs/settings.md` is rendered from here.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import (
    SettingsError as SourceError,
)

from scorer.errors import SettingsError
from scorer.people import Person, require_different
from scorer.pipeline.encoding import registry_address
from scorer.pipeline.layout import Layout
from scorer.pipeline.mapping import FieldNames
from scorer.pipeline.money import MOST, Money
from scorer.pipeline.transaction import Name
from scorer.yaml_text import YamlTextError, read_yaml

#: Where a secret may go without TLS.
LOOPBACK = ("127.0.0.1", "::1", "localhost")
#: Which records of senders with transactions a consumer gets, as Kafka calls it.
Isolation = Literal["read_committed", "read_uncommitted"]
#: How a sender finds the partition of a key; see `scorer.kafka.partitioner`.
Partitioner = Literal["murmur2", "crc32"]
Seconds = Annotated[float, Field(gt=0)]
FetchWait = Annotated[
    int,
    Field(
        ge=1,
        le=5000,
        description="longest wait of a fetch; on a busy stream a fetch collects half this time's traffic, that of a "
        "scorer with room less; both grow up to four times when the worker lags",
    ),
]


StallSeconds = Annotated[
    float,
    Field(
        ge=0,
        description="a worker that has records waiting and finishes none for this time, although everything that it "
        "needs answers, logs where it stands and ends, so that its supervisor starts it anew; never less than "
        "`session_seconds`; 0: it waits for ever",
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
    erasures: str = "erasures"
    risk: str = "risk"


class CommonSettings(BaseSettings):
    """Settings that scorer and shadow share."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_nested_delimiter=None)

    kafka: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1:9092",),
        min_length=1,
        description="brokers to connect to first, as host:port, separated by commas",
    )
    kafka_security: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = Field(
        "plaintext", description="protocol to the brokers: `ssl` is TLS, `sasl_…` logs in as a user, `sasl_ssl` is both"
    )
    kafka_ca: Path | None = Field(
        None,
        description="PEM file of the authorities that may sign the brokers' certificates; default: the system's",
    )
    kafka_certificate: Path | None = Field(None, description="PEM file of this client's certificate, for mutual TLS")
    kafka_key: Path | None = Field(
        None, description="PEM file of the certificate's private key; default: it is in `kafka_certificate`"
    )
    kafka_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = Field(
        "SCRAM-SHA-512",
        description="how a user logs in, with `sasl_…`: by a password, or with `OAUTHBEARER` by a token, from one of "
        "the three places below",
    )
    kafka_user: str | None = Field(
        None, min_length=1, description="user name, with `sasl_…`; with `kafka_token_url`: id of the client"
    )
    kafka_password: SecretStr | None = Field(
        None, min_length=1, description="password of `kafka_user`; with `kafka_token_url`: secret of the client"
    )
    kafka_token_file: Path | None = Field(
        None, description="file with the token, with `OAUTHBEARER`; read anew for each connection once it is old"
    )
    kafka_token_url: str | None = Field(
        None,
        description="https address of an endpoint that gives tokens for client credentials (OAuth 2), with "
        "`OAUTHBEARER`",
    )
    kafka_token_function: str | None = Field(
        None,
        description="function that returns a token, or a token and its end in milliseconds since 1970, with "
        "`OAUTHBEARER`, as `module:function`; for Amazon MSK: "
        "`aws_msk_iam_sasl_signer.MSKAuthTokenProvider:generate_auth_token`",
    )
    kafka_token_fields: dict[str, str] = Field(
        default_factory=dict,
        description="further fields of the request to `kafka_token_url`, such as `scope`, or arguments of "
        '`kafka_token_function`, such as `{"region": "eu-west-1"}`',
    )
    topics: Topics = Field(default_factory=Topics, description="names of the topics, as an object")
    store: str = Field("bundles", description="where bundles are stored: a folder or an fsspec address")
    cache: Path = Field(Path(".cache/bundles"), description="folder for this worker's copies of bundles")
    store_seconds: Seconds = Field(30.0, description="longest wait for one answer of the store of bundles")
    predictor: Literal["auto", "lightgbm"] = Field(
        "auto",
        description="what predicts in a worker: `auto` is pylignum if it is installed and its scores are LightGBM's, "
        "bit for bit, on rows made from the model's own thresholds; `lightgbm` is LightGBM always",
    )
    clock: Literal["wall", "event"] = Field(
        "wall",
        description="`wall`: the machine's time; `event`: `scored_at` and all durations follow the transactions' own "
        "times (for replays and the demo)",
    )
    batch_records: int = Field(5000, ge=1, le=100_000, description="most records in a batch")
    session_seconds: Seconds = Field(
        10.0, description="a worker loses its partitions after this time without heartbeat"
    )
    heartbeat_seconds: Seconds = Field(3.0, description="time between heartbeats; at most a third of `session_seconds`")
    instance_id: str | None = Field(
        None,
        min_length=1,
        description="unique name by which Kafka recognises this worker after a restart (static membership)",
    )
    fetch_wait_ms: FetchWait = 20
    request_seconds: Seconds = Field(
        40.0, description="longest wait for an answer from Kafka; at least `session_seconds`"
    )
    stall_seconds: StallSeconds = 30.0
    commit_seconds: Seconds = Field(0.5, description="time between commits of finished offsets")
    http_host: str = Field("127.0.0.1", description="address that /metrics, /livez and /readyz listen on")
    worker_id: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}",
        min_length=1,
        description="name of this worker in logs and on the deployments topic; default: host name and process id",
    )
    card_number_fields: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="fields of a transaction, under our names and separated by commas, whose texts may look like card "
        "numbers; in any other field such a text is refused",
    )
    files: Layout = Field(
        default_factory=lambda: Layout.model_validate({}),
        description="how files of transactions and labels are written, where they do not show it, as an object: see "
        "[files.md](files.md)",
    )
    token_key: SecretStr | None = Field(
        None, min_length=16, description="key of the hash that replaces the ids in `files.tokens`; keep it secret"
    )
    trusted_keys: Path | None = Field(
        None,
        description="file with the public keys of those whose changes of slots count, signed by them; default: whoever "
        "may write to the topic deployments may change them; see [release.md](release.md#signed-changes)",
    )
    signing_key: Path | None = Field(
        None, description="PEM file of the private Ed25519 key with which this process signs what it writes there"
    )
    people: dict[Name, Person] = Field(
        default_factory=dict,
        description="who may use the API and decide on the command line, by name, as an object of what `shadow token` "
        "prints; decisions and reviews then bear the name of a token, and reading over HTTP needs one",
    )
    token: SecretStr | None = Field(
        None, min_length=1, description="your token on the command line, with `people`; see `shadow token`"
    )
    four_eyes: bool = Field(
        False,
        description="two people approve what one alone must not: a forced release, a bundle of one's own, a release "
        "under changed criteria, another bundle straight into slot live; see [release.md](release.md#four-eyes)",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level to log")
    log_format: Literal["json", "text"] = Field("json", description="`json` for machines, `text` for people")

    @field_validator("people")
    @classmethod
    def _have_own_tokens(cls, value: dict[str, Person]) -> dict[str, Person]:
        names: dict[str, str] = {}
        for name, person in value.items():
            other = names.setdefault(person.token, name)
            if other != name:
                raise ValueError(f"{other} and {name} have the same token; make one for each with `shadow token`")
        require_different(list(value))
        return value

    @field_validator("kafka", "card_number_fields", mode="before")
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

    @field_validator("kafka_token_url")
    @classmethod
    def _is_https(cls, value: str | None) -> str | None:
        if value is not None:
            url = urlsplit(value)
            if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
                raise ValueError("is not https://…")
            if url.username is not None:
                raise ValueError("has a user in it; use kafka_user and kafka_password")
        return value

    @property
    def reads(self) -> Isolation:
        """Which records of its topic a worker reads. Nobody writes ours in transactions, and only the scorer's topic is
        others'."""
        return "read_uncommitted"

    @property
    def is_eager(self) -> bool:
        """Whether fetches gather for less while the worker has room. Nobody waits for any worker but a scorer."""
        return False

    @property
    def longest_stall_seconds(self) -> float:
        """How long a worker may stand still: a shorter disturbance than a session is none."""
        return max(self.stall_seconds, self.session_seconds)

    @property
    def token_bytes(self) -> bytes | None:
        """`token_key` as the hash takes it."""
        return None if self.token_key is None else self.token_key.get_secret_value().encode()

    @property
    def bootstrap(self) -> str:
        """Broker addresses in one text, separated by commas, as Kafka clients take them."""
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
        """Arguments win over the environment, the environment over the file."""
        path = os.environ.get(f"{settings_cls.model_config['env_prefix']}SETTINGS")
        if not path:
            return init_settings, env_settings
        return init_settings, env_settings, InitSettingsSource(settings_cls, in_file(path))


class ScorerSettings(CommonSettings):
    """Settings of the scorer. Environment variables begin with `SCORER_`."""

    model_config = SettingsConfigDict(env_prefix="SCORER_")

    # Twice the shadow's: in a larger batch more transactions share a card, and its state is written once for a batch.
    batch_records: int = Field(10_000, ge=1, le=100_000, description="most records in a batch")
    stall_seconds: StallSeconds = 10.0
    group: str = Field("scorer", min_length=1, description="consumer group of the scorers")
    view: Path = Field(Path("features.yaml"), description="file of the feature view")
    mapping: FieldNames = Field(
        default_factory=lambda: FieldNames.model_validate({}),
        description="how your records name the fields of a transaction",
    )
    decisions_format: Literal["json", "avro"] = Field(
        "json",
        description="how decisions are written: `avro` is behind Confluent's header, by the schema "
        "[schemas/decisions.avsc](schemas/decisions.avsc); our own readers take both, mixed on one topic",
    )
    decisions_registry: Annotated[str, AfterValidator(registry_address)] | None = Field(
        None,
        description="with `avro`: address of the Schema Registry, in which the schema is looked up and, if it is "
        "missing, registered under `<topic>-value`; default: `mapping.encoding.registry`",
    )
    decisions_schema_id: int | None = Field(
        None,
        ge=0,
        le=2**31 - 1,
        description="with `avro`: id of the schema, so that no registry is asked",
    )
    registry_user: str | None = Field(
        None,
        min_length=1,
        description="user of the Schema Registry (`mapping.encoding.registry`, `decisions_registry`), with its "
        "password",
    )
    registry_password: SecretStr | None = Field(None, min_length=1, description="password of `registry_user`")
    registry_token: SecretStr | None = Field(
        None, min_length=1, description="bearer token for the Schema Registry, instead of user and password"
    )
    registry_ca: Path | None = Field(
        None,
        description="PEM file of the authorities that may sign the Schema Registry's certificate; default: the "
        "system's",
    )
    money: Money = Field(
        default_factory=lambda: Money.model_validate({}), description="reporting currency and exchange rates by date"
    )
    partitions: int = Field(8, ge=1, le=10_000, description="partitions of `transactions`, if the scorer creates it")
    replication: int = Field(1, ge=1, le=10, description="replicas of each topic that the scorer creates")
    create_topics: bool = Field(True, description="create missing topics")
    topic_configs: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description="Kafka's settings for topics that the scorer creates; they win over its own: "
        '`{"decisions": {"retention.ms": "1814400000"}}`',
    )
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = Field(
        "none", description="compression of the records that the scorer writes"
    )
    require_idempotence: bool = Field(
        True, description="refuse to start on a broker without idempotent producers (the embedded one has none)"
    )
    fence: Literal["auto", "on", "off"] = Field(
        "auto",
        description="have the broker refuse a scorer once another has taken over its partitions; `auto`: if the broker "
        "can (Apache Kafka; the scorer's user must be allowed to write transactional ids that begin with `<group>-`); "
        "`on`: refuse to start if it cannot; `off`: never",
    )
    isolation: Isolation = Field(
        "read_committed",
        description="of records that a sender writes in a transaction of Kafka: `read_committed`: they are decided "
        "once it is committed, never if it is aborted; `read_uncommitted`: at once, whatever becomes of it",
    )
    partitioner: Partitioner = Field(
        "murmur2",
        description="how senders find the partition of a transaction's key, so that `scorer replay` does the same: "
        "`murmur2` (Java, Kafka Connect, Flink, aiokafka) or `crc32` (librdkafka: kcat and the Python, Go and .NET "
        "clients built on it)",
    )
    carried_headers: Annotated[tuple[str, ...], NoDecode] = Field(
        ("traceparent", "tracestate"),
        max_length=16,
        description="headers of a transaction's record that its decision gets, separated by commas; at most 1 KiB each",
    )
    ahead_seconds: Seconds = Field(
        300.0,
        description="a transaction dated more than this after its arrival is decided, but does not count in velocity",
    )
    explore_probability: float | None = Field(
        None,
        gt=0,
        le=0.5,
        description="exploration: share of would-be blocks that are released at random, so that it is seen what they "
        "would have been; default: it is off; see [operations.md](operations.md#exploration)",
    )
    explore_budget: float | None = Field(
        None,
        gt=0,
        le=MOST,
        description="with `explore_probability`: most money that may be released on an event day (UTC) by all scorers "
        "together, in units of `money.currency`",
    )
    explore_maximum: float | None = Field(
        None,
        gt=0,
        le=MOST,
        description="with `explore_probability`: largest amount of a transaction that may be released, in units of "
        "`money.currency`; at most a partition's share of the budget",
    )
    explore_partitions: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="with `explore_probability`: over how many partitions of `transactions` the budget is divided in "
        "equal shares; partitions beyond are not explored",
    )
    explore_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="with `explore_probability`: key of the hash of the transaction id that decides what is released, "
        "the same for all scorers; keep it secret",
    )
    risk_snapshots: int = Field(
        24,
        ge=2,
        le=1000,
        description="with merchant risk in the feature view: how many snapshots the topic `risk` keeps, and how many a "
        "scorer holds in memory for transactions that come late",
    )
    risk_most_capped: float = Field(
        0.05,
        ge=0,
        le=1,
        description="`scorer risk` holds a snapshot back if the fraud rates of more than this share of merchants would "
        "move further than they may; 1: never",
    )
    fraud_share_factor: float = Field(
        3.0,
        ge=1,
        allow_inf_nan=False,
        description="`scorer rotate`, and `scorer train --from-archive` with `--parent`, refuse labels whose share of "
        "fraud is further from that of the model before than so many times, either way, beyond chance",
    )
    memory_bytes: int | None = Field(
        None,
        ge=1,
        description="memory that the scorer may use; an alert fires when card states take half of it; default: the "
        "limit of its container, else the machine's memory",
    )
    http_port: int = Field(9100, ge=0, le=65535, description="port of /metrics, /livez and /readyz; 0 picks a free one")

    @property
    def reads(self) -> Isolation:
        return self.isolation

    @property
    def is_eager(self) -> bool:
        return True

    @property
    def explore_key_bytes(self) -> bytes | None:
        """`explore_key` as the hash takes it."""
        return None if self.explore_key is None else self.explore_key.get_secret_value().encode()

    @field_validator("carried_headers", mode="before")
    @classmethod
    def _split_headers(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("topic_configs")
    @classmethod
    def _of_our_topics(cls, value: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
        for name in value:
            if name not in Topics.model_fields:
                raise ValueError(f"{name!r} is not one of {', '.join(Topics.model_fields)}")
        return value


Chosen = TypeVar("Chosen", bound=CommonSettings)


def in_file(path: str) -> dict[str, Any]:
    """The settings in a file. Raises SettingsError."""
    try:
        found = read_yaml(Path(path).read_text(encoding="utf-8"))
    except YamlTextError as error:
        raise SettingsError(f"{path}: not YAML ({error}); correct the file") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}; name an existing YAML file") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}; write the file in UTF-8") from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise SettingsError(f"{path}: expected settings as `name: value`; correct the file")
    return found


def load(kind: type[Chosen], **given: Any) -> Chosen:
    """Settings of a kind from arguments, environment and file. given: arguments; those that are None do not count.

    Raises SettingsError with one line that names the setting, its environment variable and the fix.
    """
    prefix = kind.model_config["env_prefix"]
    path = os.environ.get(f"{prefix}SETTINGS")
    if path and not os.path.isfile(path):  # which raises for no name at all
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
        fix = "remove it, or see docs/settings.md" if first["type"] == "extra_forbidden" else f"set {variable}"
        raise SettingsError(f"setting {name}: {first['msg']}; {fix}") from None
    except SourceError as error:
        raise SettingsError(f"settings: {error}; write nested settings as JSON") from None
    except RecursionError:
        raise SettingsError("settings: a value is nested too deeply; write nested settings as JSON") from None
