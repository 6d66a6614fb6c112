from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

from keepwarm import tracing
from keepwarm.bedrock import Gateway
from keepwarm.model import Event
from tests.builders import MONDAY

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def told(environ: Mapping[str, str]) -> list[Event]:
    """What is told of variables under which no ping is traced."""
    events: list[Event] = []
    gateway = Gateway(1)
    with tracing.started(environ, lambda: MONDAY, events.append) as traced:
        assert traced.through(gateway) is gateway
        assert traced.observers == ()
    return events


@pytest.mark.parametrize(
    ("environ", "traced"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"} | ENDPOINT, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"}, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, True),
        ({"OTEL_SERVICE_NAME": "keepwarm"}, False),
    ],
    ids=str,
)
def test_the_standard_variables_ask_for_traces(environ: dict[str, str], traced: bool):
    assert tracing.wanted(environ) is traced


def test_nobody_asks_and_nothing_is_told():
    assert told({}) == []


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"OTEL_TRACES_EXPORTER": "console"}, "OTEL_TRACES_EXPORTER is console"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL is grpc"),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is http"),
    ],
    ids=["console", "grpc", "json"],
)
def test_what_the_extra_cannot_do_is_told_and_pings_go_on(environ: dict[str, str], said: str):
    (event,) = told(environ)
    assert (event.name, event.severity) == ("tracing_not_started", "warning")
    assert said in str(event.fields["error"])
    assert event.fields["hint"]


def test_without_the_extra_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)  # as if it were not installed
    (event,) = told(ENDPOINT)
    assert "keepwarm[otel]" in str(event.fields["hint"])


def test_a_variable_that_the_sdk_cannot_read_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "-1")
    (event,) = told(ENDPOINT)
    assert "schedule_delay_millis must be positive" in str(event.fields["error"])


def test_no_sdk_is_imported_where_nobody_asks_for_it():
    program = (
        "import sys\nfrom keepwarm import cli, tracing\n"
        "with tracing.started({'OTEL_SDK_DISABLED': 'true', 'OTEL_TRACES_EXPORTER': 'otlp'}, None, None): pass\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
