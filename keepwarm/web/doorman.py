"""Lets a request in by its host, its token and how often its client asks, before anything of it is read.

It knows no route but those that need no token. Reading and acting are two tokens; the acting one also reads.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from urllib.parse import urlsplit

from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from keepwarm.clock import steady_seconds
from keepwarm.web.replies import problem

# In the scope of a request: whether its token would let it act, and whether there is a token that would.
MAY_ACT = "keepwarm.may_act"
HAS_TOKEN = "keepwarm.has_token"  # noqa: S105 - a name

_READING = frozenset({"GET", "HEAD"})
_PROBES = frozenset({"/-/healthy", "/-/ready"})
# A client may ask so many seconds' worth of requests at once.
_BURST_SECONDS = 10
_MOST_CLIENTS = 10_000


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what.

    Attributes:
        token: lets act and read; None for none.
        read_token: lets read only; None for none. Without both, reading is open, and acting to programs.
        hosts: names in the Host header that are answered, so that a web page cannot reach a loopback port by a name of
            its own (DNS rebinding); empty for any.
        requests_per_minute: for each client address; 0 for no limit.
    """

    token: str | None = field(default=None, repr=False)
    read_token: str | None = field(default=None, repr=False)
    hosts: frozenset[str] = frozenset()
    requests_per_minute: int = 0


class Doorman:
    """An ASGI application in front of another.

    Args:
        is_open: whether a path may be read without a token, because it holds no data.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        is_open: Callable[[str], bool],
        seconds: Callable[[], float] = steady_seconds,
    ) -> None:
        self._app = app
        self._access = access
        self._is_open = is_open
        self._pace = _Pace(access.requests_per_minute, seconds)
        self._acting, self._reading = _digest(access.token), _digest(access.read_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on."""
        if scope["type"] == "http" and scope["path"] not in _PROBES:
            refusal = self._refusal(scope)
            if refusal:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._access.hosts and name.strip("[]").lower() not in self._access.hosts:
            return problem(421, "this host name is not served here")
        client = scope.get("client")
        wait = self._pace.wait(client[0] if client else "")
        if wait:
            return problem(429, "too many requests from this address", headers={"Retry-After": str(wait)})
        return self._refusal_of_token(scope, headers, host)

    def _refusal_of_token(self, scope: Scope, headers: dict[bytes, bytes], host: str) -> Response | None:
        acts, reads = self._rights(headers.get(b"authorization"))
        from_page = b"origin" in headers or b"sec-fetch-mode" in headers
        scope[HAS_TOKEN] = self._acting is not None
        scope[MAY_ACT] = acts and (self._acting is not None or not from_page)
        if scope["method"] in _READING:
            return None if reads or self._is_open(scope["path"]) else _no_token()
        if b"origin" in headers and urlsplit(headers[b"origin"]).netloc.decode("latin-1").lower() != host.lower():
            return problem(403, "a web page of another host may not act here")
        if b"origin" in headers and self._acting is None:
            return problem(403, "web pages act only with a token: set KEEPWARM_TOKEN_FILE")
        if acts:
            return None
        return problem(403, "this token may only read; acting needs the other one") if reads else _no_token()

    def _rights(self, header: bytes | None) -> tuple[bool, bool]:
        """Whether this header lets act, and whether it lets read."""
        if self._acting is None and self._reading is None:
            return True, True
        scheme, _, token = (header or b"").partition(b" ")
        given = hashlib.sha256(token.strip()).digest() if scheme.lower() == b"bearer" else b""
        # Both are compared, whatever the first says.
        acts, reads = (
            expected is not None and hmac.compare_digest(given, expected) for expected in (self._acting, self._reading)
        )
        return acts, acts or reads


class _Pace:
    """A bucket of turns for each client address, refilled steadily; those not seen for long are forgotten."""

    def __init__(self, per_minute: int, seconds: Callable[[], float]) -> None:
        self._per_second = per_minute / 60
        self._most = max(1.0, self._per_second * _BURST_SECONDS)
        self._seconds = seconds
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> int:
        """Take a turn; or how many seconds to wait for one, and 0 when it was taken."""
        if not self._per_second:
            return 0
        now = self._seconds()
        left, at = self._buckets.pop(client, (self._most, now))
        left = min(self._most, left + (now - at) * self._per_second)
        taken = left >= 1
        self._buckets[client] = (left - taken, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if taken else max(1, ceil((1 - left) / self._per_second))


def _digest(token: str | None) -> bytes | None:
    """Of equal length for every token, so that comparing tells nothing of its length."""
    return None if token is None else hashlib.sha256(token.encode()).digest()


def _no_token() -> Response:
    return problem(401, "a token is needed: Authorization: Bearer ...", headers={"WWW-Authenticate": "Bearer"})
