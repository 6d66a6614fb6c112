"""What one registry changes against another."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from keepwarm.differences import between
from keepwarm.model import AdaptivePolicy, Api, IdleLimitPolicy, Limits, Route, Ttl
from tests.builders import NOVA, facts_of, make_hours, make_prefix

A = make_prefix(name="a", fingerprint="1", line=1)
B = make_prefix(name="b", fingerprint="2", line=9)


def keys(**changes: object) -> list[tuple[str, str, str]]:
    (change,) = between([A], [replace(A, **changes)]).changed
    return change.keys


def test_where_a_prefix_stands_in_the_file_is_no_change():
    found = between([A, B], [replace(B, line=1), replace(A, line=100)])
    assert not found
    assert {prefix.name for prefix in found.unchanged} == {"a", "b"}
    assert (found.to_arm, found.to_disarm) == ([], set())


def test_what_comes_and_goes_is_armed_and_disarmed():
    found = between([A], [B])
    assert found
    assert ([prefix.name for prefix in found.added], [prefix.name for prefix in found.removed]) == (["b"], ["a"])
    assert (found.to_arm, found.to_disarm) == (["b"], {"a"})


def test_a_renamed_prefix_is_the_same_entry_under_another_name():
    found = between([A, B], [replace(A, name="z"), B])
    (change,) = found.changed
    assert not change.new_entry
    assert change.keys == [("name", "a", "z")]
    assert (found.to_arm, found.to_disarm) == (["z"], {"a"})
    assert found.fields() == {"added": [], "removed": [], "changed": ["a -> z"], "unchanged": 1}


def test_two_prefixes_that_change_names_leave_no_name_behind():
    found = between([A, B], [replace(A, name="b"), replace(B, name="a")])
    assert sorted(found.to_arm) == ["a", "b"]
    assert not found.to_disarm
    assert not found.added
    assert not found.removed


def test_a_name_taken_over_from_a_prefix_that_goes_is_not_disarmed():
    found = between([A, B], [replace(A, name="b")])
    assert [prefix.name for prefix in found.removed] == ["b"]
    assert (found.to_arm, found.to_disarm) == (["b"], {"a"})


def test_another_text_is_a_new_entry_of_the_same_name():
    (change,) = between([A], [replace(A, fingerprint="9", estimated_tokens=7_000)]).changed
    assert change.new_entry
    assert change.keys == [("tokens", "about 5,000", "about 7,000")]
    assert keys(fingerprint="9") == [("request", "as it was", "another of about the same size")]


def test_another_route_explains_another_entry():
    assert keys(fingerprint="9", route=Route("us-east-1")) == [("region", "eu-central-1", "us-east-1")]


@pytest.mark.parametrize(
    ("changes", "key", "was", "becomes"),
    [
        ({"api": Api.CONVERSE}, "api", "invoke_model", "converse"),
        ({"route": Route("eu-central-1", "p", "r")}, "profile", "none", "p"),
        ({"ttl": Ttl.ONE_HOUR, "auto_ttl": True}, "ttl", "5m", "auto, now 1h"),
        ({"margin": timedelta(seconds=20)}, "margin", "40s", "20s"),
        ({"policy": IdleLimitPolicy(3)}, "policy", "busy_hours", "idle_limit: 3"),
        ({"policy": AdaptivePolicy()}, "policy", "busy_hours", "adaptive"),
        ({"prewarm": False}, "prewarm", "true", "false"),
        ({"prewarm_lead": timedelta(minutes=2)}, "prewarm", "true", "lead: 120s"),
        ({"tags": (("team", "x"),)}, "tags", "none", "team: x"),
        ({"limits": Limits(day_cap_usd=Decimal(3))}, "day_cap_usd", "25", "3"),
        ({"cold_start_usd": Decimal("0.5")}, "cold_start_usd", "0", "0.5"),
        (
            {"busy_hours": make_hours("Mon-Tue 22:00-02:00")},
            "busy_hours",
            "always",
            "test (Europe/Berlin): Mon Tue 22:00-02:00",
        ),
        (
            {
                "busy_hours": make_hours(
                    "Sat 08:00-09:00", holidays="DE", closed=((date(2026, 1, 1), date(2026, 1, 2)),)
                )
            },
            "busy_hours",
            "always",
            "test (Europe/Berlin): Sat 08:00-09:00, holidays DE, except 2026-01-01 to 2026-01-02",
        ),
    ],
)
def test_a_change_is_told_in_the_words_of_the_registry(changes, key, was, becomes):
    assert (key, was, becomes) in keys(**changes)


def test_other_prices_are_told_and_what_has_no_key_is_still_a_change():
    prices = {key: value for key, _, value in keys(facts=facts_of(NOVA))}["prices"]
    assert "input 0.06" in prices
    assert "cache_write_1h" not in prices
    stepped = replace(A.facts.prices, steps=((123_000, A.facts.prices.base),))
    assert "; above 123,000: input 3.3" in keys(facts=replace(A.facts, prices=stepped))[0][2]
    assert keys(facts=replace(A.facts, base_id="other")) == [("others", "as they were", "changed")]


def test_many_names_are_bounded():
    many = [make_prefix(name=f"p{number:02}", fingerprint=f"{number}") for number in range(50)]
    added = between([], many).fields()["added"]
    assert len(added) == 21
    assert added[-1] == "and 30 more"
