"""The life of a cache entry, seen through boto3; a bill is (input, read, written for 5m, written for 1h)."""

from __future__ import annotations

import pytest

HAIKU_4096 = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"
CACHED = 2000
QUESTION = 10
WRITTEN = (QUESTION, 0, CACHED, 0)
WRITTEN_1H = (QUESTION, 0, 0, CACHED)
READ = (QUESTION, CACHED, 0, 0)


def user(*content):
    return {"role": "user", "content": list(content)}


def assistant(*content):
    return {"role": "assistant", "content": list(content)}


# -- lifetimes ----------------------------------------------------------------------------------------------------


def test_an_entry_is_alive_until_just_before_five_minutes_and_dead_at_five(bench):
    bench.billed()
    bench.wall.advance(seconds=299)
    assert bench.billed() == READ
    bench.wall.advance(minutes=5)
    assert bench.billed() == WRITTEN


def test_a_read_renews_an_entry_for_a_whole_lifetime(bench):
    bench.billed()
    for _ in range(4):
        bench.wall.advance(minutes=4)
        assert bench.billed() == READ


def test_an_entry_of_an_hour_lives_for_an_hour(bench):
    system = [bench.text(CACHED), bench.point("1h")]
    assert bench.billed(system=system) == WRITTEN_1H
    bench.wall.advance(minutes=59)
    assert bench.billed(system=system) == READ
    bench.wall.advance(minutes=60)
    assert bench.billed(system=system) == WRITTEN_1H


def test_a_time_scale_shortens_lifetimes(emulate):
    bench = emulate(time_scale=0.02)
    bench.billed()
    bench.wall.advance(seconds=5.9)
    assert bench.billed() == READ
    bench.wall.advance(seconds=6)
    assert bench.billed() == WRITTEN


def test_a_lifetime_counts_from_the_start_of_a_request_however_long_its_answer_takes(emulate):
    bench = emulate(latency_scale=0.1)  # some 45 ms
    bench.billed()
    bench.wall.advance(seconds=299.99)
    assert bench.billed() == READ


def test_an_entry_cannot_be_read_before_the_answer_that_wrote_it_is_due(emulate):
    bench = emulate(latency_scale=0.01)  # some 5 ms of answer time, in which the wall clock stands still
    assert [bench.billed(), bench.billed()] == [WRITTEN, WRITTEN]
    bench.wall.advance(seconds=1)
    assert bench.billed() == READ


def test_two_that_write_the_same_entry_at_once_leave_it_alive_from_the_later_start(emulate):
    bench = emulate(latency_scale=0.01)
    bench.billed()
    bench.wall.advance(milliseconds=1)
    bench.billed()
    bench.wall.advance(minutes=4, seconds=59.9995)
    assert bench.billed() == READ


def test_an_entry_written_for_an_hour_keeps_its_hour_when_it_is_read_with_a_shorter_marker(bench):
    bench.billed(system=[bench.text(CACHED), bench.point("1h")])
    assert bench.billed() == READ
    bench.wall.advance(minutes=30)
    assert bench.billed() == READ


def test_an_entry_written_for_five_minutes_gets_no_hour_from_being_read_with_a_longer_marker(bench):
    longer = [bench.text(CACHED), bench.point("1h")]
    bench.billed()
    assert bench.billed(system=longer) == READ
    bench.wall.advance(minutes=4)
    assert bench.billed(system=longer) == READ
    bench.wall.advance(minutes=5)
    assert bench.billed(system=longer) == WRITTEN_1H


def test_only_the_entry_that_is_read_is_renewed(bench):
    shorter = [bench.text(CACHED), bench.point()]
    longer = [*shorter, bench.text(500, "y"), bench.point()]
    assert bench.billed(system=longer) == (QUESTION, 0, CACHED + 500, 0)
    bench.wall.advance(minutes=4)
    assert bench.billed(system=longer) == (QUESTION, CACHED + 500, 0, 0)
    bench.wall.advance(minutes=2)
    assert bench.billed(system=shorter) == WRITTEN
    assert bench.billed(system=longer) == (QUESTION, CACHED + 500, 0, 0)


# -- what an entry is ---------------------------------------------------------------------------------------------


def test_accounts_regions_and_models_do_not_share_entries(bench):
    assert bench.billed() == WRITTEN
    assert bench.billed(bench.client(access_key="AKIAOTHER")) == WRITTEN
    assert bench.billed(bench.client(region="us-east-1")) == WRITTEN
    assert bench.billed(modelId="global.anthropic.claude-sonnet-4-5-20250929-v1:0") == WRITTEN
    assert bench.billed() == READ


def test_a_different_question_reads_the_same_prefix(bench):
    bench.billed()
    assert bench.billed(messages=[user(bench.text(25, "z"))]) == (25, CACHED, 0, 0)


def test_one_changed_letter_in_the_prefix_is_another_entry(bench):
    bench.billed()
    text = bench.text(CACHED)["text"][:-1] + "y"
    assert bench.billed(system=[{"text": text}, bench.point()]) == WRITTEN


def test_invoke_model_and_converse_do_not_share_entries(bench):
    bench.billed()
    body, _ = bench.invoke()
    assert body["usage"]["cache_creation_input_tokens"] == CACHED


def test_a_request_without_cache_points_neither_writes_nor_reads(bench):
    without = [bench.text(CACHED)]
    assert bench.billed(system=without) == (CACHED + QUESTION, 0, 0, 0)
    assert bench.billed() == WRITTEN
    assert bench.billed(system=without) == (CACHED + QUESTION, 0, 0, 0)


# -- minimum ------------------------------------------------------------------------------------------------------


def test_a_prefix_below_the_minimum_is_not_cached_and_not_refused(bench):
    short = [bench.text(1023), bench.point()]
    assert [bench.billed(system=short) for _ in range(2)] == [(1023 + QUESTION, 0, 0, 0)] * 2
    assert bench.billed(system=[bench.text(1024), bench.point()]) == (QUESTION, 0, 1024, 0)


def test_the_minimum_is_that_of_the_model(bench):
    assert bench.billed(modelId=HAIKU_4096) == (CACHED + QUESTION, 0, 0, 0)
    longer = [bench.text(4096), bench.point()]
    assert bench.billed(modelId=HAIKU_4096, system=longer) == (QUESTION, 0, 4096, 0)


def test_the_minimum_counts_everything_up_to_the_cache_point(bench):
    system = [bench.text(600), bench.point()]
    messages = [user(bench.text(600, "m"), bench.point(), bench.text(QUESTION, "q"))]
    assert bench.billed(system=system, messages=messages) == (QUESTION, 0, 1200, 0)
    assert bench.billed(system=system, messages=messages) == (QUESTION, 1200, 0, 0)
    # The shorter cache point was below the minimum, so nothing stands there.
    assert bench.billed(system=system) == (600 + QUESTION, 0, 0, 0)


# -- lookback -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("behind", "expected"), [(19, "read"), (20, "written")])
def test_a_cache_point_looks_back_over_twenty_positions_with_its_own(bench, behind, expected):
    old = [bench.text(CACHED), bench.point()]
    bench.billed(messages=[user(*old, bench.text(QUESTION))], system=None)
    grown = [bench.text(CACHED), *(bench.text(4, "g") for _ in range(behind)), bench.point(), bench.text(QUESTION)]
    read_tokens = CACHED if expected == "read" else 0
    assert bench.billed(messages=[user(*grown)], system=None) == (
        QUESTION,
        read_tokens,
        CACHED + 4 * behind - read_tokens,
        0,
    )


def test_an_earlier_cache_point_reaches_what_the_last_one_cannot(bench):
    first = [bench.text(CACHED), bench.point()]
    bench.billed(messages=[user(*first, bench.text(QUESTION))], system=None)
    grown = [*first, *(bench.text(4, "g") for _ in range(40)), bench.point(), bench.text(QUESTION)]
    assert bench.billed(messages=[user(*grown)], system=None) == (QUESTION, CACHED, 160, 0)


def test_a_growing_conversation_reads_what_its_last_turn_wrote(bench):
    turns = [user(bench.text(CACHED), bench.point())]
    assert bench.billed(system=None, messages=turns) == (0, 0, CACHED, 0)
    turns = [user(bench.text(CACHED)), assistant(bench.text(20, "a")), user(bench.text(30, "b"), bench.point())]
    assert bench.billed(system=None, messages=turns) == (0, CACHED, 50, 0)


# -- mixed lifetimes ----------------------------------------------------------------------------------------------


def test_mixed_lifetimes_are_billed_each_for_its_part(bench):
    system = [bench.text(CACHED), bench.point("1h"), bench.text(300, "s"), bench.point("5m")]
    assert bench.billed(system=system) == (QUESTION, 0, 300, CACHED)
    assert bench.billed(system=system) == (QUESTION, CACHED + 300, 0, 0)

    bench.wall.advance(minutes=6)  # the part for 5m is gone
    assert bench.billed(system=system) == (QUESTION, CACHED, 300, 0)


def test_what_lies_behind_the_hit_is_billed_by_its_own_cache_points(bench):
    head = [bench.text(CACHED), bench.point("1h")]
    bench.billed(system=head)
    system = [*head, bench.text(100, "a"), bench.point("1h"), bench.text(200, "b"), bench.point("5m")]
    assert bench.billed(system=system) == (QUESTION, CACHED, 200, 100)


def test_invoke_model_splits_what_it_wrote(bench):
    system = [
        bench.anthropic_text(CACHED) | {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        bench.anthropic_text(300, "s") | {"cache_control": {"type": "ephemeral", "ttl": "5m"}},
    ]
    body, _ = bench.invoke(system=system)
    assert body["usage"]["cache_creation"] == {
        "ephemeral_5m_input_tokens": 300,
        "ephemeral_1h_input_tokens": CACHED,
    }
    assert bench.last.usage.cache_write_1h_tokens == CACHED


def test_converse_lists_the_longer_lifetime_first(bench):
    system = [bench.text(CACHED), bench.point("1h"), bench.text(300, "s"), bench.point("5m")]
    usage = bench.client().converse(**bench.converse(system=system))["usage"]
    assert usage["cacheDetails"] == [{"ttl": "1h", "inputTokens": CACHED}, {"ttl": "5m", "inputTokens": 300}]


# -- latency and chance -------------------------------------------------------------------------------------------


def test_a_cold_request_takes_longer_than_a_warm_one_by_its_tokens(emulate):
    bench = emulate(latency_scale=0.001)
    system = [bench.text(1_000_000), bench.point()]
    bench.billed(system=system)
    cold_ms = bench.last.latency_ms
    bench.wall.advance(seconds=10)
    bench.billed(system=system)
    assert (cold_ms, bench.last.latency_ms) == (pytest.approx(60, rel=0.12), pytest.approx(4, rel=0.3))


def test_a_client_waits_for_as_long_as_the_answer_says(emulate):
    bench = emulate(latency_scale=0.5)
    response = bench.client().converse(**bench.converse())
    assert 200 < response["metrics"]["latencyMs"] < 300
    assert response["metrics"]["latencyMs"] == bench.last.latency_ms


def test_the_same_seed_gives_the_same_latencies_and_another_seed_others(emulate):
    def latencies(seed):
        bench = emulate(seed=seed, latency_scale=0.005, time_scale=0)
        for _ in range(4):
            bench.billed(system=[bench.text(100_000), bench.point()])
        return [request.latency_ms for request in bench.emulator.log]

    assert latencies(1) == latencies(1)
    assert latencies(1) != latencies(2)
    assert len(set(latencies(1))) > 1
