"""Every switch, seen by boto3."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from keepwarm.emulator import Faults

CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
PLAIN_CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"
CACHED = 2000
QUESTION = 10
WRITTEN = (QUESTION, 0, CACHED, 0)
READ = (QUESTION, CACHED, 0, 0)


@pytest.mark.parametrize(
    ("switches", "code", "status"),
    [
        ("throttle", "ThrottlingException", 429),
        ("unavailable", "ServiceUnavailableException", 503),
        ("internal_error", "InternalServerException", 500),
        ("model_timeout", "ModelTimeoutException", 408),
        ("deny", "AccessDeniedException", 403),
        ("expired_tokens", "ExpiredTokenException", 403),
        ("retired", "ResourceNotFoundException", 404),
    ],
)
def test_a_switch_refuses_every_request_and_caches_nothing(bench, switches, code, status):
    bench.emulator.set_faults("*", Faults.parse(switches))
    assert bench.refusal(bench.billed)[:2] == (code, status)
    assert bench.refusal(bench.invoke)[:2] == (code, status)
    bench.emulator.set_faults("*", Faults())
    assert bench.billed() == WRITTEN


def test_faults_befall_only_the_models_that_fit_and_the_last_pattern_wins(emulate):
    bench = emulate(faults={"*": Faults(deny=True), "*sonnet-4-5*": Faults()})
    assert bench.billed() == WRITTEN
    bench.refusal(lambda: bench.billed(modelId="eu.anthropic.claude-sonnet-5"))

    bench.emulator.set_faults("eu.*", Faults(throttle=1))
    assert bench.refusal(bench.billed)[0] == "ThrottlingException"
    assert bench.billed(modelId=PLAIN_CLAUDE) == WRITTEN


def test_a_rate_befalls_about_that_share_and_the_same_requests_under_the_same_seed(emulate):
    def outcomes(seed):
        bench = emulate(seed=seed, faults={"*": Faults(throttle=0.3)})
        for _ in range(100):
            try:
                bench.billed()
            except bench.client().exceptions.ThrottlingException:
                pass
        return [request.error_code for request in bench.emulator.log]

    first = outcomes(7)
    assert 15 <= first.count("ThrottlingException") <= 45
    assert first == outcomes(7)
    assert first != outcomes(8)


def test_chance_does_not_depend_on_the_order_of_different_requests(emulate):
    def refused(questions):
        bench = emulate(faults={"*": Faults(unavailable=0.5)})
        for letter in questions:
            try:
                bench.billed(messages=[{"role": "user", "content": [bench.text(QUESTION, letter)]}])
            except bench.client().exceptions.ServiceUnavailableException:
                pass
        return {letter: request.status for letter, request in zip(questions, bench.emulator.log, strict=True)}

    letters = "abcdefghijklmnop"
    assert refused(letters) == refused(letters[::-1])


def test_a_hanging_answer_is_billed_though_nobody_waits_for_it(bench):
    bench.emulator.set_faults("*", Faults(hang=1, hang_seconds=30))
    impatient = bench.client(read_timeout_seconds=0.2)
    with pytest.raises(ReadTimeoutError):
        bench.billed(impatient)
    assert bench.last.usage.cache_write_tokens == CACHED
    assert bench.last.latency_ms == 30_000


def test_a_hanging_answer_comes_in_the_end_and_only_then_its_entry_can_be_read(bench):
    bench.emulator.set_faults("*", Faults(hang=1, hang_seconds=0.05))
    assert bench.billed() == WRITTEN
    bench.emulator.set_faults("*", Faults())
    assert bench.billed() == WRITTEN  # the wall clock of the test stood still
    bench.wall.advance(seconds=1)
    assert bench.billed() == READ


def test_a_cut_connection_leaves_a_billed_and_cached_request(bench):
    bench.emulator.set_faults("*", Faults(reset=1))
    with pytest.raises(ConnectionClosedError):
        bench.billed()
    assert (bench.last.status, bench.last.error_code) == (0, "ConnectionReset")
    assert bench.last.usage.cache_write_tokens == CACHED
    bench.emulator.set_faults("*", Faults())
    assert bench.billed() == READ


def test_an_evicted_entry_is_written_again(bench):
    bench.billed()
    bench.emulator.set_faults("*", Faults(evict=1))
    assert bench.billed() == WRITTEN
    bench.emulator.set_faults("*", Faults())
    assert bench.billed() == READ


def test_entries_can_be_evicted_by_hand_for_some_models(bench):
    bench.billed()
    bench.billed(modelId=PLAIN_CLAUDE)
    assert bench.emulator.evict("eu.*") == 1
    assert bench.billed() == WRITTEN
    assert bench.billed(modelId=PLAIN_CLAUDE) == READ


def test_each_home_of_a_profile_has_a_cache_of_its_own(bench):
    bench.emulator.set_faults("*", Faults(homes=2))
    bills = [bench.billed() for _ in range(12)]
    homes = [request.home for request in bench.emulator.log]
    assert set(homes) == {0, 1}
    first_visits = {homes.index(home) for home in (0, 1)}
    assert [bill == WRITTEN for bill in bills] == [index in first_visits for index in range(12)]


def test_a_plain_model_id_has_one_home(bench):
    bench.emulator.set_faults("*", Faults(homes=5))
    assert [bench.billed(modelId=PLAIN_CLAUDE) for _ in range(6)] == [WRITTEN] + [READ] * 5


def test_an_hour_honoured_as_five_minutes_is_billed_and_lives_as_five(bench):
    bench.emulator.set_faults("*", Faults(honour_1h_as_5m=True))
    system = [bench.text(CACHED), bench.point("1h")]
    assert bench.billed(system=system) == WRITTEN
    bench.wall.advance(minutes=5)
    assert bench.billed(system=system) == WRITTEN


def test_the_body_may_tell_no_usage_while_the_headers_do(bench):
    bench.emulator.set_faults("*", Faults(omit_usage=True))
    body, headers = bench.invoke()
    assert "usage" not in body
    assert headers["x-amzn-bedrock-cache-write-input-token-count"] == str(CACHED)
    assert "usage" not in bench.client().converse(**bench.converse())
    assert bench.last.usage.cache_write_tokens == CACHED


@pytest.mark.parametrize("model_id", [CLAUDE, "eu.amazon.nova-pro-v1:0"])
def test_a_stream_may_tell_no_usage_while_its_metrics_do(bench, model_id):
    bench.emulator.set_faults("*", Faults(omit_usage=True))
    nova = {"system": [bench.text(CACHED)], "messages": [{"role": "user", "content": [bench.text(QUESTION)]}]}
    body = json.dumps(bench.anthropic() if model_id == CLAUDE else nova)
    response = bench.client().invoke_model_with_response_stream(modelId=model_id, body=body)
    chunks = [json.loads(event["chunk"]["bytes"]) for event in response["body"]]
    assert '"usage"' not in json.dumps(chunks)
    assert "amazon-bedrock-invocationMetrics" in chunks[-1]


def test_the_headers_may_tell_no_tokens_while_the_body_does(bench):
    bench.emulator.set_faults("*", Faults(omit_headers=True))
    body, headers = bench.invoke()
    assert body["usage"]["cache_creation_input_tokens"] == CACHED
    assert not [name for name in headers if name.endswith("token-count")]

    stream = bench.client().invoke_model_with_response_stream(modelId=CLAUDE, body=json.dumps(bench.anthropic()))
    assert not any(b"invocationMetrics" in event["chunk"]["bytes"] for event in stream["body"])


def test_usage_may_leave_the_split_out(bench):
    bench.emulator.set_faults("*", Faults(omit_cache_split=True))
    body, _ = bench.invoke()
    assert body["usage"]["cache_creation_input_tokens"] == CACHED
    assert "cache_creation" not in body["usage"]
    assert "cacheDetails" not in bench.client().converse(**bench.converse())["usage"]


def test_an_answer_may_break_off_in_the_middle(bench):
    bench.emulator.set_faults("*", Faults(wrong_json=True))
    response = bench.client().invoke_model(modelId=CLAUDE, body=json.dumps(bench.anthropic()))
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        json.loads(response["body"].read())


def test_an_error_may_quote_the_prompt_but_the_log_never_does(bench):
    bench.emulator.set_faults("*", Faults(echo_prompt_in_errors=True))
    secret = "the merger closes on Friday " * 300
    code, status, message = bench.refusal(lambda: bench.billed(system=[{"text": secret}, bench.point()]))
    assert (code, status) == ("ValidationException", 400)
    assert "the merger closes on Friday" in message
    assert "merger" not in repr(bench.emulator.log)
