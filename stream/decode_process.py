"""The child process that decodes one recording: ``python -m stream.decode_process FD JSON``.

FFmpeg can crash on damaged files, so it runs here and tells the parent (``stream.media``) what it
decodes through the socket `FD`: a JSON header per message, followed by the samples or pixels where
there are any. Nothing is pickled: the parent need not trust what comes out of this process. The
socket's small buffer is the back-pressure: this process waits while the parent is busy.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from stream.decode import Decoder
from stream.errors import MediaError
from stream.media import Request
from workers.child_limits import limit_child
from workers.messages import AudioChunk, Gap, Message, Progress, VideoFrame

MEMORY = 8 * 2**30
"""Bytes of address space; pictures of 8K with their references take less than 2 GiB."""


def header(message: Message) -> dict[str, Any]:
    """The JSON part of what ``stream.decode`` gives."""
    match message:
        case AudioChunk():
            return {"kind": "audio", "t": message.t0}
        case VideoFrame():
            return {"kind": "video", "t": message.t, "shape": message.image.shape}
        case Progress():
            return {"kind": "progress", "source": message.source, "t": message.t}
        case Gap():
            return {"kind": "gap", **asdict(message)}
        case _:
            raise TypeError(f"a decoder gives no {type(message).__name__}")


def send(connection: Connection, message: Message) -> None:
    connection.send_bytes(json.dumps(header(message)).encode())
    if isinstance(message, AudioChunk):
        connection.send_bytes(message.samples.data.cast("B"))
    elif isinstance(message, VideoFrame):
        connection.send_bytes(message.image.data.cast("B"))


def decode(connection: Connection, request: Request) -> None:
    """Send the description of the recording, its messages and how it ended."""
    try:
        decoder = Decoder(request)
        connection.send_bytes(json.dumps({"kind": "info", **asdict(decoder.info)}).encode())
        for message in decoder:
            send(connection, message)
        end = {"kind": "end", "problems": decoder.problems, "damaged": decoder.damaged}
    except MediaError as error:
        end = {"kind": "error", "message": error.message, "hint": error.hint}
    connection.send_bytes(json.dumps(end).encode())


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    limit_child(memory=MEMORY, files=64)
    descriptor, request = arguments
    with Connection(int(descriptor)) as connection:
        try:
            decode(connection, Request(**json.loads(request)))
        except ConnectionError:
            return 0  # the parent has heard enough
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
