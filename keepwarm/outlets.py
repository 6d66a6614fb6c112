"""Where a daemon shows what happens, besides its log: the stream of its page, its memory of late, its metrics.

It observes nothing by itself: whoever wires the daemon lets these observe.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from keepwarm.answers.recent import Recent
from keepwarm.emf import Emf
from keepwarm.keeper import Observer
from keepwarm.metrics import Metrics
from keepwarm.notify import Notifier
from keepwarm.web import Stream


@dataclass(frozen=True, slots=True)
class Outlets:
    """One of each; `emf` is None where nobody asked for it."""

    stream: Stream = field(default_factory=Stream)
    recent: Recent = field(default_factory=Recent)
    metrics: Metrics = field(default_factory=Metrics)
    notifier: Notifier = field(default_factory=Notifier)
    emf: Emf | None = None

    @property
    def observers(self) -> tuple[Observer, ...]:
        """What wants to be told of every event."""
        found = (self.recent.observe, self.stream.observe, self.metrics.observe)
        return (*found, self.emf.observe) if self.emf else found


def outlets_of(namespace: str, now: Callable[[], datetime], notifier: Notifier | None) -> Outlets:
    """What the settings ask for.

    Args:
        namespace: of CloudWatch metrics on standard output; empty for none.
        notifier: of the service manager; None for none.
    """
    emf = Emf(namespace, sys.stdout, now) if namespace else None
    return Outlets(notifier=notifier or Notifier(), emf=emf)
