"""Messages as the sinks want them: JSON with its signature, Slack's blocks, an e-mail's subject and text; pure.

It sends nothing. Texts come from events and hold no prompt text.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keepwarm.alerts.kinds import HINTS, OWN, Alert, Kind
from keepwarm.alerts.pace import Message
from keepwarm.views.shapes import AlertShown

VERSION = "v1"
# Slack takes blocks of 3,000 characters, SNS subjects of 100 ASCII characters and messages of 256 KB.
_SLACK_TEXT = 2_900
_SUBJECT = 100
_LINES = 40
_MOST_WORDS = 500
_SIGNS = {"opened": ":red_circle:", "resolved": ":large_green_circle:"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Which keepwarm it is that tells."""

    host: str
    version: str


def as_mapping(alert: Alert) -> dict[str, Any]:
    """One alert, for programs."""
    prefix = alert.subject if alert.kind not in {Kind.LEDGER_NOT_WRITABLE, Kind.DAEMON_LATE, Kind.TEST} else None
    return {
        "key": alert.key,
        "kind": alert.kind.value,
        "state": alert.state,
        "severity": alert.severity,
        "prefix": prefix,
        "summary": headline(alert),
        "hint": HINTS[alert.kind],
        "opened_at": _stamp(alert.opened_at),
        "resolved_at": _stamp(alert.resolved_at) if alert.resolved_at else None,
    }


def shown(alerts: Iterable[Alert], prefixes: Collection[str]) -> list[AlertShown]:
    """Open alerts for the page and for programs, gravest first, then oldest first.

    Args:
        prefixes: names that the registry has now.
    """
    ordered = sorted(alerts, key=lambda alert: (alert.severity != "error", alert.opened_at, alert.key))
    return [
        AlertShown(
            alert.key,
            alert.kind.value,
            alert.severity,
            alert.subject if alert.subject in prefixes and alert.kind not in OWN else None,
            headline(alert),
            HINTS[alert.kind],
            alert.opened_at,
        )
        for alert in ordered
    ]


def as_json(message: Message, origin: Origin) -> bytes:
    """The body of a webhook; alerts oldest first."""
    content = {
        "source": "keepwarm",
        "version": origin.version,
        "host": origin.host,
        "summary": title(message),
        "alerts": [as_mapping(alert) for alert in message.alerts],
        "uncounted": message.uncounted,
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def as_slack(message: Message, origin: Origin) -> bytes:
    """The body of a Slack-compatible webhook: a plain text, and the same as blocks."""
    text = "\n".join(_slack_line(alert) for alert in message.alerts[-_LINES:])
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": title(message)[:150]}},
        {"type": "section", "text": {"type": "mrkdwn", "text": _cut(text, _SLACK_TEXT)}},
        {"type": "context", "elements": [{"type": "plain_text", "text": _origin(origin)}]},
    ]
    return json.dumps({"text": _escaped(title(message)), "blocks": blocks}, ensure_ascii=False).encode()


def as_mail(message: Message, origin: Origin) -> tuple[str, str]:
    """Subject and text, as SNS sends them."""
    lines = [line for alert in message.alerts for line in _mail_lines(alert)]
    subject = title(message).encode("ascii", "replace").decode()
    return _cut(" ".join(subject.split()), _SUBJECT), "\n".join([title(message), "", *lines, "", _origin(origin)])


def title(message: Message) -> str:
    """The message in a line."""
    if not message.is_summary:
        (alert,) = message.alerts
        return f"keepwarm: {headline(alert)}"
    opened = sum(alert.resolved_at is None for alert in message.alerts)
    counts = f"{opened} opened, {len(message.alerts) - opened} resolved"
    more = f", {message.uncounted} more not listed" if message.uncounted else ""
    return f"keepwarm: {len(message.alerts) + message.uncounted} alerts held back: {counts}{more}"


def headline(alert: Alert) -> str:
    """The alert in a line."""
    about = f" ({alert.about})" if alert.about else ""
    words = " ".join(alert.words.split())
    ended = "resolved, was: " if alert.resolved_at else ""
    return f"{alert.kind.value}{about}: {alert.subject}: {ended}{_cut(words, _MOST_WORDS)}"


def signed_headers(body: bytes, secret: str, timestamp: int) -> Mapping[str, str]:
    """The headers that prove who sent a body and when; without a secret only when.

    Args:
        timestamp: seconds since 1970.
    """
    headers = {"X-Keepwarm-Timestamp": str(timestamp)}
    if secret:
        digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers["X-Keepwarm-Signature"] = f"{VERSION}={digest}"
    return headers


def _slack_line(alert: Alert) -> str:
    hint = f"\n_{_escaped(HINTS[alert.kind])}_" if HINTS[alert.kind] and not alert.resolved_at else ""
    return f"{_SIGNS[alert.state]} {_escaped(headline(alert))}{hint}"


def _mail_lines(alert: Alert) -> list[str]:
    until = f", resolved {_stamp(alert.resolved_at)}" if alert.resolved_at else ""
    hint = [f"  {HINTS[alert.kind]}"] if HINTS[alert.kind] and not alert.resolved_at else []
    return [f"{alert.state}: {headline(alert)}", f"  opened {_stamp(alert.opened_at)}{until}", *hint]


def _escaped(text: str) -> str:
    """As Slack wants text that holds no markup (so nobody's words can mention a channel)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _origin(origin: Origin) -> str:
    return f"keepwarm {origin.version} on {origin.host}"


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
