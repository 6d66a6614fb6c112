"""The words of keepwarm as frozen data: prefixes, busy hours, prices, usage, decisions, ledger entries.

It does not decide, read, write or know a clock; it imports nothing of the program.
"""

from keepwarm.model.facts import Api, Family, ModelFacts, Prices, Rates, Section, Ttl
from keepwarm.model.hours import ALWAYS, BusyHours, Span, Window
from keepwarm.model.pings import Action, Answer, Decision, Entry, Intent, Outcome, Reason, Usage, Verdict
from keepwarm.model.prefixes import (
    LIMITS_IN_ALL,
    AdaptivePolicy,
    BusyHoursPolicy,
    Course,
    IdleLimitPolicy,
    Limits,
    Opening,
    Policy,
    Prefix,
    Route,
)
from keepwarm.model.states import (
    Event,
    Guard,
    GuardState,
    GuardStatus,
    Hold,
    PauseOrder,
    PrefixState,
    RegistryStatus,
    Scope,
    Stop,
)
from keepwarm.model.traffic import Closing, Source, Touch, TtlChoice, TtlReason

__all__ = [
    "ALWAYS",
    "LIMITS_IN_ALL",
    "Action",
    "AdaptivePolicy",
    "Answer",
    "Api",
    "BusyHours",
    "BusyHoursPolicy",
    "Closing",
    "Course",
    "Decision",
    "Entry",
    "Event",
    "Family",
    "Guard",
    "GuardState",
    "GuardStatus",
    "Hold",
    "IdleLimitPolicy",
    "Intent",
    "Limits",
    "ModelFacts",
    "Opening",
    "Outcome",
    "PauseOrder",
    "Policy",
    "Prefix",
    "PrefixState",
    "Prices",
    "Rates",
    "Reason",
    "RegistryStatus",
    "Route",
    "Scope",
    "Section",
    "Source",
    "Span",
    "Stop",
    "Touch",
    "Ttl",
    "TtlChoice",
    "TtlReason",
    "Usage",
    "Verdict",
    "Window",
]
