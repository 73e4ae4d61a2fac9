"""Holds custom resources on standard input against strict definitions in a folder; a line for each trouble.

Run by the environment that has jsonschema: `strict.py FOLDER < manifests.yaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml


def strict(schema: Any) -> Any:
    """An object that lists its properties allows no others; int-or-string is either."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    made = {key: strict(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and not is_open:
        made["additionalProperties"] = False
    return made


def definitions(folder: Path) -> dict[tuple[str, str], Any]:
    """Strict schemas by apiVersion and kind."""
    found = {}
    for path in sorted(folder.glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        for version in definition["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            group = f"{definition['spec']['group']}/{version['name']}"
            found[group, definition["spec"]["names"]["kind"]] = schema
    return found


def main() -> None:
    """Exits 1 on any trouble."""
    known = definitions(Path(sys.argv[1]))
    is_bad = False
    for manifest in yaml.safe_load_all(sys.stdin):
        schema = known.get((manifest["apiVersion"], manifest["kind"]))
        if schema is None:
            told = ["no definition of it"]
        else:
            told = [
                f"{'.'.join(map(str, error.path))}: {error.message[:300]}"
                for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest)
            ]
        for line in told:
            is_bad = True
            print(f"{manifest['kind']}/{manifest['metadata']['name']}: {line}")
    sys.exit(is_bad)


if __name__ == "__main__":
    main()
