"""A recorded session once more: ``python -m stream.replay --session SESSION``.

From its media where they are kept: everything is computed again. Else from its estimates: filter,
gate and decisions are, with the settings that the call had. Either way it says where the new states
differ from those that were told in the call.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lddu_model
from stream import columns, estimates, records
from stream.analysis import analyze_recording
from stream.call_settings import CallSettings
from stream.compare import compare, told
from stream.config import Consent, ReplayConfig, ServeConfig, StreamConfig, load
from stream.degrade import REASON
from stream.engines import Engines, checkpoint_of
from stream.errors import ConfigError
from stream.media import open_media
from stream.record_files import RecordError, SessionFolder
from stream.record_types import Record
from stream.session import with_reasons
from stream.smoothing import filter_of, prior_of, smooth_config
from stream.spec import live_spec
from workers.each import SmoothEach
from workers.smooth import SmoothStage
from workers.states import EmotionEvent, EmotionState, Reason

Plain = dict[str, Any]


def replay_session(
    name: str,
    folder: Path | None,
    config_file: Path | None,
    overrides: Plain,
    out: Path | None,
    *,
    from_media: bool = True,
) -> int:
    """Analyse a session again and print how it differs; the exit code: 0 the same, 1 not.

    Raises ``StreamError``.
    """
    config = load(ServeConfig, config_file, overrides)
    session = _session(name, folder, config)
    live = list(session.records())
    hello = next((record for record in live if record["type"] == "hello"), None)
    if hello is None:
        raise RecordError(
            f"the record of session {session.session} has no beginning",
            hint="its server was killed before it wrote one",
        )
    consent = Consent.model_validate(
        {key: value for key, value in hello["consent"].items() if key in Consent.model_fields}
    )
    shared = {name: getattr(config, name) for name in StreamConfig.model_fields}
    replay = ReplayConfig(
        **{**shared, "processes": False}, consent=consent, outlines=True, two_sided=False
    )
    again: Iterable[Plain]
    if from_media and session.media.exists():
        what, again = "media", _from_media(session, replay)
    else:
        what, again = "estimates", from_estimates(live, hello, replay)
    new = [dict(record) for record in again]
    if out is not None:
        _write(out, new)
    pair = compare(
        session.session,
        columns.gather(_of_windows(live, hello), "the session"),
        columns.gather(_of_windows(new, hello), "its replay"),
    )
    print(f"A: as told in the call, B: again from its {what}")
    print("\n".join(told(pair)))
    print(json.dumps({"from": what, **asdict(pair)}))
    return 0 if pair.same else 1


def _session(name: str, folder: Path | None, config: ServeConfig) -> SessionFolder:
    """The session that is named: its folder, or its name below the folder of records."""
    path = Path(name)
    if (path / "estimates.log").exists():
        path = path.resolve()
        return SessionFolder(path.parent.parent, path.name)
    root = folder or (Path(config.record.folder) if config.record is not None else None)
    if root is None:
        raise ConfigError(
            f"{name} is no folder of a session",
            hint="name one, or give --folder DIR, or the server's --config",
        )
    found = SessionFolder(root, name)
    if not found.files():
        raise RecordError(
            f"there is no record of session '{name}' in {root}",
            hint="see python -m stream.sessions list",
        )
    return found


def _from_media(session: SessionFolder, config: ReplayConfig) -> list[Plain]:
    """Everything again, on the time of the call."""
    consent = config.within(config.consent)
    found: list[Plain] = []

    async def write(record: Record) -> None:
        found.append(dict(record))

    with (
        open_media(
            session.media,
            fps=config.analysis.frames_per_second,
            max_width=config.analysis.max_width,
            audio=consent.voice or consent.words,
            video=consent.face,
            as_stored=True,
        ) as media,
        Engines.load(config) as engines,
    ):
        outcome = asyncio.run(analyze_recording(media, config, engines, write))
    if outcome.error is not None:
        raise outcome.error
    return found


def from_estimates(live: Iterable[Plain], hello: Plain, config: ReplayConfig) -> Iterator[Plain]:
    """Records of states and events, smoothed again from the ``estimate`` records in `live`."""
    model = lddu_model.load(checkpoint_of(config), spec=live_spec(config))
    if list(model.labels) != hello["labels"]:
        raise ConfigError(
            "the session was estimated by a model with other labels: " + ", ".join(hello["labels"]),
            hint="name its checkpoint with --set model.checkpoint=FOLDER",
        )
    yield hello
    smoother = _Smoother(model, hello, config)
    seen = 0
    for record in live:
        match record["type"]:
            case "estimate":
                seen += 1
                yield from smoother.estimate(record)
            case "settings":
                smoother.set(record)
            case "load":
                smoother.load(record)
            case "transcript" | "gap" | "person" | "end":
                yield record
    if not seen:
        raise RecordError(
            "the session holds no estimates, only what was told",
            hint="it was recorded by an older version; sessions with media can be replayed",
        )


class _Smoother:
    """Filter, gate and decisions of one session, set as its call set them."""

    def __init__(self, model: Any, hello: Plain, config: ReplayConfig) -> None:
        self._model, self._config = model, config
        self._labels: tuple[str, ...] = tuple(hello["labels"])
        self._prior = prior_of(model)
        self._paused = False
        self._lacking, self._lacked_until = False, -1.0
        self._refused = any(not hello["consent"].get(name) for name in config.modalities)
        settled = smooth_config(
            config.smoothing,
            config.gate,
            frozenset(hello["modalities"]),
            model.thresholds,
            self._prior,
            window=config.window.width,
        )
        self._stage: SmoothStage | SmoothEach = (
            SmoothEach(lambda name: SmoothStage(name, settled))
            if hello.get("many")
            else SmoothStage(hello["person"], settled)
        )

    def set(self, record: Mapping[str, Any]) -> None:
        """As ``stream.session.Session.set``."""
        self._paused = record["paused"]
        chosen = CallSettings(sensitivity=record["sensitivity"])
        smoothing = self._config.smoothing.model_copy(update={"filter": record["smoothing"]})
        width, thresholds = self._config.window.width, self._model.thresholds
        rule = filter_of(smoothing, width, thresholds, self._prior)
        constant = record["smoothing"] == "kalman_constant"
        self._stage.change(rule, chosen.shifts(self._labels), constant=constant)

    def load(self, record: Mapping[str, Any]) -> None:
        """As ``stream.session.Session.use``."""
        if self._lacking:
            self._lacked_until = record["t"]
        self._lacking = record["load"] in ("no_words", "nothing")

    def estimate(self, record: Mapping[str, Any]) -> Iterator[Plain]:
        """States and events of one estimate."""
        for message in self._stage.push(estimates.from_record(record, self._labels)):
            match message:
                case EmotionState():
                    yield dict(records.state(self._as_shown(message), 0.0))
                case EmotionEvent():
                    yield dict(records.event(message, 0.0))

    def _as_shown(self, state: EmotionState) -> EmotionState:
        if self._paused:
            return replace(state, labels={}, reasons=("paused",), complete=False)
        more: set[Reason] = {"no_consent"} if self._refused else set()
        if self._lacking or state.t <= self._lacked_until:
            more.add(REASON)
        return with_reasons(state, more)


def _of_windows(found: Iterable[Plain], hello: Plain) -> Iterator[Plain]:
    """Without states that fade between windows, which only time brings, and raw estimates."""
    for record in found:
        if record["type"] == "estimate":
            continue
        if record["type"] == "state" and record["index"] >= 0:
            end = record["index"] * hello["hop_s"] + hello["window_s"]
            if abs(record["t"] - end) > 1e-3:
                continue
        yield record


def _write(path: Path, found: Iterable[Plain]) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in found)
    except OSError as error:
        raise RecordError(
            f"--out {path} cannot be written: {error.strerror}",
            hint="name a new file in a folder that you may write to",
        ) from None
