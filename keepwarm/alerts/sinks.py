"""Where alerts go: a webhook, a Slack-compatible webhook, a topic of SNS; each tries once.

They decide nothing about what is sent or when (see `pace` and `sender`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

from keepwarm.alerts import wording
from keepwarm.alerts.pace import Message
from keepwarm.alerts.posting import Mailbox
from keepwarm.settings import Settings
from keepwarm.traffic import aws

_JSON = {"Content-Type": "application/json; charset=utf-8"}


class Sink(Protocol):
    """One place that takes messages; called by one thread at a time."""

    @property
    def name(self) -> str:
        """As logs call it: its kind, never its address."""

    def deliver(self, message: Message, now: datetime) -> str:
        """Try once; what was answered, in words.

        Raises:
            KeepwarmError: it was not taken; retryable where trying again may help.
        """


class Webhook:
    """Takes JSON, signed where there is a secret."""

    name = "webhook"

    def __init__(self, url: str, secret: str, origin: wording.Origin) -> None:
        self._mailbox = Mailbox(url)
        self._secret = secret
        self._origin = origin

    def deliver(self, message: Message, now: datetime) -> str:
        """As `Sink`."""
        body = wording.as_json(message, self._origin)
        signed = wording.signed_headers(body, self._secret, int(now.timestamp()))
        return f"HTTP {self._mailbox.post(body, {**_JSON, **signed})}"


class Slack:
    """Takes what Slack's incoming webhooks take, as Mattermost and Rocket.Chat do too."""

    name = "slack"

    def __init__(self, url: str, origin: wording.Origin) -> None:
        self._mailbox = Mailbox(url)
        self._origin = origin

    def deliver(self, message: Message, now: datetime) -> str:  # noqa: ARG002 - a sink is told
        """As `Sink`."""
        return f"HTTP {self._mailbox.post(wording.as_slack(message, self._origin), _JSON)}"


class Sns:
    """A topic, in the region of its ARN; a client is made when it is first needed."""

    name = "sns"

    def __init__(
        self, topic_arn: str, origin: wording.Origin, connect: Callable[[str, str], Any] = aws.connect
    ) -> None:
        self._topic_arn = topic_arn
        self._origin = origin
        self._connect = connect
        self._client: Any = None

    def deliver(self, message: Message, now: datetime) -> str:  # noqa: ARG002 - a sink is told
        """As `Sink`."""
        subject, text = wording.as_mail(message, self._origin)
        states = {alert.state for alert in message.alerts}
        attributes = {
            "state": states.pop() if len(states) == 1 else "mixed",
            "kind": message.alerts[0].kind.value if len(message.alerts) == 1 else "summary",
        }
        told = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        try:
            self._client = self._client or self._connect("sns", self._topic_arn.split(":")[3])
            sent = self._client.publish(TopicArn=self._topic_arn, Subject=subject, Message=text, MessageAttributes=told)
        except aws.FAILURES as error:
            found = aws.translate(error)
            raise type(found)(str(found), hint="sns:Publish on the topic; `keepwarm iam-policy` prints it") from None
        return f"message {sent['MessageId']}"


def sinks_of(settings: Settings, origin: wording.Origin) -> list[Sink]:
    """The sinks that are set up.

    Raises:
        ConfigError: a file with an address or a secret cannot be used.
    """
    found: list[Sink] = []
    secret = settings.alert_secret()
    if url := settings.alert_url():
        found.append(Webhook(url, secret, origin))
    if url := settings.slack_url():
        found.append(Slack(url, origin))
    if settings.alert_sns_topic_arn:
        found.append(Sns(settings.alert_sns_topic_arn, origin))
    return found
