"""Configuration files: every shipped one loads, every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.config import (
    PrepareConfig,
    ReplayConfig,
    ServeConfig,
    load,
    parse_overrides,
    use_baseline,
)
from stream.errors import ConfigError, StreamError, run_command
from stream.sections import Section

CONFIGS = Path(__file__).parent.parent / "configs"


def test_the_shipped_serve_configuration_states_the_defaults() -> None:
    assert load(ServeConfig, CONFIGS / "serve.toml") == load(ServeConfig, None)
    assert load(ReplayConfig, CONFIGS / "replay.toml") == load(ReplayConfig, None)


def test_every_shipped_configuration_has_a_known_kind() -> None:
    kinds = ("serve", "replay", "prepare", "train", "sweep", "synthetic")
    files = sorted(CONFIGS.glob("*.toml"))
    assert files and all(file.name.startswith(kinds) for file in files)


@pytest.mark.parametrize("kind", [ServeConfig, ReplayConfig, PrepareConfig])
def test_defaults_are_valid(kind: type[Section]) -> None:
    load(kind, None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot = 80", "unknown key 'prot'"),
        ("[window]\nwidht = 3.0", "unknown key 'window.widht'"),
        ("port = '80'", "'port'"),
        ("port = 70000", "70000"),
        ("purpose = 'hiring'", "'purpose'"),
        ("purpose = 'workplace'\n[record]\nfolder = 'r'", "'purpose' is 'workplace'"),
        ("purpose = 'medical_safety'", "'purpose_reference'"),
        ("[record]\nfolder = ''", "'record.folder'"),
        ("text_only = true\n[analysis]\nwords = false", "'analysis.words'"),
        ("[window]\nhop = -1.0", "'window.hop'"),
        ("[smoothing]\nfilter = 'median'", "'smoothing.filter'"),
        ("[smoothing.kalman]\ntaus = 1.0", "unknown key 'smoothing.kalman.taus'"),
        ("[gate]\nmax_sd = 1.0", "unknown key 'gate.max_sd'"),
        ("[analysis]\nframes_per_second = 60.0", "'analysis.frames_per_second'"),
        ("port = ", "not valid TOML"),
        ("[whip]\ntoken = 'short'\nconsent = {}", "'whip.token'"),
    ],
)
def test_mistakes_are_named_with_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(ServeConfig, file)
    assert named in caught.value.message and str(file) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "[whip]\ntoken = 'hunter2'\nconsent = {}",
        "access = 'hunter2'",
        "access = ['hunter2']",
        "purpose = 'workplace'\n[access]\ntoken = 'hunter2-hunter2-hunter2'\n[group]",
        "[whip]\ntoken = 'hunter2-hunter2-hunter2'",  # no consent
    ],
)
def test_a_secret_is_never_repeated(tmp_path: Path, text: str) -> None:
    """Also not where the mistake is one of the file as a whole."""
    file = tmp_path / "serve.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(ServeConfig, file)
    assert "hunter2" not in caught.value.message


def test_a_missing_or_binary_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        load(ServeConfig, tmp_path / "absent.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="binary"):
        load(ServeConfig, tmp_path / "binary.toml")


def test_overrides() -> None:
    pairs = ["window.hop=0.5", "host=0.0.0.0", "analysis.words=false"]
    config = load(ServeConfig, None, parse_overrides(pairs))
    assert (config.window.hop, config.host, config.analysis.words) == (0.5, "0.0.0.0", False)
    baseline = use_baseline(parse_overrides(["smoothing.ema.tau=2.0"]), "ema")
    smoothing = load(ReplayConfig, CONFIGS / "replay.toml", baseline).smoothing
    assert (smoothing.filter, smoothing.ema.tau) == ("ema", 2.0)
    with pytest.raises(ConfigError, match="key=value"):
        parse_overrides(["nonsense"])
    with pytest.raises(ConfigError, match="not a table"):
        load(ServeConfig, None, parse_overrides(["port=1", "port.x=2"]))


def test_a_command_reports_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise StreamError("it broke", hint="mend it")

    assert run_command(fail) == 2
    assert capsys.readouterr().err == "error: it broke\nnext: mend it\n"
