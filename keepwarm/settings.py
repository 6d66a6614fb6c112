"""The settings of this installation: `KEEPWARM_*` variables and what they default to.

It opens no ledger and reads no registry; the only file that it touches is the fingerprint key.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from keepwarm.errors import ConfigError, Problem
from keepwarm.model import LIMITS_IN_ALL, Limits

PREFIX = "KEEPWARM_"
_KEY_BYTES = 32
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}")
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
# The adaptive policy learns from eight weeks, caps want this month and tripwires seven days; with room to spare.
LEAST_RETENTION = timedelta(days=70)
_ADDRESS = "an http or https URL with a host, without user, password and fragment"


def _default_state_dir() -> Path:
    """The directory that systemd gives the service, or the user's own."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "keepwarm"


def _credential(name: str) -> Path | None:
    """A secret that systemd hands over by `LoadCredential=keepwarm:DIRECTORY`; None without one of that name."""
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(given) / f"keepwarm_{name}" if given else None
    return path if path and path.is_file() else None


def _address(given: SecretStr) -> SecretStr:
    """A URL that may be posted to; it is a secret, so it is never told back."""
    text = given.get_secret_value()
    try:
        parts = urlsplit(text)
        host, odd = parts.hostname, parts.port == 0 or parts.username is not None or parts.fragment
    except ValueError:
        host, odd = None, True
    if not host or odd or not text.startswith(("http://", "https://")) or not text.isprintable() or " " in text:
        raise PydanticCustomError("address", _ADDRESS)
    return given


def _namespace(given: str) -> str:
    if given.startswith("AWS/"):
        raise PydanticCustomError("namespace", "a namespace that does not begin with AWS/, which is CloudWatch's own")
    return given


def _topic(given: str) -> str:
    if given and not _TOPIC.fullmatch(given):
        raise PydanticCustomError(
            "topic", "the ARN of a standard topic, such as arn:aws:sns:eu-west-1:123456789012:ops"
        )
    return given


def _retention(given: str) -> str:
    days = _DAYS.fullmatch(given)
    if given != "all" and not (days and int(days[1]) >= LEAST_RETENTION.days):
        raise PydanticCustomError(
            "retention",
            "`all`, or {days}d or more, such as 400d: the adaptive policy learns from eight weeks",
            {"days": LEAST_RETENTION.days},
        )
    return given


class Settings(BaseSettings):
    """One field per variable; the description of each is its line in the documentation."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    registry: Annotated[str, BeforeValidator(os.fspath)] = Field(
        "config/registry.yaml",
        description="The registry: a file, `s3://bucket/folder/registry.yaml`, or `ssm:/folder/registry.yaml`. From S3 "
        "and SSM everything below that folder is copied into the state directory, and looked at once a minute.",
    )
    watch: Literal["auto", "poll", "off"] = Field(
        "auto",
        description="How a running daemon learns that the registry or a file that it names has changed: `auto` is told "
        "by the system and looks every two seconds besides, `poll` only looks, `off` waits for SIGHUP or "
        "`POST /-/reload`.",
    )
    state_dir: Path = Field(
        default_factory=_default_state_dir,
        description="Where the ledger and the fingerprint key live; by default systemd's STATE_DIRECTORY, else "
        "`$XDG_STATE_HOME/keepwarm`, else `~/.local/state/keepwarm`.",
    )
    fingerprint_key: SecretStr | None = Field(
        None,
        description="The key of all fingerprints, as 64 hexadecimal digits (`openssl rand -hex 32`), for daemons that "
        "share a ledger and no state directory; by default made once and kept in the state directory.",
    )
    ledger_url: str = Field(
        "", repr=False, description="SQLAlchemy URL of the ledger; by default SQLite in the state directory."
    )  # it may hold a password
    models: Path | None = Field(
        None,
        description="A file of the shape of `keepwarm/data/models.json`; its models replace those of the same name.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least severe log line shown."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` writes readable lines on a terminal and JSON lines elsewhere."
    )
    max_concurrent_pings: Annotated[int, Field(ge=1, le=1000)] = Field(
        16, description="Pings in flight at once; also the size of each connection pool."
    )
    requests_per_minute: Annotated[int, Field(ge=1)] = Field(
        600,
        description="Pings per minute for each account, region and model; a ping over it is sent later if its entry "
        "still lives then, and skipped otherwise. Living entries go before dead ones.",
    )
    read_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        120, description="How long a ping waits for its answer; a cold prompt of 500,000 tokens takes tens of seconds."
    )
    drain_seconds: Annotated[float, Field(ge=0)] = Field(
        25, description="How long running pings may finish after SIGTERM; keep it under the supervisor's stop timeout."
    )
    reconcile_seconds: Annotated[float, Field(gt=0)] = Field(
        30, description="How often every prefix is looked at anew, whatever its timer says."
    )
    retention: Annotated[str, AfterValidator(_retention)] = Field(
        "400d",
        description="How long the ledger keeps single pings and requests, as days (`400d`; 70 at least), or `all`. "
        "What each day cost and saved is kept for ever.",
    )
    day_cap_usd: Annotated[Decimal, Field(ge=0)] = Field(
        LIMITS_IN_ALL.day_cap_usd,
        description="What all pings of a day in UTC may cost, those of other processes on this ledger included; 0 for "
        "none at all.",
    )
    month_cap_usd: Annotated[Decimal, Field(ge=0)] = Field(
        LIMITS_IN_ALL.month_cap_usd, description="The same for a calendar month in UTC."
    )
    stopped: bool = Field(False, description="`true` stops all pings; also those that somebody asks for.")
    stop_file: Path | None = Field(
        None,
        description="A file that stops all pings while it exists; by default `stopped` in the state directory. "
        "`keepwarm stop-all` writes it.",
    )
    listen: str = Field(
        "127.0.0.1:8378",
        description="Where the HTTP interface listens, as `host:port`; `off` for nowhere. Other addresses than "
        "loopback need a token.",
    )
    token: SecretStr | None = Field(
        None, description="What clients of the HTTP interface send as bearer token, to act and to read."
    )
    token_file: Path | None = Field(
        default_factory=lambda: _credential("token"),
        description="A file that holds the token instead; by default the credential that systemd hands over.",
    )
    read_token: SecretStr | None = Field(None, description="A second token that only reads, for pages and metrics.")
    read_token_file: Path | None = Field(
        default_factory=lambda: _credential("read_token"), description="A file that holds the reading token instead."
    )
    hosts: str = Field(
        "",
        description="Host names that the HTTP interface answers to, with commas between; on loopback besides its own, "
        "elsewhere by default any.",
    )
    http_requests_per_minute: Annotated[int, Field(ge=0)] = Field(
        6000,
        description="HTTP requests per minute from each client address, a sixth of them at once; 0 for any number.",
    )
    emf: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/#:-]{0,255}$"), AfterValidator(_namespace)] = Field(
        "",
        description="A CloudWatch namespace, such as `keepwarm`: once a minute a line of Embedded Metric Format goes "
        "to standard output; empty for none.",
    )
    traffic_log_group: str = Field(
        "",
        description="A CloudWatch log group that Bedrock's model invocation logging writes to; followed for organic "
        "requests.",
    )
    traffic_s3: Annotated[str, Field(pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?)?$")] = Field(
        "",
        description="The same in S3: `s3://bucket/prefix`, as the logging was configured.",
    )
    traffic_region: Annotated[str, Field(pattern=r"^([a-z]{2,}(-[a-z]+)+-\d+)?$")] = Field(
        "", description="Region of both; by default that of the AWS configuration."
    )
    traffic_poll_seconds: Annotated[float, Field(ge=1)] = Field(
        15, description="How often new invocation logs are looked for; metrics at most once a minute."
    )

    alert_webhook_url: Annotated[SecretStr, AfterValidator(_address)] | None = Field(
        None, description="Alerts are posted there as JSON; see Alerts."
    )
    alert_webhook_url_file: Path | None = Field(
        default_factory=lambda: _credential("alert_webhook_url"), description="A file that holds this URL instead."
    )
    alert_webhook_secret: SecretStr | None = Field(None, description="What these posts are signed with (HMAC-SHA256).")
    alert_webhook_secret_file: Path | None = Field(
        default_factory=lambda: _credential("alert_webhook_secret"), description="A file that holds it instead."
    )
    alert_slack_url: Annotated[SecretStr, AfterValidator(_address)] | None = Field(
        None, description="An incoming webhook of Slack, or of what takes the same; alerts are posted there as text."
    )
    alert_slack_url_file: Path | None = Field(
        default_factory=lambda: _credential("alert_slack_url"), description="A file that holds this URL instead."
    )
    alert_sns_topic_arn: Annotated[str, AfterValidator(_topic)] = Field(
        "", description="A standard topic of SNS that alerts are published to, in its own region."
    )
    alert_messages_per_hour: Annotated[int, Field(ge=1)] = Field(
        30,
        description="Messages to each of these an hour in the long run, at most ten at once; what is held back comes "
        "in one summary.",
    )
    alert_periods: Annotated[int, Field(ge=2)] = Field(
        3, description="Alert when a prefix that should be warm had no confirmed hit in so many ping periods."
    )
    alert_rewrite_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.2, description="Alert when this share of a prefix's last 20 pings that should have hit had to write."
    )
    alert_loss_usd: Annotated[Decimal, Field(ge=0)] = Field(
        Decimal(1), description="Alert when a prefix is proven to have lost more than this in seven days."
    )
    heartbeat_url: Annotated[SecretStr, AfterValidator(_address)] | None = Field(
        None,
        description="A dead man's switch (Healthchecks' contract): posted to while the daemon turns; see Alerts.",
    )
    heartbeat_url_file: Path | None = Field(
        default_factory=lambda: _credential("heartbeat_url"), description="A file that holds this URL instead."
    )
    heartbeat_seconds: Annotated[float, Field(ge=1)] = Field(60, description="How often it is posted to.")

    @property
    def ledger(self) -> str:
        """URL of the ledger, with the default filled in."""
        return self.ledger_url or f"sqlite:///{self.state_dir / 'ledger.sqlite'}"

    def acting_token(self) -> str | None:
        """The token that lets clients of the HTTP interface act and read, None when there is none.

        Raises:
            ConfigError: its file cannot be read or is empty.
        """
        return _token(self.token, self.token_file)

    def reading_token(self) -> str | None:
        """The token that lets them read only, None when there is none.

        Raises:
            ConfigError: its file cannot be read or is empty.
        """
        return _token(self.read_token, self.read_token_file)

    def alert_url(self) -> str:
        """Where alerts are posted as JSON; empty for nowhere.

        Raises:
            ConfigError: its file cannot be read, is empty, or holds no http(s) URL.
        """
        return _url(self.alert_webhook_url, self.alert_webhook_url_file)

    def alert_secret(self) -> str:
        """What these posts are signed with; empty for nothing.

        Raises:
            ConfigError: its file cannot be read or is empty.
        """
        return _token(self.alert_webhook_secret, self.alert_webhook_secret_file, "secret") or ""

    def slack_url(self) -> str:
        """Where alerts are posted as Slack wants them; empty for nowhere.

        Raises:
            ConfigError: as `alert_url`.
        """
        return _url(self.alert_slack_url, self.alert_slack_url_file)

    def heartbeat_address(self) -> str:
        """What is posted to while the loop turns; empty for nothing.

        Raises:
            ConfigError: as `alert_url`.
        """
        return _url(self.heartbeat_url, self.heartbeat_url_file)

    @property
    def host_names(self) -> frozenset[str]:
        """`hosts` one by one."""
        return frozenset(name.strip().lower() for name in self.hosts.split(",") if name.strip())

    @property
    def registry_path(self) -> Path:
        """The registry where it is a file.

        Raises:
            ConfigError: it is somewhere else, where nothing can be written.
        """
        if self.registry.startswith(("s3://", "ssm:/")):
            message = f"{self.registry} is no file, so nothing can be written beside it; name a file"
            raise ConfigError([Problem("environment", 0, f"{PREFIX}REGISTRY", message)])
        return Path(self.registry)

    @property
    def stop_path(self) -> Path:
        """The file that stops all pings, with the default filled in."""
        return self.stop_file or self.state_dir / "stopped"

    @property
    def limits(self) -> Limits:
        """The caps of all prefixes together."""
        return Limits(day_cap_usd=self.day_cap_usd, month_cap_usd=self.month_cap_usd)

    @property
    def drain(self) -> timedelta:
        """`drain_seconds` as a duration."""
        return timedelta(seconds=self.drain_seconds)

    @property
    def kept_for(self) -> timedelta | None:
        """`retention` as a duration; None for ever."""
        return None if self.retention == "all" else timedelta(days=int(self.retention.removesuffix("d")))

    @property
    def follows_logs(self) -> bool:
        """Whether invocation logs tell of the traffic."""
        return bool(self.traffic_log_group or self.traffic_s3)

    @property
    def traffic_poll(self) -> timedelta:
        """`traffic_poll_seconds` as a duration."""
        return timedelta(seconds=self.traffic_poll_seconds)

    @property
    def reconcile(self) -> timedelta:
        """`reconcile_seconds` as a duration."""
        return timedelta(seconds=self.reconcile_seconds)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings from the environment; an empty variable counts as one that is not set.

    Args:
        environ: `os.environ`, in which names that are no settings are looked for.

    Raises:
        ConfigError: a value is not allowed, or a `KEEPWARM_` variable is not known (most likely misspelt).
    """
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    problems = [
        Problem("environment", 0, name, "is not a setting" + _guess(name, known))
        for name in environ
        if name.upper().startswith(PREFIX) and name not in known
    ]
    try:
        settings = Settings()
    except ValidationError as error:
        for detail in error.errors():
            name = f"{PREFIX}{detail['loc'][0]}".upper()
            wanted = detail["msg"].removeprefix("Input should be ").partition(", unable to ")[0]
            shown = "" if detail["type"] == "address" else f", not {detail['input']!r}"  # an address is a secret
            problems.append(Problem("environment", 0, name, f"must be {wanted}{shown}"))
        settings = None
    if problems or settings is None:
        raise ConfigError(problems, hint="docs/reference.md lists every setting")
    return settings


def _url(given: SecretStr | None, file: Path | None) -> str:
    text = _token(given, file, "URL") or ""
    try:
        return _address(SecretStr(text)).get_secret_value() if text else ""
    except PydanticCustomError as error:
        raise ConfigError([Problem(str(file), 0, "", f"must hold {error.message()}")]) from None


def _token(given: SecretStr | None, file: Path | None, what: str = "token") -> str | None:
    if file is None:
        return _one_line(given.get_secret_value(), "environment", what) if given else None
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read: {getattr(error, 'strerror', 'not UTF-8')}"
        raise ConfigError([Problem(str(file), 0, "", message)]) from None
    if not token:
        raise ConfigError([Problem(str(file), 0, "", f"is empty; it must hold the {what}")])
    return _one_line(token, str(file), what)


def _one_line(secret: str, place: str, what: str) -> str:
    """A secret that can be sent in a header, or at least encoded; it is not told."""
    if not secret.isprintable():
        raise ConfigError([Problem(place, 0, "", f"the {what} must be one line of printable characters")])
    return secret


def make_private(folder: Path) -> None:
    """Make a folder, and those above it, that only their owner looks into, whatever the umask; existing ones stay.

    Raises:
        OSError: it cannot be made.
    """
    for place in (*reversed(folder.parents), folder):
        if not place.exists():
            place.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def fingerprint_key(settings: Settings) -> bytes:
    """The key of this installation's fingerprints: that of the settings, else the one made on first use.

    Raises:
        ConfigError: the one of the settings is none, or the state directory cannot be written or holds a damaged one.
    """
    if settings.fingerprint_key:
        return _parse_key(settings.fingerprint_key.get_secret_value())
    path = settings.state_dir / "fingerprint.key"
    try:
        make_private(settings.state_dir)
        if not path.exists():
            _create_whole(path, secrets.token_bytes(_KEY_BYTES))
        key = path.read_bytes()
    except OSError as error:
        message = f"cannot be used: {error.strerror}"
        raise ConfigError(
            [Problem(str(path), 0, "", message)], hint="set KEEPWARM_STATE_DIR to a directory that keepwarm may write"
        ) from None
    if len(key) != _KEY_BYTES:
        message = f"is damaged: {len(key)} bytes instead of {_KEY_BYTES}"
        raise ConfigError(
            [Problem(str(path), 0, "", message)], hint="delete it; the ledger starts to know prefixes anew"
        )
    return key


def with_key(settings: Settings) -> Settings:
    """These settings with the key as it is now: one that is deleted later must not part fingerprints of one daemon.

    Raises:
        ConfigError: as `fingerprint_key`.
    """
    return settings.model_copy(update={"fingerprint_key": SecretStr(fingerprint_key(settings).hex())})


def _parse_key(text: str) -> bytes:
    with contextlib.suppress(ValueError):
        key = bytes.fromhex(text.strip())
        if len(key) == _KEY_BYTES:
            return key
    message = f"must be {2 * _KEY_BYTES} hexadecimal digits"
    raise ConfigError(
        [Problem("environment", 0, f"{PREFIX}FINGERPRINT_KEY", message)], hint="openssl rand -hex 32 makes one"
    )


def _create_whole(path: Path, content: bytes) -> None:
    """Create a private file so that no other process ever sees it half-written; one that exists stays as it is."""
    own = path.with_suffix(f".{os.getpid()}")
    own.touch(mode=0o600)
    try:
        own.write_bytes(content)
        with contextlib.suppress(FileExistsError):
            os.link(own, path)
    finally:
        own.unlink()


def _guess(name: str, known: set[str]) -> str:
    """The setting that was meant; compared without the prefix, which makes all names alike."""
    near = get_close_matches(name.upper().removeprefix(PREFIX), [found.removeprefix(PREFIX) for found in known], n=1)
    return f"; did you mean {PREFIX}{near[0]}?" if near else ""
