"""The page: a shell of HTML, styles and scripts from the package, and the stream that keeps it current.

It holds no data of the daemon, so it needs no token: the scripts fetch what they show from the API, with the token that
a person gave them. Nothing in it comes from another host, and its policy forbids scripts and styles within the HTML.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from keepwarm import __version__
from keepwarm.web.replies import problem
from keepwarm.web.stream import Stream, TooManyClients

_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # a new version of keepwarm brings new files under the same names
}
_STREAM = {
    "description": "Events until the client goes; it comes again after a restart of the daemon.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


def is_open(path: str) -> bool:
    """Whether a path is served without a token, because it holds nothing of the daemon."""
    return path in {"/", "/favicon.ico"} or path.startswith(("/prefixes/", "/assets/"))


def add_page(app: FastAPI, stream: Stream) -> None:
    """Serve the page and its stream."""
    assets = {file.name: file.read_bytes() for file in files(__package__).joinpath("assets").iterdir()}
    templates = Environment(
        loader=PackageLoader("keepwarm.web.page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages = {
        name: templates.get_template(f"{name}.html").render(
            version=__version__, modules=_modules(assets, f"{other}.js")
        )
        for name, other in {"all": "one", "one": "all"}.items()
    }

    @app.get("/", include_in_schema=False)
    async def show_all() -> Response:
        return Response(pages["all"], media_type="text/html", headers=_HEADERS)

    @app.get("/prefixes/{name}", include_in_schema=False)
    async def show_one(name: str) -> Response:  # noqa: ARG001 the script reads it from the address
        return Response(pages["one"], media_type="text/html", headers=_HEADERS)

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> Response:
        return Response(assets["icon.svg"], media_type=_KINDS[".svg"], headers=_HEADERS)

    @app.get("/assets/{name}", include_in_schema=False)
    async def asset(name: str, request: Request) -> Response:
        kind = _KINDS.get(PurePosixPath(name).suffix)
        if kind is None or name not in assets:
            return problem(404, f"{request.method} {request.url.path} is not served here")
        return Response(assets[name], media_type=kind, headers=_HEADERS)

    @app.get("/v1/stream", response_class=StreamingResponse, responses={200: _STREAM})
    async def follow() -> Response:
        """Server-sent events: `changed` with the names of prefixes (null for all), `alive` every few seconds."""
        try:
            events = stream.follow()
        except TooManyClients:
            refusal = problem(503, "too many pages are open; close one, or wait")
            refusal.headers["Retry-After"] = "10"
            return refusal
        return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


def _modules(assets: dict[str, bytes], other: str) -> list[str]:
    """Every script that a page loads, so that a browser need not find them one after another."""
    return sorted(name for name in assets if name.endswith(".js") and name not in {"theme.js", other})
