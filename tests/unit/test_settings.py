"""The settings: parsed, told when wrong, and the fingerprint key that is made once."""

from __future__ import annotations

import os
import stat
import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from keepwarm.errors import ConfigError
from keepwarm.settings import Settings, fingerprint_key, load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("KEEPWARM_")]:
        monkeypatch.delenv(name)
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings(os.environ)


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(monkeypatch, **variables)
    return caught.value


EXAMPLES = {
    "registry": ("/etc/keepwarm/registry.yaml", "/etc/keepwarm/registry.yaml"),
    "watch": ("poll", "poll"),
    "state_dir": ("/var/lib/keepwarm", Path("/var/lib/keepwarm")),
    "fingerprint_key": ("ab" * 32, SecretStr("ab" * 32)),
    "ledger_url": ("postgresql+psycopg://db/keepwarm", "postgresql+psycopg://db/keepwarm"),
    "models": ("models.json", Path("models.json")),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "max_concurrent_pings": ("4", 4),
    "requests_per_minute": ("60", 60),
    "read_timeout_seconds": ("30.5", 30.5),
    "drain_seconds": ("0", 0),
    "reconcile_seconds": ("5", 5),
    "retention": ("70d", "70d"),
    "day_cap_usd": ("12.50", Decimal("12.50")),
    "month_cap_usd": ("0", Decimal(0)),
    "stopped": ("true", True),
    "stop_file": ("/run/keepwarm/stopped", Path("/run/keepwarm/stopped")),
    "listen": ("0.0.0.0:8378", "0.0.0.0:8378"),
    "token": ("s3cret", SecretStr("s3cret")),
    "token_file": ("/run/credentials/token", Path("/run/credentials/token")),
    "read_token": ("looking", SecretStr("looking")),
    "read_token_file": ("/run/secrets/read", Path("/run/secrets/read")),
    "hosts": ("keepwarm.internal", "keepwarm.internal"),
    "http_requests_per_minute": ("0", 0),
    "emf": ("keepwarm", "keepwarm"),
    "traffic_log_group": ("/aws/bedrock/invocations", "/aws/bedrock/invocations"),
    "traffic_s3": ("s3://team-logs/bedrock", "s3://team-logs/bedrock"),
    "traffic_region": ("eu-central-1", "eu-central-1"),
    "traffic_poll_seconds": ("60", 60),
    "alert_webhook_url": ("https://alerts.example/in", SecretStr("https://alerts.example/in")),
    "alert_webhook_url_file": ("/run/secrets/url", Path("/run/secrets/url")),
    "alert_webhook_secret": ("s1gned", SecretStr("s1gned")),
    "alert_webhook_secret_file": ("/run/secrets/signed", Path("/run/secrets/signed")),
    "alert_slack_url": ("https://hooks.slack.com/services/T/B/x", SecretStr("https://hooks.slack.com/services/T/B/x")),
    "alert_slack_url_file": ("/run/secrets/slack", Path("/run/secrets/slack")),
    "alert_sns_topic_arn": ("arn:aws:sns:eu-central-1:123456789012:ops", "arn:aws:sns:eu-central-1:123456789012:ops"),
    "alert_messages_per_hour": ("6", 6),
    "alert_periods": ("5", 5),
    "alert_rewrite_share": ("0.5", 0.5),
    "alert_loss_usd": ("0.25", Decimal("0.25")),
    "heartbeat_url": ("https://hc-ping.com/uuid", SecretStr("https://hc-ping.com/uuid")),
    "heartbeat_url_file": ("/run/secrets/heartbeat", Path("/run/secrets/heartbeat")),
    "heartbeat_seconds": ("30", 30),
}


def test_every_setting_has_an_example_here_and_a_line_for_the_documentation():
    assert set(EXAMPLES) == set(Settings.model_fields)
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_setting_is_read_from_its_variable(monkeypatch, name):
    text, value = EXAMPLES[name]
    assert getattr(load(monkeypatch, **{f"KEEPWARM_{name.upper()}": text}), name) == value


def test_without_variables_everything_has_a_default(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = load(monkeypatch)
    assert settings.registry == "config/registry.yaml"
    assert settings.state_dir == Path("/home/somebody/.local/state/keepwarm")
    assert settings.ledger == "sqlite:////home/somebody/.local/state/keepwarm/ledger.sqlite"
    assert (settings.drain, settings.reconcile) == (timedelta(seconds=25), timedelta(seconds=30))


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"XDG_STATE_HOME": "/state"}, "/state/keepwarm"),
        ({"STATE_DIRECTORY": "/var/lib/keepwarm"}, "/var/lib/keepwarm"),
        ({"STATE_DIRECTORY": "/var/lib/one:/var/lib/two"}, "/var/lib/one"),
        ({"STATE_DIRECTORY": "/var/lib/keepwarm", "KEEPWARM_STATE_DIR": "/own"}, "/own"),
    ],
)
def test_the_state_directory_follows_systemd_and_the_desktop_rules(monkeypatch, variables, path):
    assert load(monkeypatch, **variables).state_dir == Path(path)


def test_a_ledger_url_goes_before_the_file_in_the_state_directory(monkeypatch):
    assert load(monkeypatch, KEEPWARM_LEDGER_URL="postgresql://db/k").ledger == "postgresql://db/k"


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    settings = load(monkeypatch, KEEPWARM_MODELS="", KEEPWARM_REGISTRY="", KEEPWARM_LOG_LEVEL="")
    assert (settings.models, settings.registry, settings.log_level) == (None, "config/registry.yaml", "info")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LOG_LEVEL", "loud", "must be 'debug', 'info', 'warning' or 'error', not 'loud'"),
        ("LOG_FORMAT", "xml", "must be 'auto', 'json' or 'console', not 'xml'"),
        ("MAX_CONCURRENT_PINGS", "many", "must be a valid integer, not 'many'"),
        ("MAX_CONCURRENT_PINGS", "0", "must be greater than or equal to 1, not '0'"),
        ("MAX_CONCURRENT_PINGS", "1001", "must be less than or equal to 1000, not '1001'"),
        ("REQUESTS_PER_MINUTE", "0", "must be greater than or equal to 1, not '0'"),
        ("READ_TIMEOUT_SECONDS", "0", "must be greater than 0, not '0'"),
        ("DRAIN_SECONDS", "-1", "must be greater than or equal to 0, not '-1'"),
        ("RECONCILE_SECONDS", "soon", "must be a valid number, not 'soon'"),
        (
            "EMF",
            "AWS/Bedrock",
            "must be a namespace that does not begin with AWS/, which is CloudWatch's own, not 'AWS/Bedrock'",
        ),
        ("DAY_CAP_USD", "-1", "must be greater than or equal to 0, not '-1'"),
        ("MONTH_CAP_USD", "lots", "must be a valid decimal, not 'lots'"),
        ("STOPPED", "perhaps", "must be a valid boolean, not 'perhaps'"),
    ],
)
def test_a_value_that_is_not_allowed_is_told_with_what_is(monkeypatch, name, value, words):
    error = refusal(monkeypatch, **{f"KEEPWARM_{name}": value})
    assert str(error) == f"environment: KEEPWARM_{name}: {words}"
    assert error.hint == "docs/reference.md lists every setting"


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("KEEPWARM_REGISTY", "; did you mean KEEPWARM_REGISTRY?"),
        ("keepwarm_registry", "; did you mean KEEPWARM_REGISTRY?"),
        ("KEEPWARM_LOGLEVEL", "; did you mean KEEPWARM_LOG_LEVEL?"),
        ("KEEPWARM_XQZ", ""),
    ],
)
def test_a_variable_that_is_no_setting_is_told_with_the_one_that_was_meant(monkeypatch, name, guess):
    assert str(refusal(monkeypatch, **{name: "x"})) == f"environment: {name}: is not a setting{guess}"


def test_all_that_is_wrong_with_the_settings_is_told_at_once(monkeypatch):
    error = refusal(
        monkeypatch, KEEPWARM_REGISTY="x", KEEPWARM_LOG_LEVEL="loud", KEEPWARM_DRAIN_SECONDS="-1", OTHER="kept out"
    )
    assert [problem.key for problem in error.problems] == [
        "KEEPWARM_DRAIN_SECONDS",
        "KEEPWARM_LOG_LEVEL",
        "KEEPWARM_REGISTY",
    ]


# -- the fingerprint key ------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return load(monkeypatch, KEEPWARM_STATE_DIR=str(tmp_path / "deep" / "state"))


def test_the_key_is_made_once_and_only_its_owner_may_read_it(settings):
    key = fingerprint_key(settings)
    path = settings.state_dir / "fingerprint.key"
    assert (len(key), path.read_bytes(), fingerprint_key(settings)) == (32, key, key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.state_dir.stat().st_mode) == 0o700
    assert [file.name for file in settings.state_dir.iterdir()] == ["fingerprint.key"]


def test_two_installations_have_different_keys(settings, tmp_path, monkeypatch):
    assert fingerprint_key(settings) != fingerprint_key(load(monkeypatch, KEEPWARM_STATE_DIR=str(tmp_path / "other")))


def test_a_key_that_another_process_made_in_between_is_taken(settings, monkeypatch):
    path = settings.state_dir / "fingerprint.key"
    link = os.link

    def late(source: Path, target: Path) -> None:
        path.write_bytes(b"k" * 32)
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert fingerprint_key(settings) == b"k" * 32
    assert [file.name for file in settings.state_dir.iterdir()] == ["fingerprint.key"]


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_damaged_key_is_told_and_never_replaced_behind_the_users_back(settings, content):
    path = settings.state_dir / "fingerprint.key"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"is damaged: {len(content)} bytes instead of 32") as caught:
        fingerprint_key(settings)
    assert "delete it" in caught.value.hint
    assert path.read_bytes() == content


def test_a_state_directory_that_cannot_be_used_is_told_with_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    settings = load(monkeypatch, KEEPWARM_STATE_DIR=str(tmp_path / "file" / "state"))
    with pytest.raises(ConfigError, match="cannot be used: Not a directory") as caught:
        fingerprint_key(settings)
    assert caught.value.hint == "set KEEPWARM_STATE_DIR to a directory that keepwarm may write"


def test_a_state_directory_without_permission_is_told_too(settings, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "link", refuse)  # also for root, who may write everywhere
    with pytest.raises(ConfigError, match="cannot be used: Permission denied"):
        fingerprint_key(settings)
    assert list(settings.state_dir.iterdir()) == []


def test_threads_of_one_process_agree_on_the_key(settings):
    keys: list[bytes] = []
    fingerprint_key(settings)
    threads = [threading.Thread(target=lambda: keys.append(fingerprint_key(settings))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 1


def test_tokens_come_from_the_credentials_of_systemd_unless_another_file_is_named(monkeypatch, tmp_path):
    (tmp_path / "keepwarm_token").write_text("handed over\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load(monkeypatch)
    assert (settings.acting_token(), settings.reading_token()) == ("handed over", None)
    (tmp_path / "own").write_text("named")
    assert load(monkeypatch, KEEPWARM_TOKEN_FILE=str(tmp_path / "own")).acting_token() == "named"


def test_a_key_of_the_settings_stands_in_for_that_of_the_state_directory(tmp_path):
    settings = Settings(fingerprint_key=SecretStr("ab" * 32), state_dir=tmp_path / "state")
    assert fingerprint_key(settings) == b"\xab" * 32
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("text", ["ab", "xy" * 32, "ab" * 33])
def test_a_key_that_is_none_is_refused_without_being_shown(text, tmp_path):
    with pytest.raises(ConfigError, match="KEEPWARM_FINGERPRINT_KEY: must be 64 hexadecimal digits") as told:
        fingerprint_key(Settings(fingerprint_key=SecretStr(text), state_dir=tmp_path))
    assert text not in str(told.value)


def test_systemd_can_hand_over_every_secret(monkeypatch, tmp_path):
    secrets = [name for name in Settings.model_fields if f"{name}_file" in Settings.model_fields]
    assert "token" in secrets
    for name in secrets:
        (tmp_path / f"keepwarm_{name}").write_text("a secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = load(monkeypatch)
    assert {name: getattr(settings, f"{name}_file") for name in secrets} == {
        name: tmp_path / f"keepwarm_{name}" for name in secrets
    }


@pytest.mark.parametrize(("text", "kept"), [("", timedelta(days=400)), ("70d", timedelta(days=70)), ("all", None)])
def test_the_ledger_is_kept_for_days_or_for_ever(monkeypatch, text, kept):
    assert load(monkeypatch, KEEPWARM_RETENTION=text).kept_for == kept


@pytest.mark.parametrize("text", ["69d", "0d", "400", "1y", "-70d", "all of it"])
def test_a_retention_that_would_delete_what_is_still_needed_is_refused(monkeypatch, text):
    with pytest.raises(ConfigError) as caught:
        load(monkeypatch, KEEPWARM_RETENTION=text)
    assert "KEEPWARM_RETENTION" in str(caught.value)
    assert "70d or more" in str(caught.value)
