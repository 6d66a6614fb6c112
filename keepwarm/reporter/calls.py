"""Turns one answered call into the touch that is sent: who was asked, when, what it cost, and digests of the prompt.

It is pure and opens nothing. Text goes in, digests come out: no prompt text is in what it returns.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import unquote, urlsplit

from keepwarm import dialects, fingerprint
from keepwarm.dialects import Dialect, DialectError
from keepwarm.model import Api, Usage
from keepwarm.reporter.usage import usage_of_pieces

METADATA_HEADER = "x-amzn-bedrock-request-metadata"

_PATH = re.compile(r"/model/(.+)/(converse|converse-stream|invoke|invoke-with-response-stream)")
_SCOPE = re.compile(r"Credential=[^/,\s]+/\d{8}/([a-z0-9-]+)/")
_HOST = re.compile(r"bedrock-runtime(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d+)\.")
_MARKERS = (b'"cachePoint"', b'"cache_control"')
_OURS = "keepwarm/"


class Skip(StrEnum):
    """Why a call is not reported."""

    NOT_A_PROMPT = "not_a_prompt"  # an embedding, an image model, a body that cannot be read
    NO_CACHE_POINT = "no_cache_point"
    OURS = "ours"  # a ping of keepwarm


@dataclass(slots=True)
class Call:
    """One call as a hook saw it, with the request as it went over the wire.

    Attributes:
        url: of the request; its path names model and operation.
        region: as the client says; what the signature or the host tells counts more.
        body: JSON; bytes never change, so it is read later, elsewhere.
        started_at: aware UTC, stamped before the attempt that was answered.
        latency_ms: until the answer began to arrive.
        headers: of the request, names in lower case; only those that `draw` reads are needed.
        usage: what was told beside the pieces.
        pieces: the body of the answer, or the first and last events of its stream.
    """

    url: str
    region: str
    body: bytes = field(repr=False)
    started_at: datetime
    latency_ms: int
    request_id: str
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)
    usage: Usage | None = None
    pieces: tuple[bytes | Mapping[str, Any], ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class Drawn:
    """A touch, ready to be sent.

    Attributes:
        text: one JSON object.
        sketched: False when the prompt has too many blocks for a sketch.
    """

    text: bytes
    sketched: bool


def is_call(url: str) -> bool:
    """Whether a URL is that of one of the four operations."""
    return _PATH.search(url) is not None


def draw(call: Call) -> Drawn | Skip:
    """The touch of a call, or why it is none."""
    if _OURS in call.headers.get("user-agent", ""):
        return Skip.OURS
    path = _PATH.search(urlsplit(call.url).path)
    body = _object(call.body) if path and any(marker in call.body for marker in _MARKERS) else None
    if path is None or body is None:
        return Skip.NOT_A_PROMPT if path is None else Skip.NO_CACHE_POINT
    if _is_ping(body.get("requestMetadata")) or _is_ping(_object(call.headers.get(METADATA_HEADER, "").encode())):
        return Skip.OURS
    model_id = unquote(path[1])
    api = Api.CONVERSE if path[2].startswith("converse") else Api.INVOKE_MODEL
    try:
        sketch = fingerprint.cut(fingerprint.sketch(dialects.read(_dialect(api, model_id, body), body)))
    except (DialectError, RecursionError):
        return Skip.NOT_A_PROMPT
    if not sketch.blocks:
        return Skip.NO_CACHE_POINT
    touch: dict[str, Any] = {
        "request_id": call.request_id or str(uuid.uuid4()),
        "started_at": _instant(call.started_at),
        "api": api.value,
        "model_id": model_id,
        "region": _region(call),
        "source": "reporter",
        "latency_ms": call.latency_ms,
    }
    usage = usage_of_pieces(call.pieces, call.usage)
    if usage:
        touch["usage"] = {name: getattr(usage, name) for name in Usage.__dataclass_fields__}
    sketched = len(sketch.blocks) <= fingerprint.MAX_BLOCKS
    if sketched:
        touch["sketch"] = fingerprint.sketch_to_json(sketch)
    return Drawn(json.dumps(touch, separators=(",", ":")).encode(), sketched)


def _dialect(api: Api, model_id: str, body: Mapping[str, Any]) -> Dialect:
    """An application inference profile hides the family in its id, but every Anthropic body tells its version."""
    if api is Api.CONVERSE:
        return Dialect.CONVERSE
    return Dialect.ANTHROPIC if "anthropic_version" in body or "anthropic." in model_id else Dialect.NOVA


def _is_ping(metadata: Any) -> bool:
    return isinstance(metadata, Mapping) and metadata.get("keepwarm") == "ping"


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _region(call: Call) -> str:
    """Where the call went, as its signature, its host, or else its client tells."""
    found = _SCOPE.search(call.headers.get("authorization", "")) or _HOST.search(urlsplit(call.url).netloc)
    return found[1] if found else call.region


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
