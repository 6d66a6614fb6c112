"""The caps: what was spent and what is reserved in the current day and month, per prefix and in all.

It reads no ledger and takes no lock: one thread at a time. A ping reserves its high price before it leaves and is
settled at what it cost, so no order of pings spends more than a cap as long as none costs more than its high price.
Days and months are those of UTC, as AWS bills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from keepwarm.model import Guard, GuardState, GuardStatus, Hold, Limits

IN_ALL = ""
_ZERO = Decimal(0)
_CENT, _FINE, _SMALL = Decimal("0.01"), Decimal("0.0001"), Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Spent:
    """What the ledger tells of one prefix at the start: completed pings at their cost, others at their high price."""

    prefix: str
    day_usd: Decimal
    month_usd: Decimal


@dataclass(slots=True)
class _Sum:
    """One day or month of one prefix, or of all."""

    since: datetime
    spent_usd: Decimal = _ZERO
    reserved_usd: Decimal = _ZERO


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for a ping in flight, in the sums of the day and month in which it was sent."""

    amount_usd: Decimal
    sums: tuple[_Sum, ...]


def day_of(moment: datetime) -> datetime:
    """Start of the day in UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def month_of(moment: datetime) -> datetime:
    """Start of the month in UTC."""
    return day_of(moment).replace(day=1)


_STARTS: dict[Guard, Callable[[datetime], datetime]] = {Guard.DAY_CAP: day_of, Guard.MONTH_CAP: month_of}
_NAMES = {Guard.PING_CAP: "cap per ping", Guard.DAY_CAP: "day cap", Guard.MONTH_CAP: "month cap"}


def end_of(guard: Guard, moment: datetime) -> datetime:
    """When the day or month of this cap is over."""
    if guard is Guard.DAY_CAP:
        return day_of(moment) + timedelta(days=1)
    return month_of(month_of(moment) + timedelta(days=31))


class Spending:
    """Sums of money of the current day and month; O(1) for each ping.

    Args:
        in_all: the caps of all prefixes together; only those of day and month count.
    """

    def __init__(self, in_all: Limits) -> None:
        self._in_all = in_all
        self._sums: dict[tuple[str, Guard], _Sum] = {}

    def load(self, spent: Iterable[Spent], now: datetime) -> None:
        """Start from what the ledger tells of the day and month of `now`."""
        for one in spent:
            for prefix in (one.prefix, IN_ALL):
                self._sum(prefix, Guard.DAY_CAP, now).spent_usd += one.day_usd
                self._sum(prefix, Guard.MONTH_CAP, now).spent_usd += one.month_usd

    def hold(self, prefix: str, limits: Limits, amount_usd: Decimal, now: datetime) -> Hold | None:
        """Why a ping that may cost so much must not go now; None when it may.

        Of several holds the one that lasts longest is told.
        """
        found = list(self._holds(prefix, limits, amount_usd, now))
        if not found:
            return None
        for hold in found:
            if hold.until is None and not hold.in_flight:
                return hold
        lasting = [hold for hold in found if not hold.in_flight]
        return max(lasting or found, key=lambda hold: hold.until or now)

    def reserve(self, prefix: str, amount_usd: Decimal, now: datetime) -> Reservation:
        """Set money aside for a ping; `hold` has been asked."""
        sums = tuple(self._sum(scope, guard, now) for scope in (prefix, IN_ALL) for guard in _STARTS)
        for one in sums:
            one.reserved_usd += amount_usd
        return Reservation(amount_usd, sums)

    def settle(self, reservation: Reservation, cost_usd: Decimal) -> None:
        """Put what a ping cost in the place of what was set aside for it; 0 for one that was not sent."""
        for one in reservation.sums:
            one.reserved_usd -= reservation.amount_usd
            one.spent_usd += cost_usd

    def add(self, prefix: str, cost_usd: Decimal, at: datetime) -> None:
        """Count what another process spent; that of a day or month gone by changes nothing."""
        for scope in (prefix, IN_ALL):
            for guard, start in _STARTS.items():
                if self._sum(scope, guard, at).since == start(at):
                    self._sum(scope, guard, at).spent_usd += cost_usd

    def statuses(self, prefix: str, limits: Limits, amount_usd: Decimal, now: datetime) -> list[GuardStatus]:
        """The caps of a prefix, or of all with an empty name.

        Args:
            amount_usd: what its next ping may cost; for all, 0.
        """
        held = {hold.guard: hold for hold in self._holds(prefix, limits, amount_usd, now) if hold.prefix == prefix}
        found = []
        for guard, cap in _caps(limits):
            if prefix == IN_ALL and guard is Guard.PING_CAP:
                continue
            spent = amount_usd if guard is Guard.PING_CAP else self._spent(prefix, guard, now)
            hold = held.get(guard)
            state = GuardState.TRIPPED if hold and not hold.in_flight else GuardState.OK
            found.append(GuardStatus(guard, prefix, cap, spent, state, hold.detail if hold else ""))
        return found

    # -- inside ---------------------------------------------------------------------------------------------------

    def _holds(self, prefix: str, limits: Limits, amount_usd: Decimal, now: datetime) -> Iterator[Hold]:
        if amount_usd > limits.ping_cap_usd or not limits.ping_cap_usd:
            yield Hold(Guard.PING_CAP, prefix, _too_dear(limits.ping_cap_usd, amount_usd))
        for guard in _STARTS:
            for scope, caps in {IN_ALL: self._in_all, prefix: limits}.items():
                hold = self._period_hold(scope, guard, dict(_caps(caps))[guard], amount_usd, now)
                if hold:
                    yield hold

    def _period_hold(self, scope: str, guard: Guard, cap: Decimal, amount_usd: Decimal, now: datetime) -> Hold | None:
        one = self._sum(scope, guard, now)
        if cap and one.spent_usd + one.reserved_usd + amount_usd <= cap:
            return None
        name = f"{_NAMES[guard]}{'' if scope else ' in all'} {say_usd(cap)}"
        if not cap:
            return Hold(guard, scope, f"{name}: no ping is sent")
        if amount_usd > cap:  # it will not fit tomorrow either
            return Hold(guard, scope, f"{name}: a ping may cost {say_usd(amount_usd)}")
        price = f"this ping may cost {say_usd(amount_usd)}"
        if one.spent_usd + amount_usd <= cap:
            waits = f"{name} nearly reached: {say_usd(one.reserved_usd)} in flight, {price}"
            return Hold(guard, scope, waits, in_flight=True)
        detail = f"{name} reached: {say_usd(one.spent_usd)} spent since {_say_start(guard, one.since)}, {price}"
        return Hold(guard, scope, detail, end_of(guard, one.since))

    def _sum(self, scope: str, guard: Guard, now: datetime) -> _Sum:
        """The sum of this day or month; after the clock was set back, still that of the later one."""
        since = _STARTS[guard](now)
        found = self._sums.get((scope, guard))
        if found is None or found.since < since:
            found = self._sums[scope, guard] = _Sum(since)
        return found

    def _spent(self, scope: str, guard: Guard, now: datetime) -> Decimal:
        one = self._sum(scope, guard, now)
        return one.spent_usd + one.reserved_usd


def say_usd(amount: Decimal) -> str:
    """Money in the words of a reason: two decimals, or as many as four (six of a small amount) say more."""
    shown = amount.quantize(_SMALL if abs(amount) < _CENT else _FINE, rounding=ROUND_HALF_UP)
    if shown == shown.quantize(_CENT):
        return f"${shown.quantize(_CENT):,f}"
    return f"${shown.normalize():,f}"


def _caps(limits: Limits) -> tuple[tuple[Guard, Decimal], ...]:
    return (
        (Guard.PING_CAP, limits.ping_cap_usd),
        (Guard.DAY_CAP, limits.day_cap_usd),
        (Guard.MONTH_CAP, limits.month_cap_usd),
    )


def _too_dear(cap: Decimal, amount_usd: Decimal) -> str:
    return f"{_NAMES[Guard.PING_CAP]} {say_usd(cap)}: a ping may cost {say_usd(amount_usd)}"


def _say_start(guard: Guard, since: datetime) -> str:
    return "00:00 UTC" if guard is Guard.DAY_CAP else f"{since:%Y-%m-%d} UTC"
