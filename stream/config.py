"""Configuration: TOML files, checked before anything starts; an unknown key is an error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from stream.errors import ConfigError
from stream.purpose import Purpose, objection
from stream.sections import (
    AccessConfig,
    GroupConfig,
    LimitsConfig,
    OverloadConfig,
    RecordConfig,
    Seconds,
    Secret,
    Section,
    TlsConfig,
    TurnConfig,
)
from stream.smoothing import GateConfig, SmoothingConfig
from workers.messages import MODALITIES, Modality

CONSENT_VERSION = "2"
"""Changes whenever the text that people agree to changes."""


class Consent(Section):
    """What a person agreed to have analysed."""

    version: str = CONSENT_VERSION
    face: bool = False
    voice: bool = False
    words: bool = False
    record: bool = False
    """That estimates (and what else ``[record]`` of the configuration names) are kept."""
    media: bool = False
    """That picture and sound are kept too; only with the record, and for as long as
    ``record.days.media`` says."""
    group: bool = False
    """That estimates count in what ``[group]`` tells the room."""
    room: bool = False
    """That the others in the room see the estimates, where ``room_view`` is ``everybody``."""

    @property
    def any(self) -> bool:
        return self.face or self.voice or self.words


class WindowConfig(Section):
    """Sliding windows, in seconds."""

    width: Seconds = 3.0
    hop: Seconds = 0.25
    max_wait: Seconds = 0.4
    """How long after its end a live window waits for a source that lags."""


TextModel = Literal["minilm", "e5-small"]


class AnalysisConfig(Section):
    """How much is looked at, and how."""

    frames_per_second: Annotated[float, Field(ge=1.0, le=12.5)] = 10.0
    faces: Annotated[int, Field(ge=1, le=8)] = 2
    max_width: Annotated[int, Field(ge=160, le=1920)] = 640
    language: str | None = "en"
    """ISO 639-1 code; none: detected per segment (needs a multilingual model)."""
    asr_model: Literal["whisper-tiny.en", "whisper-base"] = "whisper-tiny.en"
    text_model: TextModel = "minilm"
    """What makes vectors of words: minilm knows English, e5-small Chinese and English. A checkpoint
    needs the one that it was trained with; one ships for each."""
    max_segment: Annotated[float, Field(ge=1.5, le=28.0)] = 2.4
    """Speech is sent to transcription in segments of at most this many seconds."""
    words: bool = True
    """False: no transcription (e.g. a language that the text encoder does not know)."""


class ManyConfig(Section):
    """A picture with many people: a shared tab, a recorded meeting."""

    at_once: Annotated[int, Field(ge=1, le=8)] = 8
    """Faces that are looked at in each picture; with more people each waits for its turn. Fewer
    cost less, and mouths that are seen less often tell less about who speaks."""
    max_width: Annotated[int, Field(ge=320, le=1920)] = 1280
    """Of the picture, instead of ``analysis.max_width``."""


class DeviceConfig(Section):
    lddu: Literal["auto", "cpu", "cuda"] = "auto"
    asr: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """CPU threads per engine."""


class ModelConfig(Section):
    checkpoint: str | None = None
    """Folder of a checkpoint; none: the one that ships for the text model."""
    weights: str | None = None
    """Folder with the weights of the extractors; none: the cache."""


class StreamConfig(Section):
    """What live, replay and preparation share."""

    purpose: Purpose = "self_view"
    purpose_reference: Annotated[str, Field(max_length=200)] | None = None
    """The document that justifies a purpose; ``medical_safety`` needs one."""
    text_only: bool = False
    """Only what is said is looked at, never face or voice."""
    processes: bool = False
    """Every engine in a process of its own (that of faces always is)."""
    model: ModelConfig = ModelConfig()
    device: DeviceConfig = DeviceConfig()
    window: WindowConfig = WindowConfig()
    analysis: AnalysisConfig = AnalysisConfig()
    many: ManyConfig = ManyConfig()
    smoothing: SmoothingConfig = SmoothingConfig()
    gate: GateConfig = GateConfig()

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those that are looked at, where people agree to it."""
        words: tuple[Modality, ...] = ("words",) if self.analysis.words else ()
        return words if self.text_only else ("face", "voice", *words)

    @property
    def private(self) -> bool:
        """Whether estimates are shown to the person alone and are not kept."""
        return False

    def within(self, consent: Consent) -> Consent:
        """`consent` without what is not looked at anyway."""
        looked: dict[str, bool] = {
            name: getattr(consent, name) and name in self.modalities for name in MODALITIES
        }
        return consent.model_copy(update=looked)

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        text_only, private = self.text_only, self.private
        why = objection(self.purpose, self.purpose_reference, text_only=text_only, private=private)
        if why is not None:
            raise ValueError(why)
        if not self.modalities:
            raise ValueError("'text_only' needs 'analysis.words'")
        return self


class WhipConfig(Section):
    token: Annotated[Secret, Field(repr=False)]
    """Bearer token that a publisher must present."""
    consent: Consent
    """Given by the people in the published media, before it is published."""
    people: Literal["one", "many"] = "one"
    """many: several people in one picture, each with estimates of their own."""


class ServeConfig(StreamConfig):
    processes: bool = True
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    tls: TlsConfig | None = None
    ice_servers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """STUN or TURN addresses; none by default, so nobody outside learns of a call."""
    turn: TurnConfig | None = None
    access: AccessConfig | None = None
    limits: LimitsConfig = LimitsConfig()
    overload: OverloadConfig = OverloadConfig()
    whip: WhipConfig | None = None
    record: RecordConfig | None = None
    """None: nothing is written anywhere."""
    group: GroupConfig | None = None
    """None: nobody is told about a room."""
    room_view: Literal["private", "everybody"] = "private"
    """Who sees the records of a call: its own person, or everybody in the room where that person
    agreed to it."""
    operator: str | None = None
    """Who is responsible and how to reach them; people are told."""
    audit: str | None = None
    """File of the audit log; none: in the folder of ``[record]``, if there is one."""
    max_sessions: Annotated[int, Field(ge=1)] = 8
    reconnect_within: Annotated[float, Field(ge=0.0, le=3600.0)] = 60.0
    """Seconds for which a call waits for its page when their connection is lost; 0: it ends."""

    @property
    def private(self) -> bool:
        shown = self.room_view == "everybody" or self.whip is not None or self.group is not None
        return self.record is None and not shown

    @property
    def audit_file(self) -> Path | None:
        """Where the audit log is; None: there is none."""
        if self.audit is not None:
            return Path(self.audit)
        return None if self.record is None else Path(self.record.folder) / "audit.log"


class ReplayConfig(StreamConfig):
    consent: Consent = Consent(face=True, voice=True, words=True)
    """What the recorded people agreed to have analysed."""
    boxes: bool = True
    """Also write where faces are: a report draws it."""
    people: Literal["one", "many"] = "one"
    """many: several people in one picture, each with estimates of their own."""
    outlines: bool = False
    """Also write face outlines."""
    two_sided: bool = True
    """Also write the whole recording, smoothed by what came before and after."""


class SetConfig(Section):
    """One feature set and the labelled data that it is made from; see ``stream.datasets``."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    """Its folder, inside that of all sets."""
    kind: Literal["table", "emodb", "segments", "text", "plain"]
    path: str
    """Table, folder or text file, relative to ``root``."""
    media: str | None = None
    """table: folder of the recordings, relative to ``root``; none: the folder of the table."""
    files: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """plain: the recordings in the folder."""
    labels: str | None = None
    """text: file with one label name per line, relative to ``root``."""
    map: dict[str, str] = Field(default_factory=dict)
    """Name of a label in the data -> ours; "" for one that is none of ours."""
    split: str | None = None
    """table and segments: only rows with this value in the column ``split``."""
    use: Annotated[tuple[Literal["words", "voice", "face"], ...], Field(strict=False)] = (
        "words",
        "voice",
        "face",
    )
    """Modalities that are computed."""
    mode: Literal["utterance", "windows"] = "utterance"
    """One sample per labelled stretch, or one per window of the plan whose middle lies in one."""
    damaged: int = Field(default=0, ge=0)
    """Instead of each recording or text so many copies of it, damaged as in calls: sound by noise,
    babble, rooms, microphones and lost packets, texts by mishearing; see ``stream.corruption``."""
    every: int = Field(default=1, ge=1)
    """Only each so many-th recording or text."""
    preceded: Annotated[float, Field(ge=0, le=1)] = 0.0
    """text: share of texts that are spoken right after another text of the set, which is then what
    their words are encoded after, as words of a call are after those before them."""

    @model_validator(mode="after")
    def _pictures_stay(self) -> SetConfig:
        if self.damaged and self.kind != "text" and "face" in self.use:
            raise ValueError('only sound and texts can be damaged: leave "face" out of use')
        return self

    @model_validator(mode="after")
    def _fits_kind(self) -> SetConfig:
        if self.preceded and self.kind != "text":
            raise ValueError("only texts can be preceded: leave it out, or set kind to text")
        if bool(self.files) != (self.kind == "plain"):
            raise ValueError("files are named for sets of kind plain, and only for these")
        return self


class PrepareConfig(StreamConfig):
    """Preparation of training data."""

    consent: Consent = Consent(face=True, voice=True, words=True)
    """What the recorded people agreed to have analysed."""
    root: str = "."
    """Folder that all paths are relative to; itself relative to the working directory."""
    dtype: Literal["float32", "float16"] = "float32"
    """Precision of the stored features."""
    sets: Annotated[tuple[SetConfig, ...], Field(strict=False)] = ()


Config = TypeVar("Config", bound=Section)


def load(kind: type[Config], path: Path | None, overrides: dict[str, Any] | None = None) -> Config:
    """Read `kind` from a TOML file (None: all defaults); `overrides` are dotted keys."""
    data: dict[str, Any] = {} if path is None else _read(path)
    where = "the defaults" if path is None else str(path)
    for key, value in (overrides or {}).items():
        _set(data, key, value)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(
            _explain(error, where), hint="correct it; configs/ has examples"
        ) from None


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """``["a.b=1", "c=text"]`` as dotted keys with TOML values (bare words are strings)."""
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"--set {pair}: not of the form key=value", hint="--set window.hop=0.5"
            )
        try:
            result[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            result[key] = text
        except RecursionError:
            raise ConfigError(
                f"--set {key}: the value is nested too deeply", hint="--set window.hop=0.5"
            ) from None
    return result


def use_baseline(overrides: dict[str, Any], baseline: str | None) -> dict[str, Any]:
    """`overrides` with the filter that ``--baseline`` names; None changes nothing."""
    return overrides if baseline is None else {**overrides, "smoothing.filter": baseline}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"configuration {path} cannot be read: {error.strerror}", hint="check the path"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(
            f"configuration {path} is not valid TOML: {error}", hint="correct that line"
        ) from None


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise ConfigError(
                f"--set {key}: '{parent}' is a value, not a table", hint="see configs/"
            )
    data[last] = value


SECRET = {"token", "key", "secret", "access", "turn", "whip"}
"""Keys whose values are not shown, and sections that have such."""


def _explain(error: ValidationError, where: str) -> str:
    problems = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            problems.append(f"unknown key '{key}'")
        else:  # values of whole sections are not shown: somewhere in them may be secrets
            hidden = SECRET & set(key.split(".")) or isinstance(item["input"], dict | list)
            got = "" if hidden else f", got {item['input']!r}"
            where_in = f"'{key}': " if key else ""
            problems.append(f"{where_in}{item['msg'].removeprefix('Value error, ')}{got}")
    return f"configuration {where}: " + "; ".join(problems)
