"""The HTTP interface as an ASGI application: `POST /v1/touches`, `POST /v1/stop-all`, and what is in `prefixes`.

It judges no touch: a batch is handed on as parsed JSON, and the receipt is the answer. Errors are problem+json
(RFC 9457).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from keepwarm import __version__
from keepwarm.errors import KeepwarmError
from keepwarm.web.page import add_page, is_open
from keepwarm.web.prefixes import Desk, add_prefixes
from keepwarm.web.replies import problem, read_body
from keepwarm.web.schema import STOPPED, TOUCHES_BODY, TOUCHES_RECEIPT
from keepwarm.web.stream import Stream

MAX_BODY_BYTES = 5_000_000
MAX_TOUCHES = 1_000

# Hands a batch on and returns what became of it: accepted, duplicate, unknown, refused.
Hear = Callable[[list[Any]], Mapping[str, Any]]

# Stops all pings; the way back is not over HTTP.
StopAll = Callable[[], None]


def make_app(
    hear: Hear,
    token: str | None,
    hosts: frozenset[str],
    stop_all: StopAll | None = None,
    desk: Desk | None = None,
    stream: Stream | None = None,
) -> ASGIApp:
    """Build the application.

    Args:
        hear: takes the touches of one batch; called in a thread.
        token: what `Authorization: Bearer ...` must carry; None lets everybody in.
        hosts: names in the Host header that are answered, so that a web page cannot reach a loopback port by a name of
            its own (DNS rebinding); empty for any.
        stop_all: stops all pings; None where nobody may over HTTP.
        desk: answers for single prefixes; None where nobody does.
        stream: tells open pages what changed; None where no page is served.
    """
    app = FastAPI(
        title="keepwarm",
        version=__version__,
        docs_url=None,  # their pages load scripts from another host
        redoc_url=None,
        openapi_url="/openapi.json",
    )

    _add_refusals(app)

    @app.post("/v1/touches", openapi_extra={"requestBody": TOUCHES_BODY}, responses={200: TOUCHES_RECEIPT})
    async def touches(request: Request) -> Response:
        """Tell keepwarm of organic requests; a batch may be sent again, each request id counts once."""
        body = await read_body(request, MAX_BODY_BYTES)
        if body is None:
            return problem(413, f"a batch may have {MAX_BODY_BYTES:,} bytes")
        try:
            batch = json.loads(body)["touches"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return problem(400, 'the body must be JSON of the form {"touches": [...]}')
        if not isinstance(batch, list) or len(batch) > MAX_TOUCHES:
            return problem(400, f"touches must be a list of at most {MAX_TOUCHES:,}")
        return JSONResponse(dict(await run_in_threadpool(hear, batch)))

    if stop_all:
        _add_stop_all(app, stop_all)
    if desk:
        add_prefixes(app, desk)
    if stream:
        add_page(app, stream)
    return _Gate(app, token, hosts)


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(404)
    @app.exception_handler(405)
    async def _not_here(request: Request, error: Any) -> Response:
        return problem(error.status_code, f"{request.method} {request.url.path} is not served here")

    @app.exception_handler(KeepwarmError)
    async def _failed(_: Request, error: KeepwarmError) -> Response:
        return problem(503 if error.retryable else 400, str(error), code=error.code)


def _add_stop_all(app: FastAPI, stop_all: StopAll) -> None:
    @app.post("/v1/stop-all", responses={200: STOPPED})
    async def stop(request: Request) -> Response:
        """Stop all pings until a person lifts that on the machine itself, also over a restart; twice does no harm."""
        if "origin" in request.headers:  # a page in a browser of this machine, which needs no token
            return problem(403, "web pages may not stop keepwarm")
        try:
            await run_in_threadpool(stop_all)
        except KeepwarmError as error:
            return problem(500, str(error), code=error.code)
        return JSONResponse({"stopped": True})


class _Gate:
    """Lets a request in by its host and token before anything of it is read."""

    def __init__(self, app: ASGIApp, token: str | None, hosts: frozenset[str]) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else None
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").rsplit(":", 1)[0].strip("[]").lower()
        if self._hosts and host not in self._hosts:
            await problem(421, "this host name is not served here")(scope, receive, send)
        elif (
            self._expected
            and not is_open(scope["path"])
            and not hmac.compare_digest(headers.get(b"authorization", b""), self._expected)
        ):
            refusal = problem(401, "a token is needed: Authorization: Bearer ...")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            await refusal(scope, receive, send)
        else:
            await self._app(scope, receive, send)
