"""The JSON schema of a record: ``python -m stream.record_schema > records.schema.json``.

Made from the types in ``stream.record_types``. Like docs/records.md it allows fields and types that
it does not name: a later version may add them.
"""

from __future__ import annotations

import json
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from stream.record_types import SCHEMA, Record

PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema() -> dict[str, Any]:
    """JSON schema (2020-12) of one record."""
    kinds = [kind for kind in get_args(Record) if is_typeddict(kind)]
    rules = []
    for kind in kinds:
        names = get_args(get_type_hints(kind)["type"])
        named = {"properties": {"type": {"enum": list(names)}}}
        rules.append({"if": named, "then": _of(kind)})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"lddu-live record, schema {SCHEMA}",
        "type": "object",
        "properties": {"type": {"type": "string"}},
        "required": ["type"],
        "allOf": rules,
    }


def _of(kind: Any) -> dict[str, Any]:
    if kind is Any:
        return {}
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if is_typeddict(kind):
        hints = get_type_hints(kind)
        return {
            "type": "object",
            "properties": {name: _of(hint) for name, hint in hints.items()},
            "required": sorted(kind.__required_keys__),
        }
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(inside)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(each) for each in inside]}
    if origin is list:
        return {"type": "array", "items": _of(inside[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(inside[1])}
    raise TypeError(f"no schema is known for {kind}")


if __name__ == "__main__":
    print(json.dumps(schema(), indent=1))
