"""The policies: whether one more ping is wanted inside busy hours, given what is known of a prefix.

They know no clock and no prices; busy hours, lifetimes and failures are the planner's. Each is a plain function of
the state, chosen by the type of the policy value.
"""

from __future__ import annotations

from datetime import datetime

from keepwarm.model import BusyHoursPolicy, Policy, PrefixState, Span


def wants_ping(policy: Policy, state: PrefixState) -> bool:
    """Whether the living entry should be kept alive once more."""
    return isinstance(policy, BusyHoursPolicy) or state.idle_pings < policy.pings


def wants_write(policy: Policy, expired_at: datetime | None, window: Span) -> bool:
    """Whether a cold entry should be written inside this busy window by ourselves (the prefix has `prewarm` on).

    An idle limit lets an entry die on purpose, so it writes only at the opening: when it found none alive.

    Args:
        expired_at: when the last known entry died, None when none is known.
    """
    return isinstance(policy, BusyHoursPolicy) or expired_at is None or expired_at <= window.start
