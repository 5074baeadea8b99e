"""The path of a user with clips of their own: a raw CMU-MOSEI folder to a model in a call.

Real recordings and the real commands: convert, prepare, train, replay, serve.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lddu_model
from stream.spec import LABELS
from tests.conftest import PROJECT
from tests.serving import Caller, calling
from tests.webrtc_peers import Beeps, Flashes, until

VIDEOS = ("-3nNcZdcdvU", "-571d8cVauQ")


def command(*words: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=PROJECT, capture_output=True, text=True,
        check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def raw_folder(root: Path, shared: Path) -> Path:
    """The layout that CMU-MOSEI is given out in; returns its table of labels."""
    full = root / "Raw" / "Videos" / "Full" / "Combined"
    transcripts = root / "Raw" / "Transcript" / "Segmented" / "Combined"
    full.mkdir(parents=True)
    transcripts.mkdir(parents=True)
    for video in VIDEOS:
        (full / f"{video}.mp4").symlink_to(shared / "media" / "mosei" / f"{video}.mp4")
    table = shared / "media" / "mosei" / "segments.csv"
    for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
        clip = row["clip_id"].removesuffix(".0")
        line = f"{row['video_id']}___{clip}___{row['start']}___{row['end']}___words\n"
        with (transcripts / f"{row['video_id']}.txt").open("a", encoding="utf-8") as file:
            file.write(line)
    return table


def settings(folder: Path) -> tuple[Path, Path]:
    """Configurations of the preparation and of a short training."""
    sets = "".join(
        f'[[sets]]\nname = "{split}"\nkind = "table"\npath = "recordings.csv"\n'
        f'split = "{split}"\nmode = "windows"\n'
        for split in ("train", "validation")
    )
    prepare = folder / "prepare.toml"
    prepare.write_text(f'purpose = "research"\nroot = "{folder / "table"}"\n{sets}')
    train = folder / "train.toml"
    train.write_text(
        f'name = "mine"\nout = "{folder / "run"}"\nlabels = {list(LABELS)}\ndevice = "cpu"\n'
        "threads = 1\n[model]\nwidth = 32\nheads = 2\nlayers = 1\nfeed_forward = 32\nlatent = 16\n"
        "[optim]\nepochs = 2\nbatch = 16\n[mix]\nrate = 0.0\n"
        f'[[data]]\nname = "mosei"\npath = "{folder / "sets" / "train"}"\n'
        f'validation = "{folder / "sets" / "validation"}"\n'
    )
    return prepare, train


async def states_of_a_call(url: str) -> Caller:
    """A caller with sound and picture, once estimates have come back."""
    begin = time.monotonic() + 0.5
    async with calling(url, Beeps(begin, 0.0), Flashes(begin)) as caller:
        await until(lambda: "state" in caller.kinds(), seconds=30.0)
    return caller


@pytest.mark.long
@pytest.mark.timeout(600)
def test_from_a_raw_folder_to_a_served_model(shared: Path, tmp_path: Path) -> None:
    table = raw_folder(tmp_path / "mosei", shared)
    convert = ("lddu_model.data.convert", "raw-mosei", tmp_path / "mosei", "--labels", table)
    command(*convert, "--out", tmp_path / "table")
    prepare, train = settings(tmp_path)
    command("stream.prepare", prepare, "--out", tmp_path / "sets")
    command("lddu_model.train", train)
    checkpoint = tmp_path / "run" / "best"
    model = lddu_model.load(checkpoint)
    assert model.labels == LABELS
    assert model.record["data"][0]["samples"]["train"] > 50
    chosen = ("--set", f"model.checkpoint={checkpoint}")
    clip = shared / "media" / "mosei" / f"{VIDEOS[0]}.mp4"
    command("stream.replay", clip, "--out", tmp_path / "analysis", *chosen)
    (written,) = (tmp_path / "analysis").rglob("*.jsonl")
    records = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    states = [record for record in records if record["type"] == "state"]
    assert len({state["index"] for state in states}) > 150, "44 s at four a second"
    assert any(
        state["labels"]["happy"]["status"] != "unsure" for state in states if state["labels"]
    )
    with subprocess.Popen(
        [sys.executable, "-m", "stream.serve", "configs/serve.toml", "--port", "0", *chosen],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[1].rstrip("/")
            caller = asyncio.run(states_of_a_call(url))
            server.send_signal(signal.SIGTERM)
            _, errors = server.communicate(timeout=30)
        finally:
            server.kill()
    assert (server.returncode, errors) == (0, "")
    hello = next(record for record in caller.records if record["type"] == "hello")
    assert tuple(hello["labels"]) == LABELS
