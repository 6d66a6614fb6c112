"""What supervisors ask: `GET /-/healthy`, `GET /-/ready`, and `GET /metrics`.

It judges nothing: whoever knows the daemon does. The first two need no token and tell no data.
"""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from keepwarm.web.replies import problem


class Probes(Protocol):
    """Who knows how the daemon is."""

    def ailments(self) -> list[str]:
        """What is wrong with the process itself, which only starting it again can mend."""

    def obstacles(self) -> list[str]:
        """Why it cannot do its work at this moment."""

    def role(self) -> str:
        """`leader` or `standby`."""


class Metrics(Protocol):
    """Who counts."""

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics in the format that an Accept header asks for, and their content type."""


_UNWELL: dict[int | str, dict[str, Any]] = {503: {"description": "Not so: `detail` says why."}}


def add_probes(app: FastAPI, probes: Probes) -> None:
    """Serve health and readiness."""

    @app.get("/-/healthy", response_model=dict[str, bool], responses=_UNWELL)
    async def healthy() -> Response:
        """Whether the process does its rounds; if not, it should be started again."""
        ailments = probes.ailments()
        return problem(503, "; ".join(ailments)) if ailments else JSONResponse({"healthy": True})

    @app.get("/-/ready", response_model=dict[str, str], responses=_UNWELL)
    async def ready() -> Response:
        """Whether registry and ledger can be used; a daemon that stands by is ready too."""
        obstacles = await run_in_threadpool(probes.obstacles)
        return problem(503, "; ".join(obstacles)) if obstacles else JSONResponse({"role": probes.role()})


def add_metrics(app: FastAPI, metrics: Metrics) -> None:
    """Serve metrics."""

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def expose(request: Request) -> Response:
        """All metrics, as Prometheus reads them."""
        body, kind = metrics.expose(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": kind})
