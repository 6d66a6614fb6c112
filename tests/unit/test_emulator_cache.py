from __future__ import annotations

from datetime import UTC, datetime, timedelta

from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from keepwarm.emulator import eventstream
from keepwarm.emulator.cache import Cache, Place, tokens_of
from keepwarm.fingerprint import Position
from keepwarm.model import Section, Ttl

PLACE = Place("AKIAEXAMPLE", "eu-central-1", "anthropic.claude-sonnet-5")
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def position(number: int, tokens: int = 1000, marker: Ttl | None = None) -> Position:
    return Position(Section.MESSAGES, f"digest-{number}", marker, 4 * tokens)


def touch(cache: Cache, prompt, now=START, min_tokens=1024):
    bill = cache.bill(PLACE, prompt, min_tokens=min_tokens, now=now)
    cache.settle(PLACE, bill, started_at=now, readable_at=now)
    return bill


def test_a_block_has_at_least_one_token():
    assert [tokens_of(Position(Section.SYSTEM, "", None, size)) for size in (0, 3, 4, 7, 8)] == [1, 1, 1, 1, 2]


def test_an_empty_prompt_costs_nothing():
    bill = touch(Cache(), [])
    assert (bill.input_tokens, bill.read, bill.writes) == (0, None, ())


def test_dead_entries_are_swept_out_and_living_ones_stay():
    cache = Cache()
    touch(cache, [position(1, 2000, Ttl.FIVE_MINUTES)])
    touch(cache, [position(2, 2000, Ttl.ONE_HOUR)])
    cache.purge(START + timedelta(minutes=5))
    assert len(cache) == 1
    assert cache.evict() == 1


def test_a_bill_changes_nothing():
    cache = Cache()
    prompt = [position(1, 2000, Ttl.FIVE_MINUTES)]
    first = cache.bill(PLACE, prompt, min_tokens=1024, now=START)
    assert cache.bill(PLACE, prompt, min_tokens=1024, now=START) == first
    assert len(cache) == 0


def test_forgetting_what_is_not_there_does_no_harm():
    cache = Cache()
    cache.forget(PLACE, "digest-1")
    assert len(cache) == 0


def test_an_entry_that_vanished_between_bill_and_settling_is_not_brought_back():
    cache = Cache()
    prompt = [position(1, 2000, Ttl.FIVE_MINUTES)]
    touch(cache, prompt)
    bill = cache.bill(PLACE, prompt, min_tokens=1024, now=START)
    cache.evict()
    cache.settle(PLACE, bill, started_at=START, readable_at=START)
    assert len(cache) == 0


markers = st.sampled_from([None, Ttl.FIVE_MINUTES, Ttl.ONE_HOUR])
prompts = st.lists(st.tuples(st.integers(1, 3000), markers), min_size=1, max_size=30)


@given(prompts, st.integers(0, 4000), st.lists(st.integers(0, 7200), max_size=5))
def test_every_token_is_billed_once_and_the_same_prompt_again_writes_nothing(blocks, min_tokens, gaps_seconds):
    cache, now = Cache(), START
    prompt = [position(number, tokens, marker) for number, (tokens, marker) in enumerate(blocks)]
    for gap in [0, *gaps_seconds]:
        now += timedelta(seconds=gap)
        bill = touch(cache, prompt, now, min_tokens)
        parts = (bill.input_tokens, bill.read_tokens, bill.write_5m_tokens, bill.write_1h_tokens)
        assert min(parts) >= 0
        assert sum(parts) == sum(tokens for tokens, _ in blocks)
        again = cache.bill(PLACE, prompt, min_tokens=min_tokens, now=now)
        assert again.writes == ()
        assert again.read_tokens == sum(parts) - bill.input_tokens


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=200), max_size=5), st.binary(max_size=500))
def test_a_frame_is_what_botocore_decodes(headers, payload):
    buffer = EventStreamBuffer()
    buffer.add_data(eventstream.frame(headers, payload))
    (message,) = list(buffer)
    assert message.headers == headers
    assert message.payload == payload
