"""What a replay cost, beside what never pinging and the clairvoyant pay for the same requests.

It replays nothing itself. All is counted on the later part of a trace, from its first request on: requests there and
pings sent since then. What went before is not forgotten: the policy's entries and its learning carry over, and so does
the entry that never pinging would have, from which the clairvoyant starts as well. Money is in floats: an estimate.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

from keepwarm import clairvoyant, pricing
from keepwarm.clairvoyant import Request, Toll
from keepwarm.model import ModelFacts, Prices, Ttl
from keepwarm.simulate.replay import Happening, Kind
from keepwarm.simulate.traces import Arrival, Trace, by_prefix, seconds_of

_ORGANIC = frozenset({Kind.READ, Kind.WRITE})
_WRITING = frozenset({Kind.WRITE, Kind.REWRITE})
_MILLION = 1_000_000


@dataclass(slots=True)
class Sum:
    """A cost twice: with every request counted alike, and by its tokens.

    Attributes:
        units: in input prices of the prefix: a request that reads costs about 0.1.
        usd: weighted with the tokens of each request.
        cold: requests that found the entry dead.
    """

    units: float = 0.0
    usd: float = 0.0
    cold: int = 0

    def add(self, other: Sum) -> None:
        """Add another one to this."""
        self.units += other.units
        self.usd += other.usd
        self.cold += other.cold


@dataclass(slots=True)
class Yardstick:
    """What one prefix, or all of a trace, would cost by other means.

    Attributes:
        requests: that are counted.
        never: without any ping, by the ttl of every write.
        best: at least, by the ttl of every write; None is the ttl chosen anew for each write.
    """

    requests: int = 0
    never: dict[Ttl, Sum] = field(default_factory=lambda: defaultdict(Sum))
    best: dict[Ttl | None, Sum] = field(default_factory=lambda: defaultdict(Sum))

    def add(self, other: Yardstick) -> None:
        """Add another one to this."""
        self.requests += other.requests
        for ttl, never in other.never.items():
            self.never[ttl].add(never)
        for free, best in other.best.items():
            self.best[free].add(best)


@dataclass(slots=True)
class Spent:
    """What a policy paid for one prefix, or for all of a trace.

    Attributes:
        cost: of requests and pings; its cold requests.
        pings: of any outcome.
        rewrites: those of them that wrote.
    """

    cost: Sum = field(default_factory=Sum)
    pings: int = 0
    rewrites: int = 0

    def add(self, other: Spent) -> None:
        """Add another one to this."""
        self.cost.add(other.cost)
        self.pings += other.pings
        self.rewrites += other.rewrites


@dataclass(frozen=True, slots=True)
class Figures:
    """A policy's spending beside the yardstick.

    Attributes:
        ttl: None for `ttl: auto`.
    """

    name: str
    ttl: Ttl | None
    spent: Spent
    yardstick: Yardstick

    @property
    def never(self) -> Sum:
        """What never pinging costs at its ttl; at 5m where the ttl is chosen."""
        return self.yardstick.never[self.ttl or Ttl.FIVE_MINUTES]

    @property
    def best(self) -> Sum:
        """What the clairvoyant pays within its ttl."""
        return self.yardstick.best[self.ttl]

    @property
    def saving_captured(self) -> float | None:
        """The share of the saving of the clairvoyant who chooses every ttl, over never pinging at 5m.

        The same measure for all policies. None where not even the clairvoyant saves anything.
        """
        return _share(self.yardstick.never[Ttl.FIVE_MINUTES], self.spent.cost, self.yardstick.best[None])

    @property
    def saving_captured_at_ttl(self) -> float | None:
        """The share of the saving of the clairvoyant who writes with the same ttl, over never pinging with it."""
        return _share(self.never, self.spent.cost, self.best)

    @property
    def cost_to_never(self) -> float | None:
        """Cost by that of never pinging at its ttl; None where that is nothing."""
        return self.spent.cost.units / self.never.units if self.never.units else None

    @property
    def cold_rate(self) -> float | None:
        """The share of requests that found the entry dead; None without requests."""
        return self.spent.cost.cold / self.yardstick.requests if self.yardstick.requests else None

    @property
    def loss(self) -> float:
        """What it cost more than never pinging, in units; below 0 where it saved."""
        return self.spent.cost.units - self.never.units


@dataclass(frozen=True, slots=True)
class Result:
    """One policy on one trace.

    Attributes:
        total: of all prefixes.
        prefixes: by id.
    """

    total: Figures
    prefixes: Mapping[str, Figures]

    @property
    def worst(self) -> Figures | None:
        """The prefix with the greatest loss (or the least gain); None where nothing was counted."""
        return max(self.prefixes.values(), key=lambda each: each.loss, default=None)


class Measure:
    """What the requests of a trace from some point on cost by all means; made once, used for every policy."""

    def __init__(self, trace: Trace, facts: ModelFacts, since_share: float) -> None:
        """Reckon what the others pay.

        Args:
            trace: whole.
            facts: of the model, for its prices.
            since_share: so large a share of the arrivals, by number, goes before and is not counted.
        """
        self.skipped = min(len(trace.arrivals), math.floor(len(trace.arrivals) * since_share + 1e-9))
        counted = trace.arrivals[self.skipped :]
        self.since = counted[0].at if counted else None
        self.units = units_of(facts)
        self.usd = _usd_by_tokens(facts.prices)
        self.ttls = sorted(facts.ttls, key=lambda ttl: ttl.duration)
        before = {arrival.prefix_id: arrival for arrival in trace.arrivals[: self.skipped]}
        self.yardsticks = {
            prefix_id: self._yardstick(arrivals, before.get(prefix_id)) for prefix_id, arrivals in by_prefix(counted)
        }

    def meter(self) -> Meter:
        """A fresh one for one policy."""
        return Meter(self.skipped, self.since, self.units, self.usd)

    def result(self, name: str, ttl: Ttl | None, spent: Mapping[str, Spent]) -> Result:
        """What a policy spent, beside what the others pay.

        Args:
            name: of the policy.
            ttl: None for `ttl: auto`.
            spent: by prefix id.
        """
        ids = self.yardsticks.keys() | spent.keys()
        prefixes = {
            prefix_id: Figures(
                prefix_id, ttl, spent.get(prefix_id, Spent()), self.yardsticks.get(prefix_id, Yardstick())
            )
            for prefix_id in sorted(ids)
        }
        return Result(Figures(name, ttl, total(spent.values()), _whole(self.yardsticks.values())), prefixes)

    def clairvoyant(self, name: str, ttl: Ttl | None) -> Result:
        """The clairvoyant himself as a policy; his pings are not told apart."""
        return self.result(name, ttl, {each: Spent(found.best[ttl]) for each, found in self.yardsticks.items()})

    def _yardstick(self, arrivals: list[Arrival], before: Arrival | None) -> Yardstick:
        found = Yardstick(len(arrivals))
        for toll_of, keep in ((lambda _: self.units, _keep_units), (self.usd, _keep_usd)):
            requests = [Request(seconds_of(at), toll_of(tokens)) for at, _, tokens in arrivals]
            first = Request(seconds_of(before.at), toll_of(before.prefix_tokens)) if before else None
            for ttl in self.ttls:
                keep(found.never[ttl], *clairvoyant.unpinged(requests, ttl, first))
                keep(found.best[ttl], *clairvoyant.optimum(requests, [ttl], (first, ttl) if first else None))
            carried = (first, Ttl.FIVE_MINUTES) if first else None
            keep(found.best[None], *clairvoyant.optimum(requests, self.ttls, carried))
        return found


class Meter:
    """Adds up what a replay tells."""

    def __init__(self, skipped: int, since: datetime | None, units: Toll, usd: Callable[[int], Toll]) -> None:
        """Count from the request with this number on, and pings from that moment on; nothing without one."""
        self._to_skip = skipped
        self._since = since
        self._units = units
        self._usd = usd
        self.spent: defaultdict[str, Spent] = defaultdict(Spent)

    def tell(self, happening: Happening) -> None:
        """Count one happening; organic requests arrive in order."""
        at, prefix_id, kind, tokens, ttl = happening
        organic = kind in _ORGANIC
        if organic and self._to_skip:
            self._to_skip -= 1
            return
        if self._since is None or (not organic and at < self._since):
            return
        spent, usd = self.spent[prefix_id], self._usd(tokens)
        if kind in _WRITING:
            spent.cost.units += self._units.writes[ttl]
            spent.cost.usd += usd.writes[ttl]
        else:
            spent.cost.units += self._units.read
            spent.cost.usd += usd.read
        spent.cost.cold += kind is Kind.WRITE
        spent.pings += not organic
        spent.rewrites += kind is Kind.REWRITE


def units_of(facts: ModelFacts) -> Toll:
    """What a request costs in input prices of its prefix, as a model's base rates say."""
    rates = facts.prices.base
    return Toll(
        float(rates.cache_read / rates.input), {ttl: float(rates.cache_write(ttl) / rates.input) for ttl in Ttl}
    )


def total(parts: Iterable[Spent]) -> Spent:
    """The sum of all."""
    found = Spent()
    for part in parts:
        found.add(part)
    return found


def _whole(parts: Iterable[Yardstick]) -> Yardstick:
    found = Yardstick()
    for part in parts:
        found.add(part)
    return found


def _keep_units(kept: Sum, cost: float, cold: int) -> None:
    kept.units, kept.cold = cost, cold


def _keep_usd(kept: Sum, cost: float, _: int) -> None:
    kept.usd = cost


def _share(never: Sum, cost: Sum, best: Sum) -> float | None:
    saving = never.units - best.units
    return (never.units - cost.units) / saving if saving > 1e-9 else None


def _usd_by_tokens(prices: Prices) -> Callable[[int], Toll]:
    @lru_cache(maxsize=65_536)
    def find(tokens: int) -> Toll:
        rates = pricing.rates_for(prices, tokens)
        return Toll(
            float(tokens * rates.cache_read) / _MILLION,
            {ttl: float(tokens * rates.cache_write(ttl)) / _MILLION for ttl in Ttl},
        )

    return find
