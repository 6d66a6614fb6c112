"""The policies: whether one more ping is wanted inside busy hours, given what is known of a prefix.

They know no clock and no prices; busy hours, lifetimes and failures are the planner's. Each is a plain function of
the state, chosen by the type of the policy value.
"""

from __future__ import annotations

from datetime import datetime

from keepwarm.model import BusyHoursPolicy, IdleLimitPolicy, Policy, PrefixState, Reason, Span


def refusal(policy: Policy, state: PrefixState) -> Reason | None:
    """Why the living entry should not be kept alive once more; None when it should."""
    if state.closed_at:
        return Reason.CLOSED
    if isinstance(policy, IdleLimitPolicy):
        return None if state.idle_pings < policy.pings else Reason.IDLE_LIMIT
    if isinstance(policy, BusyHoursPolicy) or state.course is None:
        return None
    return None if state.idle_pings < state.course.pings else Reason.NOT_WORTH_IT


def refusal_to_write(policy: Policy, state: PrefixState, expired_at: datetime | None, window: Span) -> Reason | None:
    """Why a cold entry should not be written inside this busy window by ourselves; None when it should.

    An idle limit lets an entry die on purpose, so it writes only at the opening: when it found none alive. Writing
    before a request never saves money, so the adaptive policy does it only at an opening that is worth its price (see
    `openings`), or while it knows nothing of the traffic.

    Args:
        expired_at: when the last known entry died, None when none is known.
    """
    if state.closed_at:
        return Reason.CLOSED
    if isinstance(policy, IdleLimitPolicy):
        return None if expired_at is None or expired_at <= window.start else Reason.IDLE_LIMIT
    if isinstance(policy, BusyHoursPolicy) or state.course is None:
        return None
    opening = state.course.opening
    return None if opening and opening.pays else Reason.NOT_WORTH_IT
