"""The shape of the registry file, as pydantic models: keys, types, and messages for people.

It reads no file and knows nothing of requests; what one value alone can tell is checked here, all else in `load`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from keepwarm import busyhours
from keepwarm.model import AdaptivePolicy, Api, BusyHours, BusyHoursPolicy, IdleLimitPolicy, Limits, Policy, Ttl, Window

_MOST_CHARACTERS = 200  # of a window, dates, holidays
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
# What `ttl` says where keepwarm chooses it.
AUTO = "auto"
_MOST_USD = 10**12

_PLAIN_POLICIES: dict[str, Policy] = {"adaptive": AdaptivePolicy(), "busy_hours": BusyHoursPolicy()}
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: Any) -> timedelta:
    """`20s`, `4m30s`, `1h`; always with a unit, so that nobody has to guess."""
    text = str(value).replace(" ", "")
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{shown(value)} is not a duration; write for example 20s, 4m30s or 1h")
    try:
        return timedelta(seconds=sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))
    except OverflowError:
        raise ValueError(f"{shown(value)} is longer than anybody can wait") from None


def _positive_duration(value: Any) -> timedelta:
    duration = parse_duration(value)
    if duration <= timedelta(0):
        raise ValueError("must be longer than 0")
    return duration


def _parse_policy(value: Any) -> Policy:
    if isinstance(value, str) and value in _PLAIN_POLICIES:
        return _PLAIN_POLICIES[value]
    if isinstance(value, dict) and set(value) == {"idle_limit"} and _is_count(value["idle_limit"]):
        return IdleLimitPolicy(value["idle_limit"])
    raise ValueError("must be adaptive, busy_hours, or {idle_limit: N} with a whole number N of 0 or more")


def _parse_ttl(value: Any) -> Ttl | str:
    try:
        return AUTO if value == AUTO else Ttl(value)
    except ValueError:
        raise ValueError(f"{shown(value)} is not allowed; use 5m, 1h or auto") from None


def _parse_prewarm(value: Any) -> bool | timedelta:
    """Whether to write at the opening, or how long before it."""
    if isinstance(value, bool):
        return value
    if isinstance(value, dict) and set(value) == {"lead"}:
        return _positive_duration(value["lead"])
    raise ValueError(f"must be true, false or {{lead: 2m}}, not {shown(value)}")


def _parse_money(value: Any) -> Decimal:
    """USD of 0 or more, exact as it is written."""
    try:
        amount = Decimal(str(value)) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount <= _MOST_USD:
        raise ValueError(f"must be USD of 0 or more, such as 2.50, not {shown(value)}")
    return amount


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _parse_api(value: Any) -> Api:
    try:
        return Api(value)
    except ValueError:
        raise ValueError(f"{shown(value)} is not allowed; use {' or '.join(Api)}") from None


def _check_zone(value: Any) -> str:
    zones = available_timezones()
    if not isinstance(value, str) or value not in zones:
        near = get_close_matches(str(value), sorted(zones), n=1)
        guess = f"did you mean {near[0]}?" if near else "write for example Europe/Berlin or UTC"
        raise ValueError(f"{shown(value)} is not an IANA time zone; {guess}")
    return ZoneInfo(value).key


def _check_holidays(value: Any) -> str:
    busyhours.check_holidays(_text(value))
    return str(value)


def _parse_window(value: Any) -> Window:
    return busyhours.parse_window(_text(value))


def _parse_closed(value: Any) -> tuple[date, date]:
    return busyhours.parse_closed(_text(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, not {shown(value)}")  # noqa: TRY004 - pydantic collects only ValueErrors
    if len(value) > _MOST_CHARACTERS:
        raise ValueError(f"is longer than {_MOST_CHARACTERS} characters")
    return value


def _check_not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _check_printable(value: str) -> str:
    """Text that can go into logs, headers and a terminal as it is."""
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


def _formed(pattern: str, form: str) -> AfterValidator:
    """Text of this form, which the message describes in words."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{shown(value)} is not {form}")
        return value

    return AfterValidator(check)


Duration = Annotated[timedelta, BeforeValidator(_positive_duration)]
Money = Annotated[Decimal, BeforeValidator(_parse_money)]
TtlField = Annotated[Ttl | Literal["auto"], BeforeValidator(_parse_ttl)]
ApiField = Annotated[Api, BeforeValidator(_parse_api)]
PrewarmField = Annotated[bool | timedelta, BeforeValidator(_parse_prewarm)]
PolicyField = Annotated[Policy, BeforeValidator(_parse_policy)]
Name = Annotated[
    str,
    _formed(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
        "a name; it has up to 63 letters, digits, dots, hyphens and underscores, and begins with a letter or digit",
    ),
]
Region = Annotated[
    str,
    _formed(r"[a-z]{2,8}(-[a-z]{1,20}){1,3}-[0-9]{1,2}", "an AWS region; write for example eu-central-1"),
]
RoleArn = Annotated[
    str,
    _formed(
        r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]{1,600}",
        "the ARN of a role; write for example arn:aws:iam::123456789012:role/name",
    ),
]
Text = Annotated[str, Field(max_length=2048), AfterValidator(_check_not_blank), AfterValidator(_check_printable)]
Tag = Annotated[str, Field(max_length=256), AfterValidator(_check_printable)]
Prompt = Annotated[str, AfterValidator(_check_not_blank)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, frozen=True)


class BusyHoursEntry(_Strict):
    """One set of busy hours."""

    timezone: Annotated[str, BeforeValidator(_check_zone)]
    windows: Annotated[list[Annotated[Any, BeforeValidator(_parse_window)]], Field(min_length=1)]
    holidays: Annotated[str, BeforeValidator(_check_holidays)] | None = None
    except_: Annotated[list[Annotated[Any, BeforeValidator(_parse_closed)]], Field(alias="except")] = []

    def build(self, name: str) -> BusyHours:
        """The value that the planner knows."""
        return BusyHours(name, self.timezone, tuple(self.windows), self.holidays, tuple(self.except_))


class SystemShorthand(_Strict):
    """One system text with one cache point at its end."""

    file: Text | None = None
    text: Annotated[Prompt | None, Field(repr=False)] = None

    @model_validator(mode="after")
    def _one_of_two(self) -> SystemShorthand:
        if (self.file is None) == (self.text is None):
            raise ValueError("needs exactly one of file and text")
        return self


class PrefixEntry(_Strict):
    """One registered prefix, after the defaults were filled in."""

    name: Name
    model_id: Text
    base_model: Text | None = None
    region: Region
    api: ApiField
    request: Text | None = None
    system: SystemShorthand | None = None
    ttl: TtlField | None = None
    busy_hours: Text
    policy: PolicyField = AdaptivePolicy()
    prewarm: PrewarmField = True
    cold_start_usd: Money = Decimal(0)
    lifetime: Duration | None = None
    margin: Duration | None = None
    profile: Text | None = None
    role_arn: RoleArn | None = None
    provisioned: bool = False
    metrics: bool = False
    ping_cap_usd: Money = Limits().ping_cap_usd
    day_cap_usd: Money = Limits().day_cap_usd
    month_cap_usd: Money = Limits().month_cap_usd
    tripwire_usd: Money = Limits().tripwire_usd
    tags: dict[Tag, Tag] = {}
    prices: dict[str, Any] | None = None
    min_tokens: Annotated[int, Field(ge=1)] | None = None


class Head(_Strict):
    """Everything of the file but its busy hours and prefixes, whose entries are validated one by one."""

    version: Literal[1]
    defaults: dict[str, Any] = {}
    busy_hours: dict[str, Any] = {}
    prefixes: Annotated[list[Any], Field(min_length=1)]


_SAYINGS: dict[str, Callable[[Any, Any], str]] = {
    "value_error": lambda _input, context: str(context["error"]),
    "literal_error": lambda found, context: f"must be {context['expected']}, not {shown(found)}",
    "bool_type": lambda found, _context: f"must be true or false, not {shown(found)}",
    "int_type": lambda found, _context: f"must be a whole number, not {shown(found)}",
    "greater_than_equal": lambda found, context: f"must be {context['ge']} or more, not {shown(found)}",
    "string_type": lambda found, _context: f"must be text, not {shown(found)}",
    "string_too_long": lambda _input, context: f"is longer than {context['max_length']} characters",
    "list_type": lambda found, _context: f"must be a list, not {shown(found)}",
    "too_short": lambda _input, _context: "must hold at least one entry",
    "dict_type": lambda found, _context: f"must be a mapping of keys to values, not {shown(found)}",
    "model_type": lambda found, _context: f"must be a mapping of keys to values, not {shown(found)}",
}


_EXAMPLES = {
    "version": "1",
    "prefixes": "[{name: support-bot, ...}]",
    "timezone": "Europe/Berlin",
    "windows": '["Mon-Fri 08:00-18:00"]',
    "name": "support-bot",
    "model_id": "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "region": "eu-central-1",
    "api": "converse",
    "busy_hours": "always",
}


def shown(value: Any) -> str:
    """A value as an error quotes it; long ones only by their kind, since they may be a prompt."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def say(error: Mapping[str, Any], allowed: tuple[str, ...]) -> str:
    """A pydantic error in the words of somebody who has to mend the file.

    Args:
        allowed: keys that may stand where an unknown one was found.
    """
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), allowed, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        return f"is not a known key{guess}" + (f" (known: {', '.join(allowed)})" if allowed and not near else "")
    if error["type"] == "missing":
        return f"is missing; write for example {error['loc'][-1]}: {_EXAMPLES[error['loc'][-1]]}"
    saying = _SAYINGS.get(error["type"])
    if saying:
        return saying(error["input"], error.get("ctx", {}))
    return "must be " + str(error["msg"]).removeprefix("Input should be ")
