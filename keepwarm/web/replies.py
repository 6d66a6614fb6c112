"""What every route shares: answers as JSON, problem+json (RFC 9457), and a body that is never held beyond its limit.

It knows no route.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import TypeAdapter

# A body that takes longer is that of a client which has gone, or means no good.
_BODY_SECONDS = 30
# What is too large is read and forgotten for so long.
_FORGET_SECONDS = 5

_ADAPTERS: dict[type, TypeAdapter[Any]] = {}

PROBLEM: dict[str, Any] = {
    "description": "Refused, in words.",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "required": ["type", "status", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                    "hint": {"type": "string"},
                },
            }
        }
    },
}


async def read_body(request: Request, most: int) -> bytes | None:
    """The body, or None when it has more bytes than `most` or takes too long; never more than that is held."""
    parts: list[bytes] = []
    size = int(request.headers.get("content-length", "0"))  # h11 lets only digits pass
    stream = request.stream()
    if size <= most:
        size = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_BODY_SECONDS):
                async for part in stream:
                    size += len(part)
                    if size > most:
                        break
                    parts.append(part)
                else:
                    return b"".join(parts)
            parts.clear()
    # A client that sends all before it reads would otherwise find its connection broken, and no word why.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FORGET_SECONDS):
            async for _ in stream:
                pass
    return None


async def read_object(request: Request, most: int, allowed: frozenset[str]) -> dict[str, Any] | Response:
    """The JSON object in the body, empty for an empty one; or the refusal of anything else.

    Args:
        allowed: the keys that it may have.
    """
    body = await read_body(request, most)
    if body is None:
        return too_large(f"the body may have {most:,} bytes, within {_BODY_SECONDS} seconds")
    try:
        raw = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        return problem(400, "the body must be a JSON object")
    if not isinstance(raw, dict):
        return problem(400, "the body must be a JSON object")
    unknown = sorted(raw.keys() - allowed)
    if unknown:
        return problem(400, f"{str(unknown[0])[:100]!r} is not known here; known are {', '.join(sorted(allowed))}")
    return raw


def problem(
    status: int, detail: str, *, code: str = "", hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """A refusal in words."""
    more = {name: value for name, value in (("code", code), ("hint", hint)) if value}
    body = {"type": "about:blank", "status": status, "detail": detail} | more
    return JSONResponse(body, status_code=status, media_type="application/problem+json", headers=dict(headers or {}))


def too_large(detail: str) -> Response:
    """The refusal of a body."""
    return problem(413, detail)


def unknown_prefix(name: str) -> Response:
    """The refusal of a name that the registry does not have."""
    return problem(404, f"the registry has no prefix {name[:100]!r}")


def told(value: Any, status: int = 200) -> Response:
    """A view as JSON."""
    kind = type(value)
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return Response(_ADAPTERS[kind].dump_json(value), status, media_type="application/json")
