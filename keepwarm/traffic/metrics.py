"""CloudWatch metrics of application inference profiles, as coarse touches: somebody used this prefix in that minute.

It sees no request, so it is only for a profile that one prefix alone uses (`metrics: true` in the registry), and tells
neither how many requests there were nor what they cost. A touch stands at the start of its minute: believed too early
it costs one more read, too late the write. Metrics come a minute or more late, and asking for them costs about a cent
for a thousand.

Our own pings are in the same counts. They are subtracted in every minute that they may have been counted in, so a
request in the same minute as a ping may go unseen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from keepwarm.fingerprint import Sketch
from keepwarm.model import Entry, Prefix, Source
from keepwarm.touches import ReportedTouch
from keepwarm.traffic.aws import FAILURES, connect, translate
from keepwarm.traffic.follow import OVERLAP, Portion

POLL = timedelta(minutes=1)  # at least: figures are per minute, and each question costs

_MINUTE = timedelta(minutes=1)
_SLACK = timedelta(seconds=5)  # how far our clock and CloudWatch's may be apart
_LONGEST_PING = timedelta(minutes=10)
_INVOCATIONS = ("Invocations",)
# Both names of each are documented, and it is not known which one is live.
_READ = ("CacheReadInputTokenCount", "CacheReadInputTokens")
_WRITTEN = ("CacheWriteInputTokenCount", "CacheWriteInputTokens")
_NAMES = (*_INVOCATIONS, *_READ, *_WRITTEN)
_MAX_QUERIES = 500
_PREFIXES_AT_ONCE = _MAX_QUERIES // (2 * len(_NAMES))

# Sums by metric name and minute.
Sums = dict[tuple[str, datetime], float]


class Pings(Protocol):
    """What knows our own pings: `ledger.Ledger`."""

    def entries(self, since: datetime | None, until: datetime | None, prefix: str | None = None) -> Iterator[Entry]:
        """Entries that started in [since, until)."""


class Metrics:
    """The metrics of all prefixes that ask for it.

    Args:
        prefixes: those of the registry as it is now.
    """

    name = "metrics"

    def __init__(self, prefixes: Callable[[], Iterable[Prefix]], pings: Pings) -> None:
        self._prefixes = prefixes
        self._pings = pings
        self._clients: dict[str, Any] = {}
        self._told: dict[str, datetime] = {}

    def read(self, since: datetime, now: datetime) -> Iterator[Portion]:
        """As `follow.Source`."""
        start, end = _minute(since - OVERLAP), _minute(now) + _MINUTE
        by_region: dict[str, list[Prefix]] = defaultdict(list)
        for prefix in self._prefixes():
            if prefix.metrics and isinstance(prefix.sketch, Sketch):
                by_region[prefix.route.region].append(prefix)
        for region, prefixes in by_region.items():
            for first in range(0, len(prefixes), _PREFIXES_AT_ONCE):
                fresh = self._read(region, prefixes[first : first + _PREFIXES_AT_ONCE], start, end)
                yield Portion(fresh)
                self._told.update((touch.request_id, touch.started_at) for touch in fresh)
        yield Portion(until=now)
        self._told = {name: at for name, at in self._told.items() if at >= now - 2 * OVERLAP}

    def _read(
        self, region: str, prefixes: Sequence[Prefix], start: datetime, end: datetime
    ) -> tuple[ReportedTouch, ...]:
        try:
            if region not in self._clients:
                self._clients[region] = connect("cloudwatch", region)
            sums = _sums(self._clients[region], prefixes, start, end)
        except FAILURES as error:
            raise translate(error) from None
        found = [
            _touch(prefix, minute)
            for prefix in prefixes
            for minute in organic_minutes(
                sums[prefix.name], tuple(self._pings.entries(start - _LONGEST_PING, end, prefix.name))
            )
        ]
        return tuple(touch for touch in found if touch.request_id not in self._told)


def organic_minutes(sums: Sums, pings: Sequence[Entry]) -> list[datetime]:
    """The minutes in which somebody else than our pings read or wrote a cache entry; pure."""
    minutes = sorted({minute for _, minute in sums})
    return [minute for minute in minutes if _is_organic(sums, minute, [ping for ping in pings if _in(ping, minute)])]


def _is_organic(sums: Sums, minute: datetime, ours: Sequence[Entry]) -> bool:
    def told(names: tuple[str, ...]) -> float:
        return max(sums.get((name, minute), 0.0) for name in names)

    usages = [ping.outcome.usage if ping.outcome else None for ping in ours]
    if None in usages:  # nobody knows what is ours of these tokens
        return False
    own_tokens = sum(usage.cache_read_tokens + usage.cache_write_tokens for usage in usages if usage)
    return told(_INVOCATIONS) > len(ours) and told(_READ) + told(_WRITTEN) > own_tokens


def _in(ping: Entry, minute: datetime) -> bool:
    """Whether a ping may have been counted in a minute: it is not said whether a request counts at its start or end."""
    began = ping.intent.started_at
    ended = ping.outcome.completed_at if ping.outcome else began + _LONGEST_PING
    return began - _SLACK < minute + _MINUTE and ended + _SLACK >= minute


def _touch(prefix: Prefix, minute: datetime) -> ReportedTouch:
    return ReportedTouch(
        request_id=f"metrics:{_model(prefix)}:{minute:%Y-%m-%dT%H:%MZ}",
        started_at=minute,
        api=prefix.api,
        model_id=prefix.model_id,
        region=prefix.route.region,
        source=Source.METRICS,
        sketch=prefix.sketch if isinstance(prefix.sketch, Sketch) else None,
    )


def _sums(client: Any, prefixes: Sequence[Prefix], start: datetime, end: datetime) -> dict[str, Sums]:
    """The metrics of each prefix by its name; where a metric stands under ARN and id alike, the larger sum."""
    series = [
        (prefix, metric, model_id)
        for prefix in prefixes
        for metric in _NAMES
        for model_id in dict.fromkeys((prefix.model_id, _model(prefix)))
    ]
    queries = [
        {
            "Id": f"m{index}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/Bedrock",
                    "MetricName": metric,
                    "Dimensions": [{"Name": "ModelId", "Value": model_id}],
                },
                "Period": 60,
                "Stat": "Sum",
            },
        }
        for index, (_, metric, model_id) in enumerate(series)
    ]
    found: dict[str, Sums] = {prefix.name: {} for prefix in prefixes}
    pages = client.get_paginator("get_metric_data").paginate(MetricDataQueries=queries, StartTime=start, EndTime=end)
    for page in pages:
        for result in page["MetricDataResults"]:
            prefix, metric, _ = series[int(result["Id"].removeprefix("m"))]
            sums = found[prefix.name]
            for moment, value in zip(result["Timestamps"], result["Values"], strict=True):
                place = metric, _minute(moment)
                sums[place] = max(sums.get(place, 0.0), value)
    return found


def _model(prefix: Prefix) -> str:
    """The id of the profile, without what an ARN has in front of it."""
    return prefix.model_id.rsplit("/", 1)[-1]


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)
