from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from keepwarm import dialects, fingerprint
from keepwarm.dialects import Dialect
from keepwarm.ledger import Ledger
from keepwarm.model import Api, Prefix, Route, Source
from keepwarm.traffic.metrics import Metrics
from tests.builders import CLAUDE, facts_of, make_entry, make_prefix
from tests.integration.traffic_bench import Town
from tests.invocation_logs import ACCOUNT, REGION, converse_body

ARN = f"arn:aws:bedrock:{REGION}:{ACCOUNT}:application-inference-profile/abc123def456"


@pytest.fixture
def town(cloud: str, tmp_path: Path) -> Iterator[Town]:
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        yield Town(ledger)


def metered(**changes: Any) -> Prefix:
    return make_prefix(
        **{
            "model_id": ARN,
            "facts": facts_of(CLAUDE),
            "route": Route(REGION),
            "api": Api.CONVERSE,
            "metrics": True,
            "sketch": fingerprint.cut(fingerprint.sketch(dialects.read(Dialect.CONVERSE, converse_body()))),
        }
        | changes
    )


def count(
    at: datetime, invocations: float, tokens: float, model_id: str = ARN, name: str = "CacheReadInputTokens"
) -> None:
    """What CloudWatch counts in a minute."""
    dimensions = [{"Name": "ModelId", "Value": model_id}]
    values = {"Invocations": invocations, name: tokens}
    boto3.client("cloudwatch", region_name=REGION).put_metric_data(
        Namespace="AWS/Bedrock",
        MetricData=[
            {"MetricName": metric, "Dimensions": dimensions, "Timestamp": at, "Value": value}
            for metric, value in values.items()
        ],
    )


def minutes_ago(town: Town, minutes: int) -> datetime:
    return town.wall().replace(second=0, microsecond=0) - timedelta(minutes=minutes)


def write_ping(town: Town, prefix: Prefix, at: datetime) -> None:
    entry = make_entry(prefix, started_at=at, completed_at=at + timedelta(seconds=1))
    assert entry.outcome
    town.ledger.close_entry(town.ledger.open_entry(entry.intent, "run"), entry.outcome)


@pytest.mark.parametrize("model_id", [ARN, "abc123def456"])
@pytest.mark.parametrize("name", ["CacheReadInputTokens", "CacheReadInputTokenCount", "CacheWriteInputTokenCount"])
def test_a_busy_minute_is_a_touch_of_its_prefix_at_its_start(town: Town, model_id: str, name: str):
    prefix = metered()
    busy = minutes_ago(town, 3)
    count(busy + timedelta(seconds=20), 2, 10_000, model_id, name)
    town.ear.prefixes = [prefix]
    follower = town.follow(Metrics(lambda: [prefix], town.ledger))
    assert town.poll(follower, times=3, every=60)
    (touch,) = town.ledger.touches(None, None)
    assert (touch.started_at, touch.fingerprint, touch.usage, touch.source) == (
        busy,
        prefix.fingerprint,
        None,
        Source.METRICS,
    )
    assert town.ear.heard == [f"metrics:abc123def456:{busy:%Y-%m-%dT%H:%MZ}"]


def test_our_pings_are_subtracted_and_late_counts_are_seen(town: Town):
    prefix = metered()
    follower = town.follow(Metrics(lambda: [prefix], town.ledger))
    ours, both = minutes_ago(town, 6), minutes_ago(town, 3)
    for minute in (ours, both):
        write_ping(town, prefix, minute + timedelta(seconds=20))
        count(minute + timedelta(seconds=20), 1, 5_000)
    town.poll(follower, every=60)
    assert town.ear.heard == []
    count(both + timedelta(seconds=40), 1, 5_000)
    town.poll(follower, every=60)
    assert [touch.started_at for touch in town.ear.touches] == [both]


def test_only_prefixes_that_ask_for_it_are_looked_at_and_the_registry_may_change(town: Town):
    registry = [metered(metrics=False)]
    count(minutes_ago(town, 2), 1, 5_000)
    follower = town.follow(Metrics(lambda: registry, town.ledger))
    town.poll(follower, every=60)
    assert town.ear.heard == []
    registry[0] = metered()
    town.poll(follower, every=60)
    assert len(town.ear.heard) == 1


def test_many_prefixes_are_asked_for_in_questions_that_cloudwatch_takes(town: Town):
    prefixes = [
        replace(metered(), name=f"bot-{number}", model_id=f"{ARN}{number}", fingerprint=f"{number:032}")
        for number in range(60)
    ]
    for number in (0, 49, 50, 59):
        count(minutes_ago(town, 2), 1, 5_000, f"{ARN}{number}")
    assert town.poll(town.follow(Metrics(lambda: prefixes, town.ledger)))
    assert sorted(touch.model_id for touch in town.ear.touches) == [f"{ARN}{number}" for number in (0, 49, 50, 59)]


def test_a_region_that_does_not_answer_is_told(town: Town, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    follower = town.follow(Metrics(lambda: [metered()], town.ledger))
    assert not town.poll(follower)
    assert town.told == [("traffic_source_failed", "unavailable")]
