"""`keepwarm alert-test`: what every sink answered, in words and as JSON, and nothing of its address."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_a_sink_that_takes_the_alert_is_told_with_its_answer(shell, receiver, monkeypatch):
    monkeypatch.setenv("KEEPWARM_ALERT_WEBHOOK_URL", f"{receiver.url}/hidden")
    told = shell("alert-test").stdout
    assert told.startswith("webhook: delivered: HTTP 200, ")
    assert "hidden" not in told
    assert [path for _, path, _ in receiver.errands] == ["/hidden"]


def test_one_that_does_not_makes_the_exit_code_1_and_the_others_are_tried(shell, receiver, monkeypatch):
    receiver.script.append(404)
    monkeypatch.setenv("KEEPWARM_ALERT_WEBHOOK_URL", f"{receiver.url}/hidden")
    monkeypatch.setenv("KEEPWARM_ALERT_SLACK_URL", f"{receiver.url}/hidden")
    webhook, slack = shell.json("alert-test", exit_code=1)
    assert webhook == {"sink": "webhook", "delivered": False, "words": "HTTP 404", "hint": webhook["hint"]}
    assert (slack["sink"], slack["delivered"]) == ("slack", True)


def test_without_any_sink_it_says_what_to_set(shell):
    told = shell("alert-test", exit_code=2).stderr
    assert "KEEPWARM_ALERT_WEBHOOK_URL" in told
    assert "none of them is set, so nobody is told" in told


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ALERT_WEBHOOK_URL", "file:///hidden", "must be an http or https URL with a host"),
        ("ALERT_SLACK_URL", "https://me:hidden@example", "must be an http or https URL with a host, without user"),
        ("HEARTBEAT_URL", "https://[hidden", "must be an http or https URL with a host"),
        ("HEARTBEAT_URL", "https://hidden:99999", "must be an http or https URL with a host"),
        ("ALERT_SNS_TOPIC_ARN", "ops", "must be the ARN of a standard topic, such as arn:aws:sns:"),
        ("ALERT_SNS_TOPIC_ARN", "arn:aws:sns:eu-west-1:123456789012:ops.fifo", "must be the ARN of a standard topic"),
        ("ALERT_REWRITE_SHARE", "0", "must be greater than 0"),
        ("HEARTBEAT_SECONDS", "0.5", "must be greater than or equal to 1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_in_words_and_an_address_never_back(
    shell, monkeypatch, name, value, words
):
    monkeypatch.setenv(f"KEEPWARM_{name}", value)
    told = shell("alert-test", exit_code=2).stderr
    assert f"environment: KEEPWARM_{name}: {words}" in told
    assert "hidden" not in told
