"""Every setting of the shadow, declared once. Values come from `SHADOW_…` variables, or the file in SHADOW_SETTINGS."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from scorer.people import PersonRole
from scorer.process.hosts import PATTERN
from scorer.process.office_hours import office_hours
from scorer.settings import LOOPBACK, CommonSettings, FetchWait, Seconds

#: What people can be told of.
Event = Literal[
    "suggestion", "withdrawal", "rejection", "live", "verdict", "review", "rollback", "automation", "approval"
]
EVENTS: tuple[Event, ...] = get_args(Event)
#: How a header is named.
HEADER = r"^[A-Za-z0-9-]{1,64}$"

#: How an address of Redis begins.
_ADDRESS = re.compile(r"(?:(?:redis|valkey)s?(?:\+(?:cluster|sentinel))?|unix)://\S")


def together(slots: Iterable[str]) -> str:
    """Slots of one process as one name, whatever their order; no slot has a dot in its own."""
    return ".".join(sorted(slots))


class ShadowSettings(CommonSettings):
    """Settings of the `shadow` command. Their environment variables begin with SHADOW_."""

    model_config = SettingsConfigDict(env_prefix="SHADOW_")

    redis: str = Field(
        "redis://127.0.0.1:6379/0",
        description="address of Redis or Valkey: `redis://user:password@host:port/0`, `rediss://…` with TLS, or "
        "`unix://…`; of a cluster, one of its nodes: `redis+cluster://host:port`; of what sentinels watch: "
        "`redis+sentinel://host:port,host:port/service/0`; `valkey` may stand for `redis`",
    )
    prefix: str = Field("shadow", pattern=r"^[A-Za-z0-9_.-]+$", description="prefix of every key in Redis")
    release: Path = Field(Path("release.yaml"), description="file with the segments and the release criteria")
    control: str = Field("control", description="slot of the A/A control, a seed twin of live")
    scorer_group: str = Field(
        "scorer", description="consumer group of the scorers; a promotion waits for all of its members"
    )
    group_prefix: str = Field(
        "shadow-",
        description="a shadow's consumer group is this and the name of its slot, or of its slots with dots between",
    )
    # Nobody waits for a shadow: few large fetches spare the broker, which live needs, too.
    fetch_wait_ms: FetchWait = 400
    flush_seconds: Seconds = Field(0.5, description="longest time that sums wait in memory before they go to Redis")
    flush_records: int = Field(
        50_000, ge=1, description="most decisions of a partition that are summed before they go to Redis"
    )
    sample_days: int = Field(30, ge=1, le=3650, description="days to keep samples of disagreements")
    label_days: int = Field(180, ge=1, le=3650, description="days to keep labels, and the cases that labels can decide")
    review_minutes: float = Field(
        30.0, gt=0, description="minutes for which a case that somebody was given is not given to others"
    )
    explain_per_second: float = Field(
        50.0, ge=0, description="samples that each shadow explains a second; 0 explains none"
    )
    niceness: int = Field(
        10, ge=0, le=19, description="niceness of a shadow's process; higher leaves more of the machine to others"
    )
    gate_seconds: Seconds = Field(60.0, description="time between two looks of the gate in `shadow serve`")
    watch_days: float = Field(
        14.0,
        ge=0,
        le=90,
        description="days for which live is compared with the model before it after a release; 0: none",
    )
    complaint_rise: float = Field(
        0.2,
        ge=0,
        le=10,
        description="rise of complaints for each blocked transaction after a release that is tolerated, as a share",
    )
    automation_accepted: int = Field(
        5,
        ge=3,
        le=100,
        description="suggestions of a kind of change in a row that people have to accept as they were "
        "before it may be automated",
    )
    automation_days: float = Field(60.0, ge=0, le=3650, description="days that these take, at least")
    automation_grace_hours: float = Field(
        4.0, ge=0.25, le=72, description="hours in which a person can stop what automation is about to do"
    )
    automation_every_days: float = Field(
        14.0, ge=1, le=365, description="days between two automatic promotions, at least"
    )
    automation_hours: str = Field(
        "",
        description="when automation may act, such as `mon-fri 09:00-17:00 Europe/Berlin`; default: at any time",
    )
    promote_seconds: Seconds = Field(
        30.0, description="longest time that a promotion waits for the scorers to load the bundle"
    )
    http_names: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="names that `shadow serve` answers to, separated by commas, beside localhost and its own address; "
        "`*.example.com` stands for every name that ends so",
    )
    read_token: SecretStr | None = Field(
        None,
        min_length=1,
        description="Bearer token for reading all that `shadow serve` has, /metrics included, but for /livez and "
        "/readyz; default: anybody may read it",
    )
    operator_token: SecretStr | None = Field(
        None,
        min_length=1,
        description="Bearer token for reviews and for reporting complaints under /api; default: nobody may",
    )
    oidc_issuer: str | None = Field(
        None,
        description="https address of an OpenID Connect provider, whose tokens the API then takes as Bearer tokens; "
        "see [release.md](release.md#who-asks-over-http)",
    )
    oidc_audience: str | None = Field(
        None, min_length=1, description="with `oidc_issuer`: whom its tokens must be for (claim `aud`)"
    )
    oidc_name_claim: str = Field(
        "sub",
        min_length=1,
        description="claim of its tokens that names the person; choose one that nobody can change themselves",
    )
    oidc_groups_claim: str = Field(
        "groups",
        min_length=1,
        description="claim of its tokens with the person's groups; `a.b` is the field `b` of claim `a`",
    )
    proxy_addresses: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        (),
        description="addresses or networks, separated by commas, of proxies that say in headers who asks; from "
        "anywhere else these headers are refused; default: none",
    )
    proxy_name_header: str = Field(
        "X-Forwarded-User", pattern=HEADER, description="with `proxy_addresses`: header with the name of who asks"
    )
    proxy_groups_header: str = Field(
        "X-Forwarded-Groups",
        pattern=HEADER,
        description="with `proxy_addresses`: header with their groups, separated by commas",
    )
    groups: dict[str, PersonRole] = Field(
        default_factory=dict,
        description="role by group, for `oidc_issuer` and `proxy_addresses`, as an object such as "
        '`{"fraud-team": "reviewer"}`; of several the highest counts, and who has none may do nothing',
    )
    notify: SecretStr | None = Field(
        None,
        min_length=1,
        description="whom `shadow serve` tells of releases: addresses of Apprise for chat, mail and webhooks, with "
        "blanks between them; default: nobody; see [release.md](release.md#messages)",
    )
    notify_events: Annotated[tuple[Event, ...], NoDecode] = Field(
        EVENTS,
        description="what they are told, with commas between: `suggestion`, `withdrawal`, `rejection`, `live` (a "
        "change of what decides), `verdict` (another one), `review` (asked for, once a day), `rollback` (live is "
        "found to be worse than the model before it), `automation` (on, off or lost), `approval` (the first of two: it "
        "waits for a second person)",
    )
    notify_templates: Path | None = Field(
        None, description="folder with templates of these messages, such as `suggestion.txt.j2`; default: ours"
    )
    notify_link: str | None = Field(
        None, description="address of `shadow serve` as people reach it, for the end of each message"
    )
    archive: str = Field(
        "archive",
        min_length=1,
        description="where `shadow archive` keeps its tables: a folder, or an address such as `s3://bucket/folder`; "
        "see [archive.md](archive.md)",
    )
    archive_options: dict[str, SecretStr] = Field(
        default_factory=dict,
        description='options of that store of objects, as an object, such as `{"aws_region": "eu-central-1"}`; '
        "default: what its own variables say, such as `AWS_REGION`",
    )
    archive_group: str = Field(
        "archive", min_length=1, description="consumer group of `shadow archive run`, by which several share the work"
    )
    archive_seconds: Seconds = Field(
        60.0, description="longest time that rows wait in memory before they go into the archive"
    )
    archive_records: int = Field(
        100_000, ge=1, le=1_000_000, description="most rows of a topic that wait, in a process"
    )
    archive_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="event days to keep in the archive; `shadow archive compact` drops older ones; default: all",
    )
    archive_keep_hours: int = Field(
        168,
        ge=1,
        description="hours for which `shadow archive compact` keeps files that it has replaced, for whoever still "
        "reads them; longer than any write takes",
    )
    http_port: int = Field(
        9101, ge=0, le=65535, description="port of /metrics, /livez and /readyz, and of /api in `shadow serve`"
    )

    @field_validator("automation_hours")
    @classmethod
    def _are_hours(cls, value: str) -> str:
        office_hours(value)
        return value

    @field_validator("proxy_addresses", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        parts = value.split(",") if isinstance(value, str) else value
        try:
            return tuple(ip_network(str(part).strip()) for part in parts if str(part).strip())
        except ValueError as error:
            raise ValueError(f"{error}; expected addresses or networks such as 10.0.0.7 or 10.1.0.0/24") from None

    @field_validator("proxy_addresses")
    @classmethod
    def _are_few(cls, value: tuple[IPv4Network | IPv6Network, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
        if any(network.prefixlen == 0 for network in value):
            raise ValueError("holds every address there is; name those of your proxy")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _is_issuer(cls, value: str | None) -> str | None:
        if value is not None:
            url = urlsplit(value)
            if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
                raise ValueError("is not https://…")
            if url.username is not None or url.query or url.fragment:
                raise ValueError("expected an address without user, query and fragment")
        return value

    @model_validator(mode="after")
    def _is_for_somebody(self) -> ShadowSettings:
        if self.oidc_issuer is not None and self.oidc_audience is None:
            raise ValueError("oidc_audience: is missing; name whom the tokens of oidc_issuer must be for")
        return self

    @field_validator("redis")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if not _ADDRESS.match(value):  # which may hold a password, so it is not repeated
            raise ValueError("is no address of Redis; expected one such as redis://127.0.0.1:6379/0")
        return value

    @field_validator("http_names", "notify_events", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("http_names")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(PATTERN, name):
                raise ValueError(f"{name!r} is no name of a host; expected one without scheme and port")
        return value
