"""Checkpoints: a safetensors file and `model.json`, which names it and says everything else.

`model.json` is written last and holds the digest of the tensors, whose file name carries that
digest: a crash while saving leaves the previous checkpoint whole. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialise
from torch import Tensor

from lddu_model.api import VARIANTS, Calibration, Model, create
from lddu_model.errors import CheckpointError, ModelError
from lddu_model.files import replacing, write_text
from lddu_model.spec import FeatureSpec, differences

FORMAT = 3
JSON_NAME = "model.json"
AGAIN = "restore the file, or train again: python -m lddu_model.train CONFIG"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class _Tensors(_Strict):
    file: str
    sha256: str


class _Calibration(_Strict):
    scale: list[list[float]]
    shift: list[list[float]]
    variance_scale: list[float]
    variance_power: list[float]


class CheckpointFile(_Strict):
    """What `model.json` holds."""

    format: int
    variant: str
    hyper: dict[str, Any]
    labels: list[str]
    spec: dict[str, Any]
    spec_digest: str
    tensors: _Tensors
    normalisation: str
    calibration: _Calibration
    thresholds: list[float]
    record: dict[str, Any]


def save(folder: str | Path, model: Model) -> Path:
    """Write `model` into `folder` (made when missing); returns the path of its `model.json`.

    A checkpoint that is already there is replaced in one step; other files stay.
    """
    folder = Path(folder)
    state = {name: x.detach().cpu().contiguous() for name, x in model.net.state_dict().items()}
    data = serialise(state)
    digest = hashlib.sha256(data).hexdigest()
    tensors = folder / f"model-{digest[:12]}.safetensors"
    with replacing(tensors) as temporary:
        temporary.write_bytes(data)
    return _commit(folder, model, tensors, digest)


def _commit(folder: Path, model: Model, tensors: Path, digest: str) -> Path:
    content = CheckpointFile(
        format=FORMAT,
        variant=model.variant,
        hyper=model.hyper.model_dump(),
        labels=list(model.labels),
        spec=model.spec.to_dict(),
        spec_digest=model.spec.digest,
        tensors=_Tensors(file=tensors.name, sha256=digest),
        normalisation="(x - encoders.M.mean) * encoders.M.scale, tensors in the file above",
        calibration=_Calibration(
            scale=[list(row) for row in model.calibration.scale],
            shift=[list(row) for row in model.calibration.shift],
            variance_scale=list(model.calibration.variance_scale),
            variance_power=list(model.calibration.variance_power),
        ),
        thresholds=list(model.thresholds),
        record=model.record,
    )
    path = folder / JSON_NAME
    write_text(path, json.dumps(content.model_dump(), indent=1, ensure_ascii=False) + "\n")
    for old in folder.glob("model-*.safetensors"):
        if old != tensors:
            old.unlink()
    return path


def load(path: str | Path, spec: FeatureSpec | None = None, device: str = "cpu") -> Model:
    """Read a checkpoint: its folder, its `model.json` or the safetensors file beside that.

    With `spec`, a checkpoint of another feature spec is an error that names what differs. Every
    other fault (missing or damaged file, unknown key, missing tensor) is a `CheckpointError` too.
    """
    folder, content = _read_json(Path(path))
    where = folder / JSON_NAME
    model = _build(where, content)
    if spec is not None and spec.digest != model.spec.digest:
        lines = "\n".join(f"  {line}" for line in differences(model.spec, spec))
        raise CheckpointError(
            f"{where} was made for feature spec {model.spec.name!r} "
            f"({model.spec.digest[:12]}), not for {spec.name!r} ({spec.digest[:12]}):\n{lines}",
            "use a checkpoint that was trained on these features, or prepare and train anew",
        )
    _fill(model, folder / content.tensors.file, content.tensors.sha256)
    return model.to(device)


def _read_json(path: Path) -> tuple[Path, CheckpointFile]:
    folder = path if path.is_dir() else path.parent
    where = folder / JSON_NAME
    if not where.is_file():
        raise CheckpointError(f"no checkpoint at {path}: {where} is missing", AGAIN)
    try:
        plain = json.loads(where.read_text(encoding="utf-8"))
        content = CheckpointFile.model_validate(plain)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}"
            for each in error.errors()
        )
        raise CheckpointError(f"{where} is not a valid checkpoint: {faults}", AGAIN) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} cannot be read: {error}", AGAIN) from error
    if path.suffix == ".safetensors" and path.name != content.tensors.file:
        raise CheckpointError(
            f"{where} belongs to {content.tensors.file}, not to {path.name}",
            "name the folder, or that file",
        )
    return folder, content


def _build(where: Path, content: CheckpointFile) -> Model:
    if content.format != FORMAT:
        raise CheckpointError(
            f"{where} has format {content.format}, this version reads format {FORMAT}",
            "install the version that wrote it, or train again",
        )
    if content.variant not in VARIANTS:
        raise CheckpointError(
            f"{where} holds a model of unknown variant {content.variant!r}",
            f"this version knows {sorted(VARIANTS)}",
        )
    try:
        spec = FeatureSpec.from_dict(content.spec)
        model = create(content.variant, spec, content.labels, content.hyper)
    except ModelError as error:
        raise CheckpointError(f"{where}: {error.message}", error.hint or AGAIN) from error
    if spec.digest != content.spec_digest:
        raise CheckpointError(f"{where}: spec and spec_digest contradict each other", AGAIN)
    model.calibration = _calibration(where, content, len(spec.modalities))
    model.thresholds = tuple(content.thresholds)
    model.record = content.record
    return model


def _calibration(where: Path, content: CheckpointFile, modalities: int) -> Calibration:
    found = content.calibration
    rows = [[len(row) for row in each] for each in (found.scale, found.shift)]
    if rows != [[len(content.labels)] * 2**modalities] * 2:
        raise CheckpointError(
            f"{where}: calibration needs one number per label and combination of modalities", AGAIN
        )
    if len(content.thresholds) != len(content.labels):
        raise CheckpointError(f"{where}: thresholds need one number per label", AGAIN)
    if {len(found.variance_scale), len(found.variance_power)} != {1 + modalities}:
        raise CheckpointError(
            f"{where}: variances need a scale and power, fused and per modality", AGAIN
        )
    if min(*found.variance_scale, *found.variance_power, *map(min, found.scale)) <= 0:
        raise CheckpointError(f"{where}: a scale or power of calibration is not positive", AGAIN)
    return Calibration(
        tuple(tuple(row) for row in found.scale),
        tuple(tuple(row) for row in found.shift),
        tuple(found.variance_scale),
        tuple(found.variance_power),
    )


def _fill(model: Model, path: Path, digest: str) -> None:
    try:
        data = path.read_bytes()
        state = parse_tensors(data)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", AGAIN) from error
    expected = model.net.state_dict()
    faults = [f"tensor {name} is missing" for name in expected if name not in state]
    faults += [f"tensor {name} is unknown" for name in state if name not in expected]
    faults += [
        f"tensor {name} has shape {tuple(x.shape)}, expected {tuple(expected[name].shape)}"
        for name, x in state.items()
        if name in expected and x.shape != expected[name].shape
    ]
    faults += [f"tensor {name} is not finite" for name, x in state.items() if not _finite(x)]
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(f"{path}: {'; '.join(faults[:3])}{more}", AGAIN)
    if hashlib.sha256(data).hexdigest() != digest:
        raise CheckpointError(f"{path} is not the file that {JSON_NAME} names (sha256)", AGAIN)
    model.net.load_state_dict(state)


def _finite(x: Tensor) -> bool:
    return bool(x.isfinite().all())
