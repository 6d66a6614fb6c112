"""Looks at what each prefix lost in the last seven days, for its tripwire.

It stops nothing: the gate does, by what it is told. A prefix whose pings cost less than its limit cannot have lost
more, so only the others' touches are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from keepwarm.counterfactual import Gathering, Traffic
from keepwarm.gate import Gate
from keepwarm.guards import tripwire
from keepwarm.guards.spending import Spent, say_usd
from keepwarm.guards.tripwire import WINDOW, Net
from keepwarm.model import Entry, Guard, GuardState, GuardStatus, Prefix, PrefixState, Touch, Ttl
from keepwarm.simulate import terms_of

# How often the daemon looks: the window moves by half a percent in the meantime.
LOOK_EVERY = timedelta(hours=1)


class Book(Protocol):
    """What keeps entries, touches and that a tripwire has tripped: `ledger.Ledger`."""

    def entries(self, since: datetime | None, until: datetime | None, prefix: str | None = None) -> Iterator[Entry]:
        """Entries of a prefix that started in [since, until)."""

    def touches(self, since: datetime | None, until: datetime | None, prefix: str | None = None) -> Iterator[Touch]:
        """Touches of a prefix that started in [since, until)."""

    def spent(self, since: datetime, lately: datetime, up_to: int | None = None) -> list[Spent]:
        """What was spent per prefix since a moment."""

    def cursor(self, source: str) -> str | None:
        """What was remembered under a name."""

    def set_cursor(self, source: str, value: str, at: datetime) -> None:
        """Remember it."""


def look(
    book: Book,
    prefixes: Iterable[Prefix],
    state_of: Callable[[str], PrefixState],
    now: datetime,
    worry_usd: Decimal | None = None,
) -> list[GuardStatus]:
    """The tripwires of prefixes as the ledger tells them; nothing is changed.

    Args:
        worry_usd: what was lost is told from here on, where that is less than the limit.

    Raises:
        LedgerError: it cannot be read.
    """
    costs = {spent.prefix: spent.month_usd for spent in book.spent(now - WINDOW, now)}
    return [
        _look(book, prefix, state_of(prefix.name), costs.get(prefix.name, Decimal(0)), now, worry_usd)
        for prefix in prefixes
    ]


def heed(book: Book, gate: Gate, statuses: Iterable[GuardStatus], now: datetime) -> list[str]:
    """Let the gate hold the prefixes that have tripped, and remember them over a restart.

    Returns:
        Names of the prefixes for which that is new.

    Raises:
        LedgerError: it cannot be remembered; the gate holds them all the same.
    """
    changed = []
    for status in statuses:
        tripped = status.state is GuardState.TRIPPED
        if gate.set_tripped(status.prefix, status.detail if tripped else "", now):
            changed.append(status.prefix)
    for status in statuses:
        if status.prefix in changed:
            value = str(status.limit_usd) if status.state is GuardState.TRIPPED else ""
            book.set_cursor(_place(status.prefix), value, now)
    return changed


def _look(
    book: Book, prefix: Prefix, state: PrefixState, cost_usd: Decimal, now: datetime, worry_usd: Decimal | None
) -> GuardStatus:
    limit = prefix.limits.tripwire_usd
    # One that tripped at another limit was judged by what somebody has changed since.
    tripped = book.cursor(_place(prefix.name)) == str(limit)
    closer = limit if worry_usd is None else min(limit, worry_usd)
    if not tripwire.can_trip(closer, cost_usd, tripped=tripped):
        found = GuardState.OK if state.organic_at else GuardState.BLIND
        detail = f"pings cost {say_usd(cost_usd)} in seven days"
        return GuardStatus(Guard.TRIPWIRE, prefix.name, limit, None, found, detail)
    net = _net(book, prefix, state, now)
    found = tripwire.judge(limit, net, tripped=tripped)
    return GuardStatus(Guard.TRIPWIRE, prefix.name, limit, net.lost_usd, found, tripwire.detail_of(limit, net))


def _net(book: Book, prefix: Prefix, state: PrefixState, now: datetime) -> Net:
    since = now - WINDOW
    # What lived when the window began may have been billed as 1h.
    before = since - prefix.lifetime * (Ttl.ONE_HOUR.duration / prefix.ttl.duration)
    gathering, cost = Gathering(book.touches(before, now, prefix.name)), Decimal(0)
    for entry in book.entries(before, now, prefix.name):
        gathering.add(entry)
        if entry.intent.started_at >= since and not entry.intent.provisioned:
            cost += entry.cost_usd
    traffic = gathering.figures({prefix.name: terms_of(prefix, state)}, since, now).get(prefix.name, Traffic())
    told = traffic.warm + traffic.cold + traffic.uncached
    return Net(cost, traffic.avoided_low_usd, traffic.requests, told)


def _place(prefix: str) -> str:
    return f"tripwire:{prefix}"
