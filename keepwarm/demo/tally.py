"""What has happened in the demo so far: the daemon's log lines and the application's answers, counted.

It asks nobody; both are told to it, from several threads.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from keepwarm.demo.scene import PARTS

# A strip of the page spans three minutes instead of a day: at 1:50 that is two hours and a half.
_HOURS_OF_STRIPS = 0.05


@dataclass(frozen=True, slots=True)
class Asked:
    """How the application's requests of one prefix fared.

    Attributes:
        cold: requests that wrote the entry, so that a user waited and the bill grew.
        uncached: requests that could neither read nor write.
        timed: requests that needed no retry of the SDK, whose pauses are not at 1:50.
        waited_ms: latency of the timed ones together.
    """

    warm: int = 0
    cold: int = 0
    uncached: int = 0
    failed: int = 0
    timed: int = 0
    waited_ms: float = 0.0
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Line:
    """One prefix at one moment.

    Attributes:
        state: name of the daemon's last event about its state, empty before the first.
        kept: the application whose prefixes keepwarm tends.
        twin: the same application on an account of its own, without keepwarm.
    """

    name: str
    state: str = ""
    reason: str = ""
    detail: str = ""
    pings: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    refresh_cost_usd: Decimal = Decimal(0)
    kept: Asked = Asked()
    twin: Asked = Asked()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All prefixes at one moment of the demo.

    Attributes:
        page: where the daemon serves its page; empty before it does.
    """

    passed_seconds: float
    total_seconds: float
    lines: tuple[Line, ...]
    page: str = ""


class Tally:
    """Counts; safe to use from many threads.

    Attributes:
        page: where the daemon serves its page; empty before it does.
    """

    def __init__(self) -> None:
        self._lines = {part.name: Line(part.name) for part in PARTS}
        self._lock = threading.Lock()
        self.page = ""

    def lines(self) -> tuple[Line, ...]:
        """Every prefix as it stands now."""
        with self._lock:
            return tuple(self._lines.values())

    def told(self, event: Mapping[str, Any]) -> None:
        """Take in one log line of the daemon."""
        name, line = str(event.get("event", "")), None
        with self._lock:
            if name == "daemon_started":
                self.page = f"http://{event['listens']}/?hours={_HOURS_OF_STRIPS}"
            line = self._lines.get(str(event.get("prefix", "")))
            if line is None:
                return
            if name in {"ping_succeeded", "ping_failed"}:
                line = replace(
                    line,
                    pings=line.pings + Counter([event["verdict"]]),
                    errors=line.errors + Counter([event["error_code"]] if event.get("error_code") else []),
                    refresh_cost_usd=line.refresh_cost_usd + Decimal(event["cost_usd"]),
                )
            elif name.startswith("prefix_"):
                state, reason = name.removeprefix("prefix_"), str(event.get("reason", ""))
                line = replace(line, state=state, reason=reason, detail=str(event.get("detail", "")))
            self._lines[line.name] = line

    def answered(self, name: str, *, twin: bool, asked: Asked) -> None:
        """Take in one answer that the application got; `asked` holds its counts."""
        with self._lock:
            line = self._lines[name]
            before = line.twin if twin else line.kept
            after = Asked(
                warm=before.warm + asked.warm,
                cold=before.cold + asked.cold,
                uncached=before.uncached + asked.uncached,
                failed=before.failed + asked.failed,
                timed=before.timed + asked.timed,
                waited_ms=before.waited_ms + asked.waited_ms,
                cost_usd=before.cost_usd + asked.cost_usd,
            )
            self._lines[name] = replace(line, twin=after) if twin else replace(line, kept=after)
