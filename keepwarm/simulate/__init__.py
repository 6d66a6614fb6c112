"""The keeper's twin in virtual time: what would be pinged when, and for how much, with nothing sent.

It decides nothing itself: `projection` looks ahead without traffic, `replay` looks back at arrivals that are known, and
both ask the planner that the daemon asks.
"""

from keepwarm.simulate.projection import Plan, PlannedPing, background_of, imagine, plan, project

__all__ = ["Plan", "PlannedPing", "background_of", "imagine", "plan", "project"]
