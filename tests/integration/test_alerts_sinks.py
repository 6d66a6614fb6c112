"""Where alerts go: what arrives, what is tried again, what a slow sink costs, and what never stands in words."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from pydantic import SecretStr

from keepwarm import alerts, telemetry
from keepwarm.alerts.heartbeat import Heartbeat
from keepwarm.alerts.kinds import Alert, Kind
from keepwarm.alerts.pace import BURST, Message
from keepwarm.alerts.posting import Mailbox
from keepwarm.alerts.sender import Sender
from keepwarm.alerts.sinks import Slack, Sns, Webhook
from keepwarm.alerts.wording import Origin
from keepwarm.clock import utc_now
from keepwarm.daemon import build
from keepwarm.emulator import Emulator, Faults
from keepwarm.errors import ConfigError, KeepwarmError, RequestRefused, Throttled, Unavailable
from keepwarm.model import Event
from keepwarm.parts import opened
from keepwarm.settings import Settings
from tests.alarms import SECRET, Post
from tests.builders import shipped_catalog
from tests.daemons import OTHER_CLAUDE, PATIENCE_SECONDS, TIME_SCALE, kill_scheduler, pings, soon, write_registry
from tests.receiver import CUT, Receiver

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
ORIGIN = Origin("host-1", "1.0")
CANARY = "the-canary-in-the-url"
SHORT = timedelta(milliseconds=20)


def alert(number: int = 0, **changes: Any) -> Alert:
    return Alert(Kind.ACCESS_LOST, f"bot-{number}", "", "stopped: access_denied: no <model> access", NOW, **changes)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def events() -> list[Event]:
    return []


def start(receiver: Receiver, events: list[Event], per_hour: int = 1_000_000) -> Sender:
    sink = Webhook(f"{receiver.url}/{CANARY}", SECRET, ORIGIN)
    sender = Sender(sink, per_hour, now=utc_now, tell=events.append, first_pause=SHORT)
    sender.start()
    return sender


def received(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(body) for _, _, body in tuple(receiver.errands)]


# -- what arrives -------------------------------------------------------------------------------------------------


def test_a_webhook_gets_json_whose_signature_the_documented_snippet_accepts(receiver):
    Webhook(f"{receiver.url}/in", SECRET, ORIGIN).deliver(Message((alert(),)), utc_now())
    ((method, path, body),) = receiver.errands
    headers = {name.title(): value for name, value in receiver.heads[0][1].items()}
    assert (method, path, headers["Content-Type"]) == ("POST", "/in", "application/json; charset=utf-8")
    assert json.loads(body) == {
        "source": "keepwarm",
        "version": "1.0",
        "host": "host-1",
        "summary": "keepwarm: access_lost: bot-0: stopped: access_denied: no <model> access",
        "alerts": [
            {
                "key": "access_lost:bot-0",
                "kind": "access_lost",
                "state": "opened",
                "severity": "error",
                "prefix": "bot-0",
                "summary": "access_lost: bot-0: stopped: access_denied: no <model> access",
                "hint": "`keepwarm doctor` says what to grant; then `keepwarm ping NAME`",
                "opened_at": "2026-11-23T09:00:00.000Z",
                "resolved_at": None,
            }
        ],
        "uncounted": 0,
    }
    snippet: dict[str, Any] = {}
    documented = (ROOT / "docs/reference.md").read_text().split("## Alerts\n")[1]
    (code,) = re.findall(r"```python\n(import hashlib\n.*?)```", documented, flags=re.DOTALL)[:1]
    exec(code, snippet)
    check = snippet["is_from_keepwarm"]
    assert check(headers, body, SECRET)
    assert not check(headers, body, "another secret")
    assert not check(headers, body + b" ", SECRET)
    assert not check(headers | {"X-Keepwarm-Timestamp": "1750000000"}, body, SECRET)


def test_without_a_secret_nothing_is_signed(receiver):
    Webhook(receiver.url, "", ORIGIN).deliver(Message((alert(),)), NOW)
    assert "x-keepwarm-signature" not in receiver.heads[0][1]


def test_slack_gets_a_text_and_blocks_in_which_nobody_is_mentioned_by_what_an_error_says(receiver):
    Slack(f"{receiver.url}/services/T/B/x", ORIGIN).deliver(
        Message((alert(), alert(1, resolved_at=NOW + timedelta(hours=1)))), NOW
    )
    (told,) = received(receiver)
    assert told["text"] == "keepwarm: 2 alerts held back: 1 opened, 1 resolved"
    assert [block["type"] for block in told["blocks"]] == ["header", "section", "context"]
    text = told["blocks"][1]["text"]["text"]
    assert ":red_circle: access_lost: bot-0: stopped: access_denied: no &lt;model&gt; access" in text
    assert ":large_green_circle: access_lost: bot-1: resolved, was: stopped" in text


def test_a_topic_gets_subject_text_and_attributes(cloud):
    with closing(boto3.client("sns", "eu-west-1")) as sns, closing(boto3.client("sqs", "eu-west-1")) as sqs:
        topic = sns.create_topic(Name="ops")["TopicArn"]
        queue = sqs.create_queue(QueueName="ops")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        words = "stopped: access_denied: Zugang fehlt f\u00fcr immer, " + "x" * 200
        sent = Sns(topic, ORIGIN).deliver(Message((Alert(Kind.ACCESS_LOST, "bot", "", words, NOW),)), NOW)
        (told,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    assert sent.startswith("message ")
    found = json.loads(told["Body"])
    assert found["Subject"].startswith("keepwarm: access_lost: bot: stopped: access_denied: Zugang fehlt f?r immer, xx")
    assert len(found["Subject"]) == 100
    assert found["Message"].splitlines()[2] == f"opened: access_lost: bot: {words}"
    assert found["MessageAttributes"]["state"]["Value"] == "opened"


def test_a_topic_that_is_not_there_is_told_with_what_to_grant(cloud):
    with pytest.raises(KeepwarmError) as caught:
        Sns("arn:aws:sns:eu-west-1:123456789012:nobody", ORIGIN).deliver(Message((alert(),)), NOW)
    assert "sns:Publish" in caught.value.hint
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (302, RequestRefused, "HTTP 302: redirects are not followed"),
        (404, RequestRefused, "HTTP 404"),
        (408, Unavailable, "HTTP 408"),
        (429, Throttled, "HTTP 429"),
        (500, Unavailable, "HTTP 500"),
        (CUT, Unavailable, "no answer (ProtocolError)"),
    ],
)
def test_what_is_not_taken_is_told_by_its_status_and_never_by_its_url(receiver, status, error, words):
    receiver.always = status
    with pytest.raises(error) as caught:
        Mailbox(f"{receiver.url}/{CANARY}").post(b"{}", {})
    assert str(caught.value) == words
    assert CANARY not in str(caught.value) + caught.value.hint
    assert receiver.attempts == 1


def test_a_receiver_that_does_not_answer_in_time_is_given_up(receiver):
    receiver.gate.clear()
    with pytest.raises(Unavailable, match=r"no answer \(ReadTimeoutError\)"):
        Mailbox(receiver.url, patience=timedelta(milliseconds=200)).post(b"{}", {})


# -- again, and not for ever --------------------------------------------------------------------------------------


def test_what_fails_for_now_is_tried_again_until_it_is_taken_and_told_once(receiver, events):
    receiver.script.extend([500, CUT, 503])
    sender = start(receiver, events)
    sender.put([alert()])
    assert soon(lambda: sender.idle)
    assert len(received(receiver)) == 1
    assert receiver.attempts == 4
    assert [event.name for event in events] == ["alert_sink_failed", "alert_sink_recovered"]
    assert sender.close(timedelta(seconds=5))


def test_what_is_refused_is_not_tried_again_but_told_as_lost(receiver, events):
    receiver.always = 403
    sender = start(receiver, events)
    sender.put([alert()])
    assert soon(lambda: sender.idle)
    assert receiver.attempts == 1
    assert [event.name for event in events] == ["alert_sink_failed", "alerts_lost"]
    assert events[1].fields["alerts"] == ["opened access_lost:bot-0"]
    assert sender.close(timedelta(seconds=5))


def test_after_ten_attempts_alerts_are_told_as_lost_and_later_ones_arrive(receiver, events):
    receiver.script.extend([503] * 10)
    sink = Webhook(receiver.url, "", ORIGIN)
    sender = Sender(sink, 1_000_000, now=utc_now, tell=events.append, first_pause=timedelta(milliseconds=1))
    sender.start()
    sender.put([alert(0)])
    assert soon(lambda: sender.idle)
    sender.put([alert(1)])
    assert soon(lambda: sender.idle)
    assert [event.name for event in events] == ["alert_sink_failed", "alerts_lost", "alert_sink_recovered"]
    assert [body["alerts"][0]["prefix"] for body in received(receiver)] == ["bot-1"]
    assert sender.close(timedelta(seconds=5))


def test_many_alerts_come_as_ten_messages_of_which_the_last_sums_up_and_counts_what_it_cannot_list(receiver, events):
    receiver.gate.clear()
    sender = start(receiver, events, per_hour=30)
    sender.put([alert(number) for number in range(500)])
    receiver.gate.set()
    assert soon(lambda: sender.idle)
    bodies = received(receiver)
    assert len(bodies) == BURST
    assert [len(body["alerts"]) for body in bodies[:-1]] == [1] * (BURST - 1)
    told = sum(len(body["alerts"]) + body["uncounted"] for body in bodies)
    assert (told, len(bodies[-1]["alerts"])) == (500, 200 - (BURST - 1))
    assert bodies[-1]["summary"].startswith(f"keepwarm: {500 - (BURST - 1)} alerts held back: ")
    assert sender.close(timedelta(seconds=5))


def test_a_sink_that_hangs_does_not_hold_up_the_end(receiver, events):
    receiver.gate.clear()
    sender = start(receiver, events)
    sender.put([alert()])
    receiver.wait_attempts(1)
    assert not sender.close(timedelta(milliseconds=100))


# -- in a daemon --------------------------------------------------------------------------------------------------


@pytest.fixture
def post(tmp_path: Path, receiver: Receiver) -> Post:
    return Post(tmp_path, receiver)


@pytest.fixture
def emulator(post: Post, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with Emulator(catalog=shipped_catalog(), now=post.now, time_scale=TIME_SCALE, seed=7) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield emulator


def test_a_sink_that_hangs_delays_no_ping(post, emulator):
    write_registry(post.registry, "a", "denied", denied={"model_id": OTHER_CLAUDE})
    emulator.set_faults(OTHER_CLAUDE, Faults(deny=True))
    post.receiver.gate.clear()
    with post.running() as daemon:
        assert soon(lambda: post.receiver.attempts)
        assert soon(lambda: len(pings(emulator, "a")) >= 4)
        entries = [entry for entry in daemon.parts.ledger.entries(None, None) if entry.intent.prefix == "a"]
        post.receiver.gate.set()
    verdicts = [entry.verdict.value for entry in entries if entry.outcome]
    assert verdicts == ["rewrite", *["hit"] * (len(verdicts) - 1)]
    assert not post.told("daemon_late")


def test_neither_url_nor_secret_stands_in_logs_reprs_or_errors(post, emulator, monkeypatch):
    write_registry(post.registry, "a")
    emulator.set_faults("*", Faults(deny=True))
    post.receiver.always = 500
    lines = io.StringIO()
    telemetry.configure("debug", "json", lines)
    secret = {
        "alert_webhook_url": SecretStr(f"{post.receiver.url}/{CANARY}"),
        "alert_slack_url": SecretStr(f"{post.receiver.url}/services/{CANARY}"),
        "heartbeat_url": SecretStr(f"{post.receiver.url}/ping/{CANARY}"),
        "alert_webhook_secret": SecretStr(CANARY),
    }
    settings = post.settings(**secret)
    with post.running(**secret) as daemon:
        assert soon(lambda: len(post.told("alert_sink_failed")) == 3)
        for event in tuple(post.events):
            telemetry.log(event)
        shown = [repr(settings), repr(daemon.parts.settings), str(post.events), lines.getvalue()]
    assert {event.fields["sink"] for event in post.told("alert_sink_failed")} == {"webhook", "slack", "heartbeat"}
    assert CANARY not in "".join(shown)
    assert lines.getvalue()


def test_an_open_alert_is_not_told_again_after_a_restart_and_resolved_if_its_cause_went_meanwhile(post, emulator):
    write_registry(post.registry, "a", "b", b={"model_id": OTHER_CLAUDE})
    emulator.set_faults("*", Faults(deny=True))
    with post.running():
        assert soon(lambda: len(post.states("access_lost")) == 2)
    with post.running() as daemon:
        assert soon(lambda: post.told("prefix_stopped"))
        emulator.set_faults("*", Faults())
        daemon.parts.keeper.ping("a")
        assert soon(lambda: "resolved" in post.states("access_lost"))
    with opened(post.settings()) as parts:
        parts.keeper.ping("b")
    with post.running():
        assert soon(lambda: post.states("access_lost").count("resolved") == 2)
    told = [(alert["prefix"], alert["state"]) for alert in post.alerts("access_lost")]
    assert sorted(told[:2]) == [("a", "opened"), ("b", "opened")]
    assert told[2:] == [("a", "resolved"), ("b", "resolved")]


# -- the heartbeat ------------------------------------------------------------------------------------------------


def beats(receiver: Receiver) -> list[str]:
    return [path for _, path, _ in tuple(receiver.errands)]


def test_the_heartbeat_starts_with_the_loop_and_follows_it_at_its_period(post, emulator):
    write_registry(post.registry, "a")
    url = SecretStr(f"{post.receiver.url}/ping/uuid?rid=1")
    with post.running(alert_webhook_url=None, heartbeat_url=url, heartbeat_seconds=1):
        assert soon(lambda: len(beats(post.receiver)) >= 4)
    assert beats(post.receiver)[:3] == ["/ping/uuid/start?rid=1", "/ping/uuid?rid=1", "/ping/uuid?rid=1"]
    assert not any("fail" in path for path in beats(post.receiver))


def test_a_loop_that_does_not_turn_sends_nothing(receiver):
    heart = Heartbeat(f"{receiver.url}/uuid", timedelta(milliseconds=10), now=utc_now, tell=lambda _event: None)
    heart.start()
    heart.turned()
    assert soon(lambda: len(beats(receiver)) == 2)
    assert not soon(lambda: len(beats(receiver)) > 2, seconds=0.3)
    heart.turned()
    assert soon(lambda: len(beats(receiver)) == 3)
    heart.close(timedelta(seconds=5))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # what kills the scheduler
def test_timers_that_die_and_a_ledger_that_cannot_be_written_are_told_as_failures(post, emulator):
    write_registry(post.registry, "a")
    changes = {"alert_webhook_url": None, "heartbeat_url": SecretStr(f"{post.receiver.url}/uuid")}
    with build(post.settings(**changes), observers=[post.events.append]) as daemon, ThreadPoolExecutor(1) as pool:
        code = pool.submit(daemon.run)
        assert soon(lambda: beats(post.receiver) == ["/uuid/start", "/uuid"])
        engine = daemon.parts.ledger._engine  # noqa: SLF001 - nothing public makes it read-only
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE cursors RENAME TO hidden")
        assert soon(lambda: beats(post.receiver)[2:] == ["/uuid/fail"])
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE hidden RENAME TO cursors")
        assert soon(lambda: beats(post.receiver)[3:] == ["/uuid"])
        kill_scheduler()
        assert code.result(PATIENCE_SECONDS) == 1
    assert beats(post.receiver)[4:] == ["/uuid/fail"]
    assert b"its timers died" in post.receiver.errands[-1][2]


# -- settings and the test alert ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["", "ftp://files.example", "https://", "https://user:secret@alerts.example", "x y"]
)
def test_a_file_that_holds_no_url_is_told_at_the_start_without_its_content(post, content):
    file = post.place / "url"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught, build(post.settings(alert_slack_url_file=file)):
        pass
    assert str(caught.value).startswith(f"{file}: ")
    assert not content or content not in str(caught.value)


def test_the_test_alert_says_for_each_sink_what_happened(receiver, cloud):
    settings = Settings(
        alert_webhook_url=SecretStr(f"{receiver.url}/ok"),
        alert_sns_topic_arn="arn:aws:sns:eu-west-1:123456789012:nobody",
    )
    webhook, sns = alerts.try_out(settings, NOW)
    assert (webhook.sink, webhook.delivered, webhook.hint) == ("webhook", True, "")
    assert re.fullmatch(r"HTTP 200, \d+ ms", webhook.words)
    assert (sns.sink, sns.delivered) == ("sns", False)
    (told,) = received(receiver)
    assert (told["alerts"][0]["kind"], told["alerts"][0]["severity"]) == ("test", "info")
