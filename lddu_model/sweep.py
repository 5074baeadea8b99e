"""Many runs beside each other: baselines, ablations, seeds; one table at the end.

    python -m lddu_model.sweep SWEEP [--out DIR] [--only NAME ...] [--report]

SWEEP is a TOML file, see configs/sweep-m3ed.toml. It names a training configuration and, for each
run, what is different. Finished runs are kept and unfinished ones go on, so the same command can be
stopped and repeated at any time. DIR/NAME has the runs, DIR/sweep.md, .json and .png the table:
mean and deviation over the seeds, and the paired bootstrap of each run against the reference.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lddu_model.baselines import Kind, Pool, run_baseline
from lddu_model.config import TrainConfig, read_config
from lddu_model.errors import ConfigError, run_command
from lddu_model.sweep_report import Entry, write_sweep
from lddu_model.train import train


class Run(BaseModel):
    """One line of the table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.+ -]+$")
    """Also the name of its folder, with - for each space."""
    set: tuple[str, ...] = ()
    """What is different, as with ``--set``."""
    baseline: Kind | None = None
    """Instead of a network, see ``lddu_model.baselines``."""
    pool: Pool = "mean"
    """Of a baseline."""

    @property
    def folder(self) -> str:
        return self.name.replace(" ", "-")


class Sweep(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: Path
    """Training configuration; relative to the file."""
    out: Path
    seeds: tuple[int, ...] = Field(min_length=1)
    reference: str
    """The run that the others are compared with."""
    set: tuple[str, ...] = ()
    """For all runs."""
    resamples: int = Field(default=1000, ge=100)
    run: tuple[Run, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names(self) -> Sweep:
        names = [each.folder for each in self.run]
        if len(set(names)) != len(names):
            raise ValueError(f"runs need different names, got {names}")
        if self.reference not in {each.name for each in self.run}:
            raise ValueError(f"reference {self.reference!r} is none of the runs {names}")
        return self


def read_sweep(path: Path) -> Sweep:
    """A missing file, unknown key or wrong value is a ``ConfigError``."""
    try:
        plain = tomllib.loads(path.read_text(encoding="utf-8"))
        sweep = Sweep.model_validate(plain)
    except (OSError, tomllib.TOMLDecodeError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "check the path") from error
    except ValidationError as error:
        faults = "".join(
            f"\n  {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()
        )
        raise ConfigError(f"{path} has wrong settings:{faults}", "correct these keys") from error
    return sweep.model_copy(update={"config": path.parent / sweep.config})


def config_of(sweep: Sweep, run: Run) -> TrainConfig:
    """The training configuration of a run; faults are a ``ConfigError`` that names the run."""
    try:
        config = read_config(sweep.config, [*sweep.set, *run.set])
    except ConfigError as error:
        raise ConfigError(f"run {run.name!r}: {error.message}", error.hint) from error
    return config.model_copy(update={"seeds": sweep.seeds, "out": sweep.out / run.folder})


def run_sweep(sweep: Sweep, only: Sequence[str] = (), *, report_only: bool = False) -> int:
    """All runs that are not finished, then the table; returns the exit status."""
    configs = {run.name: config_of(sweep, run) for run in sweep.run}  # all faults before any work
    unknown = sorted(set(only) - set(configs))
    if unknown:
        raise ConfigError(f"--only {unknown}: no such run", f"choose from {sorted(configs)}")
    for run in sweep.run:
        if report_only or (only and run.name not in only):
            continue
        print(f"== {run.name}")
        config = configs[run.name]
        if run.baseline is not None:
            run_baseline(config, run.baseline, run.pool, resume=True)
        elif status := train(config, resume=True):
            return status
    entries = [Entry(run.name, configs[run.name]) for run in sweep.run]
    path = write_sweep(sweep.out, entries, sweep.reference, resamples=sweep.resamples)
    print(path.read_text(encoding="utf-8"))
    print(f"written to {path}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lddu_model.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sweep", type=Path, help="TOML file")
    parser.add_argument("--out", type=Path, help="instead of the file's")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these runs alone")
    parser.add_argument("--report", action="store_true", help="only write the table")
    chosen = parser.parse_args(arguments)
    sweep = read_sweep(chosen.sweep)
    if chosen.out is not None:
        sweep = sweep.model_copy(update={"out": chosen.out})
    return run_sweep(sweep, chosen.only, report_only=chosen.report)


if __name__ == "__main__":
    sys.exit(run_command(main))
