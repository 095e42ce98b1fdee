"""The CRDs as tests look at them: their fields by path, and whether the API server would keep an object whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema
import yaml

from tests.unit.given import ROOT

Schema = Mapping[str, Any]
OPEN = "x-kubernetes-preserve-unknown-fields"


@cache
def crd(plural: str) -> dict[str, Any]:
    """A whole CustomResourceDefinition."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "crds" / f"{plural}.yaml").read_text())
    return content


def schema(plural: str) -> Schema:
    """The schema of its one version."""
    (version,) = crd(plural)["spec"]["versions"]
    found: Schema = version["schema"]["openAPIV3Schema"]
    return found


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every field that is spelled out, with its path; the items of lists have no index in theirs."""
    for name, inner in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield below, inner
        yield from fields(inner, below)
        if "items" in inner:
            yield from fields(inner["items"], f"{below}[]")


def sample(schema: Schema) -> Any:
    """A value with every field of a schema in it."""
    if "default" in schema:
        return schema["default"]
    match schema["type"]:
        case "object" if "additionalProperties" in schema:
            return {"key": sample(schema["additionalProperties"])}
        case "object":
            return {name: sample(inner) for name, inner in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema["items"])]
        case "integer":
            return 1
        case "boolean":
            return True
        case "string":
            return schema.get("enum", ["2026-01-31T12:00:00Z"])[0]
        case unknown:
            raise AssertionError(f"no sample for {unknown}")


def problems(content: object, plural: str, part: str) -> list[str]:
    """What the API server would refuse, or drop as unknown, in the ``spec`` or ``status`` of an object."""
    return [f"{error.json_path}: {error.message}" for error in _validator(plural, part).iter_errors(content)]


@cache
def _validator(plural: str, part: str) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(_closed(schema(plural)["properties"][part]))


def _closed(schema: Any) -> Any:
    """The schema with what would be pruned made an error."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    closed = {key: _closed(inner) for key, inner in schema.items()}
    if isinstance(schema.get("properties"), Mapping) and not schema.get(OPEN):
        closed["additionalProperties"] = False
    return closed
