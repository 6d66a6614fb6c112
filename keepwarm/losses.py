"""Looks at what each prefix lost in the last seven days, for its tripwire.

It stops nothing: the gate does, by what it is told. A prefix whose pings cost less than its limit cannot have lost
more, so only the others' touches are read, of days that are summed up their sums.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from keepwarm import accounting, rolling
from keepwarm.accounting import Background
from keepwarm.counterfactual import Traffic
from keepwarm.gate import Gate
from keepwarm.guards import tripwire
from keepwarm.guards.spending import say_usd
from keepwarm.guards.tripwire import WINDOW, Net
from keepwarm.ledger import Ledger
from keepwarm.model import Guard, GuardState, GuardStatus, Prefix, PrefixState, Ttl
from keepwarm.simulate import terms_of

# How often the daemon looks: the window moves by half a percent in the meantime.
LOOK_EVERY = timedelta(hours=1)
_ZERO = Decimal(0)


def look(
    book: Ledger,
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
    looking = list(prefixes)
    stopped_at = book.cursors([_place(prefix.name) for prefix in looking])
    # One that tripped at another limit was judged by what somebody has changed since.
    tripped = {each.name for each in looking if stopped_at.get(_place(each.name)) == str(each.limits.tripwire_usd)}
    closer = [
        prefix
        for prefix in looking
        if tripwire.can_trip(
            _least(prefix.limits.tripwire_usd, worry_usd), costs.get(prefix.name, _ZERO), tripped=prefix.name in tripped
        )
    ]
    nets = _nets(book, closer, state_of, now) if closer else {}
    return [
        _status(prefix, state_of(prefix.name), costs.get(prefix.name, _ZERO), nets.get(prefix.name), tripped)
        for prefix in looking
    ]


def heed(book: Ledger, gate: Gate, statuses: Iterable[GuardStatus], now: datetime) -> list[str]:
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


def _least(limit: Decimal, worry_usd: Decimal | None) -> Decimal:
    return limit if worry_usd is None else min(limit, worry_usd)


def _status(
    prefix: Prefix, state: PrefixState, cost_usd: Decimal, net: Net | None, tripped: Collection[str]
) -> GuardStatus:
    limit = prefix.limits.tripwire_usd
    if net is None:
        found = GuardState.OK if state.organic_at else GuardState.BLIND
        detail = f"pings cost {say_usd(cost_usd)} in seven days"
        return GuardStatus(Guard.TRIPWIRE, prefix.name, limit, None, found, detail)
    found = tripwire.judge(limit, net, tripped=prefix.name in tripped)
    return GuardStatus(Guard.TRIPWIRE, prefix.name, limit, net.lost_usd, found, tripwire.detail_of(limit, net))


def _nets(
    book: Ledger, prefixes: Collection[Prefix], state_of: Callable[[str], PrefixState], now: datetime
) -> Mapping[str, Net]:
    """Seven days of some prefixes, by name."""
    # What lived when the window began may have been billed as 1h.
    longest = max(prefix.lifetime * (Ttl.ONE_HOUR.duration / prefix.ttl.duration) for prefix in prefixes)
    told = rolling.told(book, now - WINDOW, now, longest, [prefix.name for prefix in prefixes])
    backgrounds = {
        prefix.name: Background(provisioned=prefix.provisioned, terms=terms_of(prefix, state_of(prefix.name)))
        for prefix in prefixes
    }
    report = accounting.make_report(told.entries, now - WINDOW, now, backgrounds, told.touches, told.rolled)
    return {account.name: _net(account) for account in report.prefixes}


def _net(account: accounting.Account) -> Net:
    traffic = account.traffic or Traffic()
    told = traffic.warm + traffic.cold + traffic.uncached
    return Net(account.refresh_cost_usd or _ZERO, traffic.avoided_low_usd, traffic.requests, told)


def _place(prefix: str) -> str:
    return f"tripwire:{prefix}"
