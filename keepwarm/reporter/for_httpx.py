"""Hooks into clients of httpx or httpx2, for SDKs that sign Bedrock requests themselves, such as `anthropic`.

It changes no request and no answer, does not import httpx, and leaves the body to the application: bytes are looked at
while they are read. A client's other requests pass untouched.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator
from typing import Any

from keepwarm import clock
from keepwarm.reporter.calls import METADATA_HEADER, Call, is_call
from keepwarm.reporter.passing import BodyBytes, Frames, Gatherer, Passing, watch_events
from keepwarm.reporter.sender import Sender
from keepwarm.reporter.usage import usage_of_headers

Hook = Callable[[Any], Any]

_KEY = "_keepwarm_started"
_HEADERS = ("user-agent", "authorization", METADATA_HEADER)
_EVENT_STREAM = "application/vnd.amazon.eventstream"


def install(client: Any, sender: Sender, region: str) -> Any:
    """Add hooks to a client, and return them; they do not hold the client."""
    hooks = make_hooks(sender, region)
    client.event_hooks = {kind: [*client.event_hooks.get(kind, []), *own] for kind, own in hooks.items()}
    return hooks


def uninstall(client: Any, hooks: dict[str, list[Hook]]) -> None:
    """Remove hooks that `install` returned."""
    found = client.event_hooks
    client.event_hooks = {kind: [hook for hook in found[kind] if hook not in hooks.get(kind, [])] for kind in found}


def make_hooks(sender: Sender, region: str) -> dict[str, list[Hook]]:
    """The `event_hooks` of a client, synchronous or not.

    Args:
        region: of calls that carry a bearer token to a host whose name tells no region; may be empty.
    """
    hooks = _Hooks(sender, region)
    return {"request": [hooks.on_request], "response": [hooks.on_response]}


class _Done:
    """Can be awaited, by an asynchronous client, or dropped, by a synchronous one."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


_DONE = _Done()


class _Hooks:
    def __init__(self, sender: Sender, region: str) -> None:
        self._sender = sender
        self._region = region
        self._tally = sender.tally

    def on_request(self, request: Any) -> _Done:
        with self._tally:
            if is_call(request.url.path):
                vars(request)[_KEY] = (clock.utc_now(), clock.monotonic_seconds())
        return _DONE

    def on_response(self, response: Any) -> _Done:
        with self._tally:
            started = vars(response.request).get(_KEY)
            if started is not None and response.status_code == 200:
                self._take(response, *started)
        return _DONE

    def _take(self, response: Any, started_at: Any, ticked_at: float) -> None:
        request = response.request
        call = Call(
            url=str(request.url),
            region=self._region,
            body=request.content,
            started_at=started_at,
            latency_ms=round(1000 * (clock.monotonic_seconds() - ticked_at)),
            request_id=response.headers.get("x-amzn-requestid", ""),
            headers={name: request.headers[name] for name in _HEADERS if name in request.headers},
            usage=usage_of_headers(response.headers),
        )
        gatherer = _gatherer(response.headers)
        if isinstance(gatherer, Frames):
            call.usage = None  # headers that come before the end cannot tell it
        passing = Passing(call, gatherer, self._sender.offer, self._tally)
        try:
            watch_events(response.stream, passing)
        except Exception:
            passing.conclude()  # a stream that cannot be looked at; the touch itself is sure
            raise


def _gatherer(headers: Any) -> Gatherer:
    if headers.get("content-type", "").startswith(_EVENT_STREAM):
        return Frames()
    return _Unzipped() if headers.get("content-encoding") in {"gzip", "deflate"} else BodyBytes()


class _Unzipped(BodyBytes):
    """A body that was compressed on its way."""

    def kept(self) -> tuple[bytes, ...]:
        """The body, if all of it was read."""
        return tuple(zlib.decompress(body, wbits=zlib.MAX_WBITS | 32) for body in super().kept())
