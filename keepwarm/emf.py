"""Writes metrics as lines of CloudWatch's Embedded Metric Format, for machines whose log goes there without an agent.

Its one dimension has one value: every metric of every value costs 30 cents a month, so details stay with the page,
Prometheus and the ledger. The format: CloudWatch user guide, "Specification: Embedded metric format", read 2026-11-23.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import TextIO

from keepwarm.model import Event
from keepwarm.views.shapes import Summary

# Names and units, in the order in which they are written.
COUNTED = {
    "Pings": "Count",
    "Hits": "Count",
    "Rewrites": "Count",
    "PingErrors": "Count",
    "RefreshCostUsd": "None",
    "LedgerFailures": "Count",
    "RegistryRefusals": "Count",
    "Drifts": "Count",
}
READ = {
    "WarmPrefixes": "Count",
    "ColdPrefixes": "Count",
    "StoppedPrefixes": "Count",
    "PausedPrefixes": "Count",
    "GuardsHolding": "Count",
    "NetUsdSevenDaysLow": "None",
}
METRICS = COUNTED | READ

_OF_VERDICT = {
    "hit": "Hits",
    "partial": "Rewrites",
    "rewrite": "Rewrites",
    "error": "PingErrors",
    "unknown": "PingErrors",
}
_OF_EVENT = {
    "ledger_failed": "LedgerFailures",
    "registry_refused": "RegistryRefusals",
    "prefix_drifted": "Drifts",
}
_DIMENSION = {"Service": "keepwarm"}


class Emf:
    """Counts between two lines; safe to use from many threads.

    Args:
        namespace: of the metrics in CloudWatch.
        stream: standard output; nothing else of keepwarm's daemon is written there.
    """

    def __init__(self, namespace: str, stream: TextIO, now: Callable[[], datetime]) -> None:
        self._namespace = namespace
        self._stream = stream
        self._now = now
        self._lock = threading.Lock()
        self._counts: defaultdict[str, float] = defaultdict(float)

    def observe(self, event: Event) -> None:
        """Count what happened."""
        with self._lock:
            if event.name in _OF_EVENT:
                self._counts[_OF_EVENT[event.name]] += 1
            if event.name in {"ping_succeeded", "ping_failed"}:
                self._counts["Pings"] += 1
                self._counts["RefreshCostUsd"] += float(str(event.fields["cost_usd"]))
                if metric := _OF_VERDICT.get(str(event.fields["verdict"])):
                    self._counts[metric] += 1

    def write(self, summary: Summary) -> None:
        """Write a line of what was counted since the last, and of how things are; one that stands by writes none."""
        if summary.role != "leader":
            return
        with self._lock:
            counts, self._counts = self._counts, defaultdict(float)
        values: dict[str, float] = {name: counts[name] for name in COUNTED}
        found = summary.prefixes
        shown = (found.warm, found.cold, found.stopped, found.paused, len(summary.guards))
        values |= dict(zip(READ, shown, strict=False))
        if week := summary.money.seven_days:
            values["NetUsdSevenDaysLow"] = week.net_low_usd
        metrics = [{"Name": name, "Unit": unit} for name, unit in METRICS.items() if name in values]
        directive = {"Namespace": self._namespace, "Dimensions": [list(_DIMENSION)], "Metrics": metrics}
        head = {"Timestamp": int(self._now().timestamp() * 1000), "CloudWatchMetrics": [directive]}
        with contextlib.suppress(OSError):  # nobody reads standard output any more, or its disk is full
            self._stream.write(json.dumps({"_aws": head} | _DIMENSION | values) + "\n")
            self._stream.flush()
