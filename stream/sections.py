"""Sections of the configuration that only a server has, and what all sections share."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Seconds = Positive


class Section(BaseModel):
    """Strict: no unknown keys, no silent conversion, not changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TlsConfig(Section):
    cert: str
    key: str


Secret = Annotated[str, Field(min_length=16, max_length=256)]


SigningKey = Annotated[str, Field(min_length=32, max_length=256)]


class AccessConfig(Section):
    """Who may use the server; without this section, whoever reaches it."""

    token: Annotated[Secret | None, Field(repr=False)] = None
    """Bearer token of the operator: calls, metrics, list of published calls."""
    key: Annotated[SigningKey | None, Field(repr=False)] = None
    """Signs tickets (``python -m stream.tickets``)."""
    ledger: str | None = None
    """File in which used tickets are counted."""
    open_metrics: bool = False
    """Metrics may be read without the token."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.token is None and self.key is None:
            raise ValueError("needs 'token', 'key' or both")
        if (self.key is None) != (self.ledger is None):
            raise ValueError("'key' and 'ledger' belong together")
        return self


class TurnConfig(Section):
    """A TURN server that shares a secret with this one; see ``stream.turn``."""

    urls: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    secret: Annotated[Secret, Field(repr=False)]
    seconds: Annotated[int, Field(ge=60, le=86_400)] = 600
    """For which credentials are good; a call that stands goes on for longer."""


class LimitsConfig(Section):
    """Of one address (in IPv6 of one /64) and of one room."""

    calls_per_address: Annotated[int, Field(ge=1)] = 8
    calls_per_room: Annotated[int, Field(ge=1)] = 8
    offers_per_minute: Annotated[int, Field(ge=1)] = 60
    requests_per_second: Annotated[int, Field(ge=1)] = 100
    connections_per_address: Annotated[int, Field(ge=1)] = 128


class OverloadConfig(Section):
    """When the server has too much to do; see ``stream.overload``."""

    admit: bool = True
    """No call begins where there is no room for it."""
    degrade: bool = True
    """Calls that cannot be kept up with are analysed with less."""
    max_cpu: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    """Share of this machine's cores that the server may use; beyond, no call begins."""
    max_stall: Seconds = 0.25
    """How late the event loop may regularly be; beyond, no call begins."""
    call_mb: Annotated[float, Field(ge=16.0)] = 64.0
    """Media that may wait inside one call; beyond, it ends."""
    growth_mb: Annotated[float, Field(ge=64.0)] = 400.0
    """By how much the server's memory may have grown per call; beyond, no call begins."""


class GroupConfig(Section):
    """What rooms are told about themselves, of people who agreed to it; see ``stream.group``."""

    least: Annotated[int, Field(ge=5, le=100)] = 5
    """People without whom nothing is told; no less than 5."""
    every: Annotated[float, Field(ge=5.0, le=3600.0)] = 10.0
    """Seconds that are summed up."""


Days = Annotated[float, Field(ge=0.0, le=3650.0)]


class KeepDays(Section):
    """For how many days each part of a session is kept; 0: it is never written."""

    estimates: Annotated[float, Field(gt=0.0, le=3650.0)] = 30.0
    words: Days = 0.0
    faces: Days = 0.0
    """Outlines of faces."""
    media: Days = 0.0
    """Picture and sound as received, of those who agreed to that too."""


class RecordConfig(Section):
    """Sessions of people who agreed to it are recorded."""

    folder: Annotated[str, Field(min_length=1)]
    days: KeepDays = KeepDays()
