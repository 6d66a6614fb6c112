"""Turns events into log lines: JSON for machines, readable ones on a terminal.

It decides nothing and is handed no prompt text. Log events have constant snake_case names in the past tense.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TextIO

import structlog

from keepwarm.errors import one_line
from keepwarm.model import Event

# Lines that may wait for a stream that takes none.
_MOST_PENDING = 10_000

_LIBRARIES = (
    "apscheduler", "botocore", "boto3", "urllib3", "alembic", "uvicorn", "asyncio", "watchfiles",
)  # fmt: skip


def configure(level: str, log_format: str, stream: TextIO | None = None) -> None:
    """Send all log lines of this process to `stream` (stderr by default), also those of libraries and warnings."""
    stream = stream or sys.stderr
    readable = log_format == "console" or (log_format == "auto" and stream.isatty())
    shared: list[Any] = [structlog.stdlib.add_log_level, _without_exception_text, _plain_values]
    # JSON escapes by itself what a terminal would obey, or take for another line.
    renderers: list[Any] = [structlog.processors.JSONRenderer()]
    if readable:
        renderers = [_one_line, structlog.dev.ConsoleRenderer(sort_keys=False)]
    handler = _Lines(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.processors.TimeStamper("iso", utc=True), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in _LIBRARIES:
        logging.getLogger(library).setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def log(event: Event) -> None:
    """Write one event as a log line; the event's own time is the line's time."""
    logger = structlog.get_logger("keepwarm")
    stamp = event.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    logger.log(logging.getLevelNamesMapping()[event.severity.upper()], event.name, timestamp=stamp, **event.fields)


class _Lines(logging.Handler):
    """Writes lines to a stream, those of many threads together.

    The handlers of the standard library hold a lock while they write, and a thread that writes lets go of Python's own
    lock: with hundreds of threads at work it gets that back some milliseconds later, and all others wait for it.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._pending: deque[str] = deque()
        self._turn = threading.Lock()

    def createLock(self) -> None:  # noqa: N802 - the base class wants this name
        """None: nothing is held while a line is made."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or leave it to the thread that writes at this moment; wait only for a stream that is stuck."""
        try:
            self._pending.append(f"{self.format(record)}\n")
            # Looked at again after each turn: a line may have come just before it ended.
            while self._pending and self._turn.acquire(blocking=len(self._pending) > _MOST_PENDING):
                try:
                    self._write()
                finally:
                    self._turn.release()
        except Exception:  # noqa: BLE001 - as the handlers of the standard library do
            self.handleError(record)

    def flush(self) -> None:
        """Write what is left; `logging` calls it at the end of the process."""
        with self._turn:
            self._write()

    def _write(self) -> None:
        lines = "".join(self._pending.popleft() for _ in range(len(self._pending)))
        if lines and not self._stream.closed:
            self._stream.write(lines)
            self._stream.flush()


def _without_exception_text(_logger: Any, _method: str, fields: Any) -> Any:
    """Where an exception of a library came from, without its message, which may quote a prompt."""
    caught = fields.pop("exc_info", None)
    if isinstance(caught, tuple) and caught[1] is not None:
        fields |= {"error": type(caught[1]).__name__, "trace": "".join(traceback.format_tb(caught[2]))}
    return fields


def _plain_values(_logger: Any, _method: str, fields: Any) -> Any:
    return {name: _plain(value) for name, value in fields.items()}


def _one_line(_logger: Any, _method: str, fields: Any) -> Any:
    return {one_line(str(name)): one_line(value) if isinstance(value, str) else value for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
