from __future__ import annotations

import pytest

from keepwarm.emulator.faults import Dice, Faults, faults_for


def test_switches_are_read_as_the_command_line_writes_them():
    faults = Faults.parse("throttle=0.3, hang=0.1,hang_seconds=12,homes=3,deny,retired=no")
    assert faults == Faults(throttle=0.3, hang=0.1, hang_seconds=12.0, homes=3, deny=True)


def test_a_bare_rate_means_always():
    assert Faults.parse("throttle") == Faults(throttle=1.0)


def test_nothing_means_no_faults():
    assert Faults.parse(" ") == Faults()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thrott=0.3", "thrott: unknown switch; there are throttle, unavailable"),
        ("throttle=often", "throttle: must be a number, not 'often'"),
        ("throttle=1.5", "throttle: must be a rate from 0 to 1, not 1.5"),
        ("throttle=nan", "throttle: must be a rate from 0 to 1, not nan"),
        ("homes=two", "homes: must be a whole number, not 'two'"),
        ("homes=0", "homes: must be 1 or more, not 0"),
        ("hang_seconds=-1", "hang_seconds: must be 0 or more, not -1"),
        ("deny=maybe", "deny: must be true or false, not 'maybe'"),
    ],
)
def test_a_wrong_switch_is_refused_with_what_is_allowed(text, message):
    with pytest.raises(ValueError, match=message):
        Faults.parse(text)


def test_only_what_differs_from_the_default_is_written_out():
    faults = Faults(throttle=0.5, deny=True)
    assert faults.to_mapping() == {"throttle": 0.5, "deny": True}
    assert Faults.from_mapping(faults.to_mapping()) == faults


def test_the_last_pattern_that_fits_wins_over_the_star():
    star, claude, sonnet = Faults(throttle=0.1), Faults(throttle=0.2), Faults(throttle=0.3)
    by_pattern = {"*claude*": claude, "*sonnet*": sonnet, "*": star}
    assert faults_for(by_pattern, "eu.anthropic.claude-sonnet-5") is sonnet
    assert faults_for(by_pattern, "eu.anthropic.claude-opus-5") is claude
    assert faults_for(by_pattern, "eu.amazon.nova-pro-v1:0") is star
    assert faults_for({}, "anything") == Faults()


def test_dice_fall_evenly_and_always_the_same_way():
    rolls = [Dice(1, "request", seen).roll("throttle") for seen in range(2000)]
    assert all(0 <= roll < 1 for roll in rolls)
    assert 0.45 < sum(rolls) / len(rolls) < 0.55
    assert rolls == [Dice(1, "request", seen).roll("throttle") for seen in range(2000)]


def test_dice_of_different_purposes_seeds_and_requests_are_different():
    assert (
        len(
            {
                Dice(1, "request", 0).roll("throttle"),
                Dice(1, "request", 0).roll("hang"),
                Dice(2, "request", 0).roll("throttle"),
                Dice(1, "other", 0).roll("throttle"),
            }
        )
        == 4
    )
