"""Alerts: what is wrong is told to a webhook, a Slack channel or an SNS topic, and what is right again too.

What is wrong: `kinds`, `heard`, `rules` and `lateness`; how it is said and how often: `wording` and `pace` (all pure).
Where it goes: `sinks`, `sender` and `heartbeat`; `alerting` keeps them together. None of them changes what is pinged.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from keepwarm import __version__, clock
from keepwarm.alerts.alerting import Alerts
from keepwarm.alerts.heartbeat import Heartbeat
from keepwarm.alerts.kinds import Alert, Kind, Thresholds
from keepwarm.alerts.lateness import Lateness
from keepwarm.alerts.pace import Message
from keepwarm.alerts.sender import Sender
from keepwarm.alerts.sinks import sinks_of
from keepwarm.alerts.wording import Origin, shown
from keepwarm.errors import KeepwarmError
from keepwarm.model import Event
from keepwarm.settings import Settings

__all__ = ["Alert", "Alerts", "Kind", "Lateness", "Thresholds", "Tried", "alerts_of", "shown", "try_out"]


@dataclass(frozen=True, slots=True)
class Tried:
    """What happened to a test alert.

    Attributes:
        words: what was answered, or what went wrong.
        hint: what to do about that; empty when it was delivered.
    """

    sink: str
    delivered: bool
    words: str
    hint: str = ""


def alerts_of(settings: Settings, *, now: Callable[[], datetime], tell: Callable[[Event], None]) -> Alerts:
    """The alerts that the settings ask for; without a sink and a heartbeat they do nothing.

    Args:
        tell: told of alerts, and of sinks that fail.

    Raises:
        ConfigError: a file with an address or a secret cannot be used.
    """
    host = socket.gethostname()
    per_hour = settings.alert_messages_per_hour
    senders = [Sender(sink, per_hour, now=now, tell=tell) for sink in sinks_of(settings, Origin(host, __version__))]
    url, period = settings.heartbeat_address(), timedelta(seconds=settings.heartbeat_seconds)
    return Alerts(
        senders,
        Heartbeat(url, period, now=now, tell=tell) if url else None,
        host=host,
        limits=Thresholds(settings.alert_periods, settings.alert_rewrite_share, settings.alert_loss_usd),
        period=settings.reconcile,
        now=now,
        tell=tell,
    )


def try_out(settings: Settings, now: datetime) -> list[Tried]:
    """Send a test alert through every sink, once each.

    Raises:
        ConfigError: a file with an address or a secret cannot be used.
    """
    host, found = socket.gethostname(), []
    alert = Alert(Kind.TEST, host, "", "a test; nothing is wrong", now)
    for sink in sinks_of(settings, Origin(host, __version__)):
        began = clock.steady_seconds()
        try:
            answer = sink.deliver(Message((alert,)), now)
        except KeepwarmError as error:
            found.append(Tried(sink.name, delivered=False, words=str(error), hint=error.hint))
        else:
            took = round((clock.steady_seconds() - began) * 1000)
            found.append(Tried(sink.name, delivered=True, words=f"{answer}, {took} ms"))
    return found
