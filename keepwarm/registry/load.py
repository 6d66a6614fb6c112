"""Reads the registry: the YAML file, the requests it names, and everything that can be wrong with them, at once.

It applies nothing and keeps nothing: the result is either a whole `Registry` or a `ConfigError` with every problem.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from keepwarm import busyhours, dialects, fingerprint, planner
from keepwarm.errors import ConfigError, Problem
from keepwarm.model import ALWAYS, Api, BusyHours, Family, ModelFacts, Prefix, Route, Ttl
from keepwarm.pricing import Catalog, CatalogError, parse_catalog, parse_model_id, parse_prices
from keepwarm.registry import requests
from keepwarm.registry.document import Document, Location, read_document
from keepwarm.registry.requests import Ping, Request
from keepwarm.registry.schema import BusyHoursEntry, Head, PrefixEntry, say

# What tool definitions may add to a prompt beyond their own text (Anthropic's tool use page gives 159 to 804).
_TOOL_OVERHEAD_TOKENS = 1000
_CHARACTERS_PER_TOKEN = 4

Shape = TypeVar("Shape", bound=BaseModel)
Part = TypeVar("Part", dict[str, Any], list[Any])


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that was read whole.

    Attributes:
        path: of the registry file.
        prefixes: in the order of the file.
        warnings: what is allowed but probably not meant.
    """

    path: Path
    prefixes: tuple[Prefix, ...]
    warnings: tuple[Problem, ...] = ()

    def find(self, name: str) -> Prefix:
        """The prefix of this name.

        Raises:
            ConfigError: there is none; the message names those there are.
        """
        for prefix in self.prefixes:
            if prefix.name == name:
                return prefix
        names = ", ".join(sorted(prefix.name for prefix in self.prefixes)[:20])
        raise ConfigError([Problem(str(self.path), 0, "", f"has no prefix {name!r}; it has {names}")])


def load_catalog(path: Path | None) -> Catalog:
    """The shipped model catalog, with the models of a file of the same shape laid over it.

    Raises:
        ConfigError: the file cannot be read or is not of the shape.
    """
    shipped = parse_catalog(json.loads(resources.files("keepwarm").joinpath("data/models.json").read_bytes()))
    if path is None:
        return shipped
    try:
        override = parse_catalog(json.loads(path.read_bytes()))
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from None
    except ValueError as error:
        key, message = (error.key, error.message) if isinstance(error, CatalogError) else ("", f"is not JSON: {error}")
        raise ConfigError([Problem(str(path), 0, key, message)]) from None
    return Catalog({**shipped.models, **override.models})


def load_registry(path: Path, catalog: Catalog, key: bytes, now: datetime) -> Registry:
    """Read and check a registry with all its request files.

    Args:
        key: the installation's fingerprint key.
        now: busy hours that never open from here on are warned of.

    Raises:
        ConfigError: with every problem that was found, each with file, line and key.
    """
    return _Loader(read_document(path), path, catalog, key, now).load()


class _Loader:
    """One reading of a registry; collects problems and warnings on its way."""

    def __init__(self, document: Document, path: Path, catalog: Catalog, key: bytes, now: datetime) -> None:
        self._document = document
        self._path = path
        self._catalog = catalog
        self._key = key
        self._now = now
        self._problems: list[Problem] = []
        self._warnings: list[Problem] = []
        self._requests: dict[tuple[Path, Api, str], Request] = {}

    def load(self) -> Registry:
        head = self._validate(Head, self._document.data, ())
        hours = self._busy_hours(self._part("busy_hours", dict))
        defaults = self._part("defaults", dict)
        self._check_defaults(defaults)
        entries = self._part("prefixes", list)
        prefixes = [self._prefix(index, entry, defaults, hours) for index, entry in enumerate(entries)]
        complete = tuple(prefix for prefix in prefixes if prefix)
        self._check_duplicates([(index, prefix) for index, prefix in enumerate(prefixes) if prefix])
        if self._problems or head is None:
            raise ConfigError(
                sorted(set(self._problems)), hint="nothing was applied; mend the file and run `keepwarm check`"
            )
        return Registry(self._path, complete, tuple(self._warnings))

    def _part(self, name: str, kind: type[Part]) -> Part:
        """A part of the file, or an empty one where it is missing or of another kind (`Head` has said so)."""
        part = self._document.data.get(name) if isinstance(self._document.data, dict) else None
        return part if isinstance(part, kind) else kind()

    # -- parts of the file ----------------------------------------------------------------------------------------

    def _busy_hours(self, raw: Mapping[str, Any]) -> dict[str, BusyHours | None]:
        """Busy hours by name; None for one that is broken, so that its users are not told it is unknown."""
        hours: dict[str, BusyHours | None] = {ALWAYS.name: ALWAYS}
        for name, entry in raw.items():
            if name == ALWAYS.name:
                self._refuse(("busy_hours", name), "is built in and cannot be defined")
                continue
            found = self._validate(BusyHoursEntry, entry, ("busy_hours", name))
            hours[name] = found.build(name) if found else None
        return hours

    def _check_defaults(self, defaults: Mapping[str, Any]) -> None:
        known = _keys(PrefixEntry)
        for name in defaults:
            if name not in known or name == "name":
                self._refuse(
                    ("defaults", name), f"is not a key that has a default; known are {', '.join(sorted(known))}"
                )

    def _prefix(
        self, index: int, raw: Any, defaults: Mapping[str, Any], hours: Mapping[str, BusyHours | None]
    ) -> Prefix | None:
        place: Location = ("prefixes", index)
        if not isinstance(raw, dict):
            self._refuse(place, "must be an entry with keys, such as name, model_id and request")
            return None
        known = _keys(PrefixEntry)
        own = {name: value for name, value in defaults.items() if name in known} | raw
        if "request" in raw or "system" in raw:
            own = {name: value for name, value in own.items() if name in raw or name not in {"request", "system"}}
        if isinstance(own.get("busy_hours"), str) and own["busy_hours"] not in hours:
            names = ", ".join(sorted(hours))
            self._refuse((*place, "busy_hours"), f"{own['busy_hours']!r} is not defined; there are {names}")
        entry = self._validate(PrefixEntry, own, place, inherited=set(own) - set(raw))
        if entry is None:
            # Look on without the broken keys, so that one reading tells everything; the result is never used.
            entry = _without_broken_keys(own)
        if entry is None:
            return None
        found = hours.get(entry.busy_hours)
        facts = self._facts(entry, place)
        request = self._request(entry, place, facts)
        if facts is None or request is None:
            return None
        return self._build(entry, place, facts, request, found or ALWAYS)

    def _facts(self, entry: PrefixEntry, place: Location) -> ModelFacts | None:
        facts = self._catalog.find(entry.model_id, entry.region)
        if facts is None and entry.base_model:
            facts = self._catalog.find(entry.base_model, entry.region)
        if entry.prices is not None:
            facts = self._own_facts(entry, place, facts)
        elif facts is None:
            self._refuse(
                (*place, "model_id"),
                f"{entry.model_id!r} in {entry.region} is not a model whose prices keepwarm knows; name the model "
                "behind it (base_model: ...), or give its prices (prices: {input: 3, output: 15, cache_read: 0.3, "
                "cache_write_5m: 3.75} in USD per million tokens) and min_tokens",
            )
        return replace(facts, min_tokens=entry.min_tokens) if facts and entry.min_tokens else facts

    def _own_facts(self, entry: PrefixEntry, place: Location, known: ModelFacts | None) -> ModelFacts | None:
        try:
            prices = parse_prices(entry.prices, "prices", f"the registry {self._path}")
        except CatalogError as error:
            self._refuse((*place, *error.key.split(".")), error.message)
            return None
        if known:
            return replace(known, prices=prices)
        base_id = parse_model_id(entry.base_model or entry.model_id).base_id
        ttls = frozenset(Ttl) if prices.base.cache_write_1h is not None else frozenset({Ttl.FIVE_MINUTES})
        family = Family.NOVA if "amazon.nova" in base_id else Family.ANTHROPIC
        return ModelFacts(base_id, family, entry.min_tokens or 1, ttls, prices)

    # -- requests -------------------------------------------------------------------------------------------------

    def _request(self, entry: PrefixEntry, place: Location, facts: ModelFacts | None) -> Request | None:
        if (entry.request is None) == (entry.system is None):
            self._refuse(place, "needs exactly one of request (a file) and system ({file: ...} or {text: ...})")
            return None
        if facts is None:
            return None
        dialect = dialects.dialect_of(entry.api, facts.family)
        try:
            if entry.request is not None:
                return self._read_request(entry, dialect)
            text = self._system_text(entry)
            return requests.shorthand_request(text, entry.api, dialect, entry.ttl or Ttl.FIVE_MINUTES)
        except ConfigError as error:
            key = "request" if entry.request is not None else "system"
            for problem in error.problems:
                self._problems.append(problem)
                self._refuse((*place, key), f"names {problem.file}, which cannot be used")
            return None

    def _read_request(self, entry: PrefixEntry, dialect: dialects.Dialect) -> Request:
        path = self._path.parent / str(entry.request)
        memo = (path, entry.api, f"{dialect}{entry.model_id}")
        if memo not in self._requests:
            self._requests[memo] = requests.read_request(path, entry.api, dialect, entry.model_id)
        return self._requests[memo]

    def _system_text(self, entry: PrefixEntry) -> str:
        if entry.system is None or entry.system.file is None:
            return entry.system.text or "" if entry.system else ""
        path = self._path.parent / entry.system.file
        try:
            if path.stat().st_size > requests.MAX_BODY_BYTES:
                raise ConfigError([Problem(str(path), 0, "", f"is larger than {requests.MAX_BODY_BYTES:,} bytes")])
            return path.read_bytes().decode()
        except OSError as error:
            raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from None
        except UnicodeDecodeError as error:
            raise ConfigError([Problem(str(path), 0, "", f"is not UTF-8 at byte {error.start}")]) from None

    # -- the prefix -----------------------------------------------------------------------------------------------

    def _build(
        self, entry: PrefixEntry, place: Location, facts: ModelFacts, request: Request, hours: BusyHours
    ) -> Prefix | None:
        key = "request" if entry.request is not None else "system"
        found = requests.check_request(request, facts)
        if found:
            for message in found:
                self._refuse((*place, key), f"{entry.request or 'the system text'} {message}")
            return None
        if entry.ttl and entry.ttl is not request.ttl:
            message = f"is {entry.ttl.value}, but the last cache point of {entry.request} says {request.ttl.value}"
            self._refuse((*place, "ttl"), message)
        try:
            ping = requests.make_ping(request, facts, self._key)
        except ValueError as error:
            self._refuse((*place, key), f"{entry.request} {error}")
            return None
        self._check_minimum(entry, (*place, key), facts, request, ping)
        lifetime = entry.lifetime or request.ttl.duration
        margin = entry.margin or planner.default_margin(request.ttl, lifetime)
        if margin >= lifetime:
            seconds = f"{lifetime.total_seconds():g} s"
            message = f"is {margin.total_seconds():g} s, but must be shorter than the lifetime of {seconds}"
            self._refuse((*place, "margin"), message)
        self._warn_of_surprises(entry, place, facts, request, hours)
        route = Route(entry.region, entry.profile, entry.role_arn)
        digest = fingerprint.combine(
            self._key, entry.profile, entry.role_arn, entry.region, entry.model_id, entry.api.value, ping.digest
        )
        return Prefix(
            name=entry.name,
            model_id=entry.model_id,
            route=route,
            api=entry.api,
            facts=facts,
            ttl=request.ttl,
            lifetime=lifetime,
            margin=margin,
            busy_hours=hours,
            policy=entry.policy,
            prewarm=entry.prewarm,
            fingerprint=digest,
            estimated_tokens=max(1, ping.cached_characters // _CHARACTERS_PER_TOKEN),
            ping_request=ping.request,
            provisioned=entry.provisioned,
            tags=tuple(sorted(entry.tags.items())),
            line=self._document.line(place),
        )

    def _check_minimum(
        self, entry: PrefixEntry, place: Location, facts: ModelFacts, request: Request, ping: Ping
    ) -> None:
        if not ping.certain:
            return
        has_tools = any(block.section.value == "tools" for block in request.reading.blocks)
        at_most = ping.cached_bytes + (_TOOL_OVERHEAD_TOKENS if has_tools else 0)
        if at_most < facts.min_tokens:
            message = (
                f"its cached part has at most {at_most} tokens, and {facts.base_id} caches from {facts.min_tokens} on"
            )
            self._refuse(place, message)
        elif ping.cached_characters / _CHARACTERS_PER_TOKEN < facts.min_tokens:
            guess = ping.cached_characters // _CHARACTERS_PER_TOKEN
            message = (
                f"its cached part has about {guess} tokens, and {facts.base_id} caches from {facts.min_tokens} on: "
                "it may never be cached; try `keepwarm ping " + entry.name + "`"
            )
            self._warnings.append(self._document.problem(place, message))

    def _warn_of_surprises(
        self, entry: PrefixEntry, place: Location, facts: ModelFacts, request: Request, hours: BusyHours
    ) -> None:
        if requests.thinks(request):
            self._warn(
                place, "its ping leaves thinking out; on a few models that warms another entry (docs/decisions/0004)"
            )
        if not entry.prewarm:
            self._warn(
                (*place, "prewarm"), "is false and nothing reports traffic: it is pinged only after `keepwarm ping`"
            )
        if facts.prices.write_assumed:
            self._warn(place, f"no write price is published for {facts.base_id}; the input price stands in for it")
        if busyhours.span_at(hours, self._now) is None and busyhours.next_span(hours, self._now) is None:
            self._warn((*place, "busy_hours"), f"{hours.name!r} does not open within the next 400 days")

    def _check_duplicates(self, prefixes: list[tuple[int, Prefix]]) -> None:
        names: dict[str, int] = {}
        entries: dict[str, str] = {}
        for index, prefix in prefixes:
            place: Location = ("prefixes", index)
            if prefix.name in names:
                self._refuse((*place, "name"), f"{prefix.name!r} stands twice, first in line {names[prefix.name]}")
            elif prefix.fingerprint in entries:
                message = (
                    f"is the same as {entries[prefix.fingerprint]!r}: same credentials, region, model, api and prefix"
                )
                self._refuse(place, message)
            names.setdefault(prefix.name, prefix.line)
            entries.setdefault(prefix.fingerprint, prefix.name)

    # -- problems -------------------------------------------------------------------------------------------------

    def _validate(
        self, schema: type[Shape], raw: Any, place: Location, inherited: Set[str] = frozenset()
    ) -> Shape | None:
        try:
            return schema.model_validate(raw)
        except ValidationError as error:
            allowed = tuple(_keys(schema))
            for detail in error.errors():
                where = self._locate(place, detail["loc"], raw, inherited)
                self._refuse(where, say(dict(detail), allowed if len(detail["loc"]) == 1 else ()))
            return None

    def _locate(self, place: Location, loc: tuple[Any, ...], raw: Any, inherited: Set[str]) -> Location:
        """Where a pydantic error stands in the file; its locations also name steps that no file has."""
        if loc and loc[0] in inherited:
            place = ("defaults",)
        found: list[Any] = []
        for step in loc:
            if isinstance(raw, dict) and (step in raw or step == loc[-1]):
                raw = raw.get(step)
            elif isinstance(raw, list) and isinstance(step, int) and step < len(raw):
                raw = raw[step]
            else:
                continue
            found.append(step)
        return (*place, *found)

    def _refuse(self, location: Location, message: str) -> None:
        self._problems.append(self._document.problem(location, message))

    def _warn(self, location: Location, message: str) -> None:
        self._warnings.append(self._document.problem(location, message))


def _without_broken_keys(raw: Mapping[str, Any]) -> PrefixEntry | None:
    try:
        return PrefixEntry.model_validate(raw)
    except ValidationError as error:
        broken = {detail["loc"][0] for detail in error.errors() if detail["loc"]}
    left = {name: value for name, value in raw.items() if name not in broken}
    if len(left) == len(raw):
        return None
    return _without_broken_keys(left)


def _keys(schema: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in schema.model_fields.items()]
