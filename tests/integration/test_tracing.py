"""A span a ping, as a real OTLP/HTTP receiver hears it from a daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from keepwarm import daemon, tracing
from keepwarm.clock import monotonic_seconds
from keepwarm.emulator import Emulator, Faults
from keepwarm.errors import Unavailable
from keepwarm.model import Answer, Event, Prefix
from keepwarm.settings import Settings
from tests.builders import CLAUDE, MONDAY, make_prefix, shipped_catalog
from tests.daemons import CANARY, PATIENCE_SECONDS, TIME_SCALE, soon, write_registry
from tests.receiver import Receiver


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), time_scale=TIME_SCALE) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield emulator


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with Receiver() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield collector


class Nobody:
    """A sender that reaches nobody."""

    def ping(self, prefix: Prefix) -> Answer:
        raise Unavailable(f"nobody answers for {prefix.name}")

    def endpoint(self, prefix: Prefix) -> str:
        return f"https://bedrock-runtime.{prefix.route.region}.amazonaws.com"


@contextmanager
def running(place: Path, told: list[Event]) -> Iterator[None]:
    """A daemon that keeps one prefix warm."""
    registry = write_registry(place / "registry.yaml", "a", defaults={"policy": "busy_hours"})
    settings = Settings(registry=registry, state_dir=place / "state", listen="off")
    with daemon.build(settings, observers=[told.append]) as service, ThreadPoolExecutor(1) as pool:
        code = pool.submit(service.run)
        yield
        service.stop()
        assert code.result(PATIENCE_SECONDS) == 0


def requests(collector: Receiver) -> list[ExportTraceServiceRequest]:
    return [ExportTraceServiceRequest.FromString(body) for _, path, body in collector.errands if path == "/v1/traces"]


def spans(collector: Receiver) -> list[Span]:
    """Every span so far, oldest first."""
    found = [
        span
        for request in requests(collector)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return sorted(found, key=lambda span: span.start_time_unix_nano)


def plain(attributes: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


def test_every_ping_is_a_span_with_its_tokens_and_nothing_of_the_prompt(
    emulator: Emulator, collector: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    told: list[Event] = []
    with running(tmp_path, told):
        assert soon(lambda: len(spans(collector)) >= 2)
    first, second = spans(collector)[:2]
    wrote, hit = plain(first.attributes), plain(second.attributes)
    assert (first.name, first.kind) == (f"chat {CLAUDE}", Span.SPAN_KIND_CLIENT)
    completed = next(event.at for event in told if event.name == "ping_succeeded").timestamp()
    assert first.start_time_unix_nano < first.end_time_unix_nano < (completed + 0.001) * 1e9
    tokens = wrote["gen_ai.usage.cache_creation.input_tokens"]
    assert tokens > 1000
    assert wrote["gen_ai.usage.input_tokens"] == tokens + emulator.log[0].usage.input_tokens
    assert hit["gen_ai.usage.cache_read.input_tokens"] == tokens
    assert hit["gen_ai.usage.cache_creation.input_tokens"] == 0
    wanted = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.system": "aws.bedrock",
        "gen_ai.request.model": CLAUDE,
        "gen_ai.usage.output_tokens": emulator.log[0].usage.output_tokens,
        "server.address": "127.0.0.1",
        "server.port": int(emulator.url.rpartition(":")[2]),
        "keepwarm.prefix": "a",
        "cloud.region": "eu-central-1",
        "keepwarm.verdict": "rewrite",
        "keepwarm.reason": "cold_in_busy_hours",
        "keepwarm.ttl": "5m",
    }
    assert {name: wrote[name] for name in wanted} == wanted
    assert wrote["aws.request_id"]
    assert "error.type" not in wrote
    resource = plain(requests(collector)[0].resource_spans[0].resource.attributes)
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("keepwarm", "test")
    assert CANARY not in str(requests(collector))
    assert "tracing_not_started" not in {event.name for event in told}


def test_the_name_of_the_service_is_the_one_that_its_variable_says(
    emulator: Emulator, collector: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "warmer")
    with running(tmp_path, []):
        assert soon(lambda: emulator.log)
    assert plain(requests(collector)[0].resource_spans[0].resource.attributes)["service.name"] == "warmer"


def test_a_ping_that_is_refused_is_a_failed_span_with_the_code_of_its_error(
    emulator: Emulator, collector: Receiver, tmp_path: Path
):
    emulator.set_faults("*", Faults(echo_prompt_in_errors=True))
    with running(tmp_path, []):
        assert soon(lambda: spans(collector))
    (span,) = spans(collector)
    refused = plain(span.attributes)
    assert (refused["error.type"], refused["keepwarm.verdict"]) == ("request_refused", "error")
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert not span.events
    assert CANARY not in str(requests(collector))


def test_an_answer_that_tells_no_usage_is_a_failed_span(emulator: Emulator, collector: Receiver, tmp_path: Path):
    emulator.set_faults("*", Faults(omit_usage=True, omit_headers=True))
    with running(tmp_path, []):
        assert soon(lambda: spans(collector))
    span = spans(collector)[0]
    lost = plain(span.attributes)
    assert (lost["error.type"], lost["keepwarm.verdict"]) == ("no_usage", "unknown")
    assert "gen_ai.usage.input_tokens" not in lost
    assert span.status.code == Status.STATUS_CODE_ERROR


def test_a_ping_whose_end_is_never_told_is_a_span_all_the_same(collector: Receiver):
    sender = Nobody()
    with tracing.started(os.environ, lambda: MONDAY, lambda _: None) as traced:
        pinger = traced.through(sender)
        for _ in range(2):
            with pytest.raises(Unavailable):
                pinger.ping(make_prefix())
        assert soon(lambda: len(spans(collector)) == 1)  # the second waits for what becomes of it
    assert len(spans(collector)) == 2
    assert "keepwarm.verdict" not in plain(spans(collector)[1].attributes)


def test_a_collector_that_does_not_answer_holds_up_neither_pings_nor_the_stop(
    emulator: Emulator, collector: Receiver, tmp_path: Path
):
    collector.gate.clear()
    with running(tmp_path, []):
        assert soon(lambda: len(emulator.log) >= 3)
        began = monotonic_seconds()
    assert monotonic_seconds() - began < 10
