"""Counts what happens and reads how things are, for Prometheus.

It judges nothing and keeps no money of its own: amounts are those of the page, from the ledger. Labels are the names of
registered prefixes and closed lists of words, so a registry bounds the series; a prefix that leaves it leaves them too.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from keepwarm import __version__
from keepwarm.guards.breaker import HIT_DUE
from keepwarm.model import Event, Verdict
from keepwarm.views.shapes import Condition, PrefixShown, Summary

_PINGS = frozenset({"ping_succeeded", "ping_failed"})
_DUE = frozenset(reason.value for reason in HIT_DUE)
_WATCHED = ("ledger_failed", "prefix_drifted", "registry_refused", "registry_unreachable", "traffic_source_failed")
_LATENCIES = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
_LATENESSES = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 300)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a daemon is at one moment.

    Attributes:
        touches: what became of them since the start, by outcome.
        in_flight: pings that were sent and not answered.
        waiting: prefixes whose moment has come and that wait for a free worker.
        firing: whether timers fire.
        loop_age_seconds: since the daemon's loop last turned.
    """

    summary: Summary
    prefixes: Sequence[PrefixShown]
    touches: Mapping[str, int]
    in_flight: int
    waiting: int
    firing: bool
    loop_age_seconds: float


class Metrics(Collector):
    """All metrics of one daemon; safe to use from many threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._latency = Histogram(
            "keepwarm_ping_latency_seconds",
            "From sending a ping to its whole answer.",
            ["verdict"],
            buckets=_LATENCIES,
            registry=self._registry,
        )
        self._lateness = Histogram(
            "keepwarm_ping_lateness_seconds",
            "How much later than its due moment a prefix was tended.",
            buckets=_LATENESSES,
            registry=self._registry,
        )
        self._lock = threading.Lock()
        self._pings: Counter[tuple[str, str]] = Counter()
        self._costs: defaultdict[str, float] = defaultdict(float)
        self._missed: Counter[str] = Counter()
        # Zeros from the start: Prometheus sees no increase in a series that begins with its first event.
        self._events: Counter[str] = Counter(dict.fromkeys(_WATCHED, 0))
        self._read: Callable[[], Reading] | None = None
        self._registry.register(self)

    def observe(self, event: Event) -> None:
        """Count what happened."""
        with self._lock:
            self._events[event.name] += 1
            if event.name == "leadership_lost":  # whoever leads now knows better
                self._missed.clear()
        if event.name in _PINGS:
            self._count_ping(event.fields)

    def _count_ping(self, fields: Mapping[str, object]) -> None:
        prefix, verdict = str(fields["prefix"]), str(fields["verdict"])
        with self._lock:
            self._pings[prefix, verdict] += 1
            self._costs[prefix] += float(str(fields["cost_usd"]))
            if verdict == Verdict.HIT:
                self._missed[prefix] = 0
            elif fields.get("reason") in _DUE:
                self._missed[prefix] += 1
        latency_ms = fields.get("latency_ms")
        if isinstance(latency_ms, int):
            self._latency.labels(verdict).observe(latency_ms / 1000)

    def tended(self, late_seconds: float) -> None:
        """A prefix was tended so long after it was due."""
        self._lateness.observe(max(0.0, late_seconds))

    def watch(self, read: Callable[[], Reading]) -> None:
        """Ask here, whenever somebody asks for the metrics."""
        self._read = read

    def expose(self, accept: str = "") -> tuple[bytes, str]:
        """Everything in the text format that the Accept header asks for, and its content type."""
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind

    # -- at each scrape -------------------------------------------------------------------------------------------

    def collect(self) -> Iterator[Metric]:
        """What `prometheus_client` asks for."""
        reading = self._read() if self._read else None
        yield from self._counted({shown.name for shown in reading.prefixes} if reading else None)
        if reading:
            yield from _of_daemon(reading)
            yield from _of_prefixes(reading.prefixes)
            yield from _of_money(reading.summary)

    def _counted(self, registered: set[str] | None) -> Iterator[Metric]:
        pings = CounterMetricFamily(
            "keepwarm_pings", "Pings that ended, by what they turned out to be.", labels=["prefix", "verdict"]
        )
        costs = CounterMetricFamily(
            "keepwarm_refresh_cost_usd", "What the pings of this process cost.", labels=["prefix"]
        )
        missed = GaugeMetricFamily(
            "keepwarm_prefix_pings_since_hit", "Pings in a row that should have hit and did not.", labels=["prefix"]
        )
        events = CounterMetricFamily("keepwarm_events", "Log events.", labels=["event"])
        with self._lock:
            if registered is not None:
                self._forget(registered)
            _fill(pings, self._pings.items())
            _fill(costs, (((prefix,), cost) for prefix, cost in self._costs.items()))
            _fill(missed, (((prefix,), count) for prefix, count in self._missed.items()))
            _fill(events, (((name,), count) for name, count in self._events.items()))
        yield from (pings, costs, missed, events)

    def _forget(self, registered: set[str]) -> None:
        for key in [key for key in self._pings if key[0] not in registered]:
            del self._pings[key]
        for counts in (self._costs, self._missed):
            for name in [name for name in counts if name not in registered]:
                del counts[name]


def _of_daemon(reading: Reading) -> Iterator[Metric]:
    summary, registry = reading.summary, reading.summary.registry
    yield _info("keepwarm_build", "The program.", {"version": __version__})
    plain = (
        ("keepwarm_leader", "Whether this daemon sends the pings.", summary.role == "leader"),
        ("keepwarm_scheduler_alive", "Whether timers fire.", reading.firing),
        ("keepwarm_loop_age_seconds", "Since the daemon's loop last turned.", reading.loop_age_seconds),
        ("keepwarm_start_timestamp_seconds", "When this daemon started.", summary.started_at.timestamp()),
        ("keepwarm_pings_in_flight", "Sent and not answered yet.", reading.in_flight),
        ("keepwarm_prefixes_waiting", "Whose moment has come, and that wait for a free worker.", reading.waiting),
        ("keepwarm_stopped", "Whether somebody has stopped all pings.", summary.stopped is not None),
        ("keepwarm_registry_generation", "How often a registry was taken up.", registry.generation),
        ("keepwarm_registry_loaded_timestamp_seconds", "When it last was.", registry.loaded_at.timestamp()),
        ("keepwarm_registry_refused", "Whether the last one read was refused.", registry.refused is not None),
    )
    for name, told, value in plain:
        yield GaugeMetricFamily(name, told, float(value))
    touches = CounterMetricFamily(
        "keepwarm_touches", "Organic requests that were told, by what became of them.", labels=["outcome"]
    )
    _fill(touches, (((outcome,), count) for outcome, count in reading.touches.items()))
    yield touches
    guards = GaugeMetricFamily(
        "keepwarm_guard_holding", "1 for each guard on money that holds pings back.", labels=["guard", "prefix"]
    )
    _fill(guards, (((guard.guard, guard.prefix or "all"), 1) for guard in summary.guards))
    yield guards


def _of_prefixes(prefixes: Sequence[PrefixShown]) -> Iterator[Metric]:
    counts = GaugeMetricFamily("keepwarm_prefixes", "Registered prefixes by how they are.", labels=["state"])
    found = Counter(shown.state for shown in prefixes)
    _fill(counts, (((state.value,), found[state]) for state in Condition))  # zeros too, so that an alert can tell
    states = GaugeMetricFamily(
        "keepwarm_prefix_state", "1 for how a prefix is, and why.", labels=["prefix", "state", "reason"]
    )
    expiries = GaugeMetricFamily(
        "keepwarm_prefix_expiry_timestamp_seconds", "When its entry dies; absent while it is cold.", labels=["prefix"]
    )
    ttls = GaugeMetricFamily(
        "keepwarm_prefix_ttl_not_honoured", "1 where another ttl is billed than asked for.", labels=["prefix", "billed"]
    )
    losses = GaugeMetricFamily(
        "keepwarm_prefix_early_loss_ratio", "Entries that died before their time, of those pinged.", labels=["prefix"]
    )
    nets = GaugeMetricFamily(
        "keepwarm_prefix_net_usd", "Avoided writes less refresh cost of seven days.", labels=["prefix", "bound"]
    )
    for shown in prefixes:
        states.add_metric([shown.name, shown.state.value, shown.reason], 1)
        if shown.warm_until:
            expiries.add_metric([shown.name], shown.warm_until.timestamp())
        if shown.billed_ttl and shown.ttl not in {shown.billed_ttl, "auto"}:
            ttls.add_metric([shown.name, shown.billed_ttl], 1)
        if shown.early_loss_rate is not None:
            losses.add_metric([shown.name], shown.early_loss_rate)
        if week := shown.money.seven_days:
            nets.add_metric([shown.name, "low"], week.net_low_usd)
            nets.add_metric([shown.name, "high"], week.net_high_usd)
    yield from (counts, states, expiries, ttls, losses, nets)


def _of_money(summary: Summary) -> Iterator[Metric]:
    """Gauges, since they follow the ledger's days and not the life of this process."""
    costs = GaugeMetricFamily(
        "keepwarm_period_refresh_cost_usd", "What all pings on the ledger cost in a period.", labels=["period"]
    )
    avoided = GaugeMetricFamily(
        "keepwarm_period_avoided_write_usd", "What they saved, low and high.", labels=["period", "bound"]
    )
    nets = GaugeMetricFamily("keepwarm_period_net_usd", "The second less the first.", labels=["period", "bound"])
    periods = {"today": summary.money.today, "7d": summary.money.seven_days, "30d": summary.money.thirty_days}
    for period, money in periods.items():
        if money:
            costs.add_metric([period], money.refresh_cost_usd)
            avoided.add_metric([period, "low"], money.avoided_low_usd)
            avoided.add_metric([period, "high"], money.avoided_high_usd)
            nets.add_metric([period, "low"], money.net_low_usd)
            nets.add_metric([period, "high"], money.net_high_usd)
    yield from (costs, avoided, nets)


def _info(name: str, told: str, labels: Mapping[str, str]) -> Metric:
    found = GaugeMetricFamily(f"{name}_info", told, labels=list(labels))
    found.add_metric(list(labels.values()), 1)
    return found


def _fill(family: CounterMetricFamily | GaugeMetricFamily, found: Iterable[tuple[Sequence[str], float]]) -> None:
    for labels, value in found:
        family.add_metric(labels, value)
