"""Log lines: JSON for machines, readable ones on a terminal, and no prompt text in either."""

from __future__ import annotations

import io
import json
import logging
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import structlog

from keepwarm import telemetry
from keepwarm.model import Event

AT = datetime(2026, 11, 22, 9, 0, 0, 123456, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is global: leave it as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def event(**fields: object) -> Event:
    return Event("ping_succeeded", AT, "info", fields)


def test_an_event_is_one_line_of_json_with_its_own_time():
    stream = io.StringIO()
    telemetry.configure("info", "auto", stream)
    telemetry.log(event(prefix="a", verdict="hit", read_tokens=2000))
    assert lines(stream) == [
        {
            "event": "ping_succeeded",
            "level": "info",
            "timestamp": "2026-11-22T09:00:00.123Z",
            "prefix": "a",
            "verdict": "hit",
            "read_tokens": 2000,
        }
    ]


def test_money_and_times_are_exact_text_in_json_also_inside_lists_and_objects():
    stream = io.StringIO()
    telemetry.configure("info", "json", stream)
    small = Decimal("0.000000000123")
    telemetry.log(event(cost_usd=small, until=AT, rows=[small, {"at": AT}], by={"a": (small,)}, none=None))
    (line,) = lines(stream)
    assert (line["cost_usd"], line["until"]) == ("0.000000000123", "2026-11-22T09:00:00.123Z")
    assert line["rows"] == ["0.000000000123", {"at": "2026-11-22T09:00:00.123Z"}]
    assert line["by"] == {"a": ["0.000000000123"]}
    assert line["none"] is None


def test_line_breaks_and_quotes_in_a_value_stay_inside_one_line():
    stream = io.StringIO()
    telemetry.configure("info", "json", stream)
    telemetry.log(event(error='a "b"\nc \u2028 é'))
    assert len(stream.getvalue().splitlines()) <= 2
    assert json.loads(stream.getvalue())["error"] == 'a "b"\nc \u2028 é'


@pytest.mark.parametrize(
    ("log_format", "stream", "readable"),
    [
        ("auto", Terminal(), True),
        ("auto", io.StringIO(), False),
        ("json", Terminal(), False),
        ("console", io.StringIO(), True),
    ],
)
def test_a_terminal_gets_readable_lines_unless_the_setting_says_otherwise(log_format, stream, readable):
    telemetry.configure("info", log_format, stream)
    telemetry.log(event(prefix="support-bot"))
    text = stream.getvalue()
    assert "ping_succeeded" in text
    assert "support-bot" in text
    assert text.startswith("{") is not readable


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_decides_what_is_told(level, told):
    stream = io.StringIO()
    telemetry.configure(level, "json", stream)
    for severity in ("debug", "info", "warning", "error"):
        telemetry.log(Event("prefix_warmed", AT, severity))
    assert [line["level"] for line in lines(stream)] == told


def test_lines_of_libraries_go_the_same_way():
    stream = io.StringIO()
    telemetry.configure("info", "json", stream)
    logging.getLogger("some.library").warning("%s of %d", "one", 2)
    (line,) = lines(stream)
    assert (line["event"], line["level"]) == ("one of 2", "warning")
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None


def test_readable_lines_of_libraries_go_the_same_way():
    stream = Terminal()
    telemetry.configure("info", "auto", stream)
    logging.getLogger("some.library").warning("%s of %d", "one", 2)
    assert "one of 2" in stream.getvalue()


@pytest.mark.parametrize("library", ["apscheduler.here", "botocore.endpoint", "boto3", "urllib3.pool", "uvicorn.error"])
def test_talkative_libraries_are_heard_only_when_something_broke(library):
    stream = io.StringIO()
    telemetry.configure("debug", "json", stream)
    logging.getLogger(library).debug("the body is: canary")
    logging.getLogger(library).warning("retrying")
    logging.getLogger(library).error("broken")
    assert [line["event"] for line in lines(stream)] == ["broken"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_of_a_library_is_told_by_its_kind_and_place_but_not_by_its_message(log_format):
    stream = io.StringIO()
    telemetry.configure("info", log_format, stream)
    try:
        raise ValueError("the prompt is: canary")  # noqa: TRY301
    except ValueError:
        logging.getLogger("apscheduler").exception("Job raised an exception")
    text = stream.getvalue()
    assert "ValueError" in text
    assert "test_telemetry.py" in text
    assert "canary" not in text.replace('raise ValueError("the prompt is: canary")', "").replace(
        'raise ValueError(\\"the prompt is: canary\\")', ""
    )
    if log_format == "json":
        assert lines(stream)[0]["error"] == "ValueError"


def test_warnings_of_python_become_log_lines():
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        telemetry.configure("info", "json", stream)
        warnings.warn("this will go away", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    (line,) = lines(stream)
    assert "this will go away" in line["event"]


def test_configuring_twice_does_not_tell_everything_twice():
    first, second = io.StringIO(), io.StringIO()
    telemetry.configure("info", "json", first)
    telemetry.configure("info", "json", second)
    telemetry.log(event())
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_without_a_stream_the_lines_go_to_stderr(capsys):
    telemetry.configure("info", "json")
    telemetry.log(event())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "ping_succeeded"


class Slow(io.StringIO):
    """A stream that keeps who writes to it until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.free = threading.Event(), threading.Event()
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        self.entered.set()
        assert self.free.wait(10)
        return super().write(text)


def test_a_thread_does_not_wait_for_another_that_writes_and_no_line_is_lost():
    stream = Slow()
    telemetry.configure("info", "json", stream)
    first = threading.Thread(target=telemetry.log, args=[event(number=0)])
    first.start()
    assert stream.entered.wait(10)
    for number in range(1, 50):
        telemetry.log(event(number=number))  # comes back although nothing can be written
    stream.free.set()
    first.join()
    assert [line["number"] for line in lines(stream)] == list(range(50))
    assert stream.writes == 2


def test_lines_of_many_threads_are_whole_and_all_there():
    stream = io.StringIO()
    telemetry.configure("info", "json", stream)

    def tell(number: int) -> None:
        for each in range(200):
            telemetry.log(event(number=1000 * number + each))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(tell, range(8)))
    logging.getLogger().handlers[0].flush()
    assert sorted(line["number"] for line in lines(stream)) == [1000 * a + b for a in range(8) for b in range(200)]


def test_a_stream_that_takes_nothing_makes_threads_wait_in_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telemetry, "_MOST_PENDING", 5)
    stream = Slow()
    telemetry.configure("info", "json", stream)
    threads = [threading.Thread(target=telemetry.log, args=[event(number=number)]) for number in range(30)]
    for thread in threads:
        thread.start()
    assert stream.entered.wait(10)
    assert any(thread.is_alive() for thread in threads)
    stream.free.set()
    for thread in threads:
        thread.join()
    assert len(lines(stream)) == 30


def test_a_stream_that_fails_ends_nothing(capsys: pytest.CaptureFixture[str]):
    stream = io.StringIO()
    telemetry.configure("info", "json", stream)
    stream.close()
    telemetry.log(event())
    assert "Traceback" not in capsys.readouterr().err
