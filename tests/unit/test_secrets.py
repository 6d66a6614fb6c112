"""Secrets and prompts stand in no repr, and errors quote none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keepwarm import dialects
from keepwarm.alerts.posting import Mailbox
from keepwarm.dialects import Dialect
from keepwarm.errors import ConfigError
from keepwarm.importing.recognising import recognise
from keepwarm.model import Api, Source
from keepwarm.registry import load_catalog, load_registry
from keepwarm.registry.document import read_document
from keepwarm.registry.requests import build_request, make_ping
from keepwarm.registry.schema import PrefixEntry
from keepwarm.reporter.calls import Call
from keepwarm.settings import Settings, load_settings
from keepwarm.touches import parse
from keepwarm.web.doorman import Access, Doorman
from tests.builders import facts_of, make_prefix

CANARY = "canary-5f1c"
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
CLAUDE = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
BODY = {
    "toolConfig": {"tools": [{"toolSpec": {"name": CANARY, "inputSchema": {"json": {"title": CANARY}}}}]},
    "system": [{"text": CANARY}, {"cachePoint": {"type": "default"}}],
    "messages": [{"role": "user", "content": [{"text": CANARY}]}],
    "additionalModelRequestFields": {"metadata": CANARY},
}
ENTRY = {
    "name": "a", "model_id": CLAUDE, "region": "eu-central-1", "api": "converse", "busy_hours": "always",
    "min_tokens": 1, "system": {"text": CANARY},
}  # fmt: skip

SECRET_VARIABLES = (
    "TOKEN", "READ_TOKEN", "FINGERPRINT_KEY", "ALERT_WEBHOOK_URL", "ALERT_WEBHOOK_SECRET", "ALERT_SLACK_URL",
    "HEARTBEAT_URL", "LEDGER_URL",
)  # fmt: skip


def set_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in SECRET_VARIABLES:
        url = f"postgresql+psycopg://keepwarm:{CANARY}@db/x" if name == "LEDGER_URL" else f"https://hooks/{CANARY}"
        monkeypatch.setenv(f"KEEPWARM_{name}", url if name.endswith("URL") else CANARY)
    monkeypatch.setenv("KEEPWARM_STATE_DIR", str(tmp_path))


def test_the_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_all(monkeypatch, tmp_path)
    settings = load_settings(os.environ)
    assert settings.acting_token() == settings.reading_token() == CANARY
    assert CANARY not in f"{settings!r} {settings}"


def test_every_secret_setting_is_known_to_this_test() -> None:
    fields = Settings.model_fields
    secret = {name.upper() for name, field in fields.items() if "Secret" in str(field.annotation)}
    assert secret | {"LEDGER_URL"} == set(SECRET_VARIABLES)


def test_what_is_wrong_with_other_settings_is_told_without_the_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_all(monkeypatch, tmp_path)
    monkeypatch.setenv("KEEPWARM_LOG_LEVEL", "loud")
    monkeypatch.setenv("KEEPWARM_ALERT_SLACK_URL", f"ftp://{CANARY}")
    with pytest.raises(ConfigError) as caught:
        load_settings(os.environ)
    assert "KEEPWARM_ALERT_SLACK_URL" in str(caught.value)
    assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.hint}"


@pytest.mark.parametrize("secret", [f"{CANARY}\r\nX-Injected: 1", f"{CANARY}\udcff", f"{CANARY}\x00", f"{CANARY}\x1b"])
def test_a_secret_that_no_header_can_carry_is_refused_without_being_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secret: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(secret.encode("utf-8", "surrogateescape"))
    monkeypatch.setenv("KEEPWARM_TOKEN_FILE", str(file))
    monkeypatch.setenv("KEEPWARM_ALERT_WEBHOOK_SECRET_FILE", str(file))
    settings = load_settings(os.environ)
    for read in (settings.acting_token, settings.alert_secret):
        with pytest.raises(ConfigError) as caught:
            read()
        assert CANARY not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd", "gopher://h/x", "ftp://h/x", "javascript:alert(1)", "//h/x", "h/x", "http://", "https:///x",
        "http://user:password@h/x", "http://h/x#y", "http://h/\r\nX: 1", "http://h/ x", "http://h:0/", "http://[::1/",
        "data:text/plain,x", "HTTP\x00://h", "s3://bucket/x",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["ALERT_WEBHOOK_URL", "ALERT_SLACK_URL", "HEARTBEAT_URL"])
def test_only_http_addresses_are_posted_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, address: str
) -> None:
    file = tmp_path / "url"
    file.write_text(address)
    monkeypatch.setenv(f"KEEPWARM_{name}_FILE", str(file))
    settings = load_settings(os.environ)
    read = {"ALERT_WEBHOOK_URL": "alert_url", "ALERT_SLACK_URL": "slack_url", "HEARTBEAT_URL": "heartbeat_address"}
    with pytest.raises(ConfigError) as caught:
        getattr(settings, read[name])()
    assert address not in str(caught.value)


def secretive(tmp_path: Path) -> Iterator[tuple[str, object]]:
    """Whatever holds a prompt or a secret, by name."""
    path = tmp_path / "registry.yaml"
    path.write_text(json.dumps({"version": 1, "prefixes": [ENTRY]}))
    request = build_request("r.json", BODY, Api.CONVERSE, Dialect.CONVERSE, CLAUDE)
    facts = facts_of(CLAUDE)
    yield "document", read_document(path)
    yield "entry", PrefixEntry.model_validate(ENTRY)
    yield "registry", load_registry(path, load_catalog(None), b"key", NOW)
    yield "request", request
    yield "ping", make_ping(request, facts, b"key")
    yield "reading", dialects.read(Dialect.CONVERSE, BODY)
    yield "block", request.reading.blocks[0]
    yield "recognised", recognise(BODY)
    yield "prefix", make_prefix(ping_request=BODY)
    yield (
        "call",
        Call(
            "https://bedrock",
            "eu-central-1",
            CANARY.encode(),
            NOW,
            5,
            "1",
            {"authorization": CANARY},
            None,
            (b"canary-5f1c",),
        ),
    )
    yield "access", Access(token=CANARY, read_token=CANARY)
    yield "doorman", Doorman(lambda *_: None, Access(token=CANARY), lambda _: False)
    yield "mailbox", Mailbox(f"https://hooks/{CANARY}")


def test_nothing_that_holds_a_prompt_or_a_secret_shows_it(tmp_path: Path) -> None:
    shown = {name: f"{value!r} {value}" for name, value in secretive(tmp_path)}
    assert len(shown) == 13
    assert [name for name, text in shown.items() if CANARY in text] == []


def test_a_touch_is_refused_without_being_quoted() -> None:
    for key in ("request_id", "model_id", "region", "api", "started_at", "source", "usage", "sketch", "latency_ms"):
        raw: dict[str, Any] = {"request_id": "1", "api": "converse", "model_id": "m", "region": "r", key: [CANARY]}
        assert CANARY not in repr(parse(raw, NOW, Source.HTTP))
