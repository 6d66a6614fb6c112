"""A short campaign on fixed seeds: whatever breaks, the invariants hold. `make chaos` is the long one."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.chaos.campaign import INVARIANTS, Campaign, table
from tests.chaos.schedule import Kind, draw_of
from tests.chaos.world import Size, opened

SHORT = Size(prefixes=30, few=2, lifetime=timedelta(seconds=6), margin=timedelta(seconds=2.5), per_minute=900)
ENDPOINT = [Kind.THROTTLED, Kind.BROKEN_OFF, Kind.QUOTED]
REST = [Kind.DELETED, Kind.CLOCK_BEHIND, Kind.TOUCHES]


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("seed", "kinds"), [(1, ENDPOINT), (2, REST)], ids=["endpoint", "machine-and-people"])
def test_whatever_breaks_the_invariants_hold(tmp_path, seed, kinds):
    with opened(tmp_path, SHORT, seed) as world:
        campaign = Campaign(world, seed)
        campaign.run(draw_of(seed, kinds))
    assert not campaign.findings.broken, table(campaign)
    assert all(campaign.findings.checks[name] for name in INVARIANTS)
