"""Reads a history line by line from files, a log group or a bucket, from any place on where it once stopped.

It parses no record and counts nothing.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from keepwarm.errors import ConfigError, KeepwarmError, Problem
from keepwarm.traffic.aws import FAILURES, connect, read_lines, split_uri, translate
from keepwarm.traffic.logs import LogGroup
from keepwarm.traffic.records import MAX_RECORD_BYTES, Skip, Skipped, parse_record

Line = bytes | str | Skip

_BATCH = 1_000
_SLICE = timedelta(hours=1)
_GZIP = b"\x1f\x8b"
_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some lines of a history.

    Attributes:
        place: where to read on once these are counted; None in the middle of something that is read whole.
        done: share of the history that is read then, from 0 to 1, as far as it can be known.
    """

    lines: Sequence[Line]
    place: Any = None
    done: float = 0.0


class Origin(Protocol):
    """Where a history is."""

    @property
    def history(self) -> dict[str, Any]:
        """Names it, as plain data."""

    def read(self, place: Any) -> Iterator[Batch]:
        """Its lines from a place on, None for the beginning; raises KeepwarmError."""


class Files:
    """Files of JSON lines, plain or gzip, in the order of their first records.

    Args:
        paths: at least one.

    Raises:
        ConfigError: one cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = sorted(paths, key=_begin)

    @property
    def history(self) -> dict[str, Any]:
        """As `Origin`."""
        return {"files": [str(path.resolve()) for path in self._paths]}

    def read(self, place: Any) -> Iterator[Batch]:
        """As `Origin`; a file that has grown since is read on."""
        start, passed = place or (0, 0)
        for index, path in enumerate(self._paths[start:], start):
            skip = passed if index == start else 0
            try:
                yield from self._read(index, path, skip)
            except OSError as error:
                raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from None

    def _read(self, index: int, path: Path, skip: int) -> Iterator[Batch]:
        size = max(1, path.stat().st_size)
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            lines = _lines(gzip.GzipFile(fileobj=raw) if packed else raw)
            count = sum(1 for _ in islice(lines, skip))
            while batch := list(islice(lines, _BATCH)):
                count += len(batch)
                yield Batch(batch, [index, count], (index + raw.tell() / size) / len(self._paths))


def _begin(path: Path) -> str:
    """The moment of a file's first record, as it writes it; empty when it cannot be told."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            first = next(_lines(gzip.GzipFile(fileobj=raw) if packed else raw), b"")
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from None
    record = Skipped(first) if isinstance(first, Skip) else parse_record(first)
    return str(record.get("timestamp", "")) if isinstance(record, dict) else ""


def _lines(file: gzip.GzipFile | BinaryIO) -> Iterator[Line]:
    """Lines of bounded length; what is damaged ends the file."""
    try:
        while line := file.readline(MAX_RECORD_BYTES + 1):
            if len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_RECORD_BYTES)
                yield Skip.TOO_LARGE
            elif line.strip():
                yield line
    except _DAMAGED:
        yield Skip.TRUNCATED


class LogGroupHistory:
    """A CloudWatch log group, an hour at a time; an interrupted hour is read again from its beginning."""

    def __init__(self, log_group: str, region: str, since: datetime, until: datetime) -> None:
        self._name = log_group
        self._logs = LogGroup(log_group, region)
        self._since = since
        self._until = until

    @property
    def history(self) -> dict[str, Any]:
        """As `Origin`; not with its ends, for they move on with every run."""
        return {"log_group": self._name}

    def read(self, place: Any) -> Iterator[Batch]:
        """As `Origin`."""
        start = datetime.fromisoformat(place) if place else self._since
        whole = max(self._until - start, timedelta(seconds=1))
        begun = start
        try:
            while start < self._until:
                end = min(start + _SLICE, self._until)
                for events in self._logs.pages(start, end):
                    yield Batch([event["message"] for event in events])
                yield Batch((), end.isoformat(), (end - begun) / whole)
                start = end
        except FAILURES as error:
            raise _told(error, "check the name of the log group and --region") from None


class S3History:
    """The objects of a bucket under a prefix, in the order of their names, which is that of their hours."""

    def __init__(self, uri: str, region: str, since: datetime) -> None:
        self._bucket, self._prefix = split_uri(uri)
        if not self._bucket:
            raise ConfigError([Problem("--s3", 0, "", f"{uri!r} is not a place; write s3://bucket/prefix")])
        self._uri = uri
        self._region = region
        self._since = since

    @property
    def history(self) -> dict[str, Any]:
        """As `Origin`."""
        return {"s3": self._uri}

    def read(self, place: Any) -> Iterator[Batch]:
        """As `Origin`."""
        after, passed = place or ("", 0)
        try:
            s3 = connect("s3", self._region)
            keys = [key for key in self._keys(s3) if key >= after]
            for number, key in enumerate(keys, 1):
                count = passed if key == after else 0
                lines = islice(read_lines(s3, self._bucket, key), count, None)
                while batch := list(islice(lines, _BATCH)):
                    count += len(batch)
                    yield Batch(batch, [key, count], number / len(keys))
        except FAILURES as error:
            raise _told(error, "check the bucket, its prefix and --region") from None

    def _keys(self, s3: Any) -> list[str]:
        """Objects of records; the bodies in the folders `data` and the file of the permission check are none."""
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        rows = (row for page in pages for row in page.get("Contents", []))
        return sorted(
            row["Key"]
            for row in rows
            if row["LastModified"] >= self._since and row["Key"].endswith(".json.gz") and "/data/" not in row["Key"]
        )


def _told(error: Exception, hint: str) -> KeepwarmError:
    translated = translate(error)
    translated.hint = hint if "KEEPWARM_TRAFFIC" in translated.hint else translated.hint
    return translated
