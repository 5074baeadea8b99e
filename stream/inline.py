"""The feature stages of the graph without the asynchronous shell: for preparation and tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from stream.graph import EDGES, takes
from workers.messages import AlignedWindow, AudioChunk, Message, Source, VideoFrame
from workers.worker import Stage

ENTRY: Mapping[Source, str] = {"audio": "vad", "video": "face", "words": "text"}
"""Where a source enters the graph; words are those of written text."""


def windows(stages: Mapping[str, Stage], items: Iterable[Message]) -> Iterator[AlignedWindow]:
    """Push `items` through `stages` (of ``feature_stages``), then flush them in order.

    An item enters where its source does; one without a stage there is left out. Errors of stages
    are raised.
    """
    for item in items:
        entry = ENTRY[_source(item)]
        if entry in stages:
            yield from _push(stages, entry, item)
    for name in (name for name in EDGES if name in stages):
        for output in stages[name].flush():
            yield from _pass_on(stages, name, output)


def _push(stages: Mapping[str, Stage], name: str, item: Message) -> Iterator[AlignedWindow]:
    for output in stages[name].push(item):
        yield from _pass_on(stages, name, output)


def _pass_on(stages: Mapping[str, Stage], name: str, item: Message) -> Iterator[AlignedWindow]:
    if isinstance(item, AlignedWindow):
        yield item
    for target in EDGES[name]:
        if target in stages and takes(name, target, item):
            yield from _push(stages, target, item)


def _source(item: Message) -> Source:
    match item:
        case AudioChunk():
            return "audio"
        case VideoFrame():
            return "video"
        case _:
            source: Source = getattr(item, "source", "words")
            return source
