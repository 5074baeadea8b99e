"""Serve live calls: ``python -m stream.serve [CONFIG]``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import gc
import hashlib
import logging
import socket
import ssl
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from aiohttp import web

from stream.app import build
from stream.audit import AuditLog
from stream.calls import Calls
from stream.config import ServeConfig, load, parse_overrides, use_baseline
from stream.doors import KEEP_ALIVE_S, Doors
from stream.drain import stop_on_signals
from stream.engines import Engines
from stream.errors import ConfigError, run_command
from stream.group import Groups
from stream.guards import is_loopback
from stream.metrics import Metrics
from stream.overload import Overload
from stream.recorder import Recorder
from stream.sections import TlsConfig
from stream.server_log import handler
from stream.smoothing import BASELINES
from workers.child_limits import keep_no_core

log = logging.getLogger(__name__)


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stream.serve",
        description="Serve a page that shows live emotion estimates of whoever opens it.",
    )
    parser.add_argument("config", nargs="?", type=Path, help="TOML file; default: all defaults")
    parser.add_argument("--host", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, help="0: any free one")
    parser.add_argument("--tls-cert", help="PEM file; needed to serve other machines")
    parser.add_argument("--tls-key", help="PEM file")
    parser.add_argument(
        "--baseline", choices=BASELINES, help="a filter without the model's variance, to compare"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the configuration, e.g. window.hop=0.5",
    )
    return parser.parse_args(arguments)


def read_config(args: argparse.Namespace) -> ServeConfig:
    """The configuration with what the command line overrides. Raises ``ConfigError``."""
    overrides: dict[str, Any] = use_baseline(parse_overrides(args.set), args.baseline)
    named = {
        "host": args.host,
        "port": args.port,
        "tls.cert": args.tls_cert,
        "tls.key": args.tls_key,
    }
    overrides |= {key: value for key, value in named.items() if value is not None}
    config = load(ServeConfig, args.config, overrides)
    if config.tls is None and not is_loopback(config.host):
        raise ConfigError(
            f"host {config.host}: refusing to serve other machines without TLS",
            hint="give --tls-cert and --tls-key (browsers allow no camera without), or --host "
            "127.0.0.1",
        )
    stated = "purpose" in config.model_fields_set
    if not stated and (config.whip is not None or not is_loopback(config.host)):
        raise ConfigError(
            "purpose is not stated: only the self view on this machine goes without",
            hint="set purpose to what the estimates are for, e.g. --set purpose=research",
        )
    if config.access is None and not is_loopback(config.host):
        raise ConfigError(
            f"host {config.host}: refusing to serve whoever reaches this machine",
            hint="add the section that `python -m stream.tickets key` prints, and give tickets to "
            "those who may come in",
        )
    return config


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ``ConfigError``."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        hint = f"check --host {host}"
        if error.errno == errno.EADDRINUSE:
            hint = "stop what uses it, or choose another with --port (0: any free one)"
        elif error.errno == errno.EACCES:
            hint = "choose a port above 1023 with --port"
        what = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot listen on {host} port {port}: {what}", hint=hint) from None


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """Read certificate and key. Raises ``ConfigError``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"TLS certificate {tls.cert} with key {tls.key} cannot be used: {error}",
            hint="give two PEM files that belong together",
        ) from None
    return context


def page_url(config: ServeConfig, listening: socket.socket) -> str:
    """The address of the page."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    scheme = "http" if config.tls is None else "https"
    return f"{scheme}://{host}:{listening.getsockname()[1]}/"


async def serve(
    config: ServeConfig,
    engines: Engines,
    listening: socket.socket,
    stop: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Serve on `listening` until `stop`; then end all calls. `ready` is called when it answers."""
    metrics = Metrics()
    context = None if config.tls is None else tls_context(config.tls)
    labels = tuple(engines.model.labels)
    watching = asyncio.create_task(metrics.watch_loop(), name="event loop watch")
    try:
        audit = await _audit(config, labels)
        async with (
            _recorder(config, metrics, audit) as recorder,
            _groups(config, labels) as groups,
            _watched(config, engines, metrics, recorder, audit, groups) as calls,
        ):
            loopback = is_loopback(config.host)
            doors = Doors(config.limits.connections_per_address)
            metrics.connections = doors.counts
            app = build(config, calls, metrics, labels, groups, doors, loopback=loopback)
            async with _answering(app, doors, listening, context):
                ready()
                await stop.wait()
                await calls.close()
        if audit is not None:
            await audit.note("server_stopped")
    finally:
        watching.cancel()
        await asyncio.wait([watching])


@contextlib.asynccontextmanager
async def _answering(
    app: web.Application, doors: Doors, listening: socket.socket, context: ssl.SSLContext | None
) -> AsyncIterator[None]:
    """Answer requests."""
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=2.0, keepalive_timeout=KEEP_ALIVE_S
    )
    await runner.setup()
    try:
        assert runner.server is not None
        server = await doors.open(runner.server, listening, context)
        try:
            yield
        finally:
            server.close()
    finally:
        await runner.cleanup()


async def _audit(config: ServeConfig, labels: tuple[str, ...]) -> AuditLog | None:
    """The audit log, where there is one; it says first what is served. Raises ``AuditError``."""
    if config.audit_file is None:
        return None
    audit = AuditLog(config.audit_file)
    secrets = {"access": {"token", "key"}, "whip": {"token"}, "turn": {"secret"}}
    told = config.model_dump_json(exclude=secrets)
    await audit.note(
        "server_started",
        version=metadata.version("lddu-live"),
        configuration=hashlib.sha256(told.encode()).hexdigest(),
        checkpoint=config.model.checkpoint or "shipped",
        labels=list(labels),
        purpose=config.purpose,
        reference=config.purpose_reference,
    )
    return audit


@contextlib.asynccontextmanager
async def _watched(
    config: ServeConfig,
    engines: Engines,
    metrics: Metrics,
    recorder: Recorder | None,
    audit: AuditLog | None,
    groups: Groups | None,
) -> AsyncIterator[Calls]:
    """The calls, and the watch over what they cost."""
    metrics.restarts = lambda: {name: each.restarts for name, each in engines.workers.items()}
    workers = engines.workers.values()
    overload = Overload(
        config.overload, metrics, lambda: [each.pid for each in workers if each.pid is not None]
    )
    async with Calls(config, engines, metrics, recorder, audit, groups, overload) as calls:
        watching = asyncio.create_task(overload.run(calls.all), name="load watch")
        try:
            yield calls
        finally:
            watching.cancel()
            await asyncio.wait([watching])


@contextlib.asynccontextmanager
async def _recorder(
    config: ServeConfig, metrics: Metrics, audit: AuditLog | None
) -> AsyncIterator[Recorder | None]:
    """What records sessions, where that is configured. Raises ``ConfigError``."""
    if config.record is None:
        yield None
        return
    async with Recorder(config.record, audit) as recorder:
        metrics.recording = recorder.counts
        yield recorder


@contextlib.asynccontextmanager
async def _groups(config: ServeConfig, labels: tuple[str, ...]) -> AsyncIterator[Groups | None]:
    """What tells rooms about themselves, where that is configured."""
    if config.group is None:
        yield None
        return
    groups = Groups(config.group, labels)
    telling = asyncio.create_task(groups.run(), name="group view")
    try:
        yield groups
    finally:
        telling.cancel()
        await asyncio.wait([telling])


async def _run(config: ServeConfig, listening: socket.socket, *, open_page: bool) -> None:
    def ready() -> None:
        url = page_url(config, listening)
        print(f"serving {url} (Ctrl-C stops)", flush=True)
        if open_page:
            webbrowser.open(url)

    stop = asyncio.Event()
    with stop_on_signals(stop), await asyncio.to_thread(Engines.load, config) as engines:
        gc.collect()
        gc.freeze()  # libraries and models stay: looking through them again would stall calls
        if not stop.is_set():
            await serve(config, engines, listening, stop, ready)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    args = parse_args(arguments)
    keep_no_core()
    logging.basicConfig(level=logging.WARNING, handlers=[handler()])
    config = read_config(args)
    if config.tls is not None:
        tls_context(config.tls)
    with listen(config.host, config.port) as listening:  # before models take seconds to load
        asyncio.run(_run(config, listening, open_page=args.open))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
