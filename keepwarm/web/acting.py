"""What is done over HTTP: pause, resume, ping, reload.

It does nothing itself; the doorman has let in who may act.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from keepwarm.model import Scope
from keepwarm.views.shapes import LedgerRow, Paused, RegistryShown
from keepwarm.web.replies import problem, read_object, told, unknown_prefix

_MOST_BYTES = 10_000
_PAUSE = frozenset({"for", "until", "why", "by"})
_RESUME = frozenset({"why", "by"})
_SCOPES = frozenset({"tag", "all"})

_TEXT = {"type": "string", "maxLength": 255}


def _body(*required: str, **properties: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return {"requestBody": {"required": bool(required), "content": {"application/json": {"schema": schema}}}}


_FOR = _TEXT | {"description": "Such as 2h, 90m, 1d12h; without it and `until` until somebody resumes."}
_UNTIL = _TEXT | {"description": "A moment with its zone, in the coming year."}
_PAUSE_FIELDS: dict[str, Any] = {"for": _FOR, "until": _UNTIL, "why": _TEXT, "by": _TEXT}
_RESUME_FIELDS: dict[str, Any] = {"why": _TEXT, "by": _TEXT}
_WHICH: dict[str, Any] = {
    "tag": _TEXT | {"description": "`key:value`"},
    "all": {"type": "boolean", "description": "true; either this or a tag."},
}


class Acts(Protocol):
    """Who acts: `answers.Acts`. BadOrder is one that makes no sense, in words."""

    def knows(self, name: str) -> bool:
        """Whether there is such a prefix."""

    def pause(self, scope: Scope, target: str, said: Mapping[str, str]) -> Paused:
        """Pause."""

    def resume(self, scope: Scope, target: str, said: Mapping[str, str]) -> Paused:
        """End a pause."""

    def ping(self, name: str, why: str) -> LedgerRow:
        """Ping now."""

    def reload(self) -> RegistryShown:
        """Read the registry again; what is in force then."""


def add_acting(app: FastAPI, acts: Acts) -> None:
    """Serve what is done."""
    _add_to_one(app, acts)
    _add_to_many(app, acts)

    @app.post("/-/reload", response_model=RegistryShown)
    async def reload() -> Response:
        """Read the registry again; one that cannot be used changes nothing and is told in `refused`."""
        found = await run_in_threadpool(acts.reload)
        return told(found, 422 if found.refused and found.refused.at > found.loaded_at else 200)


def _add_to_one(app: FastAPI, acts: Acts) -> None:
    @app.post("/v1/prefixes/{name}/pause", response_model=Paused, openapi_extra=_body("why", **_PAUSE_FIELDS))
    async def pause(name: str, request: Request) -> Response:
        """Send no pings of a prefix for a time, or until it is resumed; other requests and pings by hand go on."""
        return await _of_one(request, acts, name, _PAUSE, acts.pause)

    @app.post("/v1/prefixes/{name}/resume", response_model=Paused, openapi_extra=_body(**_RESUME_FIELDS))
    async def resume(name: str, request: Request) -> Response:
        """End the pause of a prefix; pauses of its tags and of all stay, and are told in `still`."""
        return await _of_one(request, acts, name, _RESUME, acts.resume)

    @app.post("/v1/prefixes/{name}/ping", response_model=LedgerRow, openapi_extra=_body(why=_TEXT))
    async def ping(name: str, request: Request) -> Response:
        """Send one ping now, also outside busy hours and when paused or stopped; caps on money hold it."""
        said = await _said(request, frozenset({"why"}))
        if isinstance(said, Response):
            return said
        if not acts.knows(name):
            return unknown_prefix(name)
        return told(await run_in_threadpool(acts.ping, name, said.get("why", "")))


def _add_to_many(app: FastAPI, acts: Acts) -> None:
    @app.post("/v1/pause", response_model=Paused, openapi_extra=_body("why", **_WHICH, **_PAUSE_FIELDS))
    async def pause(request: Request) -> Response:
        """Pause all prefixes with a tag, or all."""
        return await _of_many(request, _PAUSE, acts.pause)

    @app.post("/v1/resume", response_model=Paused, openapi_extra=_body(**_WHICH, **_RESUME_FIELDS))
    async def resume(request: Request) -> Response:
        """End the pause of a tag, or that of all; pauses of other scopes stay."""
        return await _of_many(request, _RESUME, acts.resume)


Order = Callable[[Scope, str, Mapping[str, str]], Paused]


async def _of_one(request: Request, acts: Acts, name: str, allowed: frozenset[str], order: Order) -> Response:
    said = await _said(request, allowed)
    if isinstance(said, Response):
        return said
    if not acts.knows(name):
        return unknown_prefix(name)
    return told(await run_in_threadpool(order, Scope.PREFIX, name, said))


async def _of_many(request: Request, allowed: frozenset[str], order: Order) -> Response:
    said = await _said(request, allowed | _SCOPES)
    if isinstance(said, Response):
        return said
    tag, whole = said.pop("tag", ""), said.pop("all", "")
    if bool(tag) == bool(whole):
        return problem(400, 'say which: {"tag": "key:value"} or {"all": true}')
    return told(await run_in_threadpool(order, Scope.TAG if tag else Scope.ALL, tag, said))


async def _said(request: Request, allowed: frozenset[str]) -> dict[str, str] | Response:
    """The words of the body; `all` is true or not there."""
    raw = await read_object(request, _MOST_BYTES, allowed)
    if isinstance(raw, Response):
        return raw
    if raw.get("all") is False:
        raw.pop("all")
    for key, value in raw.items():
        if not (value is True if key == "all" else isinstance(value, str)):
            return problem(400, f"{key} must be {'true' if key == 'all' else 'a text'}")
    return {key: "all" if key == "all" else value for key, value in raw.items()}
