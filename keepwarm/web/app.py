"""The HTTP interface as an ASGI application: `POST /v1/touches`, `POST /v1/stop-all`, and what its siblings add.

It judges no touch: a batch is handed on as parsed JSON, and the receipt is the answer. Errors are problem+json
(RFC 9457).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

from keepwarm import __version__
from keepwarm.errors import Guarded, KeepwarmError
from keepwarm.pauses import BadOrder
from keepwarm.views.cursors import BadCursor
from keepwarm.web.acting import Acts, add_acting
from keepwarm.web.doorman import Access, Doorman
from keepwarm.web.page import add_page, is_open
from keepwarm.web.prefixes import Desk, add_prefixes
from keepwarm.web.probes import Metrics, Probes, add_metrics, add_probes
from keepwarm.web.reading import Answers, BadQuery, add_reading
from keepwarm.web.replies import PROBLEM, problem, read_body, too_large
from keepwarm.web.schema import STOPPED, TOUCHES_BODY, TOUCHES_RECEIPT
from keepwarm.web.stream import Stream

MAX_BODY_BYTES = 5_000_000
MAX_TOUCHES = 1_000
MAX_DROPPED = 100_000_000

# Hands a batch on and returns what became of it: accepted, duplicate, unknown, refused.
Hear = Callable[[list[Any], int], Mapping[str, Any]]

# Stops all pings; the way back is not over HTTP.
StopAll = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Offers:
    """What is served besides touches; what is None is not.

    Attributes:
        stop_all: stops all pings.
        desk: answers applications about single prefixes.
        answers: what is read.
        acts: what is done.
        probes: health and readiness.
        metrics: for Prometheus.
        stream: tells open pages what changed; with it the page itself is served.
    """

    stop_all: StopAll | None = None
    desk: Desk | None = None
    answers: Answers | None = None
    acts: Acts | None = None
    probes: Probes | None = None
    metrics: Metrics | None = None
    stream: Stream | None = None


def make_app(hear: Hear, access: Access, offers: Offers) -> ASGIApp:
    """Build the application.

    Args:
        hear: takes the touches of one batch, and how many others its sender has dropped; called in a thread.
        access: who may do what.
        offers: what else is served.
    """
    app = FastAPI(
        title="keepwarm",
        version=__version__,
        docs_url=None,  # their pages load scripts from another host
        redoc_url=None,
        openapi_url="/openapi.json",
        responses={"default": PROBLEM},
    )

    _add_refusals(app)

    @app.post("/v1/touches", openapi_extra={"requestBody": TOUCHES_BODY}, responses={200: TOUCHES_RECEIPT})
    async def touches(request: Request) -> Response:
        """Tell keepwarm of organic requests; a batch may be sent again, each request id counts once."""
        body = await read_body(request, MAX_BODY_BYTES)
        if body is None:
            return too_large(f"a batch may have {MAX_BODY_BYTES:,} bytes")
        try:
            told = json.loads(body)
            batch, dropped = told["touches"], told.get("dropped", 0)
        except (ValueError, TypeError, KeyError, RecursionError):
            return problem(400, 'the body must be JSON of the form {"touches": [...]}')
        if not isinstance(batch, list) or len(batch) > MAX_TOUCHES:
            return problem(400, f"touches must be a list of at most {MAX_TOUCHES:,}")
        if type(dropped) is not int or not 0 <= dropped <= MAX_DROPPED:
            return problem(400, f"dropped must be a whole number up to {MAX_DROPPED:,}")
        return JSONResponse(dict(await run_in_threadpool(hear, batch, dropped)))

    _add_offers(app, offers)
    return Doorman(app, access, is_open if offers.stream else lambda _: False)


def _add_offers(app: FastAPI, offers: Offers) -> None:
    adds: tuple[tuple[Callable[[FastAPI, Any], None], object], ...] = (
        (_add_stop_all, offers.stop_all),
        (add_prefixes, offers.desk),
        (add_reading, offers.answers),
        (add_acting, offers.acts),
        (add_probes, offers.probes),
        (add_metrics, offers.metrics),
        (add_page, offers.stream),
    )
    for add, offer in adds:
        if offer is not None:
            add(app, offer)


def _add_refusals(app: FastAPI) -> None:
    @app.exception_handler(404)
    @app.exception_handler(405)
    async def _not_here(request: Request, error: Any) -> Response:
        return problem(error.status_code, f"{request.method} {request.url.path} is not served here")

    @app.exception_handler(KeepwarmError)
    async def _failed(_: Request, error: KeepwarmError) -> Response:
        status = 409 if isinstance(error, Guarded) else 503 if error.retryable else 400
        headers = {"Retry-After": "5"} if error.retryable else {}
        return problem(status, str(error), code=error.code, hint=error.hint, headers=headers)

    @app.exception_handler(BadOrder)
    @app.exception_handler(BadCursor)
    @app.exception_handler(BadQuery)
    async def _senseless(_: Request, error: Exception) -> Response:
        return problem(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def _unreadable(_: Request, error: RequestValidationError) -> Response:
        said = [f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in error.errors()]
        return problem(422, "; ".join(said))


def _add_stop_all(app: FastAPI, stop_all: StopAll) -> None:
    @app.post("/v1/stop-all", responses={200: STOPPED})
    async def stop() -> Response:
        """Stop all pings until a person lifts that on the machine itself, also over a restart; twice does no harm."""
        try:
            await run_in_threadpool(stop_all)
        except KeepwarmError as error:
            return problem(500, str(error), code=error.code)
        return JSONResponse({"stopped": True})
