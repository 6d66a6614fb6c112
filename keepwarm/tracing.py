"""Sends a span for each ping to where the standard OpenTelemetry variables say, as the extra `otel` does it.

It traces nothing but pings, tells no prompt text, and imports nothing of the SDK where nobody asks for it. The
attributes: OpenTelemetry semantic conventions for generative AI, read 2026-11-23.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

from keepwarm import __version__, clock
from keepwarm.model import Answer, Event, Prefix

# A collector that does not answer must not hold up a stop.
_FLUSH_SECONDS = 3.0

_WHERE = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HOW = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# Converse, or messages through InvokeModel.
_OPERATION = "chat"
_PINGS = frozenset({"ping_succeeded", "ping_failed"})

Attributes = dict[str, str | int]


class Sender(Protocol):
    """What sends pings: `bedrock.Gateway`."""

    def ping(self, prefix: Prefix) -> Answer:
        """Send one ping; raises KeepwarmError."""

    def endpoint(self, prefix: Prefix) -> str:
        """Where the last ping of this route was sent, as a URL; empty when none was."""


class Pinger(Protocol):
    """What a keeper pings with."""

    def ping(self, prefix: Prefix) -> Answer:
        """Send one ping; raises KeepwarmError."""


Trace = Callable[[Sender], Pinger]


@dataclass(frozen=True, slots=True)
class Tracing:
    """How pings are traced.

    Attributes:
        through: what to send pings through.
        observers: who must hear how pings ended; a span is complete, and sent, only then.
    """

    through: Trace
    observers: tuple[Callable[[Event], None], ...] = ()


_UNTRACED = Tracing(lambda sender: sender)


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for traces."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip()
    return exporter != "none" if exporter else any(environ.get(name) for name in _WHERE)


@contextmanager
def started(
    environ: Mapping[str, str], now: Callable[[], datetime], tell: Callable[[Event], None]
) -> Iterator[Tracing]:
    """Trace pings until the block ends, if somebody asks for it; what hinders that is told, and pings go on without.

    Args:
        environ: `os.environ`, which the SDK reads too.
    """
    if not wanted(environ):
        yield _UNTRACED
        return
    error, hint = _obstacle(environ)
    session = None
    if not error:
        try:
            session = _open()
        except ImportError:
            error, hint = "OpenTelemetry is not installed", "install keepwarm[otel], or set OTEL_SDK_DISABLED=true"
        except ValueError as refused:  # a variable that the SDK cannot read; it says which
            error, hint = f"the SDK refused its variables: {refused}", "correct the OTEL_* variables"
    if session is None:
        tell(Event("tracing_not_started", now(), "warning", {"error": error, "hint": hint}))
        yield _UNTRACED
        return
    try:
        yield Tracing(session.through, (session.observe,))
    finally:
        session.close()


def _obstacle(environ: Mapping[str, str]) -> tuple[str, str]:
    """What the variables ask for and the extra does not bring, and what to do; empty for nothing."""
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter != "otlp":
        return f"OTEL_TRACES_EXPORTER is {exporter}", "keepwarm exports by otlp only; none for no traces"
    for name in _HOW:
        if protocol := environ.get(name, "").strip():
            if protocol == "http/protobuf":
                break
            return f"{name} is {protocol}", "keepwarm speaks http/protobuf only; collectors hear it on port 4318"
    return "", ""


@dataclass(frozen=True, slots=True)
class _Session:
    """An SDK that exports.

    Attributes:
        span: begins a span of a name with attributes.
        failed: the status of a span that failed.
        flush: export what is left, however long that takes, and end.
        give_up: stop trying.
        answered: by the name of its prefix, of which only one ping flies at a time: the span of a ping whose event is
            still to come, and when the ping ended.
    """

    span: Callable[[str, Attributes], AbstractContextManager[Any]]
    failed: Any
    flush: Callable[[], None]
    give_up: Callable[[], None]
    answered: dict[str, tuple[Any, datetime]] = field(default_factory=dict)

    def through(self, sender: Sender) -> Pinger:
        """A sender whose pings are traced."""
        return _Traced(sender, self)

    def observe(self, event: Event) -> None:
        """Complete the span of a ping with what became of it."""
        if event.name in _PINGS:
            self.end(str(event.fields["prefix"]), event.fields)

    def end(self, prefix: str, fields: Mapping[str, object]) -> None:
        """End the span of a prefix, if it has one, at the moment at which its ping ended.

        Args:
            fields: what its event tells; empty when there was none.
        """
        if prefix not in self.answered:
            return
        span, at = self.answered.pop(prefix)
        span.set_attributes(_judged(fields))
        if fields.get("error_code"):
            span.set_status(self.failed, str(fields["error"]))
        span.end(_nanoseconds(at))

    def close(self) -> None:
        """Export what is left, if that can be done soon."""
        for prefix in list(self.answered):
            self.end(prefix, {})
        flushing = threading.Thread(target=self.flush, name="tracing", daemon=True)
        flushing.start()
        flushing.join(_FLUSH_SECONDS)
        if flushing.is_alive():
            self.give_up()


@dataclass(frozen=True, slots=True)
class _Traced:
    sender: Sender
    session: _Session

    def ping(self, prefix: Prefix) -> Answer:
        """Send one ping within a span; each attempt has its own. What became of it, `observe` is told."""
        self.session.end(prefix.name, {})  # one whose ping was never told of: its ledger entry could not be written
        with self.session.span(f"{_OPERATION} {prefix.model_id}", _asked(prefix)) as span:
            try:
                answer = self.sender.ping(prefix)
                span.set_attributes(_told(answer))
                return answer
            finally:
                self.session.answered[prefix.name] = span, clock.utc_now()
                span.set_attributes(_reached(self.sender.endpoint(prefix)))


def _open() -> _Session:
    """An SDK of our own, set up by its variables; the global one, which a host program may own, stays as it is."""
    # An extra, and slow to import: only where somebody asks for it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415

    plain = {"service.name": "keepwarm", "service.version": __version__, "service.instance.id": socket.gethostname()}
    given = OTELResourceDetector().detect().attributes
    resource = Resource.create({name: value for name, value in plain.items() if name not in given})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("keepwarm", __version__)

    def span(name: str, attributes: Attributes) -> AbstractContextManager[Any]:
        return tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
            end_on_exit=False,
        )

    return _Session(span, StatusCode.ERROR, provider.shutdown, exporter.shutdown)


# -- attributes -----------------------------------------------------------------------------------------------------


def _asked(prefix: Prefix) -> Attributes:
    return {
        "gen_ai.operation.name": _OPERATION,
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.system": "aws.bedrock",  # its name until 2025, which many dashboards still ask for
        "gen_ai.request.model": prefix.model_id,
        "cloud.region": prefix.route.region,
        "keepwarm.prefix": prefix.name,
        "keepwarm.ttl": prefix.ttl.value,
    }


def _told(answer: Answer) -> Attributes:
    usage = answer.usage
    found: Attributes = {}
    if answer.request_id:
        found["aws.request_id"] = answer.request_id
    if usage:
        found |= {
            "gen_ai.usage.input_tokens": usage.prompt_tokens,  # the conventions count cached tokens in
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        }
    return found


def _reached(endpoint: str) -> Attributes:
    parts = urlsplit(endpoint)
    if not parts.hostname:
        return {}
    return {"server.address": parts.hostname, "server.port": parts.port or (443 if parts.scheme == "https" else 80)}


def _judged(fields: Mapping[str, object]) -> Attributes:
    names = {"verdict": "keepwarm.verdict", "reason": "keepwarm.reason", "error_code": "error.type"}
    return {attribute: str(fields[name]) for name, attribute in names.items() if name in fields}


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000
