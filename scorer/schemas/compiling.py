"""From the text of a schema to what reads records: Avro at once, Protobuf through its own compiler."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scorer.errors import LibraryError
from scorer.pipeline import avro, protobuf
from scorer.pipeline.avro import Read
from scorer.pipeline.avro_schema import LONGEST_SCHEMA, SchemaError
from scorer.pipeline.encoding import Encoding

#: Longest run of the compiler; it takes a third of a second.
COMPILE_SECONDS = 20.0
_SCHEMA = "schema.proto"


@dataclass(frozen=True)
class SchemaText:
    """A schema. references: those that it names, by the names that it imports, each after those that it needs."""

    text: bytes
    references: tuple[tuple[str, bytes], ...] = ()


def require(encoding: Encoding) -> None:
    """Raise LibraryError if what reads this encoding is not installed."""
    if encoding.kind != "protobuf":
        return
    try:
        import google.protobuf  # noqa: F401 - whether it is there
        import grpc_tools  # noqa: F401
    except ImportError:
        raise LibraryError(
            "mapping.encoding: protobuf is not installed; run pip install 'shadow-scorer[protobuf]'"
        ) from None


def compiled(schema: SchemaText, encoding: Encoding) -> Read:
    """What reads records of a schema. Raises SchemaError, whatever the schema is: anybody may have registered it."""
    try:
        return _compiled(schema, encoding)
    except SchemaError:
        raise
    except Exception as error:  # one schema must not end who decides all other records
        raise SchemaError(f"cannot be compiled ({type(error).__name__})") from error


def _compiled(schema: SchemaText, encoding: Encoding) -> Read:
    if encoding.kind == "avro":
        return avro.reader(schema.text, [text for _, text in schema.references])
    if len(schema.text) + sum(len(text) for _, text in schema.references) > LONGEST_SCHEMA:
        raise SchemaError(f"more than {LONGEST_SCHEMA} bytes")
    return protobuf.reader(_descriptors(schema), encoding.message, encoding.has_indexes)


def of_file(encoding: Encoding) -> Read:
    """What reads records by the encoding's file. Raises SchemaError, OSError."""
    path = Path(encoding.file or "")
    text = path.read_bytes()
    if encoding.kind == "protobuf" and path.suffix != ".proto":  # descriptors, compiled before
        return protobuf.reader(text, encoding.message, encoding.has_indexes)
    return compiled(SchemaText(text), encoding)


def _descriptors(schema: SchemaText) -> bytes:
    """The `FileDescriptorSet` of a .proto file, with all that it imports. In a process of its own: whatever a schema
    makes the compiler do, this one goes on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, [(_SCHEMA, schema.text), *schema.references])
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-I{_well_known()}", "--include_imports"]
        try:
            done = subprocess.run(
                [*command, f"--descriptor_set_out={folder}/.set", _SCHEMA],
                capture_output=True,
                timeout=COMPILE_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SchemaError(f"takes more than {COMPILE_SECONDS:g} s to compile") from None
        if done.returncode:
            told = done.stderr.decode(errors="replace").replace(str(folder), "").strip().splitlines()
            raise SchemaError(f"does not compile: {(told or ['without a reason'])[0][:200]}")
        return (folder / ".set").read_bytes()


def _well_known() -> Path:
    """Where the compiler's own files are, such as google/protobuf/timestamp.proto."""
    import grpc_tools

    return Path(next(iter(grpc_tools.__path__))) / "_proto"


def _write(folder: Path, files: Sequence[tuple[str, bytes]]) -> None:
    """Write files by the names that they are imported by. Raises SchemaError for a name outside of the folder."""
    for name, text in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or len(name) > 200 or not path.name:
            raise SchemaError(f"imports {name[:60]!r}, which is no name of a file")
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
        except OSError as error:
            raise SchemaError(f"imports {name[:60]!r}, which cannot be written ({error.strerror})") from None
