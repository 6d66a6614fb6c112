"""What a person may do to a running daemon: pause, resume, ping. Everything goes into ledger or log with its reason.

It decides nothing: a pause is heeded by the keeper, a ping passes the guards.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

from keepwarm import pauses
from keepwarm.model import Event, PauseOrder, Prefix, Scope
from keepwarm.parts import Parts
from keepwarm.views import rows
from keepwarm.views.shapes import LedgerRow, Paused, RegistryShown


class Acts:
    """Orders to one running daemon; safe to use from many threads.

    Args:
        prefixes: those of the registry in force.
        wake: called with names of prefixes that want to be tended at once.
        observe: called with what was done.
        reload: reads the registry again.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        now: Callable[[], datetime],
        prefixes: Callable[[], Sequence[Prefix]],
        wake: Callable[[Collection[str]], None],
        observe: Callable[[Event], None],
        reload: Callable[[], RegistryShown],
    ) -> None:
        self._parts = parts
        self._now = now
        self._prefixes = prefixes
        self._wake = wake
        self._observe = observe
        self._reload = reload

    def knows(self, name: str) -> bool:
        """Whether the registry has a prefix of this name."""
        return any(prefix.name == name for prefix in self._prefixes())

    def pause(self, scope: Scope, target: str, said: Mapping[str, str]) -> Paused:
        """Send nothing for a prefix, a tag or all, but what somebody asks for by hand.

        Args:
            said: `for` or `until` or neither, `why`, and `by`.

        Raises:
            BadOrder: in words, when it makes no sense; nothing is changed.
            LedgerError: it cannot be written; nothing is changed.
        """
        order = pauses.order_of(scope, target, said, self._prefixes(), self._now())
        return self._heed(self._parts.pausing.say(order))

    def resume(self, scope: Scope, target: str, said: Mapping[str, str]) -> Paused:
        """End the pause of the same scope and target; where there is none, nothing is written.

        Raises:
            BadOrder, LedgerError: as `pause`.
        """
        order = pauses.order_of(scope, target, said, self._prefixes(), self._now(), resumes=True)
        pausing = self._parts.pausing
        return self._heed(pausing.say(order) if pausing.stands(scope, target) else order)

    def ping(self, name: str, why: str) -> LedgerRow:
        """Send one ping now, also of a paused prefix.

        Raises:
            BadOrder: the reason is none.
            Guarded: a guard on money holds it.
            LedgerError: it cannot be written, so it was not sent.
        """
        why = pauses.check_words("why", why, needed=False)
        self._observe(Event("ping_requested", self._now(), "info", {"prefix": name, "why": why}))
        entry = self._parts.keeper.ping(name)
        self._wake([name])
        return rows.of_entry(entry)

    def reload(self) -> RegistryShown:
        """Read the registry again; what is in force then.

        Raises:
            Throttled: the daemon has no time for it now; it is read later.
        """
        return self._reload()

    def _heed(self, order: PauseOrder) -> Paused:
        now, prefixes = self._now(), self._prefixes()
        holding = {prefix.name: self._parts.pausing.holding(prefix, now) for prefix in prefixes}
        self._wake([prefix.name for prefix in prefixes if pauses.is_about(order, prefix)])
        left = holding.get(order.target) if order.resumes and order.scope is Scope.PREFIX else None
        return Paused(
            scope=order.scope.value,
            prefix=rows.target(order, Scope.PREFIX),
            tag=rows.target(order, Scope.TAG),
            at=order.at,
            until=order.until,
            paused=sum(pause is not None for pause in holding.values()),
            still=f"still paused {pauses.say(left)}" if left else None,
        )
