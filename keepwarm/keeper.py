"""Tends prefixes: decides anew, writes the intent, pings, judges the answer, completes the entry, tells the observers.

It owns retries and the only `except Exception` of the daemon. It has no timers (see `scheduler`), plans nothing itself
(see `planner`), and reads no ledger (see `memory`).
"""

from __future__ import annotations

import random
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from keepwarm import events, pauses, planner, verdicts
from keepwarm.clock import monotonic_seconds
from keepwarm.errors import ConfigError, Guarded, KeepwarmError, LedgerError, Problem, Unavailable
from keepwarm.gate import Gate
from keepwarm.guards.spending import Reservation
from keepwarm.learning import Learning, LearntBook
from keepwarm.limits import RateLimit
from keepwarm.memory import Book, Memory
from keepwarm.model import (
    Action,
    Answer,
    Closing,
    Decision,
    Entry,
    Event,
    Guard,
    Hold,
    Intent,
    Outcome,
    PauseOrder,
    Prefix,
    PrefixState,
    Reason,
    Route,
    Touch,
    Ttl,
    TtlChoice,
)

Observer = Callable[[Event], None]
# The pause that keeps a prefix at a moment; None when none does.
Paused = Callable[[Prefix, datetime], PauseOrder | None]

# Guards that are not a cap have a reason of their own.
_HELD = {Guard.TRIPWIRE: Reason.TRIPPED, Guard.STOP_ALL: Reason.ALL_STOPPED}
_GUARDED_HINT = "`keepwarm guards` shows every guard, docs/reference.md says how to move it"


class Pinger(Protocol):
    """What sends a ping: `bedrock.Gateway`."""

    def ping(self, prefix: Prefix) -> Answer:
        """Send one ping; raises KeepwarmError."""


class KeeperBook(Book, LearntBook, Protocol):
    """What keeps all that a keeper remembers: `ledger.Ledger`."""


@dataclass(slots=True)
class _Kept:
    """One prefix in the keeper's care."""

    prefix: Prefix
    state: PrefixState
    in_flight: bool = False
    told: tuple[str, Reason] | None = None
    heard: list[Touch] = field(default_factory=list)  # while a ping was in flight
    closed_at: datetime | None = None  # in the meantime, too


class Keeper:
    """The prefixes of one registry and what is known of them; safe to use from many threads.

    Args:
        run_id: names this run in the ledger.
        gate: the guards on money; None for those of an installation without settings.
        paused: what somebody paused.
        observers: called with every event, in the thread that caused it; they must not raise.
        randomness: for the jitter of retries.
    """

    def __init__(  # noqa: PLR0913 - all that it must be given, each by its name
        self,
        *,
        pinger: Pinger,
        book: KeeperBook,
        run_id: str,
        now: Callable[[], datetime],
        rate: RateLimit,
        gate: Gate | None = None,
        paused: Paused = lambda _prefix, _now: None,
        observers: Sequence[Observer] = (),
        randomness: random.Random | None = None,
    ) -> None:
        self._pinger = pinger
        self._memory = Memory(book, run_id, now, self._observe)
        self._learning = Learning(book, now, self._observe)
        self._gate = gate or Gate(observers=observers)
        self._paused = paused
        self._loaded = False
        self._now = now
        self._rate = rate
        self._observers = observers
        self._random = randomness or random.Random()  # noqa: S311 - jitter, not secrets
        self._kept: dict[str, _Kept] = {}
        self._by_fingerprint: dict[str, _Kept] = {}
        self._away: dict[str, _Kept] = {}
        self._idle = threading.Condition()
        self._flying = 0
        self._draining = False
        self._standing_by = False
        self._news: set[str] = set()
        self._refresh_cost_usd = Decimal(0)
        self._avoidable_usd = Decimal(0)

    # -- the registry ---------------------------------------------------------------------------------------------

    def adopt(self, prefixes: Iterable[Prefix]) -> None:
        """Take these prefixes into care and let all others go; what is known of a cache entry stays known.

        A prefix is known again by its fingerprint, so renaming one or changing its hours loses nothing but the sums of
        its caps, which go by name. Not while another thread calls `refresh` or `lead`.

        Raises:
            LedgerError: what is known of new ones cannot be read; nothing is changed then.
        """
        prefixes = tuple(prefixes)
        waiting = {(_lane_of(kept.prefix), name) for name, kept in self._kept.items() if _waits_for_turn(kept.state)}
        # Those that were let go while a ping of theirs is away: it would look like one whose answer is lost.
        away = {key: kept for key, kept in self._away.items() if kept.in_flight}
        known = away | self._by_fingerprint
        states = self._memory.recall([prefix for prefix in prefixes if prefix.fingerprint not in known])
        if not self._loaded:
            now = self._now()
            self._gate.load(self._memory.spent(now), now)
            self._learning.load(prefixes)
            self._loaded = True
        kept_now: dict[str, _Kept] = {}
        for prefix in prefixes:
            kept = known.get(prefix.fingerprint) or _Kept(prefix, states[prefix.fingerprint])
            kept.prefix = prefix
            kept_now[prefix.name] = kept
        with self._idle:
            self._kept = kept_now
            self._by_fingerprint = {kept.prefix.fingerprint: kept for kept in kept_now.values()}
            self._away = {
                key: kept for key, kept in known.items() if kept.in_flight and key not in self._by_fingerprint
            }
        for lane, name in waiting - {(_lane_of(kept.prefix), name) for name, kept in kept_now.items()}:
            self._rate.let_go(lane, name, self._now())

    @property
    def names(self) -> tuple[str, ...]:
        """The prefixes in care."""
        return tuple(self._kept)

    def __contains__(self, name: object) -> bool:
        return name in self._kept

    def state(self, name: str) -> PrefixState:
        """What is known of a prefix."""
        return self._find(name).state

    def known(self, name: str) -> PrefixState:
        """What is known of a prefix, which is nothing once it was let go."""
        kept = self._kept.get(name)
        return kept.state if kept else PrefixState()

    def dies_at(self, name: str) -> datetime | None:
        """When the cache entry of a prefix dies, or died; None when none is known, or no such prefix is in care."""
        kept = self._kept.get(name)
        return planner.expiry_of(kept.prefix, kept.state) if kept else None

    def refresh(self) -> list[str]:
        """Learn what other processes (other daemons, `keepwarm ping`) wrote, and write what could not be written.

        Only one thread at a time may call this.

        Returns:
            Names of the prefixes whose state changed, which want to be tended.

        Raises:
            LedgerError: it cannot be read; what was missed is learnt the next time.
        """
        self._memory.write_overdue()
        for entry in self._memory.news():
            self._gate.add(entry)
            self._news.add(entry.intent.fingerprint)
            if kept := self._by_fingerprint.get(entry.intent.fingerprint):
                self._learning.pinged(kept.prefix, entry)
        for entry in self._memory.in_flight:
            self._gate.expect(entry)
        touched = self.hear(self._memory.overheard())
        closed = self.close(self._memory.closings())
        return sorted(touched.union(closed, self._learn_news()))

    def _learn_news(self) -> list[str]:
        changed = []
        by_fingerprint = self._by_fingerprint
        self._news.intersection_update(by_fingerprint.keys())
        for kept in [by_fingerprint[fingerprint] for fingerprint in sorted(self._news)]:
            with self._alone(kept) as alone:
                if alone:  # otherwise our own ping is away, and the news keeps until it is back
                    kept.state = self._memory.recall([kept.prefix])[kept.prefix.fingerprint]
                    self._news.discard(kept.prefix.fingerprint)
                    changed.append(kept.prefix.name)
        return changed

    def stand_by(self) -> None:
        """Send nothing from now on, because another daemon leads; all else goes on."""
        self._standing_by = True
        for name, kept in self._kept.items():
            self._rate.let_go(_lane_of(kept.prefix), name, self._now())

    def lead(self) -> None:
        """Send again, knowing all that others have sent meanwhile; a ping that is in flight counts as sent.

        Only the thread that calls `refresh` may call this, or none may.

        Raises:
            LedgerError: the ledger cannot be read; nothing is sent then.
        """
        self.refresh()
        self._news.update(self._memory.awaited)
        self._learn_news()
        self._standing_by = False

    def hear(self, touches: Iterable[Touch]) -> set[str]:
        """Take organic requests into account; those of prefixes that are not in care change nothing.

        Returns:
            Names of the prefixes that were touched, which want to be tended.
        """
        touched = set()
        lessons = []
        for touch in touches:
            kept = self._by_fingerprint.get(touch.fingerprint)
            if kept is None:
                continue
            with self._idle:
                lessons.append((kept.prefix, kept.state, touch))
                if kept.in_flight:  # its state is being worked on; it takes this in when the ping has ended
                    kept.heard.append(touch)
                else:
                    kept.state = planner.absorb_touch(kept.prefix, kept.state, touch)
            touched.add(kept.prefix.name)
        self._learning.hear(lessons)
        return touched

    def close(self, closings: Iterable[Closing]) -> set[str]:
        """Send nothing more for prefixes until their next organic requests; told twice, a closing counts once.

        Returns:
            Names of the prefixes whose state changed, which want to be tended.
        """
        closed = set()
        for closing in closings:
            kept = self._by_fingerprint.get(closing.fingerprint)
            if kept is None:
                continue
            with self._idle:
                after = planner.close(kept.state, closing.at)
                if after == kept.state:
                    continue
                if kept.in_flight:  # as in `hear`
                    kept.closed_at = after.closed_at
                else:
                    kept.state = after
            closed.add(kept.prefix.name)
        return closed

    def choose_ttl(self, name: str) -> TtlChoice:
        """What a request of a prefix should ask for now; from memory.

        Raises:
            ConfigError: there is no such prefix.
        """
        kept, now = self._find(name), self._now()
        return planner.choose_ttl(kept.prefix, self._learning.advise(kept.prefix, kept.state, now), now)

    def curve(self, name: str) -> list[tuple[float, float]]:
        """For each coming ping of a silence, the learnt chance to be of use and the chance from which it pays.

        Raises:
            ConfigError: there is no such prefix.
        """
        kept = self._find(name)
        return self._learning.curve(kept.prefix, kept.state)

    def keep(self) -> None:
        """Write what was learnt into the ledger."""
        self._learning.keep()

    def prefix(self, name: str) -> Prefix:
        """A prefix in care.

        Raises:
            ConfigError: there is no such prefix.
        """
        return self._find(name).prefix

    # -- tending --------------------------------------------------------------------------------------------------

    def tend(self, name: str) -> Decision:
        """Decide now, ping if that is what is decided, and say when to come again."""
        kept = self._kept.get(name)
        if kept is None:
            return Decision(Action.LEAVE, None, Reason.STOPPED, detail="no longer in the registry")
        with self._alone(kept) as alone:
            if not alone:
                return self._come_again(kept)
            now = self._now()
            # Its turn is asked for anew: since it was told, production may have warmed it, or the clock been set.
            kept.state = planner.without_turn(kept.state)
            kept.state = self._learning.advise(kept.prefix, kept.state, now)
            decision = self._decide(kept, now)
            if _is_due(decision, now):
                decision = self._send(kept, decision, now)
            else:
                self._rate.let_go(_lane_of(kept.prefix), name, now)
            self._tell_state(kept, decision)
            return decision

    def look(self, name: str) -> Decision:
        """What would be decided now; nothing is sent."""
        kept, now = self._find(name), self._now()
        kept = replace(kept, state=self._learning.advise(kept.prefix, kept.state, now))  # a copy: nothing is changed
        decision = self._decide(kept, now)
        hold = self._gate.look(_as_sent(kept, now), kept.state, now) if _is_due(decision, now) else None
        return self._held(kept, decision, hold, now) if hold else decision

    def ping(self, name: str) -> Entry:
        """Send one ping now because somebody asked for it, also outside busy hours, when paused and when stopped.

        Caps and the stop of all hold it too; breaker and tripwire do not, since it is how a person tries.

        Raises:
            Guarded: a guard on money holds it.
            LedgerError: its entry cannot be written, so it was not sent.
        """
        kept = self._find(name)
        with self._alone(kept) as alone:
            if not alone:
                raise LedgerError(f"{name} is being pinged at this moment, or the daemon is stopping")
            now = self._now()
            entered = self._gate.enter(_as_sent(kept, now), kept.state, now, by_hand=True)
            if isinstance(entered, Hold):
                raise Guarded(f"{name} was not pinged: {entered.detail}", hint=_GUARDED_HINT)
            return self._ping(kept, Reason.MANUAL, now, entered)

    @property
    def in_flight(self) -> int:
        """Pings that were sent and not answered."""
        return self._flying

    def drain(self, within: timedelta) -> bool:
        """Send nothing from now on and wait for the pings in flight.

        Returns:
            Whether all of them ended in time.
        """
        with self._idle:
            self._draining = True
            ended = self._idle.wait_for(lambda: self._flying == 0, within.total_seconds())
        self._memory.write_overdue()
        if not self._standing_by:
            self._learning.keep()
        return ended

    # -- one ping -------------------------------------------------------------------------------------------------

    def _decide(self, kept: _Kept, now: datetime) -> Decision:
        """What the planner says, unless no ping of this prefix may go whatever it costs."""
        decision = planner.decide(kept.prefix, kept.state, now)
        if self._standing_by:
            return Decision(Action.LEAVE, None, Reason.STANDING_BY, decision.warm_until)
        if pause := self._paused(kept.prefix, now):
            action = Action.WAIT if pause.until else Action.LEAVE
            return Decision(action, pause.until, Reason.PAUSED, decision.warm_until, pauses.say(pause))
        hold = self._gate.standing(kept.prefix, now)
        return decision if hold is None or kept.state.stop else self._held(kept, decision, hold, now)

    def _held(self, kept: _Kept, decision: Decision, hold: Hold, now: datetime) -> Decision:
        """The decision in the place of one to ping that a guard does not let go."""
        until = now + planner.margin_of(kept.prefix, kept.state) / 4 if hold.in_flight else hold.until
        action = Action.WAIT if until else Action.LEAVE
        return Decision(action, until, _HELD.get(hold.guard, Reason.CAPPED), decision.warm_until, hold.detail)

    def _send(self, kept: _Kept, decision: Decision, now: datetime) -> Decision:
        """Ping if guards and rate limit let it go; what is decided then."""
        entered = self._gate.enter(_as_sent(kept, now), kept.state, now)
        if isinstance(entered, Hold):
            self._rate.let_go(_lane_of(kept.prefix), kept.prefix.name, now)
            return self._held(kept, decision, entered, now)
        if not self._has_turn(kept, decision, now):
            self._gate.leave(entered, Decimal(0))
            return self._decide(kept, now)
        try:
            self._ping(kept, decision.reason, now, entered)
        except LedgerError as error:
            kept.state = planner.hold_back(kept.prefix, kept.state, now, error.code, self._random.random())
            self._tell("ledger_failed", "error", prefix=kept.prefix.name, error=str(error), hint=error.hint)
        now = self._now()
        kept.state = self._learning.advise(kept.prefix, kept.state, now)
        return self._decide(kept, now)

    def _ping(self, kept: _Kept, reason: Reason, now: datetime, reserved: Reservation) -> Entry:
        prefix, before = _as_sent(kept, now), kept.state
        intent = Intent(
            prefix=prefix.name,
            fingerprint=prefix.fingerprint,
            model_id=prefix.model_id,
            region=prefix.route.region,
            api=prefix.api,
            ttl=prefix.ttl,
            reason=reason,
            attempt=before.failures + 1,
            started_at=now,
            high_cost_usd=verdicts.high_cost_usd(prefix, before),
            provisioned=prefix.provisioned,
        )
        try:
            number = self._memory.open(intent)
        except BaseException:
            self._gate.leave(reserved, Decimal(0))
            raise
        outcome = self._judge(prefix, intent, before.billed_ttl)
        self._gate.leave(reserved, outcome.cost_usd)
        entry = Entry(number, intent, outcome)
        kept.state = planner.absorb(kept.prefix, before, entry, self._random.random())
        self._learning.pinged(kept.prefix, entry)
        self._memory.close(number, outcome)
        self._tell_ping(prefix, entry, before, kept.state)
        return entry

    def _judge(self, prefix: Prefix, intent: Intent, honoured: Ttl | None) -> Outcome:
        """Send, and turn whatever comes back, or does not, into an outcome."""
        began = monotonic_seconds()
        witnessed = None
        try:
            answer = self._pinger.ping(prefix)
            outcome = verdicts.judge(prefix, intent, answer, honoured)
            witnessed = events.of_witnesses(prefix, answer, self._now())
        except KeepwarmError as error:
            outcome = verdicts.failed(intent, error)
        except Exception as error:  # noqa: BLE001 - the daemon's only one: a bug must not end the tending
            trace = traceback.format_tb(error.__traceback__)  # without the message, which may hold prompt text
            self._tell("ping_crashed", "error", prefix=prefix.name, error=type(error).__name__, trace="".join(trace))
            lost = Unavailable(f"unexpected {type(error).__name__}", maybe_billed=True, hint="report this as a bug")
            outcome = verdicts.failed(intent, lost)
        self._observe(witnessed)
        return replace(outcome, completed_at=self._now(), latency_ms=round((monotonic_seconds() - began) * 1000))

    def _has_turn(self, kept: _Kept, decision: Decision, now: datetime) -> bool:
        """Whether the rate limit lets this ping go now; if not, the state says when to try again."""
        turn = self._rate.turn(_lane_of(kept.prefix), kept.prefix.name, now, decision.warm_until)
        if turn <= now:
            return True
        kept.state = replace(kept.state, retry_at=turn, retry_reason=planner.RATE_LIMITED)
        return False

    # -- state ----------------------------------------------------------------------------------------------------

    @contextmanager
    def _alone(self, kept: _Kept) -> Iterator[bool]:
        """At most one ping in flight for each prefix, and none once draining."""
        with self._idle:
            alone = not kept.in_flight and not self._draining
            if alone:
                kept.in_flight = True
                self._flying += 1
        try:
            yield alone
        finally:
            if alone:
                with self._idle:
                    for touch in kept.heard:
                        kept.state = planner.absorb_touch(kept.prefix, kept.state, touch)
                    kept.heard.clear()
                    if kept.closed_at:
                        kept.state, kept.closed_at = planner.close(kept.state, kept.closed_at), None
                    kept.in_flight = False
                    self._flying -= 1
                    self._idle.notify_all()

    def _come_again(self, kept: _Kept) -> Decision:
        """What to do about a prefix that is not alone: nothing any more, or look again while its margin lasts."""
        if self._draining:
            return Decision(Action.LEAVE, None, Reason.DRAINING)
        soon = self._now() + planner.margin_of(kept.prefix, kept.state) / 4
        return Decision(Action.WAIT, soon, Reason.IN_FLIGHT)

    def _find(self, name: str) -> _Kept:
        if name not in self._kept:
            raise ConfigError([Problem("registry", 0, "", f"has no prefix {name!r}")])
        return self._kept[name]

    # -- telling --------------------------------------------------------------------------------------------------

    def _tell(self, name: str, severity: str, **fields: object) -> None:
        self._observe(Event(name, self._now(), severity, fields))

    def _observe(self, event: Event | None) -> None:
        if event is None:
            return
        for observe in self._observers:
            observe(event)

    def _tell_ping(self, prefix: Prefix, entry: Entry, before: PrefixState, after: PrefixState) -> None:
        with self._idle:
            self._refresh_cost_usd += entry.cost_usd
            self._avoidable_usd += entry.outcome.avoidable_usd if entry.outcome else 0
            totals = (self._refresh_cost_usd, self._avoidable_usd)
        self._observe(events.of_ping(entry, before, *totals))
        self._observe(events.of_billed_ttl(prefix, before, after, self._now()))
        self._observe(events.of_breaker(prefix, before, after, self._now()))

    def _tell_state(self, kept: _Kept, decision: Decision) -> None:
        event = events.of_decision(kept.prefix, kept.state, decision, self._now())
        if kept.told != (event.name, decision.reason):
            kept.told = (event.name, decision.reason)
            self._observe(event)


def _as_sent(kept: _Kept, now: datetime) -> Prefix:
    """The prefix as a ping of this moment asks for it."""
    return kept.prefix.asking(planner.choose_ttl(kept.prefix, kept.state, now).ttl)


def _lane_of(prefix: Prefix) -> tuple[Route, str]:
    """What has a rate limit of its own."""
    return prefix.route, prefix.model_id


def _waits_for_turn(state: PrefixState) -> bool:
    return state.retry_reason == planner.RATE_LIMITED


def _is_due(decision: Decision, now: datetime) -> bool:
    return decision.action is Action.PING and decision.at is not None and decision.at <= now
