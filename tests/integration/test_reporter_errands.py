"""What an application asks of the daemon and tells it besides its calls, whatever state the daemon is in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from keepwarm import reporter
from keepwarm.reporter.delivery import Destination
from keepwarm.reporter.sender import Limits, Sender
from tests.daemons import soon
from tests.receiver import CUT, Receiver

QUICK = Limits(interval_seconds=0.02, first_backoff_seconds=0.02, last_backoff_seconds=0.05, timeout_seconds=0.5)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        running.content = answer("1h")
        yield running


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Sender]:
    """No sender of another test."""
    senders: dict[Any, Sender] = {}
    monkeypatch.setattr(reporter, "_senders", senders)
    return senders


def answer(ttl: object, max_age_seconds: object = 30) -> bytes:
    return json.dumps({"prefix": "bot", "ttl": ttl, "max_age_seconds": max_age_seconds, "reason": "learnt"}).encode()


def make_sender(url: str, token: str | None = None, **limits: Any) -> Sender:
    settings = replace(QUICK, **limits)
    return Sender(Destination(url, token, settings.timeout_seconds), settings)


# -- the ttl ------------------------------------------------------------------------------------------------------


def test_the_first_answer_is_the_default_and_the_next_ones_what_the_daemon_said(receiver, alone):
    assert reporter.ttl("support bot/1", default="5m", url=receiver.url, token="secret") == "5m"
    assert soon(lambda: reporter.ttl("support bot/1", default="5m", url=receiver.url) == "1h")
    assert receiver.errands == [("GET", "/v1/prefixes/support%20bot%2F1/ttl", b"")]
    assert receiver.heads[0][1]["authorization"] == "Bearer secret"
    assert len(alone) == 1


def test_the_markers_are_ready_for_either_api(receiver, alone):
    assert soon(lambda: reporter.ttl("bot", url=receiver.url) == "1h")
    assert reporter.cache_control("bot") == {"type": "ephemeral", "ttl": "1h"}
    assert reporter.cache_point("bot") == {"cachePoint": {"type": "default", "ttl": "1h"}}
    assert reporter.cache_point("other", "5m") == {"cachePoint": {"type": "default", "ttl": "5m"}}
    assert list(alone) == [(receiver.url, None, Limits())], "the url of the only destination need not be given again"


def test_a_daemon_that_never_answers_holds_nobody_up(receiver):
    receiver.gate.clear()
    sender = make_sender(receiver.url, timeout_seconds=20)
    assert [sender.ttl(f"bot-{number}") for number in range(100)] == [None] * 100
    receiver.wait_attempts(1)
    assert sender.ttl("bot-1") is None, "while the first request hangs"
    receiver.gate.set()
    assert soon(lambda: sender.ttl("bot-1") == "1h")


@pytest.mark.parametrize("status", [CUT, 500, 503, 429])
def test_a_daemon_that_is_away_is_asked_again_until_it_is_back(receiver, status):
    receiver.always = status
    sender = make_sender(receiver.url)
    assert sender.ttl("bot") is None
    receiver.wait_attempts(2)
    receiver.always = None
    assert soon(lambda: sender.ttl("bot") == "1h")
    assert sum(sender.stats().errors.values()) >= 2


def test_nobody_listening_gives_the_default(alone):
    with Receiver() as gone:
        url = gone.url
    assert reporter.ttl("bot", default="1h", url=url) == "1h"
    assert soon(lambda: reporter.stats(url).errors)
    assert reporter.ttl("bot", default="1h", url=url) == "1h"
    assert len(alone) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", answer("2h"), answer(None), answer(["5m"]), answer("1h", "soon"), answer("1h", None)],
)
def test_an_answer_that_makes_no_sense_gives_the_default(receiver, content):
    receiver.content = content
    sender = make_sender(receiver.url)
    sender.ttl("bot")
    assert soon(lambda: sender.stats().errors)
    assert sender.ttl("bot") is None


def test_an_unknown_prefix_gives_the_default_and_is_not_asked_for_at_once_again(receiver):
    receiver.script.extend([404])
    sender = make_sender(receiver.url)
    sender.ttl("nobody")
    assert soon(lambda: sender.stats().errors == {"http_404": 1})
    sender.ttl("bot")
    assert soon(lambda: sender.ttl("bot") == "1h")
    assert sender.ttl("nobody") is None
    assert receiver.attempts == 2


def test_an_answer_is_asked_for_again_when_it_has_aged_though_nobody_calls(receiver):
    receiver.content = answer("1h", 0)
    sender = make_sender(receiver.url)
    sender.ttl("bot")
    receiver.wait_attempts(1)
    receiver.content = answer("5m", 0)
    receiver.wait_attempts(3)
    assert soon(lambda: sender.ttl("bot") == "5m")


def test_what_was_told_is_believed_for_a_while_after_the_daemon_has_gone(receiver):
    receiver.content = answer("1h", 0)
    sender = make_sender(receiver.url)
    sender.ttl("bot")
    assert soon(lambda: sender.ttl("bot") == "1h")
    receiver.always = CUT
    assert soon(lambda: sender.stats().errors)
    assert sender.ttl("bot") == "1h"


def test_a_name_that_no_url_can_carry_harms_no_other(receiver):
    sender = make_sender(receiver.url)
    assert sender.ttl("bot\ud800") is None
    sender.close("bot\ud800", "")
    sender.ttl("bot")
    assert soon(lambda: sender.ttl("bot") == "1h")
    assert sender.stats().errors["UnicodeEncodeError"] == 2


def test_a_wrong_url_is_told_to_whoever_wrote_it(alone):
    with pytest.raises(ValueError, match="must look like"):
        reporter.ttl("bot", url="localhost:8378")
    assert alone == {}


def test_a_forked_child_asks_for_itself(receiver):
    sender = make_sender(receiver.url)
    assert soon(lambda: sender.ttl("bot") == "1h")
    child = os.fork()
    if child == 0:
        known = sender.ttl("bot")
        os._exit(0 if known is None and soon(lambda: sender.ttl("bot") == "1h") else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# -- closings -----------------------------------------------------------------------------------------------------


def test_a_closing_is_told_with_its_moment_and_reason(receiver, alone):
    reporter.closed("bot", "session over", url=receiver.url)
    assert reporter.flush(10)
    ((method, path, body),) = receiver.errands
    assert (method, path) == ("POST", "/v1/prefixes/bot/closed")
    assert json.loads(body)["reason"] == "session over"
    assert json.loads(body)["at"].endswith("+00:00")
    assert len(alone) == 1


def test_a_closing_waits_for_a_daemon_that_is_away_and_the_last_one_of_a_prefix_counts(receiver):
    receiver.always = CUT
    sender = make_sender(receiver.url)
    sender.close("bot", "first")
    receiver.wait_attempts(1)
    sender.close("bot", "second")
    receiver.wait_attempts(2)
    receiver.always = None
    assert soon(lambda: receiver.errands)
    assert [json.loads(body)["reason"] for _, _, body in receiver.errands] == ["second"]


def test_a_closing_that_the_daemon_refuses_is_counted_and_not_told_again(receiver):
    receiver.script.append(404)
    sender = make_sender(receiver.url)
    sender.close("nobody", "")
    assert soon(lambda: sender.stats().errors == {"http_404": 1})
    sender.close("bot", "")
    assert soon(lambda: receiver.errands)
    assert receiver.attempts == 2


def test_a_flush_waits_for_closings_and_not_beyond_its_time(receiver):
    receiver.gate.clear()
    sender = make_sender(receiver.url, timeout_seconds=30)
    sender.close("bot", "")
    assert not sender.hurry().wait(0.05)
    receiver.gate.set()
    assert sender.hurry().wait(10)
    assert len(receiver.errands) == 1
