"""AWS on this machine for the tests of traffic: moto's server over HTTP, and what they put into it."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import boto3

from keepwarm import clock
from keepwarm.ledger import Ledger
from keepwarm.model import Event, Prefix
from keepwarm.touches import Matcher, ReportedTouch
from keepwarm.traffic.follow import Follower, Source
from tests.invocation_logs import ACCOUNT, REGION

GROUP = "/aws/bedrock/invocations"
BUCKET = "team-logs"
KEY = b"k" * 32
NEVER = threading.Event()


class Wall:
    """A clock on the wall whose hands the test turns; CloudWatch takes only events of about now."""

    def __init__(self) -> None:
        self.at = clock.utc_now()

    def __call__(self) -> datetime:
        return self.at

    def advance(self, **duration: float) -> None:
        self.at += timedelta(**duration)


@dataclass
class Ear:
    """Hears touches and writes them into a real ledger, as the daemon does; remembers what it was told."""

    ledger: Ledger
    prefixes: Sequence[Prefix] = ()
    heard: list[str] = field(default_factory=list)
    touches: list[ReportedTouch] = field(default_factory=list)
    largest: int = 0

    def __call__(self, touches: Sequence[ReportedTouch]) -> None:
        matcher = Matcher(self.prefixes, KEY)
        self.ledger.add_touches([touch for reported in touches for touch in matcher.match(reported)])
        self.heard += [touch.request_id for touch in touches]
        self.touches += touches
        self.largest = max(self.largest, len(touches))

    @property
    def written(self) -> list[str]:
        return sorted(touch.request_id for touch in self.ledger.touches(None, None))


@dataclass
class Town:
    """One ledger, one clock, one follower at a time."""

    ledger: Ledger
    wall: Wall = field(default_factory=Wall)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ear = Ear(self.ledger)

    def follow(self, source: Source) -> Follower:
        return Follower(source, self.ledger, now=self.wall, tell=self.events.append, poll=timedelta(seconds=15))

    def poll(self, follower: Follower, times: int = 1, every: float = 15) -> bool:
        """Poll as often, a quarter of a minute apart; whether the last one went well."""
        well = False
        for _ in range(times):
            well = follower.poll(NEVER, self.ear)
            self.wall.advance(seconds=every)
        return well

    @property
    def told(self) -> list[tuple[str, object]]:
        return [(event.name, event.fields.get("error_code")) for event in self.events]


def put_events(records: Iterable[tuple[datetime, dict[str, Any] | str]], group: str = GROUP) -> None:
    """Write records as events with these moments into a log group."""
    logs = boto3.client("logs", region_name=REGION)
    events = [
        {"timestamp": int(at.timestamp() * 1000), "message": record if isinstance(record, str) else json.dumps(record)}
        for at, record in sorted(records, key=lambda pair: pair[0])
    ]
    for first in range(0, len(events), 1_000):
        logs.put_log_events(logGroupName=group, logStreamName="model", logEvents=events[first : first + 1_000])


def make_bucket() -> None:
    place = {"LocationConstraint": REGION}
    boto3.client("s3", region_name=REGION).create_bucket(Bucket=BUCKET, CreateBucketConfiguration=place)


def make_group(group: str = GROUP) -> None:
    logs = boto3.client("logs", region_name=REGION)
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="model")


def folder(at: datetime, prefix: str = "", account: str = ACCOUNT) -> str:
    return f"{prefix}AWSLogs/{account}/BedrockModelInvocationLogs/{REGION}/{at:%Y/%m/%d/%H}/"


def put_object(key: str, lines: Iterable[dict[str, Any] | str]) -> str:
    """Write a log object, and tell its URI."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    return put_bytes(key, gzip.compress(text.encode()))


def put_bytes(key: str, content: bytes) -> str:
    boto3.client("s3", region_name=REGION).put_object(Bucket=BUCKET, Key=key, Body=content)
    return f"s3://{BUCKET}/{key}"
