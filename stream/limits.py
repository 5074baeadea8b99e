"""What one address, one room and one offer may ask for; checked before anything is built."""

from __future__ import annotations

import ipaddress
import re
import time
from collections import OrderedDict
from collections.abc import Callable

from stream.errors import StreamError

MAX_SDP = 64 * 1024
"""Bytes of a session description; that of a browser has 5-10 KB."""
MAX_MEDIA = 8
MAX_CANDIDATES = 64
MAX_ADDRESSES = 4096
"""Addresses whose rate is remembered; beyond, the one that was quiet longest is forgotten."""


class OfferError(StreamError, ValueError):
    """An offer cannot be answered."""


class TooLargeError(OfferError):
    """An offer is longer than any sender needs."""


def check_offer(sdp: str) -> None:
    """Raise ``OfferError`` where an offer asks for more than any sender needs.

    Counted in the text: a parser would first have to build all of it.
    """
    size = len(sdp.encode("utf-8", errors="replace"))
    if size > MAX_SDP:
        raise TooLargeError(
            f"the offer has {size} bytes, allowed are {MAX_SDP}", hint="offer one camera and sound"
        )
    for what, pattern, most in (
        ("media sections", r"^m=", MAX_MEDIA),
        ("candidates", r"^a=candidate:", MAX_CANDIDATES),
    ):
        found = len(re.findall(pattern, sdp, re.MULTILINE))
        if found > most:
            raise OfferError(
                f"the offer has {found} {what}, allowed are {most}",
                hint="offer one camera and one microphone",
            )


class Rate:
    """Token buckets by address: `burst` at once, then `per_second`.

    `now` gives seconds of a clock that never goes back.
    """

    def __init__(
        self, per_second: float, burst: int, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Take one; 0: it may go on, else the seconds until it may be tried again."""
        name, now = network(address), self._now()
        left, then = self._left.pop(name, (float(self._burst), now))
        left = min(self._burst, left + (now - then) * self._per_second)
        allowed = left >= 1.0
        self._left[name] = (left - 1.0 if allowed else left, now)
        if len(self._left) > MAX_ADDRESSES:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._per_second


def network(address: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one host gets in IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
