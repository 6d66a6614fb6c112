"""The campaign's own eyes: each invariant that needs a running daemon is seen to break when it does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keepwarm.clock import utc_now
from keepwarm.emulator import Faults
from tests.chaos import invariants
from tests.chaos.campaign import Campaign
from tests.chaos.world import Size, no_faults, opened
from tests.daemons import CANARY

TINY = Size(prefixes=4, few=1, lifetime=timedelta(seconds=4), margin=timedelta(seconds=1.5), per_minute=900)


@pytest.mark.timeout(180)
def test_a_house_that_stays_cold_dies_in_the_calm_talks_or_crashes_is_told(tmp_path):
    with opened(tmp_path, TINY, 1) as world:
        campaign = Campaign(world, 1, patience=timedelta(seconds=1))
        broken = campaign.findings.broken
        campaign.start()
        campaign.look_for_warmth("the start", utc_now() - timedelta(minutes=1), set())
        assert not broken

        world.proxy.cut()
        campaign.look_for_warmth("a cut", utc_now(), set())
        assert set(broken) == {invariants.RECOVERED}
        assert "cold" in broken[invariants.RECOVERED][0]

        world.proxy.heal()
        world.emulator.set_faults("*", Faults(evict=1))
        campaign.look_for_calm()
        assert set(broken) == {invariants.RECOVERED, invariants.CALM}

        no_faults(world)
        world.child.kill()
        (tmp_path / "state" / "leak.txt").write_text(f"the prompt was: {CANARY}")
        with (tmp_path / "log-0.jsonl").open("a") as log:
            log.write("Traceback (most recent call last):\n")
        campaign.look_at_all()
    assert set(broken) == {invariants.RECOVERED, invariants.CALM, invariants.SECRET, invariants.NO_CRASH}
    assert "leak.txt" in broken[invariants.SECRET][0]
