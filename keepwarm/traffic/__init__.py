"""Hears of organic requests where AWS writes them down: model invocation logs and CloudWatch metrics.

It matches nothing to prefixes and writes no ledger: what it reads goes to whoever runs its followers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from keepwarm.model import Event, Prefix
from keepwarm.traffic.follow import CursorStore, Deliver, Follower, Source
from keepwarm.traffic.logs import Bucket, LogGroup
from keepwarm.traffic.metrics import POLL, Metrics, Pings

__all__ = ["Bucket", "Deliver", "Follower", "LogGroup", "Places", "Store", "followers"]


class Store(CursorStore, Pings, Protocol):
    """What followers need of the ledger."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where to follow traffic.

    Attributes:
        log_group: in CloudWatch Logs; empty for none.
        s3: `s3://bucket/prefix`; empty for none.
        region: of both.
    """

    log_group: str
    s3: str
    region: str
    poll: timedelta


def followers(
    places: Places,
    store: Store,
    prefixes: Callable[[], Iterable[Prefix]],
    *,
    now: Callable[[], datetime],
    tell: Callable[[Event], None],
) -> list[Follower]:
    """One follower for each source; each wants a thread of its own for `run`.

    The one of the metrics is there whether or not a prefix asks for metrics: the registry may be read again.

    Args:
        prefixes: those of the registry as it is now.
    """
    sources: list[Source] = [
        *([LogGroup(places.log_group, places.region)] if places.log_group else []),
        *([Bucket(places.s3, places.region)] if places.s3 else []),
    ]
    found = [Follower(source, store, now=now, tell=tell, poll=places.poll) for source in sources]
    metrics = Metrics(prefixes, store)
    return [*found, Follower(metrics, store, now=now, tell=tell, poll=max(places.poll, POLL))]
