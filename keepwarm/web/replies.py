"""What every route shares: problem+json (RFC 9457), and a body that is never held beyond its limit.

It knows no route.
"""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse, Response


async def read_body(request: Request, most: int) -> bytes | None:
    """The body, or None when it has more bytes than `most`; never more than that is held."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


def problem(status: int, detail: str, *, code: str = "") -> Response:
    """A refusal in words."""
    body = {"type": "about:blank", "status": status, "detail": detail} | ({"code": code} if code else {})
    return JSONResponse(body, status_code=status, media_type="application/problem+json")
