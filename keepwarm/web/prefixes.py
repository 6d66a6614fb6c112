"""What single prefixes are asked and told over HTTP: `GET .../ttl` and `POST .../closed`.

It decides nothing: a desk answers, from memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from keepwarm.touches import Refused
from keepwarm.web.replies import problem, read_body, too_large, unknown_prefix
from keepwarm.web.schema import CLOSED, CLOSING_BODY, NO_PREFIX, TTL

MAX_CLOSING_BYTES = 10_000


class Desk(Protocol):
    """Who knows the prefixes: `listener.Listener`. Every answer is None when there is no prefix of that name."""

    def ttl_of(self, name: str) -> Mapping[str, Any] | None:
        """What a request should ask for now, with how long that may be believed; called in a thread."""

    def close(self, name: str, raw: object) -> Mapping[str, Any] | Refused | None:
        """End pinging until the next organic request; called in a thread."""


def add_prefixes(app: FastAPI, desk: Desk) -> None:
    """Serve what single prefixes are asked and told."""

    @app.get("/v1/prefixes/{name}/ttl", responses={200: TTL, 404: NO_PREFIX})
    def ttl(name: str) -> Response:
        """What the cache points of the next request should ask for; believe it for max_age_seconds."""
        found = desk.ttl_of(name)
        return unknown_prefix(name) if found is None else JSONResponse(dict(found))

    @app.post(
        "/v1/prefixes/{name}/closed",
        openapi_extra={"requestBody": CLOSING_BODY},
        responses={200: CLOSED, 404: NO_PREFIX},
    )
    async def closed(name: str, request: Request) -> Response:
        """No more requests come: end pinging at once, until the next organic request; twice does no harm."""
        body = await read_body(request, MAX_CLOSING_BYTES)
        if body is None:
            return too_large(f"a closing may have {MAX_CLOSING_BYTES:,} bytes")
        try:
            raw = json.loads(body) if body.strip() else {}
        except (ValueError, RecursionError):
            return problem(400, 'the body must be empty, or JSON such as {"at": "2026-11-22T20:00:00Z"}')
        found = await run_in_threadpool(desk.close, name, raw)
        if isinstance(found, Refused):
            return problem(400, found.message, code=found.reason.value)
        return unknown_prefix(name) if found is None else JSONResponse(dict(found))
