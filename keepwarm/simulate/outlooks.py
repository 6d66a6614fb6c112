"""What a prefix will be pinged and cost in the coming days, and would have cost on its own past: before a change of it.

It compares nothing (see `differences`) and reads no ledger: states and traces are given.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from keepwarm.model import Prefix, PrefixState
from keepwarm.simulate.comparison import Candidate, Setting, name_of, run
from keepwarm.simulate.figures import Measure
from keepwarm.simulate.projection import project
from keepwarm.simulate.traces import Trace

LEAST_REQUESTS = 30
LEAST_TIME = timedelta(days=7)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Outlook:
    """The mean day of a stretch.

    Attributes:
        usd: of the pings, or of a replay also of what the requests read and wrote.
    """

    pings: float
    usd: Decimal


NOTHING = Outlook(0.0, Decimal(0))


def ahead(prefix: Prefix, state: PrefixState, since: datetime, days: float) -> Outlook:
    """The coming days without traffic, as `plan` sees them."""
    pings, usd = 0, Decimal(0)
    for ping in project(prefix, state, since, since + days * _DAY):
        pings += 1
        usd += ping.cost_usd
    return Outlook(pings / days, usd / Decimal(str(days)))


def past(prefix: Prefix, trace: Trace | None, setting: Setting) -> Outlook | None:
    """What the requests that a prefix had would have cost as it is registered here; None where they tell too little.

    Opening writes (`prewarm`) are left out.

    Args:
        trace: the arrivals of this prefix only.
        setting: the learner and the rewrite rate; all else is that of the prefix. Its `cold_start_usd` moves pings, and
            is not part of the cost.
    """
    arrivals = trace.arrivals if trace else ()
    seen = arrivals[-1].at - arrivals[0].at if arrivals else timedelta(0)
    if trace is None or prefix.provisioned or len(arrivals) < LEAST_REQUESTS or seen < LEAST_TIME:
        return None
    candidate = Candidate(name_of(prefix.policy), prefix.policy, None if prefix.auto_ttl else prefix.ttl)
    own = replace(setting, facts=prefix.facts, busy_hours=prefix.busy_hours, cold_start_usd=prefix.cold_start_usd)
    spent = run(trace, Measure(trace, prefix.facts, 0.0), candidate, own).total.spent
    days = seen / _DAY
    return Outlook(spent.pings / days, Decimal(str(round(spent.cost.usd / days, 9))))
