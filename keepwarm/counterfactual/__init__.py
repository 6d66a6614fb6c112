"""What organic requests would have found without our pings, and what the pings were therefore worth.

It reads no ledger and no registry and knows no clock. Without our pings an entry lives from organic request to organic
request alone: one that comes later than a lifetime after the one before would have been cold. Everything is counted
from the starts of requests, and only of prefixes that touches were told of.
"""

from keepwarm.counterfactual.figures import (
    AMOUNTS,
    COUNTS,
    EXACT,
    Terms,
    Traffic,
    to_json,
    total,
)
from keepwarm.counterfactual.gathering import (
    Gathering,
    ping_of,
    request_of,
)
from keepwarm.counterfactual.stages import (
    Measured,
    Owed,
    Pending,
    Ping,
    Request,
    Settling,
    Stage,
    Stages,
    Standing,
)
from keepwarm.counterfactual.walk import (
    folded,
    ranked,
    stage,
    weigh,
)

__all__ = [
    "AMOUNTS",
    "COUNTS",
    "EXACT",
    "Gathering",
    "Measured",
    "Owed",
    "Pending",
    "Ping",
    "Request",
    "Settling",
    "Stage",
    "Stages",
    "Standing",
    "Terms",
    "Traffic",
    "folded",
    "ping_of",
    "ranked",
    "request_of",
    "stage",
    "to_json",
    "total",
    "weigh",
]
