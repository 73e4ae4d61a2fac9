"""Reads the keys that the settings name: those whose entries of the ledger count, and the one to sign with."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from pydantic import ValidationError

from scorer.deployments.signatures import LENGTH, Signer, TrustedKeys, ed25519_library
from scorer.errors import SettingsError, UserError
from scorer.settings import CommonSettings
from scorer.yaml_text import YamlTextError, read_yaml


def trusted_keys(settings: CommonSettings) -> TrustedKeys | None:
    """The keys whose entries count; None if everybody's do. Raises SettingsError."""
    path = settings.trusted_keys
    if path is None:
        return None
    ed25519_library()
    try:
        return TrustedKeys.model_validate(read_yaml(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no text in UTF-8"
        raise SettingsError(f"setting trusted_keys: {path}: {why}") from None
    except YamlTextError as error:
        raise SettingsError(f"setting trusted_keys: {path}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        told = f"{where}: {first['msg']}" if where else first["msg"]
        raise SettingsError(f"setting trusted_keys: {path}: {told}") from None


def stamp(settings: CommonSettings) -> tuple[int, int] | None:
    """What changes when the file of trusted keys does; None without one."""
    if settings.trusted_keys is None:
        return None
    try:
        status = settings.trusted_keys.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino


def signer(settings: CommonSettings, trusted: TrustedKeys | None) -> Signer | None:
    """Who signs with the key of the settings; None without one. Raises SettingsError."""
    path = settings.signing_key
    if path is None:
        return None
    if trusted is None:
        raise SettingsError("setting signing_key: needs trusted_keys, which says whose key it is")
    ed25519, _ = ed25519_library()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"setting signing_key: {path}: {error.strerror}") from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise SettingsError(
            f"setting signing_key: {path}: is no private Ed25519 key in PEM without a password; make one with "
            "`scorer key new`"
        )
    public = key.public_key().public_bytes_raw()
    name = next((name for name, one in trusted.keys.items() if one.raw == public), None)
    if name is None:
        raise SettingsError(
            f"setting signing_key: {path}: {settings.trusted_keys} does not have its public key "
            f"{base64.b64encode(public).decode()}; add it there"
        )
    return Signer(name, trusted.deployment, key.sign)


def write_new_key(path: Path) -> str:
    """Write a new private key to a file that only its owner may read; returns its public key in base64.

    Raises UserError if the file is there already, or cannot be written.
    """
    ed25519, _ = ed25519_library()
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ed25519.Ed25519PrivateKey.generate()
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    except FileExistsError:
        raise UserError(f"{path}: is there already; a key is never written over") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    public = key.public_key().public_bytes_raw()
    assert len(public) == LENGTH  # noqa: S101
    return base64.b64encode(public).decode()
