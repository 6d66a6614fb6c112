"""Model invocation logs in CloudWatch Logs and in S3, a page or an object at a time.

It keeps no position over a restart (see `follow`), only what it has told within the overlap. Layout and limits are from
the Amazon Bedrock and CloudWatch Logs documentation, read 2026-11-22.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any

from keepwarm.touches import ReportedTouch
from keepwarm.traffic.aws import FAILURES, connect, fetch_body, read_lines, split_uri, translate
from keepwarm.traffic.follow import OVERLAP, Portion
from keepwarm.traffic.records import Skip, Skipped, body_path, parse_record, read_record

_PAGE_EVENTS = 1_000  # the service itself ends a page at 1 MB
_CHUNK_LINES = 50
_SLICE = timedelta(minutes=10)
_SWEEP_EVERY = timedelta(minutes=5)
_SWEEP = OVERLAP + _SWEEP_EVERY  # what came just after the last sweep is still within
_SLACK = timedelta(minutes=1)
_LAG_DECAY = 0.98
_MAX_SEEN = 200_000  # of event ids, about 30 MB; what is forgotten is told again, which is harmless
_LATE_FOLDERS = timedelta(hours=1)  # a folder is looked at so long after its hour
_BODY_PATIENCE = timedelta(minutes=2)  # how long the object of a body may be later than its record
_MAX_WAITING = 1_000
_LAYOUT = "BedrockModelInvocationLogs/"
_DEFAULT = "default"
_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Line = bytes | str | Skip


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A record whose body was not there yet."""

    record: dict[str, Any] = field(repr=False)
    since: datetime


class _Records:
    """Lines to touches, with the bodies that stand elsewhere."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._waiting: list[_Waiting] = []
        self._next_waiting: list[_Waiting] = []

    def read(self, lines: Iterable[Line], now: datetime) -> Portion:
        """The touches of these lines; `keep` says that they were told."""
        touches: list[ReportedTouch] = []
        skipped: Counter[str] = Counter()
        self._next_waiting = list(self._waiting)
        for line in lines:
            record = Skipped(line) if isinstance(line, Skip) else parse_record(line)
            self._sort(record, now, now, touches, skipped)
        return Portion(touches, skipped)

    def read_waiting(self, now: datetime) -> Portion:
        """The touches whose bodies have come since, or are waited for no longer."""
        touches: list[ReportedTouch] = []
        skipped: Counter[str] = Counter()
        self._next_waiting = []
        for waiting in self._waiting:
            self._sort(waiting.record, waiting.since, now, touches, skipped)
        return Portion(touches, skipped)

    @cached_property
    def s3(self) -> Any:
        """Made on first use: whatever is wrong with the AWS configuration is told as a failure to read."""
        return connect("s3", self._region)

    def keep(self) -> None:
        """What was read last is told."""
        self._waiting = self._next_waiting

    def _sort(
        self,
        record: dict[str, Any] | Skipped,
        since: datetime,
        now: datetime,
        touches: list[ReportedTouch],
        skipped: Counter[str],
    ) -> None:
        found = record if isinstance(record, Skipped) else self._read(record, now)
        if isinstance(found, ReportedTouch):
            touches.append(found)
        elif isinstance(record, dict) and self._may_come(record, found.reason, now - since):
            self._next_waiting.append(_Waiting(record, since))
        else:
            skipped[found.reason.value] += 1

    def _read(self, record: dict[str, Any], now: datetime) -> ReportedTouch | Skipped:
        found = read_record(record, now)
        path = body_path(record)
        if isinstance(found, Skipped) and found.reason is Skip.BODY_MISSING and path:
            return read_record(record, now, fetch_body(self.s3, path))
        return found

    def _may_come(self, record: dict[str, Any], reason: Skip, waited: timedelta) -> bool:
        late = reason is Skip.BODY_MISSING and bool(body_path(record))
        return late and waited < _BODY_PATIENCE and len(self._next_waiting) < _MAX_WAITING


class LogGroup:
    """A CloudWatch log group that Bedrock logs to.

    Events turn up late, by as much as the last ones did and at times by more: every look goes back that far, and every
    five minutes one goes back the whole overlap. An event that was told already is known by its id.
    """

    def __init__(self, log_group: str, region: str) -> None:
        self._log_group = log_group
        self._region = region
        self._records = _Records(region)
        self._seen: dict[str, int] = {}
        self._lag = OVERLAP
        self._swept_at: datetime | None = None

    @property
    def name(self) -> str:
        """With its region, for the same group may be in several."""
        return f"logs:{self._region or _DEFAULT}:{self._log_group}"

    def read(self, since: datetime, now: datetime) -> Iterator[Portion]:
        """As `follow.Source`."""
        yield from _told(self._read(since, now))

    def _read(self, since: datetime, now: datetime) -> Iterator[Portion]:
        yield self._records.read_waiting(now)
        self._records.keep()
        sweeping = self._swept_at is None or now - self._swept_at >= _SWEEP_EVERY
        start = since - (_SWEEP if sweeping else min(OVERLAP, self._lag + _SLACK))
        self._lag *= _LAG_DECAY
        while start < now:
            end = start + _SLICE
            for events in self.pages(start, end if end < now else None):
                fresh = [event for event in events if event["eventId"] not in self._seen]
                yield self._records.read((event["message"] for event in fresh), now)
                self._records.keep()
                self._remember(fresh)
            yield Portion(until=max(since, min(end, now)))
            self._forget(now)
            start = end
        self._swept_at = now if sweeping else self._swept_at

    @cached_property
    def _logs(self) -> Any:
        return connect("logs", self._region)

    def pages(self, since: datetime, until: datetime | None) -> Iterator[Sequence[dict[str, Any]]]:
        """The events in [since, until), a page of at most 1 MB at a time; raises botocore's errors."""
        wanted: dict[str, Any] = {"logGroupName": self._log_group, "startTime": _milliseconds(since)}
        if until:
            wanted["endTime"] = _milliseconds(until) - 1  # both ends are inclusive
        token: dict[str, str] = {}
        while True:
            page = self._logs.filter_log_events(**wanted, **token, limit=_PAGE_EVENTS)
            yield page["events"]
            following = page.get("nextToken")
            if not following or following == token.get("nextToken"):
                return
            token = {"nextToken": following}

    def _remember(self, events: Sequence[dict[str, Any]]) -> None:
        for event in events:
            self._seen[event["eventId"]] = event["timestamp"]
            lag = (event.get("ingestionTime", event["timestamp"]) - event["timestamp"]) * _MILLISECOND
            self._lag = max(self._lag, lag)

    def _forget(self, now: datetime) -> None:
        oldest = _milliseconds(now - _SWEEP - _SLICE)
        kept = {name: at for name, at in self._seen.items() if at >= oldest}
        self._seen = dict(islice(kept.items(), max(0, len(kept) - _MAX_SEEN), None))


class Bucket:
    """The S3 bucket that Bedrock logs to: an object with several records, in a folder for each hour.

    Args:
        uri: `s3://bucket/prefix`, as the logging was configured; or longer, down to one account's logs.
    """

    def __init__(self, uri: str, region: str) -> None:
        self._uri = uri
        self._region = region
        self._bucket, self._prefix = split_uri(uri)
        self._records = _Records(region)
        self._seen: dict[tuple[str, str], datetime] = {}

    @property
    def name(self) -> str:
        """With its region, for a bucket may hold the logs of several."""
        return f"s3:{self._region or _DEFAULT}:{self._uri}"

    def read(self, since: datetime, now: datetime) -> Iterator[Portion]:
        """As `follow.Source`."""
        yield from _told(self._read(since, now))

    def _read(self, since: datetime, now: datetime) -> Iterator[Portion]:
        yield self._records.read_waiting(now)
        self._records.keep()
        bases = self._bases()
        hour = (since - _LATE_FOLDERS).replace(minute=0, second=0, microsecond=0)
        while hour <= now:
            for base in bases:
                for key, etag, written_at in self.objects(base, hour, since - OVERLAP):
                    if (key, etag) not in self._seen:
                        yield from self._read_object(key, now)
                        self._seen[key, etag] = written_at
            hour += timedelta(hours=1)
            # Folders are named for an hour that was over or running when their objects were written.
            yield Portion(until=max(since, min(hour, now)))
        self._seen = {name: at for name, at in self._seen.items() if at >= now - OVERLAP - _LATE_FOLDERS}

    def _read_object(self, key: str, now: datetime) -> Iterator[Portion]:
        lines = self.lines(key)
        while chunk := list(islice(lines, _CHUNK_LINES)):
            yield self._records.read(chunk, now)
            self._records.keep()

    def objects(self, base: str, hour: datetime, since: datetime) -> list[tuple[str, str, datetime]]:
        """Key, ETag and moment of the log objects in the folder of an hour that were written since, oldest first.

        Bodies (in a folder of their own) and the file of the permission check are none. Raises botocore's errors.
        """
        folder = f"{base}{hour:%Y/%m/%d/%H}/"
        pages = self._records.s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=folder)
        found = [
            (row["LastModified"], row["Key"], row["ETag"])
            for page in pages
            for row in page.get("Contents", [])
            if row["LastModified"] >= since and row["Key"].endswith(".json.gz") and "/" not in row["Key"][len(folder) :]
        ]
        return [(key, etag, at) for at, key, etag in sorted(found)]

    def lines(self, key: str) -> Iterator[Line]:
        """The lines of a log object; raises botocore's errors."""
        return read_lines(self._records.s3, self._bucket, key)

    def _bases(self) -> list[str]:
        """Where the folders of this region's days begin, one for each account."""
        region = self._records.s3.meta.region_name
        prefix = self._prefix if not self._prefix or self._prefix.endswith("/") else f"{self._prefix}/"
        if _LAYOUT in prefix:
            own = f"{prefix.partition(_LAYOUT)[0]}{_LAYOUT}{region}/"
            return [own]
        listed = self._records.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{prefix}AWSLogs/", Delimiter="/"
        )
        accounts = [row["Prefix"] for page in listed for row in page.get("CommonPrefixes", [])]
        return [f"{account}{_LAYOUT}{region}/" for account in accounts]


def _told(portions: Iterator[Portion]) -> Iterator[Portion]:
    """The same, with botocore's errors in keepwarm's words."""
    try:
        yield from portions
    except FAILURES as error:
        raise translate(error) from None


def _milliseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND
