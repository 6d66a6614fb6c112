"""The keeper's twin in virtual time: what would be pinged when, and for how much, with nothing sent.

It decides nothing itself: `projection` looks ahead without traffic, `replay` looks back at arrivals that are known, and
both ask the planner that the daemon asks. `figures` says what a replay cost beside what others would have paid.
"""

from keepwarm.simulate.comparison import (
    CLAIRVOYANT,
    Candidate,
    Setting,
    candidates,
    name_of,
    new_learner,
    parse_policy,
    run,
)
from keepwarm.simulate.figures import Figures, Measure, Result
from keepwarm.simulate.projection import Plan, PlannedPing, background_of, ground_of, imagine, plan, project, terms_of
from keepwarm.simulate.replay import Happening, Kind, Learner, Rules, replay
from keepwarm.simulate.traces import Arrival, Trace, read_trace, trace_of

__all__ = [
    "CLAIRVOYANT",
    "Arrival",
    "Candidate",
    "Figures",
    "Happening",
    "Kind",
    "Learner",
    "Measure",
    "Plan",
    "PlannedPing",
    "Result",
    "Rules",
    "Setting",
    "Trace",
    "background_of",
    "candidates",
    "ground_of",
    "imagine",
    "name_of",
    "new_learner",
    "parse_policy",
    "plan",
    "project",
    "read_trace",
    "replay",
    "run",
    "terms_of",
    "trace_of",
]
