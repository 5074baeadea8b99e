"""A voice over a bad network: what is lost of it, how late the rest is, what is understood.

A sender in this process speaks for --seconds to our receiver and, at the same time and with the
same losses, to plain aiortc. Faults begin after 5 s and end 12 s before the end. ``lost`` is the
share of the sound sent meanwhile that was neither received nor recovered from a copy (what is
concealed is lost), ``network`` the share of packets that the relay lost. Latency is from sending
to arrival behind the decoder, ``added`` that beyond the median of the first 5 s; ``settled_s`` are
the seconds from the end of the faults until it is less than 20 ms above that median again. ``wer``
is the word error rate of what is transcribed against the run without faults, of the same receiver;
at ``clean`` that of the same sound 10 ms later, below which nothing can be told apart. In
``cut-cable`` both ends are in network namespaces, and the link between them is taken down; where
that is not allowed, ``skipped`` says what is missing.

What must hold: lost <= loss + 1 point at 1 and 5 %; added latency (95th percentile) <= 120 ms and
settled within 10 s everywhere.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np

from benchmarks.asr import listen
from benchmarks.chaos.heard import Heard, Ours, Plain, latencies, lost, lost_plain
from benchmarks.chaos.journal import JOURNALS, PROJECT, Journal, Result
from benchmarks.chaos.relay import Link, Relay
from benchmarks.chaos.speech import Voice, encode, speech
from benchmarks.chaos.veth import Cable, End, Unable
from stream import models
from tests.webrtc_peers import accept, new_sender, offer_of, report_exactly
from workers.messages import SAMPLE_RATE
from workers.vad import VadConfig
from workers.whisper import Transcriber

LEAD_S, TAIL_S = 5.0, 12.0
SOUND = JOURNALS / "network"

SHIFT = 160
"""Samples by which undisturbed sound is shifted, to see how much that alone changes the words."""


STILL = Link()


@dataclass(frozen=True, slots=True)
class Scene:
    link: Link = STILL
    expects: int = 0
    """Loss in % for which the sender makes copies; 0: it makes none."""
    fast: float = 0.0
    """Parts per million by which the sender's clock is fast."""
    pulled_s: float = 0.0
    """The link itself is down in the last seconds of the faults."""


SCENES = {
    "clean": Scene(),
    "loss-1": Scene(Link(loss=0.01), expects=1),
    "loss-5": Scene(Link(loss=0.05), expects=5),
    "loss-10": Scene(Link(loss=0.10), expects=10),
    "loss-5-without-copies": Scene(Link(loss=0.05)),
    "reordered": Scene(Link(late=0.10, late_s=0.05)),
    "jitter": Scene(Link(jitter_s=0.1)),
    "cut": Scene(Link(cut_s=10.0)),
    "cut-cable": Scene(pulled_s=10.0),
    "drift": Scene(fast=200.0),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=65.0)
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-words", action="store_true", help="do not transcribe")


def run(options: argparse.Namespace, journal: Journal) -> Result:
    media = Path(os.environ.get("LDDU_SHARED") or PROJECT.parent / "shared") / "media"
    sound = speech(media, options.seconds)
    SOUND.mkdir(parents=True, exist_ok=True)
    figures = {}
    for name in options.scenes:
        scene = SCENES[name]
        packets = encode(sound, scene.expects)

        def call(name: str = name, scene: Scene = scene, packets: Any = packets) -> Result:
            return over_a_cable(name, scene, packets, f"{options.seed} {name}")

        figures[name] = journal.do(name, call)
        print(name, figures[name], flush=True)
    heard = [name for name, figure in figures.items() if "skipped" not in figure]
    words = {} if options.without_words else understood(heard, journal)
    for name, rates in words.items():
        for who, rate in rates.items():
            figures[name][who]["wer"] = rate
    return {"scenes": figures, **judged(figures)}


def judged(figures: Result) -> Result:
    """What must hold, by name."""
    held: dict[str, bool] = {}
    for name, figure in figures.items():
        if "skipped" in figure:
            continue
        ours, loss = figure["ours"], SCENES[name].link.loss
        if loss in (0.01, 0.05) and SCENES[name].expects:
            held[f"{name}: lost"] = ours["lost"] <= loss + 0.01
        held[f"{name}: added latency"] = ours["added_p95_ms"] <= 120
        held[f"{name}: settled"] = ours["settled_s"] is not None and ours["settled_s"] <= 10
    return {"must_hold": held, "held": all(held.values())}


def over_a_cable(name: str, scene: Scene, packets: list[bytes], seed: str) -> Result:
    """One scene, over a cable where one is pulled."""
    if not scene.pulled_s:
        return asyncio.run(both(name, scene, packets, seed, None))
    try:
        with Cable() as cable:
            return asyncio.run(both(name, scene, packets, seed, cable))
    except Unable as error:
        return {"skipped": str(error)}


def at(cable: Cable | None, end: End) -> contextlib.AbstractContextManager[None]:
    """Where sockets are made meanwhile."""
    return contextlib.nullcontext() if cable is None else cable.inside(end)


async def both(
    name: str, scene: Scene, packets: list[bytes], seed: str, cable: Cable | None
) -> Result:
    """One scene, over ours and plain aiortc at the same time.

    The sender is at end a of `cable`; so is the side of the relay from which the receiver, at end
    b, gets its packets: all of them go over the cable, twice.
    """
    seconds = len(packets) * 0.02
    faults = seconds - LEAD_S - TAIL_S
    ours, plain = Ours(), Plain()
    begin = time.monotonic() + 1.5
    voices = [Voice(begin, packets, scene.fast) for _ in range(2)]
    relays = [Relay(scene.link, faults, seed) for _ in range(2)]
    senders = [new_sender() for _ in range(2)]
    answering = (ours.peer.answer, plain.answer)
    for sender, voice, relay, answer in zip(senders, voices, relays, answering, strict=True):
        sender.addTrack(voice)
        with at(cable, "a"):
            offer = await relay.to_receiver(await offer_of(sender))
        with at(cable, "b"):
            answered = await relay.to_sender(await answer(offer))
        await accept(sender, answered)
        report_exactly(sender)
    load = os.getloadavg()[0]
    await asyncio.sleep(max(0.0, begin + LEAD_S - time.monotonic()))
    for relay in relays:
        relay.begin()
    if cable is not None:
        await asyncio.sleep(relays[0].span[1] - scene.pulled_s - time.monotonic())
        await cable.pull(scene.pulled_s)
    await asyncio.sleep(begin + seconds + 0.5 - time.monotonic())
    first = (relays[1].first or 0) - (relays[1].lowest or 0)
    results = {
        "ours": latencies(ours.heard(voices[0]), relays[0].span, TAIL_S),
        "plain": latencies(plain.heard(voices[1], first), relays[1].span, TAIL_S),
    }
    counts = ours.peer.counts["audio"]
    span = relays[0].span
    passed, missed = relays[0].counts["passed"], relays[0].counts["lost"]
    if cable is not None:  # what did not come as far as the relay
        missed = round(faults / voices[0].step) - passed
    made_up = (counts["concealed_ms"] + counts["recovered_ms"]) / 1000
    results["ours"] |= {"counts": dict(counts), "steps": ours.peer.clock.counts["steps"]}
    results["ours"]["lost"] = round(lost(ours, voices[0], span), 4)
    results["plain"]["lost"] = round(lost_plain(plain, voices[1], first, span), 4)
    keep(name, ours.heard(voices[0]), plain.heard(voices[1], first), begin, seconds)
    for sender in senders:
        await sender.close()
    await ours.peer.close()
    await plain.connection.close()
    for relay in relays:
        relay.close()
    return {
        **results,
        "network": round(missed / max(1, faults / voices[0].step), 4),
        "made_up_s": round(made_up, 2),
        "sender_late_ms": round(1000 * max(voice.late for voice in voices), 1),
        "load": round(load, 1),
    }


def keep(name: str, ours: Heard, plain: Heard, begin: float, seconds: float) -> None:
    """Write what was heard, missing sound as silence, for ``understood``."""
    sounds = {}
    for who, heard in (("ours", ours), ("plain", plain)):
        whole = np.zeros(round((seconds + 1) * SAMPLE_RATE), np.float32)
        for t0, samples in heard.pieces:
            at = round((t0 - begin) * SAMPLE_RATE)
            if 0 <= at < len(whole) - len(samples):
                whole[at : at + len(samples)] = samples
        sounds[who] = whole
    np.savez(SOUND / f"{name}.npz", **sounds)  # type: ignore[arg-type]


def understood(scenes: list[str], journal: Journal) -> dict[str, dict[str, float]]:
    """Word error rate by scene and receiver, against the clean one."""
    transcriber = Transcriber(models.path("whisper-tiny.en"), device="cpu", beam_size=1)
    texts: dict[str, dict[str, str]] = {}
    for name in scenes:

        def hear(name: str = name) -> Result:
            sounds = np.load(SOUND / f"{name}.npz")
            return {
                who: listen(sounds[who], transcriber, VadConfig(), []).text
                for who in ("ours", "plain")
            }

        texts[name] = journal.do(f"words {name}", hear)
    if "clean" not in texts:
        return {}

    def shifted() -> Result:
        sounds = np.load(SOUND / "clean.npz")
        return {
            who: listen(sounds[who][SHIFT:], transcriber, VadConfig(), []).text
            for who in ("ours", "plain")
        }

    floor = journal.do("words shifted", shifted)
    return {
        name: {who: round(jiwer.wer(texts["clean"][who], text), 4) for who, text in heard.items()}
        for name, heard in {**texts, "clean": floor}.items()
    }
