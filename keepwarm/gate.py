"""Lets a ping pass or says which guard on money holds it, under one lock, and tells when a guard trips or recovers.

It decides nothing itself: the rules are those of `guards`. It sends no ping and reads no ledger.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal

from keepwarm import events, planner, verdicts
from keepwarm.guards import breaker
from keepwarm.guards.spending import IN_ALL, Reservation, Spending, Spent
from keepwarm.model import (
    LIMITS_IN_ALL,
    Entry,
    Event,
    Guard,
    GuardState,
    GuardStatus,
    Hold,
    Limits,
    Prefix,
    PrefixState,
)

_ZERO = Decimal(0)


class Gate:
    """Every ping passes here before it leaves; safe to use from many threads.

    Args:
        in_all: caps of day and month of all prefixes together.
        stopped: why all pings are stopped, empty when they are not; asked before every ping.
        observers: called with `guard_tripped` and `guard_recovered`, once for each change.
    """

    def __init__(
        self,
        in_all: Limits = LIMITS_IN_ALL,
        stopped: Callable[[], str] = str,
        observers: Sequence[Callable[[Event], None]] = (),
    ) -> None:
        self._in_all = in_all
        self._stopped = stopped
        self._observers = observers
        self._lock = threading.Lock()
        self._spending = Spending(in_all)
        self._tripped: dict[str, str] = {}
        self._told: dict[tuple[Guard, str], Decimal] = {}
        self._was_stopped = ""
        self._elsewhere: dict[int, Reservation] = {}

    # -- what was spent elsewhere ---------------------------------------------------------------------------------

    def load(self, spent: Iterable[Spent], now: datetime) -> None:
        """Start from what the ledger tells of this day and month."""
        with self._lock:
            self._spending.load(spent, now)

    def expect(self, entry: Entry) -> None:
        """Set the high price of a ping aside that another process has in flight."""
        if entry.intent.provisioned:
            return
        with self._lock:
            if entry.number not in self._elsewhere:
                intent = entry.intent
                reserved = self._spending.reserve(intent.prefix, intent.high_cost_usd, intent.started_at)
                self._elsewhere[entry.number] = reserved

    def add(self, entry: Entry) -> None:
        """Count a ping of another process that has ended."""
        if entry.intent.provisioned:
            return
        with self._lock:
            reserved = self._elsewhere.pop(entry.number, None)
            if reserved:
                self._spending.settle(reserved, entry.cost_usd)
            else:
                self._spending.add(entry.intent.prefix, entry.cost_usd, entry.intent.started_at)

    # -- passing --------------------------------------------------------------------------------------------------

    def standing(self, prefix: Prefix, now: datetime, *, by_hand: bool = False) -> Hold | None:
        """What holds every ping of a prefix back, whatever it costs: the stop of all, or its tripwire.

        Args:
            by_hand: a ping that a person asked for is not held by the tripwire.
        """
        self.look_at_stop(now)
        if self._was_stopped:
            return Hold(Guard.STOP_ALL, IN_ALL, self._was_stopped)
        tripped = self._tripped.get(prefix.name)
        return Hold(Guard.TRIPWIRE, prefix.name, tripped) if tripped and not by_hand else None

    def look(self, prefix: Prefix, state: PrefixState, now: datetime) -> Hold | None:
        """What would hold the next ping back; nothing is set aside."""
        hold = self.standing(prefix, now)
        if hold:
            return hold
        with self._lock:
            return self._spending.hold(prefix.name, prefix.limits, _price(prefix, state), now)

    def enter(self, prefix: Prefix, state: PrefixState, now: datetime, *, by_hand: bool = False) -> Reservation | Hold:
        """Set the high price of a ping aside, or say what holds it back; one that is let in must `leave`."""
        standing = self.standing(prefix, now, by_hand=by_hand)
        if standing:
            return standing
        amount = _price(prefix, state)
        with self._lock:
            hold = self._spending.hold(prefix.name, prefix.limits, amount, now)
            found = hold or self._spending.reserve(prefix.name, amount, now)
            changes = self._changes(prefix, hold, amount, now)
        self._tell(changes)
        return found

    def leave(self, reservation: Reservation, cost_usd: Decimal) -> None:
        """The ping has ended at this cost; 0 when it was not sent. What costs no money by the token stays at 0."""
        with self._lock:
            self._spending.settle(reservation, cost_usd if reservation.amount_usd else _ZERO)

    def look_at_caps(self, prefix: Prefix, now: datetime) -> None:
        """Tell of caps of a prefix, and of all, that would let pass again what they held; else the next ping does."""
        with self._lock:
            changes = self._changes(prefix, None, _ZERO, now)
        self._tell(changes)

    # -- other guards ---------------------------------------------------------------------------------------------

    def look_at_stop(self, now: datetime) -> bool:
        """Whether the stop of all has come or gone since the last look."""
        reason = self._stopped()
        with self._lock:
            changed = bool(reason) != bool(self._was_stopped)
            self._was_stopped = reason
        if changed:
            self._tell([events.of_guard(Guard.STOP_ALL, IN_ALL, reason, now)])
        return changed

    def set_tripped(self, prefix: str, detail: str, now: datetime) -> bool:
        """The tripwire of a prefix has tripped, or with an empty detail recovered; tells whether that is new."""
        with self._lock:
            before = self._tripped.pop(prefix, "")
            if detail:
                self._tripped[prefix] = detail
        if bool(before) == bool(detail):
            return False
        self._tell([events.of_guard(Guard.TRIPWIRE, prefix, detail, now)])
        return True

    # -- showing --------------------------------------------------------------------------------------------------

    def statuses_in_all(self, now: datetime, coming: Iterable[tuple[Prefix, PrefixState]] = ()) -> list[GuardStatus]:
        """The guards of all prefixes together; a cap that has held a ping is shown so while it would hold it again.

        Args:
            now: aware.
            coming: prefixes, for a gate that has held none yet: the cheapest next ping of them is what must fit.
        """
        self.look_at_stop(now)
        state = GuardState.TRIPPED if self._was_stopped else GuardState.OK
        stop = GuardStatus(Guard.STOP_ALL, IN_ALL, None, None, state, self._was_stopped)
        with self._lock:
            held = [amount for (_, scope), amount in self._told.items() if scope == IN_ALL]
            amount = max(held, default=min((_price(*one) for one in coming), default=_ZERO))
            return [stop, *self._spending.statuses(IN_ALL, self._in_all, amount, now)]

    def statuses(self, prefix: Prefix, state: PrefixState, now: datetime) -> list[GuardStatus]:
        """Caps and breaker of a prefix."""
        with self._lock:
            caps = self._spending.statuses(prefix.name, prefix.limits, _price(prefix, state), now)
        lifetime = planner.lifetime_of(prefix, state)
        found = breaker.state_of(state, lifetime, now)
        return [*caps, GuardStatus(Guard.BREAKER, prefix.name, None, None, found, breaker.detail_of(state))]

    # -- inside ---------------------------------------------------------------------------------------------------

    def _changes(self, prefix: Prefix, hold: Hold | None, amount_usd: Decimal, now: datetime) -> list[Event]:
        """What to tell of the caps: one that holds for the first time, and those that would let pass what they held."""
        changes = []
        if hold and not hold.in_flight and (hold.guard, hold.prefix) not in self._told:
            self._told[hold.guard, hold.prefix] = amount_usd
            changes.append(events.of_guard(hold.guard, hold.prefix, hold.detail, now))
        for guard, scope in [key for key in self._told if key[1] in {prefix.name, IN_ALL}]:
            limits = prefix.limits if scope else self._in_all
            statuses = self._spending.statuses(scope, limits, self._told[guard, scope], now)
            if all(status.state is GuardState.OK for status in statuses if status.guard is guard):
                del self._told[guard, scope]
                changes.append(events.of_guard(guard, scope, "", now))
        return changes

    def _tell(self, changes: Iterable[Event]) -> None:
        for event in changes:
            for observe in self._observers:
                observe(event)


def _price(prefix: Prefix, state: PrefixState) -> Decimal:
    """What the caps count of the next ping at most: Provisioned Throughput is not paid by the token."""
    return _ZERO if prefix.provisioned else verdicts.high_cost_usd(prefix, state)
