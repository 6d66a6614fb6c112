"""Hooks into a boto3 or botocore client through its events.

It changes no argument, header or answer, and does not import botocore: the client brings it along. One hook stamps each
attempt just after it is signed, so that a retried call counts from the attempt that was answered; the other takes the
answer. The request's body is what botocore serialised, bytes that nobody changes any more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from keepwarm import clock
from keepwarm.reporter.calls import METADATA_HEADER, Call
from keepwarm.reporter.passing import BodyBytes, Events, Gatherer, Passing, watch_body, watch_events
from keepwarm.reporter.sender import Sender
from keepwarm.reporter.usage import usage_of, usage_of_headers

SERVICE = "bedrock-runtime"

_OPERATIONS = ("Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream")
_STREAMS = {"ConverseStream": "stream", "InvokeModelWithResponseStream": "body"}
_KEY = "keepwarm_attempt"
_HEADERS = ("user-agent", METADATA_HEADER)


def install(client: Any, sender: Sender, region: str) -> Any:
    """Register hooks, and return them; they do not hold the client."""
    hooks = _Hooks(sender, region)
    events = client.meta.events
    # The general event's last handlers come after the signer, which may have had to fetch credentials first.
    events.register_last(f"request-created.{SERVICE}", hooks.on_attempt)
    for operation in _OPERATIONS:
        events.register(f"after-call.{SERVICE}.{operation}", hooks.on_answer)
    return hooks


def uninstall(client: Any, hooks: Any) -> None:
    """Remove hooks that `install` returned."""
    events = client.meta.events
    events.unregister(f"request-created.{SERVICE}", hooks.on_attempt)
    for operation in _OPERATIONS:
        events.unregister(f"after-call.{SERVICE}.{operation}", hooks.on_answer)


class _Hooks:
    def __init__(self, sender: Sender, region: str) -> None:
        self._sender = sender
        self._region = region
        self._tally = sender.tally

    def on_attempt(self, request: Any, operation_name: str, **_: Any) -> None:
        with self._tally:
            if operation_name in _OPERATIONS:
                request.context[_KEY] = (request, clock.utc_now(), clock.monotonic_seconds())

    def on_answer(self, http_response: Any, parsed: dict[str, Any], model: Any, context: Any, **_: Any) -> None:
        with self._tally:
            attempt: tuple[Any, datetime, float] | None = context.pop(_KEY, None)
            if attempt is not None and http_response.status_code == 200:
                self._take(_call(self._region, *attempt, parsed), model.name, parsed)

    def _take(self, call: Call, operation: str, parsed: dict[str, Any]) -> None:
        if operation == "Converse":
            call.usage = usage_of(parsed.get("usage") or {})
            self._sender.offer(call)
        elif operation in _STREAMS:
            call.usage = None  # headers that come before the end cannot tell it
            self._watch(watch_events, parsed[_STREAMS[operation]], call, Events())
        else:
            self._watch(watch_body, parsed["body"], call, BodyBytes())

    def _watch(self, watch: Callable[[Any, Passing], None], stream: Any, call: Call, gatherer: Gatherer) -> None:
        passing = Passing(call, gatherer, self._sender.offer, self._tally)
        try:
            watch(stream, passing)
        except Exception:
            passing.conclude()  # a stream that cannot be looked at; the touch itself is sure
            raise


def _call(region: str, request: Any, started_at: datetime, ticked_at: float, parsed: Mapping[str, Any]) -> Call:
    metadata = parsed.get("ResponseMetadata") or {}
    headers = {name: _text(request.headers[name]) for name in _HEADERS if name in request.headers}
    return Call(
        url=request.url,
        region=region,
        body=_bytes(request.data),
        started_at=started_at,
        latency_ms=round(1000 * (clock.monotonic_seconds() - ticked_at)),
        request_id=metadata.get("RequestId", ""),
        headers=headers,
        usage=usage_of_headers(metadata.get("HTTPHeaders") or {}),
    )


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(body: Any) -> bytes:
    """The body as it is; a bytearray is copied, and a file is left alone, since reading it would be noticed."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    raise TypeError("the body is a file")
