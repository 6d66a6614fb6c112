"""The shape of the registry file, as pydantic models: keys, types, and messages for people.

It reads no file and knows nothing of requests; what one value alone can tell is checked here, all else in `load`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from keepwarm import busyhours
from keepwarm.model import Api, BusyHours, BusyHoursPolicy, IdleLimitPolicy, Policy, Ttl

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: Any) -> timedelta:
    """`20s`, `4m30s`, `1h`; always with a unit, so that nobody has to guess."""
    text = str(value).replace(" ", "")
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{value!r} is not a duration; write for example 20s, 4m30s or 1h")
    return timedelta(seconds=sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))


def _positive_duration(value: Any) -> timedelta:
    duration = parse_duration(value)
    if duration <= timedelta(0):
        raise ValueError("must be longer than 0")
    return duration


def _parse_policy(value: Any) -> Policy:
    if value == "busy_hours":
        return BusyHoursPolicy()
    if isinstance(value, dict) and set(value) == {"idle_limit"} and _is_count(value["idle_limit"]):
        return IdleLimitPolicy(value["idle_limit"])
    raise ValueError("must be busy_hours, or {idle_limit: N} with a whole number N of 0 or more")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _choice(values: type[Ttl] | type[Api]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        try:
            return values(value)
        except ValueError:
            allowed = " or ".join(item.value for item in values)
            raise ValueError(f"{value!r} is not allowed; use {allowed}") from None

    return convert


def _check_zone(value: Any) -> str:
    if value not in available_timezones():
        raise ValueError(f"{value!r} is not an IANA time zone; write for example Europe/Berlin or UTC")
    return ZoneInfo(value).key


def _check_holidays(value: Any) -> str:
    busyhours.check_holidays(str(value))
    return str(value)


Duration = Annotated[timedelta, BeforeValidator(_positive_duration)]
TtlField = Annotated[Ttl, BeforeValidator(_choice(Ttl))]
ApiField = Annotated[Api, BeforeValidator(_choice(Api))]
PolicyField = Annotated[Policy, BeforeValidator(_parse_policy)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Text = Annotated[str, Field(min_length=1, max_length=2048)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, frozen=True)


class BusyHoursEntry(_Strict):
    """One set of busy hours."""

    timezone: Annotated[str, BeforeValidator(_check_zone)]
    windows: Annotated[list[Annotated[Any, BeforeValidator(busyhours.parse_window)]], Field(min_length=1)]
    holidays: Annotated[str, BeforeValidator(_check_holidays)] | None = None
    except_: Annotated[list[Annotated[Any, BeforeValidator(busyhours.parse_closed)]], Field(alias="except")] = []

    def build(self, name: str) -> BusyHours:
        """The value that the planner knows."""
        return BusyHours(name, self.timezone, tuple(self.windows), self.holidays, tuple(self.except_))


class SystemShorthand(_Strict):
    """One system text with one cache point at its end."""

    file: Text | None = None
    text: Text | None = None

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
    region: Annotated[str, Field(pattern=r"^[a-z]{2,}(-[a-z]+)+-\d+$")]
    api: ApiField
    request: Text | None = None
    system: SystemShorthand | None = None
    ttl: TtlField | None = None
    busy_hours: Text
    policy: PolicyField = BusyHoursPolicy()
    prewarm: bool = True
    lifetime: Duration | None = None
    margin: Duration | None = None
    profile: Text | None = None
    role_arn: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")] | None = None
    provisioned: bool = False
    tags: dict[str, str] = {}
    prices: dict[str, Any] | None = None
    min_tokens: Annotated[int, Field(ge=1)] | None = None


class Head(_Strict):
    """Everything of the file but its busy hours and prefixes, whose entries are validated one by one."""

    version: Literal[1]
    defaults: dict[str, Any] = {}
    busy_hours: dict[str, Any] = {}
    prefixes: Annotated[list[Any], Field(min_length=1)]


_SAYINGS: dict[str, Callable[[Any, Any], str]] = {
    "missing": lambda _input, _context: "is missing",
    "value_error": lambda _input, context: str(context["error"]),
    "literal_error": lambda _input, context: f"must be {context['expected']}",
    "string_pattern_mismatch": lambda found, context: f"{found!r} does not have the form {context['pattern']}",
    "bool_type": lambda found, _context: f"must be true or false, not {found!r}",
}


def say(error: Mapping[str, Any], allowed: tuple[str, ...]) -> str:
    """A pydantic error in the words of somebody who has to mend the file.

    Args:
        allowed: keys that may stand where an unknown one was found.
    """
    if error["type"] == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), allowed, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        return f"is not a known key{guess}" + (f" (known: {', '.join(allowed)})" if allowed and not near else "")
    saying = _SAYINGS.get(error["type"])
    if saying:
        return saying(error["input"], error.get("ctx", {}))
    return "must be " + str(error["msg"]).removeprefix("Input should be ")
