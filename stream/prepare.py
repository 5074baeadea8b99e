"""Features for training: ``python -m stream.prepare CONFIG --out DIR``.

Labelled recordings and texts go through the same stages as a live call; each set of the
configuration becomes a folder DIR/<name> of shards (``lddu_model.data.shards``) with the feature
specification in it, and replaces what was there. The last line on standard output is JSON that sums
up. Exit code 0: all went well; 1: some recordings failed (they are listed, the others are there);
2: nothing could be started. Utterances of more than 30 s reach the voice encoder in equal parts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from lddu_model import Sample
from lddu_model.data.shards import ShardWriter
from stream import config as configuration
from stream.config import PrepareConfig, SetConfig
from stream.datasets import Clip, Comment, read_clips, read_comments
from stream.errors import ConfigError, ConsentError, StreamError, run_command
from stream.extractors import LazyExtractors
from stream.samples import Maker, after_others, misheard
from stream.spec import LABELS, live_spec
from workers.errors import WorkerError
from workers.messages import Float32, Modality
from workers.threads import limit_here

TEXTS = 512
"""Texts that are encoded together."""

VOICES, VOICE_S = 24, 10.0
"""Recordings that babble is made of, at most; and seconds of each."""

CLIP_ERRORS = (StreamError, WorkerError)
"""What ends one recording, not the run."""


@dataclass(slots=True)
class Result:
    """What became of one set."""

    folder: str
    items: int = 0
    """Recordings or texts."""
    samples: int = 0
    empty: int = 0
    """Items in which nothing was found: no speech, no face, no words."""
    labels: Counter[str] = field(default_factory=Counter)
    wall_s: float = 0.0
    errors: list[dict[str, str]] = field(default_factory=list)

    def count(self, samples: Sequence[Sample]) -> None:
        self.items += 1
        self.samples += len(samples)
        self.empty += not samples
        for sample in samples:
            assert sample.labels is not None
            self.labels += Counter(
                name for name, present in zip(LABELS, sample.labels, strict=True) if present
            )

    def summary(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "items": self.items,
            "samples": self.samples,
            "empty": self.empty,
            "labels": {name: self.labels[name] for name in LABELS},
            "wall_s": round(self.wall_s, 2),
            "errors": self.errors,
        }


def prepare(config: PrepareConfig, folder: Path) -> list[Result]:
    """Make all sets of `config`. Raises ``ConfigError``, ``ConsentError`` and ``ModelError``."""
    if not config.sets:
        raise ConfigError(
            "the configuration names no sets, so there is nothing to prepare",
            hint="add [[sets]]; configs/prepare.toml has an example",
        )
    repeated = [name for name, n in Counter(each.name for each in config.sets).items() if n > 1]
    if repeated:
        raise ConfigError(
            f"two sets are called {repeated[0]!r}", hint="give every set a name of its own"
        )
    limit_here()
    extractors = LazyExtractors(config)
    try:
        return [_prepare_set(config, chosen, folder, extractors) for chosen in config.sets]
    finally:
        extractors.close()


def _prepare_set(
    config: PrepareConfig, chosen: SetConfig, folder: Path, extractors: LazyExtractors
) -> Result:
    start = perf_counter()
    expected = _allowed(config, chosen)
    maker = Maker(config, chosen, expected, live_spec(config), extractors)
    result = Result(str(folder / chosen.name))
    # Whatever is missing or wrong ends the run here, before an earlier set is replaced.
    if chosen.kind == "text":
        comments = read_comments(chosen, Path(config.root))[:: chosen.every]
        if chosen.damaged:
            comments = misheard(comments, chosen.damaged)
        comments = after_others(comments, chosen.preceded)
        batches = _texts(maker, comments, result)
        extractors.load(expected, heard=False)
    else:
        batches = _clips(maker, read_clips(chosen, Path(config.root))[:: chosen.every], result)
        extractors.load(expected)
    with ShardWriter(folder / chosen.name, maker.spec, LABELS, dtype=config.dtype) as writer:
        for samples in batches:
            for sample in samples:
                writer.add(sample)
    result.wall_s = perf_counter() - start
    return result


def _allowed(config: PrepareConfig, chosen: SetConfig) -> frozenset[Modality]:
    consent = config.consent.model_dump()
    expected = frozenset(name for name in chosen.use if consent[name])
    if chosen.kind == "text":
        expected &= {"words"}
    if not expected:
        raise ConsentError(
            f"set {chosen.name}: consent allows none of {', '.join(chosen.use)}",
            hint="set [consent] to what the people agreed to, or change 'use' of the set",
        )
    return expected


def _clips(maker: Maker, clips: Sequence[Clip], result: Result) -> Iterator[list[Sample]]:
    if maker.chosen.damaged:
        maker = replace(maker, voices=_voices(maker, clips))
    for clip in tqdm(clips, desc=maker.chosen.name, unit="clip", disable=None):
        try:
            samples = list(maker.of_clip(clip))
        except CLIP_ERRORS as error:
            print(f"error: {clip.path}: {error}", file=sys.stderr)
            result.errors.append({"file": str(clip.path), "error": str(error)})
            continue
        result.count(samples)
        yield samples


def _voices(maker: Maker, clips: Sequence[Clip]) -> list[Float32]:
    """Beginnings of some recordings, for babble; those that cannot be read are told of later."""
    voices = []
    for clip in clips[:: -(-len(clips) // VOICES)]:
        with suppress(*CLIP_ERRORS):
            voices.append(maker.sound_of(clip, VOICE_S))
    return voices


def _texts(maker: Maker, comments: Sequence[Comment], result: Result) -> Iterator[list[Sample]]:
    with tqdm(total=len(comments), desc=maker.chosen.name, unit="text", disable=None) as bar:
        for start in range(0, len(comments), TEXTS):
            some = comments[start : start + TEXTS]
            for samples in maker.of_comments([each for each in some if each.words]):
                result.count(samples)
                yield samples
            bar.update(len(some))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m stream.prepare", description="Labelled recordings and texts -> features."
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="e.g. configs/prepare.toml")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the sets")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. --set root=data"
    )
    options = parser.parse_args(arguments)
    overrides = configuration.parse_overrides(options.set)
    config = configuration.load(PrepareConfig, options.config, overrides)
    start = perf_counter()
    results = prepare(config, options.out)
    summary = {
        "wall_s": round(perf_counter() - start, 2),
        "sets": {
            chosen.name: result.summary()
            for chosen, result in zip(config.sets, results, strict=True)
        },
    }
    print(json.dumps(summary))
    return 1 if any(result.errors for result in results) else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
