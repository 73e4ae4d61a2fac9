"""Every setting of the shadow, declared once. Values come from `SHADOW_…` variables, or the file in SHADOW_SETTINGS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from scorer.pipeline.transaction import Name
from scorer.process.hosts import PATTERN
from scorer.settings import CommonSettings, FetchWait, Seconds

#: What people can be told of.
Event = Literal["suggestion", "withdrawal", "rejection", "live", "verdict", "review"]
EVENTS: tuple[Event, ...] = get_args(Event)
#: What a person may do over the API.
PersonRole = Literal["viewer", "reviewer"]


class Person(BaseModel):
    """Somebody who may use the API. token: SHA-256 of their token, as hex."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str = Field(pattern=r"^[0-9a-f]{64}$")
    role: PersonRole


#: How an address of Redis begins.
_ADDRESS = re.compile(r"(?:(?:redis|valkey)s?(?:\+(?:cluster|sentinel))?|unix)://\S")


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
    group_prefix: str = Field("shadow-", description="a shadow's consumer group is this and the name of its slot")
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
        description="Bearer token for handing out and marking reviews under /api; default: nobody may",
    )
    people: dict[Name, Person] = Field(
        default_factory=dict,
        description="who may use the API, by name, as an object of what `shadow token` prints; reviews then bear the "
        "name of a token, and reading needs one",
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
        "change of what decides), `verdict` (another one), `review` (asked for, once a day)",
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

    @field_validator("people")
    @classmethod
    def _have_own_tokens(cls, value: dict[str, Person]) -> dict[str, Person]:
        names: dict[str, str] = {}
        for name, person in value.items():
            other = names.setdefault(person.token, name)
            if other != name:
                raise ValueError(f"{other} and {name} have the same token; make one for each with `shadow token`")
        return value

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
