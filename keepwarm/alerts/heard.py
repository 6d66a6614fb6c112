"""What the stream of events has told so far, as far as it can be wrong; pure.

It judges nothing (see `rules`), and it is for one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from keepwarm.alerts.kinds import Alert, Kind
from keepwarm.guards.breaker import HIT_DUE
from keepwarm.model import Event, Prefix, Verdict

# Of so many pings where a hit was due rewrites are counted.
WINDOW = 20

_DUE = frozenset(reason.value for reason in HIT_DUE)
_CONFIRMED = frozenset({Verdict.HIT.value, Verdict.PARTIAL.value})


@dataclass(slots=True)
class OfPrefix:
    """What was told of one prefix.

    Attributes:
        reason: of its state.
        reason_since: since when it has been wanted warm without a break, or has not been.
        confirmed_at: start of the last ping that read its entry.
        pinged: whether any ping has ended; so nothing held it.
        due: of the last pings where a hit was due, which had to write.
        rejected: what AWS said when it did not accept the credentials; empty once it did.
        unwritten_at: when a ping was last not sent, because its entry in the ledger could not be written.
        not_honoured: the ttl asked for and the one billed instead.
        drift: when it last drifted, and how, in words.
        late_seconds: how much too late it was tended, until it is tended in time again.
    """

    reason: str = ""
    reason_since: datetime | None = None
    confirmed_at: datetime | None = None
    pinged: bool = False
    due: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    rejected: str = ""
    unwritten_at: datetime | None = None
    not_honoured: tuple[str, str] | None = None
    drift: tuple[datetime, str] | None = None
    late_seconds: float = 0.0


class Heard:
    """All that was told.

    Attributes:
        wanted: reasons with which a prefix is to be kept warm.
        prefixes: by name.
        guards: why they hold pings back, by guard and prefix (`all` for that of all prefixes); empty once they do not.
        ledger_error: what was last wrong with the ledger.
    """

    def __init__(self, wanted: Collection[str]) -> None:
        self.wanted = wanted
        self.prefixes: dict[str, OfPrefix] = {}
        self.guards: dict[tuple[str, str], str] = {}
        self.ledger_error = ""
        self._fingerprints: dict[str, str] = {}

    def hear(self, event: Event) -> None:
        """Take one event in; most are about something else."""
        if take := TAKES.get(event.name):
            take(self, event)

    def of(self, prefix: str) -> OfPrefix:
        """What was told of a prefix so far."""
        return self.prefixes.setdefault(prefix, OfPrefix())

    def settle(self, prefixes: Mapping[str, Prefix]) -> None:
        """Only these are in care now; what was told of another entry under the same name does not count any more."""
        for name in [name for name in self.prefixes if name not in prefixes]:
            del self.prefixes[name]
        for guard, name in [key for key in self.guards if key[1] not in prefixes and key[1] != "all"]:
            del self.guards[guard, name]
        for name, prefix in prefixes.items():
            if self._fingerprints.get(name, prefix.fingerprint) != prefix.fingerprint and name in self.prefixes:
                before = self.prefixes[name]
                self.prefixes[name] = OfPrefix(reason=before.reason, reason_since=before.reason_since)
        self._fingerprints = {name: prefix.fingerprint for name, prefix in prefixes.items()}

    def revive(self, alerts: Iterable[Alert], now: datetime) -> None:
        """Take up what an earlier daemon had heard of and nobody would tell again soon: drifts."""
        for alert in alerts:
            if alert.kind is Kind.PREFIX_DRIFTED:
                self.of(alert.subject).drift = (now, alert.words)


def _state(heard: Heard, event: Event) -> None:
    one, reason = heard.of(_name(event)), str(event.fields["reason"])
    if one.reason_since is None or (reason in heard.wanted) != (one.reason in heard.wanted):
        one.reason_since = event.at
    one.reason = reason


def _ping(heard: Heard, event: Event) -> None:
    one, verdict = heard.of(_name(event)), event.fields["verdict"]
    one.pinged, one.unwritten_at = True, None
    one.rejected = str(event.fields.get("error", "")) if _is_rejected(event) else ""
    if verdict in _CONFIRMED:
        one.confirmed_at = event.at
    if event.fields["reason"] in _DUE and event.name == "ping_succeeded":
        one.due.append(verdict == Verdict.REWRITE.value)


def _ttl(heard: Heard, event: Event) -> None:
    heard.of(_name(event)).not_honoured = (str(event.fields["asked"]), str(event.fields["billed"]))


def _ttl_again(heard: Heard, event: Event) -> None:
    heard.of(_name(event)).not_honoured = None


def _drift(heard: Heard, event: Event) -> None:
    heard.of(_name(event)).drift = (event.at, f"organic requests differ in {event.fields['differs']}")


def _guard(heard: Heard, event: Event) -> None:
    heard.guards[str(event.fields["guard"]), _name(event)] = str(event.fields.get("detail", ""))


def _guard_again(heard: Heard, event: Event) -> None:
    heard.guards[str(event.fields["guard"]), _name(event)] = ""


def _late(heard: Heard, event: Event) -> None:
    late: Any = event.fields["late_seconds"]
    heard.of(_name(event)).late_seconds = late


def _in_time(heard: Heard, event: Event) -> None:
    heard.of(_name(event)).late_seconds = 0.0


def _ledger(heard: Heard, event: Event) -> None:
    heard.ledger_error = str(event.fields.get("error", ""))
    if "prefix" in event.fields:
        heard.of(_name(event)).unwritten_at = event.at


def _name(event: Event) -> str:
    return str(event.fields["prefix"])


def _is_rejected(event: Event) -> bool:
    return event.fields.get("error_code") == "credentials_rejected"


TAKES: dict[str, Callable[[Heard, Event], None]] = {
    "prefix_warmed": _state,
    "prefix_left_cold": _state,
    "prefix_stopped": _state,
    "ping_succeeded": _ping,
    "ping_failed": _ping,
    "ttl_not_honoured": _ttl,
    "ttl_honoured_again": _ttl_again,
    "prefix_drifted": _drift,
    "guard_tripped": _guard,
    "guard_recovered": _guard_again,
    "daemon_late": _late,
    "daemon_in_time_again": _in_time,
    "ledger_failed": _ledger,
}
