"""Who speaks, by how well each mouth goes with the sound: a hidden Markov model.

A state is a person together with the time by which the mouth leads the sound (people, cameras and
networks differ), or somebody who is not seen. Time goes in blocks of ``BLOCK_S``. Source: Rabiner
1989 (forward-backward).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK_S = 0.25
WINDOW_S = 3.0
"""What a score looks back on."""
LEADS = (-0.06, 0.0, 0.06, 0.12)
"""Seconds by which a mouth may be ahead of the sound. Best for seven clips: -0.08 to 0.1."""

OWN = 0.2
"""Mean score over ``WINDOW_S`` of a mouth that speaks with little movement; of others it is 0."""
SPREAD = 0.15
"""Standard deviation of both."""
GAIN = 2.0
"""Windows overlap, yet a new block tells more than its share of the window: by this factor. The
first score of a mouth, over a short time and often high by chance, tells no more than its share."""
STAY = 0.99
"""That who speaks in one block speaks in the next."""
PAUSE = 0.97
"""The same over a block in which nobody speaks."""
ELSEWHERE = 0.1
"""That a speaker is not in the picture, before anything is known."""
SURE = 0.6
"""Probability from which somebody is named."""
HISTORY_S = 40.0

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """How well a mouth went with the sound of late."""

    values: tuple[float, ...]
    """For each of ``LEADS``, in [-1, 1] (``workers.sync.score``)."""
    seconds: float
    """Over how long."""


@dataclass(frozen=True, slots=True)
class _Block:
    index: int
    speech: bool
    people: tuple[str, ...]
    says: Float64
    """(1 + people * leads,) likelihood of what was seen; the first is of somebody not seen."""
    filtered: Float64
    """The same, probability given this block and those before."""


class Guess(NamedTuple):
    """Who spoke."""

    name: str | None
    """None: nobody knows, or somebody who is not seen."""
    sure: bool
    """False: it could be several; what comes later may tell."""


class Speakers:
    """Feed blocks in order; asks back who spoke."""

    def __init__(self) -> None:
        self._blocks: deque[_Block] = deque()
        self._scored: set[str] = set()
        """Whose score was known in the block before."""

    def add(self, index: int, scores: Mapping[str, Score | None], *, speech: bool) -> None:
        """Block `index`, with a score for everybody present (None: mouth not seen well)."""
        people = tuple(scores)
        says = np.ones(1 + len(people) * len(LEADS))
        if speech:
            for i, (name, score) in enumerate(scores.items()):
                says[1 + i * len(LEADS) : 1 + (i + 1) * len(LEADS)] = self._likelihood(name, score)
            self._scored = {name for name, score in scores.items() if score is not None}
        prior = _prior(people)
        if self._blocks:
            past = self._blocks[-1]
            prior = _moved(past, people)
        filtered = prior * says
        self._blocks.append(_Block(index, speech, people, says, filtered / filtered.sum()))
        while self._blocks[0].index < index - HISTORY_S / BLOCK_S:
            self._blocks.popleft()

    def at(self, index: int) -> str | None:
        """Who speaks in a block, known by then; None: nobody knows."""
        block = next((each for each in reversed(self._blocks) if each.index <= index), None)
        return None if block is None else _named(_by_person(block.people, block.filtered))

    def during(self, first: int, last: int, until: int) -> Guess:
        """Who speaks in the blocks from `first` to `last`, by those up to `until`."""
        inside = [each for each in self._blocks if first <= each.index <= until]
        total: dict[str | None, float] = {}
        for block, smooth in zip(inside, _both_ways(inside), strict=True):
            if block.speech and block.index <= last:
                for name, p in _by_person(block.people, smooth).items():
                    total[name] = total.get(name, 0.0) + p
        whole = sum(total.values())
        shares = {name: p / whole for name, p in total.items()}
        return Guess(_named(shares), max(shares.values(), default=1.0) >= SURE)

    def _likelihood(self, name: str, score: Score | None) -> Float64:
        """(leads,) if this mouth speaks, over that if it does not; a new one counts as a whole."""
        if score is None:
            return np.ones(len(LEADS))
        new = GAIN * BLOCK_S if name in self._scored else score.seconds
        weight = new / WINDOW_S * OWN / SPREAD**2
        values = np.asarray(score.values, np.float64)
        return np.asarray(np.exp(weight * (values - OWN / 2)), np.float64)


def _prior(people: Sequence[str]) -> Float64:
    states = len(people) * len(LEADS)
    if not states:
        return np.ones(1)
    return np.array([ELSEWHERE] + [(1 - ELSEWHERE) / states] * states)


def _stay(block: _Block) -> float:
    return STAY if block.speech else PAUSE


def _moved(past: _Block, people: tuple[str, ...]) -> Float64:
    """Probabilities of the states of `people` in the block after `past`."""
    prior = _prior(people)
    kept = _carried(past.people, past.filtered, people)
    stay = _stay(past)
    return np.asarray(stay * kept + (1 - stay * kept.sum()) * prior, np.float64)


def _carried(before: tuple[str, ...], values: Float64, people: tuple[str, ...]) -> Float64:
    """`values` of states of `before` as those of `people`; 0 for who was not there."""
    if before == people:
        return values
    out = np.zeros(1 + len(people) * len(LEADS))
    out[0] = values[0]
    for i, name in enumerate(people):
        if name in before:
            j = before.index(name)
            out[1 + i * len(LEADS) : 1 + (i + 1) * len(LEADS)] = values[
                1 + j * len(LEADS) : 1 + (j + 1) * len(LEADS)
            ]
    return out


def _both_ways(blocks: Sequence[_Block]) -> list[Float64]:
    """Probabilities of states, given all of `blocks` and what came before them."""
    smooth: list[Float64] = []
    later = np.ones(1)
    for i in range(len(blocks) - 1, -1, -1):
        block = blocks[i]
        if i + 1 == len(blocks):
            later = np.ones(len(block.says))
        else:
            then = blocks[i + 1]
            seen = then.says * later
            anyone = float(_prior(then.people) @ seen)
            stay = _stay(block)
            later = stay * _carried(then.people, seen, block.people) + (1 - stay) * anyone
            later /= later.max()
        given = block.filtered * later
        smooth.append(given / given.sum())
    return smooth[::-1]


def _by_person(people: tuple[str, ...], states: Float64) -> dict[str | None, float]:
    found: dict[str | None, float] = {None: float(states[0])}
    for i, name in enumerate(people):
        found[name] = float(states[1 + i * len(LEADS) : 1 + (i + 1) * len(LEADS)].sum())
    return found


def _named(probabilities: Mapping[str | None, float]) -> str | None:
    name = max(probabilities, key=lambda each: (probabilities[each], each or ""))
    return name if probabilities[name] >= SURE else None
