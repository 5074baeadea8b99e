"""Feature sets on disk: safetensors shards and `index.json`, which names them.

    writer = ShardWriter("runs/emodb", spec, labels)
    writer.add(sample)
    writer.close()                      # only now is the set there
    samples = read_shards("runs/emodb") # a sequence of Sample

A shard holds the rows of many samples one after the other: `<modality>.features` (rows, D),
`<modality>.mask` (rows,) and `<modality>.length` (samples,), beside `labels` (samples, C) and
`labelled` (samples,). Identifiers and groups are JSON in its header. Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from lddu_model.errors import DataError, ModelError
from lddu_model.files import replacing, write_text
from lddu_model.spec import FeatureSpec, Float32, Sample

FORMAT = 1
INDEX = "index.json"
AGAIN = "write the set again: python -m stream.prepare"
Dtype = Literal["float32", "float16"]


class ShardWriter:
    """Writes samples in the order of ``add``; the set exists once ``close`` has returned.

    As a context manager it closes on success and leaves no index after an exception. An existing
    set in `folder` is replaced.
    """

    def __init__(
        self,
        folder: str | Path,
        spec: FeatureSpec,
        labels: Sequence[str],
        *,
        samples_per_shard: int = 2048,
        dtype: Dtype = "float32",
    ) -> None:
        self.folder = Path(folder)
        self.spec = spec
        self.labels = tuple(labels)
        self._size = samples_per_shard
        self._dtype = np.dtype(dtype)
        self._open: list[Sample] = []
        self._written: list[dict[str, Any]] = []
        self._ids: set[str] = set()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / INDEX).unlink(missing_ok=True)
        for old in self.folder.glob("shard-*.safetensors"):
            old.unlink()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()

    def add(self, sample: Sample) -> None:
        """Append one sample; wrong shapes, labels or a repeated id are a ``DataError``."""
        self._check(sample)
        self._open.append(sample)
        if len(self._open) >= self._size:
            self._write()

    def close(self) -> None:
        """Write what is left and the index."""
        if self._open:
            self._write()
        index = {
            "format": FORMAT,
            "spec": self.spec.to_dict(),
            "labels": list(self.labels),
            "shards": self._written,
        }
        write_text(self.folder / INDEX, json.dumps(index, indent=1) + "\n")

    def _check(self, sample: Sample) -> None:
        where = f"sample {sample.id!r}"
        if not sample.id or sample.id in self._ids:
            raise DataError(f"{where}: every sample of a set needs an id of its own")
        if sample.labels is not None and sample.labels.shape != (len(self.labels),):
            raise DataError(f"{where}: labels {sample.labels.shape}, expected {len(self.labels)}")
        for name, features in sample.features.items():
            expected = self.spec[name].dim
            if features.ndim != 2 or features.shape[1] != expected:
                raise DataError(f"{where}: {name} {features.shape}, expected (steps, {expected})")
            mask = sample.mask.get(name)
            if mask is not None and mask.shape != features.shape[:1]:
                raise DataError(f"{where}: mask of {name} {mask.shape}, features {features.shape}")
        self._ids.add(sample.id)

    def _write(self) -> None:
        path = self.folder / f"shard-{len(self._written):05d}.safetensors"
        data = serialise(self._tensors(), self._header())
        with replacing(path) as temporary:
            temporary.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        entry = {"file": path.name, "sha256": digest, "samples": len(self._open)}
        self._written.append(entry)
        self._open = []

    def _header(self) -> dict[str, str]:
        ids = [sample.id for sample in self._open]
        groups = [sample.group for sample in self._open]
        # One key only: safetensors writes several in no fixed order, which changes the digest.
        return {"samples": json.dumps({"ids": ids, "groups": groups})}

    def _tensors(self) -> dict[str, NDArray[Any]]:
        none = np.zeros(len(self.labels), dtype=np.float32)
        labels = [none if each.labels is None else each.labels for each in self._open]
        tensors: dict[str, NDArray[Any]] = {
            "labels": np.stack(labels).astype(np.float32),
            "labelled": np.array([each.labels is not None for each in self._open]),
        }
        for modality in self.spec.modalities:
            name = modality.name
            empty = np.zeros((0, modality.dim), dtype=np.float32)
            features = [each.features.get(name, empty) for each in self._open]
            masks = [
                _mask(each, name, len(x)) for each, x in zip(self._open, features, strict=True)
            ]
            tensors[f"{name}.features"] = np.concatenate(features).astype(self._dtype)
            tensors[f"{name}.mask"] = np.concatenate(masks).astype(bool)
            tensors[f"{name}.length"] = np.array([len(x) for x in features], dtype=np.int64)
        return tensors


def _mask(sample: Sample, name: str, length: int) -> NDArray[np.bool_]:
    """(length,) validity of one modality; without a mask every row is valid."""
    return sample.mask.get(name, np.ones(length, dtype=bool))[:length]


class ShardSet(Sequence[Sample]):
    """A feature set in memory; behaves as a sequence of samples, whose arrays are views."""

    def __init__(
        self, path: Path, spec: FeatureSpec, labels: tuple[str, ...], fingerprint: str
    ) -> None:
        self.path = path
        self.spec = spec
        self.labels = labels
        self.fingerprint = fingerprint
        """SHA-256 over the digests of all shards, the spec and the labels."""
        self._samples: list[Sample] = []

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        return self._samples[index]

    def extend(self, samples: Sequence[Sample]) -> None:
        self._samples.extend(samples)


def read_shards(folder: str | Path) -> ShardSet:
    """Read and verify a feature set; every fault is a ``DataError`` that names the file."""
    path = Path(folder)
    index = _read_index(path / INDEX)
    try:
        spec = FeatureSpec.from_dict(index["spec"])
        labels = tuple(str(label) for label in index["labels"])
        shards = [(str(x["file"]), str(x["sha256"]), int(x["samples"])) for x in index["shards"]]
    except (KeyError, TypeError, ValueError, ModelError) as error:
        raise DataError(f"{path / INDEX} is not an index of shards: {error}", AGAIN) from error
    parts = [spec.digest, *labels, *(digest for _, digest, _ in shards)]
    fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    found = ShardSet(path, spec, labels, fingerprint)
    for name, digest, count in shards:
        samples = _read_shard(path / name, digest, spec)
        if len(samples) != count:
            raise DataError(f"{path / name} holds {len(samples)} samples, not {count}", AGAIN)
        found.extend(samples)
    return found


def _read_index(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"no feature set at {path.parent}: {path} is missing", AGAIN)
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", AGAIN) from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise DataError(f"{path} is not an index of shards of format {FORMAT}", AGAIN)
    return index


def _read_shard(path: Path, digest: str, spec: FeatureSpec) -> list[Sample]:
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != digest:
            raise DataError(f"{path} is damaged or not of this set (sha256)", AGAIN)
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        names = json.loads(header["samples"])
        return _split(tensors, names["ids"], names["groups"], spec)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", AGAIN) from error


def _split(
    tensors: dict[str, NDArray[Any]], ids: list[str], groups: list[str], spec: FeatureSpec
) -> list[Sample]:
    features: list[dict[str, Float32]] = [{} for _ in ids]
    masks: list[dict[str, NDArray[np.bool_]]] = [{} for _ in ids]
    for name in spec.names:
        rows = tensors[f"{name}.features"].astype(np.float32, copy=False)
        valid = tensors[f"{name}.mask"]
        ends = np.cumsum(tensors[f"{name}.length"])
        for i, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if end > start:
                features[i][name], masks[i][name] = rows[start:end], valid[start:end]
    labels, labelled = tensors["labels"].astype(np.float32, copy=False), tensors["labelled"]
    return [
        Sample(features[i], masks[i], labels[i] if labelled[i] else None, ids[i], groups[i])
        for i in range(len(ids))
    ]
