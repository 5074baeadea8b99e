"""Records that were written before some fields were added."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import columns
from stream.earlier import COMPLETED, as_now
from stream.record_files import SessionFolder
from stream.record_log import LogWriter
from stream.record_schema import schema
from tests.made_records import made_records

LATER: dict[str, tuple[str, ...]] = {
    "hello": ("source", "many", "modalities"),
    "state": ("reasons", "variance_trusted"),
    "smoothed": ("reasons", "variance_trusted"),
    "transcript": ("overlap",),
}
"""Type -> fields that its records lack at first."""

VALID = jsonschema.Draft202012Validator(schema())


def earlier(record: dict[str, Any]) -> dict[str, Any]:
    """`record` as it was first written."""
    kept = copy.deepcopy(record)
    for name in LATER.get(record["type"], ()):
        del kept[name]
    for face in kept.get("faces", []):
        del face["person"]
    return kept


@pytest.fixture(scope="module")
def old() -> list[dict[str, Any]]:
    return [earlier(record) for record in made_records(20.0)]


def test_they_follow_the_schema_again_and_say_the_same(old: list[dict[str, Any]]) -> None:
    now = list(made_records(20.0))
    assert {kind for kind in COMPLETED if kind in {record["type"] for record in now}} >= set(LATER)
    for then, record in zip(old, now, strict=True):
        assert VALID.is_valid(then) == (then == record)
        again = as_now(then)
        assert VALID.is_valid(again)
        first = {"reasons": record["reasons"][:1]} if "reasons" in record else {}
        alone = {"overlap": False} if "overlap" in record else {}
        assert again == {**record, **first, **alone}  # only the first reason was told
        assert as_now(record) is record or record["type"] == "face"


def test_all_readers_read_them(old: list[dict[str, Any]], tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in old))
    table = columns.read(path)
    assert table.hello["many"] is False and len(table.people) == 1
    session = SessionFolder(tmp_path, "old")
    session.path.mkdir(parents=True)
    log = LogWriter(session.file("estimates"), {"type": "log", "started": 0.0, "keep_until": 1.0})
    log.append([(number, record) for number, record in enumerate(old, start=1)])
    log.close()
    found = list(session.records())
    assert len(found) == len(old) and all(map(VALID.is_valid, found))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from(["person", "faces", "consent", "reason"]), inside)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from([*COMPLETED, "x"]),
    st.dictionaries(st.sampled_from(["faces", "consent", "reason", "person"]), anything),
)
def test_what_is_odd_about_a_record_stays_so(kind: str, fields: dict[str, Any]) -> None:
    record = {"type": kind, **fields}
    again = as_now(record)
    assert all(again[name] == value for name, value in record.items() if name != "faces")
