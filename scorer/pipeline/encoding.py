"""How the values of records are written: JSON, Avro or Protobuf, and what is before them."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

#: First byte of a value with a schema's id before it.
MAGIC = 0
#: Bytes of a header: MAGIC, and the id of the schema, big-endian.
HEADER_BYTES = {"confluent": 5, "apicurio": 9, "none": 0}


def registry_address(text: str) -> str:
    """The address of a Schema Registry, without a slash at its end. Raises ValueError for what is none."""
    shown = text[:60]
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(f"{shown!r} is no address; write it as https://registry:8081") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("has a password in it; use the settings registry_user and registry_password")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{shown!r} is no address; write it as https://registry:8081")
    return text.rstrip("/")


class Encoding(BaseModel):
    """How the values of a topic's records are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["json", "avro", "protobuf"] = Field(description="`json` (behind a header), `avro` or `protobuf`")
    registry: Annotated[str, AfterValidator(registry_address)] | None = Field(
        None, description="address of the Schema Registry, which speaks Confluent's protocol"
    )
    file: str | None = Field(
        None,
        min_length=1,
        description="file of the one schema of all records, without a registry: .avsc, .proto, or a descriptor set",
    )
    message: str | None = Field(
        None, min_length=1, description="name of the message in `file`; needed if the file has several"
    )
    header: Literal["confluent", "apicurio", "none"] | None = Field(
        None,
        description="what is before each value: `confluent`: a zero byte and 4 bytes of the schema's id; `apicurio`: 8 "
        "bytes of it; `none`. Default: `none` with `file`, else `confluent`",
    )
    wait_seconds: float = Field(
        30.0,
        ge=0,
        le=600,
        description="longest wait for a registry that is away, once for each time that it is; after it, records whose "
        "schema is not known yet are dead letters",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "json":
            if self.registry or self.file:
                raise ValueError("JSON is read without its schema; remove registry and file")
        elif (self.registry is None) == (self.file is None):
            raise ValueError(f"{self.kind} needs either registry or file; give one of them")
        if self.message is not None and (self.kind != "protobuf" or self.file is None):
            raise ValueError("message names a message of a Protobuf file; remove it")
        if self.registry is not None and self.header == "none":
            raise ValueError("without a header no record says its schema; name file instead of registry")
        return self

    @property
    def header_bytes(self) -> int:
        """Bytes before each value, but for Protobuf's message indexes."""
        return HEADER_BYTES[self.header or ("none" if self.file else "confluent")]

    @property
    def has_indexes(self) -> bool:
        """Whether message indexes follow the header."""
        return self.kind == "protobuf" and self.header_bytes > 0
