"""Every setting of the shadow, declared once; values come from `SHADOW_…` variables and the file SHADOW_SETTINGS."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from scorer.settings import CommonSettings, FetchWait, Seconds


class ShadowSettings(CommonSettings):
    """Settings of the shadow's processes; environment variables begin with SHADOW_."""

    model_config = SettingsConfigDict(env_prefix="SHADOW_")

    redis: str = Field(
        "redis://127.0.0.1:6379/0",
        description="address of Redis or Valkey; redis+cluster://host:port names a node of a Redis Cluster",
    )
    prefix: str = Field("shadow", pattern=r"^[A-Za-z0-9_.-]+$", description="first part of every key in Redis")
    release: Path = Field(Path("release.yaml"), description="file of segments and release criteria")
    minor_digits: int = Field(2, ge=0, le=4, description="decimal digits of the reporting currency's minor unit")
    control: str = Field("control", description="slot of the seed twin that gives the A/A floor")
    scorer_group: str = Field("scorer", description="group of the scorers; a promotion waits for its members")
    group_prefix: str = Field("shadow-", description="first part of a shadow's consumer group; its slot follows")
    # nobody waits for a shadow: few large fetches spare the broker that live works with
    fetch_wait_ms: FetchWait = 400
    flush_seconds: Seconds = Field(0.5, description="longest time that sums stay in memory")
    flush_records: int = Field(50_000, ge=1, description="most records that are summed before they go to Redis")
    sample_days: int = Field(30, ge=1, le=3650, description="days that disagreement samples are kept")
    label_days: int = Field(
        180, ge=1, le=3650, description="days that labels are kept, and the cases that they are joined to"
    )
    review_minutes: float = Field(30.0, gt=0, description="how long a case handed out for review is kept from others")
    explain_per_second: float = Field(50.0, ge=0, description="samples explained a second and shadow; 0 is none")
    niceness: int = Field(10, ge=0, le=19, description="how far a shadow stands back for others on its machine")
    gate_seconds: Seconds = Field(60.0, description="how often `shadow serve` runs the gate")
    promote_seconds: Seconds = Field(30.0, description="how long a promotion waits for every scorer to load the bundle")
    read_token: SecretStr | None = Field(None, description="token that /api wants as Bearer; default: none")
    operator_token: SecretStr | None = Field(
        None, description="token that writing to /api wants as Bearer; default: nothing can be written there"
    )
    http_port: int = Field(9101, ge=0, le=65535, description="port of /metrics, /livez, /readyz (and /api of serve)")
