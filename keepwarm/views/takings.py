"""Money by stretch of time: sums of a report of each, added up to today, seven days and thirty.

It computes no money: `accounting` does. Days and hours are those of UTC, as AWS bills.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import NamedTuple

from keepwarm.accounting import Account, Bounds, Report
from keepwarm.model import Span, Verdict
from keepwarm.views.shapes import Money, Takings

DAYS = 30
_WEEK = 7
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_LOST = (Verdict.PARTIAL, Verdict.REWRITE, Verdict.UNCACHED)


_NO_MONEY = Bounds(Decimal(0), Decimal(0))  # provisioned throughput


class Sums(NamedTuple):
    """What the pings of a prefix cost and saved in a stretch; float, since it is only looked at.

    Attributes:
        high_usd: where touches were told.
        unheard_usd: what pings can have saved at most where none were told, as if nobody told of the traffic at all.
        heard: in how many stretches touches were told.
        due: answered pings where a hit was due.
        lost: those of them that were no hit.
    """

    pings: int = 0
    cost_usd: float = 0.0
    low_usd: float = 0.0
    high_usd: float = 0.0
    unheard_usd: float = 0.0
    heard: int = 0
    due: int = 0
    lost: int = 0

    def plus(self, other: Sums) -> Sums:
        """The sums of both."""
        return Sums(
            self.pings + other.pings,
            self.cost_usd + other.cost_usd,
            self.low_usd + other.low_usd,
            self.high_usd + other.high_usd,
            self.unheard_usd + other.unheard_usd,
            self.heard + other.heard,
            self.due + other.due,
            self.lost + other.lost,
        )

    def settled(self) -> Sums:
        """With the high bound of the whole: where touches were told at all, a silent day is one without requests."""
        return self._replace(high_usd=self.high_usd + (0 if self.heard else self.unheard_usd))


NOTHING = Sums()


def stretches(now: datetime) -> list[Span]:
    """The stretches that are added up, newest first: hours of today, and the days before it."""
    midnight = midnight_of(now)
    hours = int((now - midnight) / _HOUR) + 1
    today = [Span(midnight + _HOUR * hour, midnight + _HOUR * (hour + 1)) for hour in range(hours)]
    days = [Span(midnight - _DAY * day, midnight - _DAY * (day - 1)) for day in range(1, DAYS)]
    return [*reversed(today), *days]


def midnight_of(now: datetime) -> datetime:
    """When this day began, in UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def sums_of(report: Report, due: Mapping[str, Mapping[Verdict, int]]) -> dict[str, Sums]:
    """The sums of one stretch, by name of prefix; those without any are left out.

    Args:
        due: of pings where a hit was due, how many ended how, by name of prefix.
    """
    found = {account.name: _sums(account, due.get(account.name, {})) for account in report.prefixes}
    return {name: sums for name, sums in found.items() if sums != NOTHING}


def fold(parts: Mapping[Span, Mapping[str, Sums]], since: datetime) -> dict[str, Sums]:
    """The sums of all stretches that start at a moment or later, by name; that of all is under the empty name."""
    found: dict[str, Sums] = {}
    for span, sums in parts.items():
        if span.start >= since:
            for name, each in sums.items():
                found[name] = found.get(name, NOTHING).plus(each)
    settled = {name: sums.settled() for name, sums in found.items()}
    return settled | {"": reduce(Sums.plus, settled.values(), NOTHING)}


@dataclass(frozen=True, slots=True)
class Folded:
    """What is known of the three stretches, by name.

    Attributes:
        as_of: when the last of it was read.
        parts: as many of the three as are whole, from today on.
    """

    as_of: datetime | None = None
    midnight: datetime | None = None
    parts: tuple[Mapping[str, Sums], ...] = ()

    def takings(self, name: str) -> Takings:
        """Of one prefix; of all with an empty name."""
        starts = (0, _WEEK - 1, DAYS - 1)
        found = [
            _money(self.midnight - _DAY * days, sums.get(name, NOTHING))
            for days, sums in zip(starts, self.parts, strict=False)
            if self.midnight
        ]
        return Takings(*found)

    def early_loss_rate(self, name: str) -> float | None:
        """The share of pings of the longest stretch that were no hit though one was due; None without any."""
        sums = self.parts[-1].get(name, NOTHING) if self.parts else NOTHING
        return sums.lost / sums.due if sums.due else None


def folded(parts: Mapping[Span, Mapping[str, Sums]], now: datetime, as_of: datetime) -> Folded:
    """Add up the stretches that are there; one of the three that is not whole yet is left out."""
    midnight, wanted = midnight_of(now), stretches(now)
    found = []
    for days in (0, _WEEK - 1, DAYS - 1):
        since = midnight - _DAY * days
        if all(span in parts for span in wanted if span.start >= since):
            found.append(fold(parts, since))
    return Folded(as_of, midnight, tuple(found))


def _sums(account: Account, due: Mapping[Verdict, int]) -> Sums:
    avoided = account.avoided_write_usd or _NO_MONEY
    lost = sum(due.get(verdict, 0) for verdict in _LOST)
    return Sums(
        pings=sum(account.pings.values()),
        cost_usd=float(account.refresh_cost_usd or 0),
        low_usd=float(avoided.low),
        high_usd=float(avoided.high) if account.traffic else 0.0,
        unheard_usd=0.0 if account.traffic else float(avoided.high),
        heard=int(account.traffic is not None),
        due=lost + due.get(Verdict.HIT, 0),
        lost=lost,
    )


def _money(since: datetime, sums: Sums) -> Money:
    return Money(
        since=since,
        pings=sums.pings,
        refresh_cost_usd=sums.cost_usd,
        avoided_low_usd=sums.low_usd,
        avoided_high_usd=sums.high_usd,
        net_low_usd=sums.low_usd - sums.cost_usd,
        net_high_usd=sums.high_usd - sums.cost_usd,
    )
