"""The gateway, through real boto3 over HTTP: what comes back as an answer, what as an error, and what leaves."""

from __future__ import annotations

import io
import json
import logging
import os
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from keepwarm import __version__, telemetry
from keepwarm.bedrock import Gateway
from keepwarm.emulator import Emulator, Faults
from keepwarm.errors import AccessDenied, CredentialsRejected, KeepwarmError, RequestRefused, Throttled, Unavailable
from keepwarm.model import Answer, Prefix, Route, Usage, Verdict
from keepwarm.parts import opened
from keepwarm.registry import Shelf, load_catalog, load_registry
from keepwarm.settings import load_settings

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "eu.amazon.nova-pro-v1:0"
CANARY = "canary"
TEXT = f"The {CANARY} of this handbook sings. " * 300


class Desk:
    """An emulator, a gateway for it, and prefixes that go through the registry as a user's do."""

    def __init__(self, path: Path, emulator: Emulator) -> None:
        self.path = path
        self.emulator = emulator
        self.gateway = Gateway(4, connect_timeout_seconds=2, read_timeout_seconds=20)
        self._number = 0

    def prefix(self, *, api: str = "converse", model_id: str = CLAUDE, text: str = TEXT, more: str = "") -> Prefix:
        self._number += 1
        (self.path / "prompt.md").write_text(text)
        path = self.path / "registry.yaml"
        path.write_text(
            "version: 1\nprefixes:\n"
            f"  - name: p{self._number}\n    region: eu-central-1\n    busy_hours: always\n    api: {api}\n"
            f"    model_id: {model_id}\n    min_tokens: 1\n    system: {{file: prompt.md}}\n{more}"
        )
        return load_registry(path, load_catalog(None), b"key of the tests", NOW).prefixes[0]

    def ping(self, prefix: Prefix | None = None) -> Answer:
        return self.gateway.ping(prefix or self.prefix())

    def refused(self, prefix: Prefix | None = None, **switches: Any) -> KeepwarmError:
        """The error of one ping under these faults; exactly one request must have been sent for it."""
        self.emulator.set_faults("*", Faults(**switches))
        before = len(self.emulator.log)
        with pytest.raises(KeepwarmError) as caught:
            self.ping(prefix)
        assert len(self.emulator.log) == before + 1
        return caught.value


@pytest.fixture
def desk(aws: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with Emulator(catalog=load_catalog(None), latency_scale=0.0) as emulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", emulator.url)
        yield Desk(tmp_path, emulator)


Respond = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(respond: Respond, certificate: Path | None = None) -> Iterator[str]:
    """An HTTP server that answers every POST as it is told, for what neither Bedrock nor the emulator would send."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            respond(self)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"{'https' if certificate else 'http'}://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def answering(status: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = None) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


def verdict(answer: Answer) -> Verdict | None:
    return answer.usage and answer.usage.verdict


# -- answers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "model_id"),
    [("converse", CLAUDE), ("converse", NOVA), ("invoke_model", CLAUDE), ("invoke_model", NOVA)],
)
def test_the_first_ping_writes_and_the_second_reads(desk, api, model_id):
    prefix = desk.prefix(api=api, model_id=model_id)
    first, second = desk.ping(prefix), desk.ping(prefix)

    assert (verdict(first), verdict(second)) == (Verdict.REWRITE, Verdict.HIT)
    assert first.usage.cache_write_tokens == second.usage.cache_read_tokens > 1024
    assert (first.usage.output_tokens, first.usage.input_tokens) == (1, second.usage.input_tokens)
    assert len(first.request_id) == 36
    assert first.request_id != second.request_id
    # What the answer told is what was billed.
    assert [request.usage.cache_write_tokens for request in desk.emulator.log] == [first.usage.cache_write_tokens, 0]


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_what_was_written_for_1h_is_told_apart(desk, api, ttl):
    usage = desk.ping(desk.prefix(api=api, more=f"    ttl: {ttl}\n")).usage
    assert usage.cache_write_1h_tokens == (usage.cache_write_tokens if ttl == "1h" else 0)


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
def test_a_1h_entry_that_was_honoured_as_5m_is_seen_in_the_usage(desk, api):
    desk.emulator.set_faults("*", Faults(honour_1h_as_5m=True))
    usage = desk.ping(desk.prefix(api=api, more="    ttl: 1h\n")).usage
    assert (usage.cache_write_tokens > 0, usage.cache_write_1h_tokens) == (True, 0)


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
def test_an_answer_that_does_not_split_the_ttls_leaves_the_split_unknown(desk, api):
    desk.emulator.set_faults("*", Faults(omit_cache_split=True))
    assert desk.ping(desk.prefix(api=api, more="    ttl: 1h\n")).usage.cache_write_1h_tokens is None


@pytest.mark.parametrize("model_id", [CLAUDE, NOVA])
def test_usage_is_read_from_the_body_the_headers_or_neither(desk, model_id):
    prefix = desk.prefix(api="invoke_model", model_id=model_id)
    desk.ping(prefix)
    both = desk.ping(prefix)
    desk.emulator.set_faults("*", Faults(omit_headers=True))
    body = desk.ping(prefix)
    desk.emulator.set_faults("*", Faults(omit_usage=True))
    headers = desk.ping(prefix)
    desk.emulator.set_faults("*", Faults(omit_headers=True, omit_usage=True))
    neither = desk.ping(prefix)

    counts = (both.usage.input_tokens, 1, both.usage.cache_read_tokens, 0)
    assert both.header_usage == headers.usage == headers.header_usage == Usage(*counts)
    assert (body.usage.cache_read_tokens, body.header_usage) == (both.usage.cache_read_tokens, None)
    assert (neither.usage, neither.header_usage) == (None, None)
    assert [answer.usage_in_body for answer in (both, body, headers, neither)] == [True, True, False, False]


def test_a_converse_answer_without_usage_tells_none(desk):
    desk.emulator.set_faults("*", Faults(omit_usage=True))
    answer = desk.ping()
    assert (answer.usage, answer.header_usage) == (None, None)
    assert answer.request_id


def test_the_latency_that_bedrock_measured_is_told(desk):
    with Emulator(catalog=load_catalog(None), latency_scale=0.05) as slow:
        for api in ("converse", "invoke_model"):
            prefix = desk.prefix(api=api, text=TEXT + api)
            gateway = Gateway(1)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", slow.url)
                assert gateway.ping(prefix).server_latency_ms == slow.log[-1].latency_ms > 0


COUNTS = {
    "x-amzn-bedrock-input-token-count": "3",
    "x-amzn-bedrock-output-token-count": "1",
    "x-amzn-bedrock-cache-read-input-token-count": "2000",
    "x-amzn-bedrock-cache-write-input-token-count": "0",
}


@pytest.mark.parametrize(
    ("body", "headers", "usage", "seen"),
    [
        # The witnesses disagree: the body is taken, and both are handed on.
        (
            {"usage": {"input_tokens": 3, "output_tokens": 1, "cache_creation_input_tokens": 2000}},
            COUNTS,
            Usage(3, 1, 0, 2000),
            Usage(3, 1, 2000, 0),
        ),
        # A body that says nothing of the cache is filled up from the headers.
        ({"usage": {"input_tokens": 3, "output_tokens": 1}}, COUNTS, Usage(3, 1, 2000, 0), Usage(3, 1, 2000, 0)),
        # Cache headers may be missing although the others are there.
        (
            {"usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_input_tokens": 9}},
            {"x-amzn-bedrock-input-token-count": "3"},
            Usage(3, 1, 9, 0),
            Usage(3, 0, 0, 0),
        ),
        # Nonsense counts as nothing.
        (
            {"usage": {"input_tokens": None, "output_tokens": "one", "cache_read_input_tokens": -5}},
            {"x-amzn-bedrock-input-token-count": "many", "x-amzn-bedrock-invocation-latency": "long"},
            Usage(0, 0, 0, 0),
            Usage(0, 0, 0, 0),
        ),
        ({"usage": ["none"]}, COUNTS, Usage(3, 1, 2000, 0), Usage(3, 1, 2000, 0)),
        (["a list"], COUNTS, Usage(3, 1, 2000, 0), Usage(3, 1, 2000, 0)),
    ],
    ids=["disagree", "body silent on cache", "headers silent on cache", "nonsense", "usage a list", "body a list"],
)
def test_two_witnesses_make_one_usage(desk, monkeypatch, body, headers, usage, seen):
    with server(answering(200, json.dumps(body).encode(), headers)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        answer = desk.ping(desk.prefix(api="invoke_model"))
    assert (answer.usage, answer.header_usage) == (usage, seen)


@pytest.mark.parametrize("length", [None, 1000], ids=["broken JSON", "a body that breaks off"])
def test_a_body_that_cannot_be_read_leaves_the_headers_as_the_witness(desk, monkeypatch, length):
    with server(answering(200, b'{"usage": {"input', COUNTS, length=length)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        answer = desk.ping(desk.prefix(api="invoke_model"))
    assert (answer.usage, answer.usage_in_body) == (Usage(3, 1, 2000, 0), False)


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
def test_an_answer_that_breaks_off_is_never_taken_for_a_free_one(desk, api):
    desk.emulator.set_faults("*", Faults(wrong_json=True, omit_headers=True))
    assert desk.ping(desk.prefix(api=api)).usage is None
    assert len(desk.emulator.log) == 1


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
@pytest.mark.parametrize(
    ("switches", "kind", "retryable", "code", "hint"),
    [
        ({"throttle": 1}, Throttled, True, "ThrottlingException", "KEEPWARM_REQUESTS_PER_MINUTE"),
        ({"unavailable": 1}, Unavailable, True, "ServiceUnavailableException", ""),
        ({"internal_error": 1}, Unavailable, True, "InternalServerException", ""),
        ({"model_timeout": 1}, Unavailable, True, "ModelTimeoutException", ""),
        ({"deny": True}, AccessDenied, False, "AccessDeniedException", "grant bedrock:InvokeModel"),
        ({"expired_tokens": True}, CredentialsRejected, True, "ExpiredTokenException", "check the credentials"),
        ({"retired": True}, RequestRefused, False, "ResourceNotFoundException", "compare the registered request"),
    ],
)
def test_what_bedrock_refuses_says_who_must_act_after_one_request(desk, api, switches, kind, retryable, code, hint):
    error = desk.refused(desk.prefix(api=api), **switches)
    assert type(error) is kind
    assert error.retryable is retryable
    assert str(error).startswith(f"{code}: ")
    assert hint in error.hint
    assert not getattr(error, "maybe_billed", False)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ValidationException", RequestRefused),
        (400, "ServiceQuotaExceededException", RequestRefused),
        (403, "UnrecognizedClientException", CredentialsRejected),
        (403, "InvalidSignatureException", CredentialsRejected),
        (424, "ModelErrorException", Unavailable),
        (429, "ModelNotReadyException", Throttled),
        (401, "", CredentialsRejected),
        (403, "", AccessDenied),
        (404, "", RequestRefused),
        (407, "", CredentialsRejected),
        (408, "", Unavailable),
        (413, "", RequestRefused),
        (429, "", Throttled),
        (502, "", Unavailable),
        (504, "", Unavailable),
    ],
)
def test_codes_of_bedrock_and_answers_of_proxies_on_the_way_are_told_apart(desk, monkeypatch, status, code, kind):
    headers = {"x-amzn-errortype": code} if code else {"Content-Type": "text/html"}
    body = json.dumps({"message": "no"}).encode() if code else b"<html><body>no</body></html>"
    with server(answering(status, body, headers)) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        with pytest.raises(KeepwarmError) as caught:
            desk.ping()
    assert type(caught.value) is kind


def test_an_answer_that_is_no_bedrock_answer_is_never_taken_for_a_free_one(desk, monkeypatch):
    for api in ("converse", "invoke_model"):
        with server(answering(200, b"<html>please sign in</html>", {"Content-Type": "text/html"})) as url:
            monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
            assert Gateway(1).ping(desk.prefix(api=api)).usage is None


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
def test_an_answer_that_does_not_come_in_time_may_have_been_billed(desk, api):
    desk.gateway = Gateway(4, read_timeout_seconds=0.2)
    error = desk.refused(desk.prefix(api=api), hang=1, hang_seconds=30)
    assert isinstance(error, Unavailable)
    assert error.maybe_billed
    assert "Read timeout" in str(error)


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
def test_a_connection_that_is_cut_instead_of_an_answer_may_have_been_billed(desk, api):
    error = desk.refused(desk.prefix(api=api), reset=1)
    assert isinstance(error, Unavailable)
    assert error.maybe_billed
    assert desk.emulator.log[-1].usage.cache_write_tokens > 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://bedrock.invalid"], ids=["refused", "no such host"])
def test_what_never_left_was_not_billed(desk, monkeypatch, url):
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
    with pytest.raises(Unavailable) as caught:
        desk.ping()
    assert not caught.value.maybe_billed
    assert "network" in caught.value.hint


def test_a_request_that_botocore_does_not_accept_is_refused_without_being_sent(desk):
    prefix = desk.prefix()
    prefix.ping_request["messages"] = "none"
    with pytest.raises(RequestRefused, match="Parameter validation failed") as caught:
        desk.ping(prefix)
    assert not caught.value.retryable
    assert desk.emulator.log == []


# -- what leaves --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
def test_a_ping_says_that_it_is_one(desk, api):
    desk.ping(desk.prefix(api=api))
    (request,) = desk.emulator.log
    assert request.metadata == {"keepwarm": "ping", "prefix": "p1"}
    assert f"keepwarm/{__version__}" in request.user_agent
    assert request.operation == ("Converse" if api == "converse" else "InvokeModel")


def test_many_threads_share_one_client(desk):
    prefix = desk.prefix()
    desk.ping(prefix)
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(desk.ping(prefix))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [verdict(answer) for answer in answers] == [Verdict.HIT] * 16
    assert len(desk.gateway._connections) == 1  # noqa: SLF001 - a client for each ping would cost 2.6 ms each


def test_a_client_that_is_prepared_sends_nothing_and_tells_no_error(desk, monkeypatch):
    prefix = desk.prefix()
    desk.gateway.prepare(prefix)
    assert desk.emulator.log == []
    desk.gateway.prepare(desk.prefix(more="    profile: nobody\n"))


# -- credentials --------------------------------------------------------------------------------------------------


def credential_process(path: Path, access_keys: list[str]) -> str:
    """A command that gives out another access key each time it runs."""
    script, count = path / "credentials.py", path / "count"
    count.write_text("0")
    script.write_text(
        "import json, pathlib\n"
        f"count = pathlib.Path({str(count)!r})\n"
        f"keys = {access_keys!r}\n"
        "number = int(count.read_text())\n"
        "count.write_text(str(number + 1))\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': keys[min(number, len(keys) - 1)], 'SecretAccessKey': 's'}))\n"
    )
    return f"{sys.executable} {script}"


def test_rejected_credentials_are_fetched_anew_by_the_next_ping(desk, aws, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    aws.write_text(f"[profile team]\ncredential_process = {credential_process(desk.path, ['AKIAOLD', 'AKIANEW'])}\n")
    prefix = desk.prefix(more="    profile: team\n")

    assert isinstance(desk.refused(prefix, expired_tokens=True), CredentialsRejected)
    desk.emulator.set_faults("*", Faults())
    assert verdict(desk.ping(prefix)) is Verdict.REWRITE
    assert verdict(desk.ping(prefix)) is Verdict.HIT
    assert [request.access_key for request in desk.emulator.log] == ["AKIAOLD", "AKIANEW", "AKIANEW"]


def test_each_profile_is_an_account_of_its_own(desk, aws):
    aws.write_text(
        "[profile one]\naws_access_key_id = AKIAONE\naws_secret_access_key = s\n"
        "[profile two]\naws_access_key_id = AKIATWO\naws_secret_access_key = s\n"
    )
    verdicts = [verdict(desk.ping(desk.prefix(more=f"    profile: {name}\n"))) for name in ("one", "two", "one")]
    assert verdicts == [Verdict.REWRITE, Verdict.REWRITE, Verdict.HIT]
    assert [request.access_key for request in desk.emulator.log] == ["AKIAONE", "AKIATWO", "AKIAONE"]


# Made for this test, good for nothing but 127.0.0.1: botocore sends bearer tokens only over TLS.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgiBmzu7vp0GgkNDJ/
6phsuYWSjiJn4NcU28FVXnKhMVahRANCAARttnxTbvhRlV4jtVCAEEboAI9+K5oS
7xAGCg/2X2f/pYhwURojQo85Qf03EzL/gdTQaTnIXHiTnIRXfr+pQBXE
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkTCCATagAwIBAgIUJATViK7YNhcO0mO5Y+Ylkd2nkkgwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyMjIwMzUyMVoYDzIxMjYxMDI5
MjAzNTIxWjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARttnxTbvhRlV4jtVCAEEboAI9+K5oS7xAGCg/2X2f/pYhwURojQo85
Qf03EzL/gdTQaTnIXHiTnIRXfr+pQBXEo2QwYjAdBgNVHQ4EFgQU/AwdAKvWOl/P
VqwBj+CHcIBi8kEwHwYDVR0jBBgwFoAU/AwdAKvWOl/PVqwBj+CHcIBi8kEwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0kAMEYC
IQD+SgZU49rHGOhTYIXAhDLJO0aUr5wntvq0SnBTqy/BhQIhANi9lHOEoxGKp6fQ
mdhK23wIKkr6bbv8tu8NLlrNGiII
-----END CERTIFICATE-----
"""


def test_a_bearer_token_of_the_environment_is_used(desk, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "token-of-the-test")
    certificate = desk.path / "certificate.pem"
    certificate.write_text(CERTIFICATE)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    seen: list[str | None] = []
    answer = answering(200, json.dumps({"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}).encode())

    def respond(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Authorization"])
        answer(handler)

    with server(respond, certificate=certificate) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        assert desk.ping().usage == Usage(1, 1, 0, 0)
    assert seen == ["Bearer token-of-the-test"]


def test_a_bearer_token_is_not_sent_in_the_clear_and_that_is_told_as_a_fault_of_the_configuration(desk, monkeypatch):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "token-of-the-test")
    with pytest.raises(CredentialsRejected, match="requires an HTTPS endpoint"):
        desk.ping()
    assert desk.emulator.log == []


def test_missing_credentials_are_told_as_such_and_may_come_later(desk, monkeypatch):
    prefix = desk.prefix()
    with monkeypatch.context() as bare:
        bare.delenv("AWS_ACCESS_KEY_ID")
        bare.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(CredentialsRejected, match="Unable to locate credentials"):
            desk.ping(prefix)
    assert verdict(desk.ping(prefix)) is Verdict.REWRITE


@pytest.mark.parametrize(
    ("config", "endpoint", "words"),
    [
        ("", None, "The config profile (team) could not be found"),
        ("[profile team]\ncredential_process = false\n", None, "Error when retrieving credentials"),
        ("[profile team]\nrole_arn = arn:aws:iam::123456789012:role/x\n", None, "Partial credentials found"),
        ("[profile team]\naws_access_key_id = A\naws_secret_access_key = s\n", "no url", "Invalid endpoint"),
    ],
    ids=["no such profile", "failing process", "half a role", "bad endpoint"],
)
def test_a_faulty_aws_configuration_is_told_at_the_ping_and_mended_without_a_restart(
    desk, aws, monkeypatch, config, endpoint, words
):
    prefix = desk.prefix(more="    profile: team\n")
    aws.write_text(config)
    with monkeypatch.context() as changed:
        if endpoint:
            changed.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", endpoint)
        with pytest.raises(CredentialsRejected) as caught:
            desk.ping(prefix)
    assert words in str(caught.value)
    assert "AWS configuration" in caught.value.hint
    assert caught.value.retryable

    aws.write_text("[profile team]\naws_access_key_id = AKIATEAM\naws_secret_access_key = s\n")
    assert verdict(desk.ping(prefix)) is Verdict.REWRITE


def test_credentials_that_take_long_to_come_hold_up_no_other_prefix(desk, aws):
    fifo = desk.path / "gate"
    gate = "import json, pathlib; pathlib.Path({!r}).read_text(); print(json.dumps({!r}))".format(
        str(fifo), {"Version": 1, "AccessKeyId": "AKIASLOW", "SecretAccessKey": "s"}
    )
    script = desk.path / "slow.py"
    script.write_text(gate)
    os.mkfifo(fifo)
    aws.write_text(f"[profile slow]\ncredential_process = {sys.executable} {script}\n")
    slow, quick = desk.prefix(more="    profile: slow\n"), desk.prefix()
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(desk.ping(slow)))
    thread.start()
    assert verdict(desk.ping(quick)) is Verdict.REWRITE
    assert answers == []
    fifo.write_text("open")
    thread.join(20)
    assert [verdict(answer) for answer in answers] == [Verdict.REWRITE]
    assert [request.access_key for request in desk.emulator.log] == ["AKIAEXAMPLE", "AKIASLOW"]


# -- an assumed role ----------------------------------------------------------------------------------------------

ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>{until}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
DENIED = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>"""
ROLE = "    role_arn: arn:aws:iam::123456789012:role/keepwarm\n"


class Sts:
    """What the token service of a test answers, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status, self.body = 200, ASSUMED.format(key="ASIAROLE", until="2100-01-01T00:00:00Z")

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.rfile.read(int(handler.headers["Content-Length"])).decode())
        handler.send_response(self.status)
        handler.send_header("Content-Type", "text/xml")
        handler.send_header("Content-Length", str(len(self.body)))
        handler.end_headers()
        handler.wfile.write(self.body.encode())


@pytest.fixture
def sts(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sts]:
    service = Sts()
    with server(service) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        yield service


def test_a_role_is_assumed_once_and_signs_the_pings(desk, sts):
    prefix = desk.prefix(more=ROLE)
    assert [verdict(desk.ping(prefix)) for _ in range(3)] == [Verdict.REWRITE, Verdict.HIT, Verdict.HIT]
    assert {request.access_key for request in desk.emulator.log} == {"ASIAROLE"}
    (asked,) = sts.asked
    assert "Action=AssumeRole" in asked
    assert "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fkeepwarm" in asked
    assert "RoleSessionName=keepwarm" in asked


def test_credentials_of_a_role_that_are_about_to_expire_are_renewed_before_the_ping(desk, sts):
    sts.body = ASSUMED.format(key="ASIAOLD", until="2020-01-01T00:00:00Z")
    prefix = desk.prefix(more=ROLE)
    with pytest.raises(CredentialsRejected):
        desk.ping(prefix)
    sts.body = ASSUMED.format(key="ASIANEW", until="2100-01-01T00:00:00Z")
    assert verdict(desk.ping(prefix)) is Verdict.REWRITE
    assert [request.access_key for request in desk.emulator.log] == ["ASIANEW"]


def test_a_role_that_bedrock_rejects_is_assumed_again(desk, sts):
    prefix = desk.prefix(more=ROLE)
    assert isinstance(desk.refused(prefix, expired_tokens=True), CredentialsRejected)
    desk.emulator.set_faults("*", Faults())
    desk.ping(prefix)
    assert len(sts.asked) == 2


def test_a_role_that_may_not_be_assumed_is_no_denied_access_to_the_model(desk, sts):
    sts.status, sts.body = 403, DENIED
    with pytest.raises(CredentialsRejected, match="not authorized to perform: sts:AssumeRole") as caught:
        desk.ping(desk.prefix(more=ROLE))
    assert "sts:AssumeRole" in caught.value.hint
    assert desk.emulator.log == []


def test_a_role_without_credentials_to_assume_it_with_is_told_as_such(desk, sts, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(CredentialsRejected, match="Unable to locate credentials"):
        desk.ping(desk.prefix(more=ROLE))
    assert sts.asked == []


def test_a_token_service_that_does_not_answer_bills_nothing(desk, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(CredentialsRejected):
        desk.ping(desk.prefix(more=ROLE))
    assert desk.emulator.log == []


# -- no prompt text anywhere --------------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["converse", "invoke_model"])
@pytest.mark.parametrize("text", [TEXT, "canary 123"], ids=["long", "short"])
def test_an_error_that_quotes_the_prompt_is_withheld(desk, api, text, caplog):
    caplog.set_level(logging.INFO)
    error = desk.refused(desk.prefix(api=api, text=text), echo_prompt_in_errors=True)
    assert isinstance(error, RequestRefused)
    assert str(error) == "ValidationException: (the message is withheld because it quotes the prompt)"
    assert CANARY not in f"{error!r} {error.hint} {caplog.text}"


def test_an_error_of_botocore_that_quotes_the_prompt_is_withheld(desk):
    prefix = desk.prefix()
    prefix.ping_request["system"] = [TEXT]
    with pytest.raises(RequestRefused) as caught:
        desk.ping(prefix)
    assert CANARY not in str(caught.value)


def test_an_error_carries_no_chain_that_a_log_could_print(desk):
    error = desk.refused(echo_prompt_in_errors=True)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_bytes_of_images_do_not_disturb_the_search_for_quotations(desk):
    prefix = desk.prefix()
    image = {"image": {"format": "png", "source": {"bytes": b"\xff\xfe"}}}
    prefix.ping_request["messages"][0]["content"].append(image)
    error = desk.refused(prefix, retired=True)
    assert "end of its life" in str(error)


def test_a_message_about_a_setting_is_told_although_the_request_holds_its_name(desk, monkeypatch):
    body = json.dumps({"message": "cache_control: ephemeral is not supported with bedrock-2023-05-31"}).encode()
    with server(answering(400, body, {"x-amzn-errortype": "ValidationException"})) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url)
        with pytest.raises(RequestRefused, match="ephemeral is not supported"):
            desk.ping(desk.prefix(api="invoke_model"))


def test_nothing_of_a_prompt_reaches_the_ledger_or_a_log_line_whatever_goes_wrong(desk, monkeypatch):
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    telemetry.configure("debug", "json", stream)
    for api in ("converse", "invoke_model"):
        desk.prefix(api=api)  # writes the registry
        monkeypatch.setenv("KEEPWARM_REGISTRY", str(desk.path / "registry.yaml"))
        monkeypatch.setenv("KEEPWARM_STATE_DIR", str(desk.path / "state"))
        with opened(load_settings(os.environ), observers=(telemetry.log,)) as parts:
            for switches in ({"echo_prompt_in_errors": True}, {"reset": 1}, {"wrong_json": True}, {}):
                desk.emulator.set_faults("*", Faults(**switches))
                parts.keeper.ping(parts.keeper.names[0])
    root.handlers[:], root.level = before
    logging.captureWarnings(capture=False)

    assert "withheld because it quotes the prompt" in stream.getvalue()
    assert CANARY not in stream.getvalue()
    files = [file for file in (desk.path / "state").iterdir() if file.is_file()]
    assert len(files) >= 2
    assert not any(CANARY.encode() in file.read_bytes() for file in files)


# -- the registries that come with keepwarm -----------------------------------------------------------------------


def test_the_registry_in_config_works_at_once_with_the_emulator(desk):
    path = Path(__file__).parent.parent.parent / "config" / "registry.yaml"
    for prefix in load_registry(path, load_catalog(None), b"key of the tests", NOW).prefixes:
        first, second = desk.ping(prefix), desk.ping(prefix)
        assert (verdict(first), verdict(second)) == (Verdict.REWRITE, Verdict.HIT)
        assert first.usage.cache_write_tokens > prefix.facts.min_tokens
        assert second.usage.input_tokens < 20


def test_every_prefix_of_the_example_registry_is_a_request_that_bedrock_accepts(desk):
    path = Path(__file__).parent.parent.parent / "config" / "registry.example.yaml"
    for prefix in load_registry(path, load_catalog(None), b"key of the tests", NOW).prefixes:
        known = load_catalog(None).find(prefix.model_id, prefix.route.region) is not None
        # The opaque id and the model of the future exist on no Bedrock; their requests go to one that does.
        sent = replace(prefix, route=Route(prefix.route.region), model_id=prefix.model_id if known else CLAUDE)
        assert verdict(desk.ping(sent)) in {Verdict.REWRITE, Verdict.HIT}


def test_a_request_that_cannot_be_read_from_disk_was_not_sent(desk):
    shelf, plain = Shelf(), desk.prefix()
    kept = replace(plain, ping_request=shelf.put(dict(plain.ping_request)))
    assert desk.ping(kept).usage
    os.ftruncate(vars(shelf)["_descriptor"], 3)
    with pytest.raises(Unavailable, match="request could not be read") as caught:
        desk.ping(kept)
    assert not caught.value.maybe_billed
    assert len(desk.emulator.log) == 1
