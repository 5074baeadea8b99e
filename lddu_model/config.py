"""The configuration of a training run: TOML, where a key that is not known is an error."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lddu_model.api import VARIANTS
from lddu_model.errors import ConfigError
from lddu_model.losses import ClassWeights


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Strict):
    """One feature set (a folder of shards) and how it is split.

    Groups that are named go where they are named; of the rest a share goes to validation, decided
    by a hash of the sample's id or group, so that a sample stays on its side when others come.
    """

    name: str
    path: Path
    """Relative to the working directory."""
    weight: float = Field(default=1.0, ge=0)
    """Share of the training draws, relative to the other sets; 0 = partner in mixtures only."""
    validation: Annotated[float, Field(ge=0, le=1)] | Path = 0.1
    """A share of `path`, or another feature set."""
    by: Literal["id", "group"] = "id"
    validation_groups: tuple[str, ...] = ()
    test_groups: tuple[str, ...] = ()
    test: Path | None = None
    """Another feature set, only for the final score."""
    usual: bool = True
    """Whether its training samples are among what the network learns to call usual."""


class MixConfig(_Strict):
    """Samples of several modalities from sets that have one each; see ``data.mix``."""

    rate: float = Field(default=0.5, ge=0, le=1)
    """Share of draws that get partners."""
    neutral: float = Field(default=0.3, ge=0, le=1)
    """Share of partners that show no label although the sample does."""
    conflict: float = Field(default=0.0, ge=0, le=1)
    """Share of draws with labels and partners where one partner shows others, and the labels are
    those of one of the two by chance."""


class AugmentConfig(_Strict):
    """What training does to samples; see ``data.augment``."""

    drop: dict[str, float] = Field(default_factory=dict)
    """Chance per modality to be dropped, where another one remains."""
    crop: float = Field(default=0.3, ge=0, le=1)
    """Chance per modality to be cut to a part of its steps."""
    drop_steps: float = Field(default=0.1, ge=0, lt=1)
    """Upper end of the share of steps that are lost."""
    noise: dict[str, float] = Field(default_factory=dict)
    """Per modality the upper end of the standard deviation of noise on every step, in standard
    deviations per feature."""
    shift: dict[str, float] = Field(default_factory=dict)
    """The same for one offset of the whole sequence: another speaker, face or microphone."""


class OptimConfig(_Strict):
    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    batch: int = Field(default=128, ge=2)
    epochs: int = Field(default=20, ge=1)
    samples_per_epoch: int | None = Field(default=None, ge=2)
    """Draws per epoch; None = as many as there are training samples."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of all steps with rising learning rate; then half a cosine down to 0."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    clip_each: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient of each parameter, before `clip`."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    bias_correction: bool = True
    """False: Adam as BERT and the released LDDU use it, without correcting young averages."""
    average: float | None = Field(default=None, gt=0, lt=1)
    """Decay per step of a moving average of the weights, which is what is judged and kept; None:
    the weights as they are."""
    patience: int = Field(default=5, ge=1)
    """Epochs without a better validation score after which training ends."""


class TrainConfig(_Strict):
    name: str
    out: Path
    labels: tuple[str, ...] = Field(min_length=1)
    variant: str = "default"
    seed: int = 1
    seeds: tuple[int, ...] = ()
    """Several runs instead of one, each in a folder of its own, with mean and deviation."""
    modalities: tuple[str, ...] = ()
    """Only these of the sets' modalities; empty = all."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None = torch's choice."""
    compile: bool = False
    """Whether torch.compile translates the network: minutes first, faster steps on a GPU."""
    model: dict[str, Any] = Field(default_factory=dict)
    """Hyper-parameters of the variant."""
    loss: dict[str, Any] = Field(default_factory=dict)
    """Loss configuration of the variant."""
    optim: OptimConfig = OptimConfig()
    mix: MixConfig = MixConfig()
    augment: AugmentConfig = AugmentConfig()
    data: tuple[DataConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> TrainConfig:
        names = [each.name for each in self.data]
        if len(set(names)) != len(names):
            raise ValueError(f"data sets need different names, got {names}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ, got {list(self.seeds)}")
        return self

    @property
    def loss_config(self) -> ClassWeights:
        """`loss` as the variant reads it; a ``ValidationError`` of pydantic when it does not fit.

        An unknown variant has no loss configuration; making the model tells about it.
        """
        known = VARIANTS.get(self.variant)
        return ClassWeights() if known is None else known.loss(**self.loss)

    def one(self, seed: int) -> TrainConfig:
        """The run with one of the `seeds`."""
        changes = {"seed": seed, "seeds": (), "out": self.out / f"seed-{seed}"}
        return self.model_copy(update=changes)


def read_changed(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """A TOML file with `changes` such as ``optim.epochs=3`` or ``data.0.path="x"``."""
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    for change in changes:
        _apply(plain, change)
    return plain


def read_config(path: str | Path, changes: Sequence[str] = ()) -> TrainConfig:
    """Read `path` and apply `changes`, see ``read_changed``."""
    plain = read_changed(Path(path), changes)
    where = f"{path} with --set {' '.join(changes)}" if changes else str(path)
    prefix: tuple[str, ...] = ()
    try:
        config = TrainConfig.model_validate(plain)
        prefix = ("loss",)
        config.loss_config  # noqa: B018  # checks it
    except ValidationError as error:
        faults = "".join(
            f"\n  {_describe((*prefix, *each['loc']), each['msg'])}" for each in error.errors()
        )
        raise ConfigError(f"{where} has wrong settings:{faults}", "correct these keys") from error
    return config


def _describe(location: tuple[int | str, ...], message: str) -> str:
    unknown = message == "Extra inputs are not permitted"
    return f"{'.'.join(map(str, location))}: {'unknown key' if unknown else message}"


def _apply(plain: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals:
        raise ConfigError(f"--set {change}: expected key=value", "for example --set seed=2")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text  # a bare word is a string
    *parents, last = key.strip().split(".")
    node: Any = plain
    try:
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
        node[int(last) if isinstance(node, list) else last] = value
    except (IndexError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"--set {change}: no such key in the configuration") from error
