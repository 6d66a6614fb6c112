"""Reads the registry: the YAML file, the requests it names, and everything that can be wrong with them, at once.

It applies nothing and keeps nothing: the result is either a whole `Registry` or a `ConfigError` with every problem.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from keepwarm import busyhours, dialects, fingerprint, planner, verdicts
from keepwarm.errors import ConfigError, Problem
from keepwarm.guards import worth
from keepwarm.model import (
    ALWAYS,
    AdaptivePolicy,
    Api,
    BusyHours,
    Family,
    Limits,
    ModelFacts,
    Prefix,
    PrefixState,
    Route,
    Section,
    Ttl,
)
from keepwarm.pricing import Catalog, CatalogError, parse_catalog, parse_model_id, parse_prices
from keepwarm.registry import requests, ttls
from keepwarm.registry.document import Document, Location, read_document
from keepwarm.registry.files import Files
from keepwarm.registry.findings import Findings, Place, keys
from keepwarm.registry.requests import Ping, Request
from keepwarm.registry.schema import AUTO, BusyHoursEntry, Head, PrefixEntry, shown
from keepwarm.registry.shelf import Shelf

# What tool definitions may add to a prompt beyond their own text (Anthropic's tool use page gives 159 to 804).
_TOOL_OVERHEAD_TOKENS = 1000
_CHARACTERS_PER_TOKEN = 4
_MOST_CHARACTERS = 100  # of the name of busy hours
_MOST_NAMED = 20
# Requests that are in memory at once while a registry is read, for other prefixes that name the same file.
_MOST_AT_HAND = 100
_TTLS = tuple(Ttl)
_NEVER = datetime.min.replace(tzinfo=UTC)
_SPARE_BYTES = 1_000_000
_PRICE_KEYS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "steps")
# What an entry may have from the defaults.
_INHERITED = frozenset(keys(PrefixEntry)) - {"name"}
# Stand in for broken values while the rest of an entry is looked at; the result is never used.
_STAND_INS = {"name": "unnamed", "busy_hours": ALWAYS.name}

Part = TypeVar("Part", dict[str, Any], list[Any])
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Made:
    """What one reading made, for the next one to take over.

    Attributes:
        of: prefixes by the digest of all that they were made of but their request files; those that nothing was wrong
            with.
        read_at: when the reading began.
        least_bytes: what lay on the shelf after the last reading that took nothing over.
    """

    of: Mapping[bytes, Prefix] = field(default_factory=dict)
    read_at: datetime = _NEVER
    shelf: Shelf | None = None
    least_bytes: int = 0

    @property
    def usable(self) -> bool:
        """Whether most of what lies on the shelf is still wanted; else one reading from scratch makes it new."""
        return self.shelf is None or self.shelf.size <= 2 * self.least_bytes + _SPARE_BYTES


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that was read whole.

    Attributes:
        path: of the registry file.
        prefixes: in the order of the file.
        warnings: what is allowed but probably not meant.
        files: all that was read for it.
        made: for the next reading.
    """

    path: Path
    prefixes: tuple[Prefix, ...]
    warnings: tuple[Problem, ...] = ()
    files: Files = field(default_factory=Files, compare=False)
    made: Made = field(default_factory=Made, compare=False, repr=False)

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


def load_catalog(path: Path | None, files: Files | None = None) -> Catalog:
    """The shipped model catalog, with the models of a file of the same shape laid over it.

    Args:
        files: remembers what was read.

    Raises:
        ConfigError: the file cannot be read or is not of the shape.
    """
    shipped = parse_catalog(json.loads(resources.files("keepwarm").joinpath("data/models.json").read_bytes()))
    if path is None:
        return shipped
    try:
        override = parse_catalog(json.loads((files or Files()).read(path)))
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from None
    except RecursionError:
        raise ConfigError([Problem(str(path), 0, "", "is nested too deeply")]) from None
    except ValueError as error:
        key, message = (error.key, error.message) if isinstance(error, CatalogError) else ("", f"is not JSON: {error}")
        raise ConfigError([Problem(str(path), 0, key, message)]) from None
    return Catalog({**shipped.models, **override.models})


def load_registry(
    path: Path,
    catalog: Catalog,
    key: bytes,
    now: datetime,
    files: Files | None = None,
    *,
    confined: bool = False,
    shelf: Shelf | None = None,
    before: Registry | None = None,
) -> Registry:
    """Read and check a registry with all its request files.

    Args:
        key: the installation's fingerprint key.
        now: busy hours that never open from here on are warned of.
        files: remembers what was read.
        confined: whether the files that it names must lie beside or below it, since it comes from another machine.
        shelf: where the requests of pings are kept; None for memory. With `before` it is the shelf of that one.
        before: whose prefixes are taken over where neither their entry nor their request file has changed.

    Raises:
        ConfigError: with every problem that was found, each with file, line and key.
    """
    files = files or Files()
    if before and before.made.usable:
        shelf = before.made.shelf
    else:
        before = None
    document = read_document(path, files)
    return _Loader(document, catalog, key, now, files, confined=confined, shelf=shelf, before=before).load()


class _Loader:
    """One reading of a registry; collects problems and warnings on its way."""

    def __init__(
        self,
        document: Document,
        catalog: Catalog,
        key: bytes,
        now: datetime,
        files: Files,
        *,
        confined: bool,
        shelf: Shelf | None,
        before: Registry | None,
    ) -> None:
        self._before = before
        self._made: dict[bytes, Prefix] = {}
        self._document = document
        self._files = files
        self._path = Path(document.path)
        self._confined = confined
        self._shelf = shelf
        self._catalog = catalog
        self._key = key
        self._now = now
        self._findings = Findings(document)
        self._requests: dict[tuple[Path, Api, dialects.Dialect], Request] = {}
        self._pings: dict[tuple[Any, ...], Ping] = {}
        self._opens: dict[BusyHours, bool] = {}
        self._shared: dict[Any, Any] = {}

    def load(self) -> Registry:
        head = self._findings.validate(Head, self._document.data, Place(()))
        hours = self._busy_hours(self._part("busy_hours", dict))
        defaults = self._part("defaults", dict)
        self._check_defaults(defaults)
        entries = self._part("prefixes", list)
        self._check_names(entries)
        around = (self._key, self._catalog, hours, self._path.parent, self._confined)
        self._around = hashlib.blake2b(repr(around).encode("utf-8", "surrogatepass"), digest_size=32).digest()
        prefixes = [self._prefix(index, entry, defaults, hours) for index, entry in enumerate(entries)]
        complete = tuple(prefix for prefix in prefixes if prefix)
        self._check_duplicates([(index, prefix) for index, prefix in enumerate(prefixes) if prefix])
        if self._findings.problems or head is None:
            raise ConfigError(
                sorted(set(self._findings.problems)), hint="nothing was applied; mend the file and run `keepwarm check`"
            )
        shelf, before = self._shelf, self._before
        least_bytes = before.made.least_bytes if before else shelf.size if shelf else 0
        made = Made(self._made, self._now, shelf, least_bytes)
        return Registry(self._path, complete, tuple(self._findings.warnings), self._files, made)

    def _part(self, name: str, kind: type[Part]) -> Part:
        """A part of the file, or an empty one where it is missing or of another kind (`Head` has said so)."""
        part = self._document.data.get(name) if isinstance(self._document.data, dict) else None
        return part if isinstance(part, kind) else kind()

    # -- parts of the file ----------------------------------------------------------------------------------------

    def _busy_hours(self, raw: Mapping[str, Any]) -> dict[str, BusyHours | None]:
        """Busy hours by name; None for one that is broken, so that its users are not told it is unknown."""
        hours: dict[str, BusyHours | None] = {ALWAYS.name: ALWAYS}
        for name, entry in raw.items():
            place: Location = ("busy_hours", name)
            if name == ALWAYS.name:
                self._findings.refuse(place, "is built in and cannot be defined; choose another name")
                continue
            if not name.isprintable() or not 0 < len(name) <= _MOST_CHARACTERS:
                self._findings.refuse(place, f"must have a name in one line, of at most {_MOST_CHARACTERS} characters")
            found = self._findings.validate(BusyHoursEntry, entry, Place(place))
            hours[name] = found.build(name) if found else None
        return hours

    def _check_defaults(self, defaults: Mapping[str, Any]) -> None:
        known = [name for name in keys(PrefixEntry) if name != "name"]
        for name in defaults:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                guess = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                self._findings.refuse(("defaults", name), f"is not a key that has a default; {guess}")

    def _check_names(self, entries: list[Any]) -> None:
        """Tell names that stand twice, also of entries that cannot be used for other reasons."""
        lines: dict[str, int] = {}
        for index, entry in enumerate(entries):
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                continue
            place: Location = ("prefixes", index, "name")
            if name in lines:
                message = f"{shown(name)} stands twice, first in line {lines[name]}; choose another name"
                self._findings.refuse(place, message)
            lines.setdefault(name, self._findings.line(place))

    def _prefix(
        self, index: int, raw: Any, defaults: Mapping[str, Any], hours: Mapping[str, BusyHours | None]
    ) -> Prefix | None:
        place = Place(("prefixes", index))
        if not isinstance(raw, dict):
            self._findings.refuse(place.entry, "must be an entry with keys, such as name, model_id and request")
            return None
        prompted = "request" in raw or "system" in raw
        known = _INHERITED - {"request", "system"} if prompted else _INHERITED
        own = {name: value for name, value in defaults.items() if name in known} | raw
        digest = hashlib.blake2b(repr(own).encode("utf-8", "surrogatepass"), key=self._around, digest_size=16).digest()
        found_before = self._findings.count
        prefix = self._made_before(digest, own, place) or self._anew(own, raw, place, hours)
        if prefix and self._findings.count == found_before:
            self._made[digest] = prefix
        return prefix

    def _made_before(self, digest: bytes, own: Mapping[str, Any], place: Place) -> Prefix | None:
        """The prefix that the reading before made of the same entry, if its request file is also the same."""
        prefix = self._before.made.of.get(digest) if self._before else None
        if self._before is None or prefix is None:
            return None
        system = own.get("system")
        name = system.get("file") if isinstance(system, Mapping) else own.get("request")
        if name and not self._files.keep(self._beside(name), self._before.files, self._before.made.read_at):
            return None
        line = self._findings.line(place.entry)
        return prefix if prefix.line == line else replace(prefix, line=line)

    def _anew(
        self, own: dict[str, Any], raw: Mapping[str, Any], place: Place, hours: Mapping[str, BusyHours | None]
    ) -> Prefix | None:
        place = replace(place, inherited=frozenset(own) - frozenset(raw))
        if isinstance(own.get("busy_hours"), str) and own["busy_hours"] not in hours:
            message = f"{shown(own['busy_hours'])} is not defined; there are {', '.join(sorted(hours)[:_MOST_NAMED])}"
            self._findings.refuse(place.of("busy_hours"), message)
        entry = self._findings.validate(PrefixEntry, own, place)
        if entry is None:
            # Look on without the broken keys, so that one reading tells everything; the result is never used.
            entry = _without_broken_keys(own)
        if entry is None:
            return None
        place = replace(place, broken=frozenset(own) - entry.model_fields_set)
        facts = self._facts(entry, place)
        request = self._request(entry, place, facts)
        if facts is None or request is None:
            return None
        return self._build(entry, place, facts, request, hours.get(entry.busy_hours) or ALWAYS)

    def _facts(self, entry: PrefixEntry, place: Place) -> ModelFacts | None:
        facts = self._catalog.find(entry.model_id, entry.region)
        if facts is None and entry.base_model:
            facts = self._catalog.find(entry.base_model, entry.region)
        if entry.prices is not None:
            facts = self._own_facts(entry, entry.prices, place, facts)
        elif facts is None and not place.broken & {"prices", "base_model", "region"}:
            key = "base_model" if entry.base_model else "model_id"
            behind = "" if entry.base_model else "name the model behind it (base_model: ...), or "
            message = (
                f"{entry.base_model or entry.model_id!r:.120} in {entry.region} is not a model whose prices keepwarm "
                f"knows; {behind}give its prices (prices: {{input: 3, output: 15, cache_read: 0.3, cache_write_5m: "
                "3.75} in USD per million tokens) and min_tokens"
            )
            self._findings.refuse(place.of(key), message)
        return self._share(replace(facts, min_tokens=entry.min_tokens)) if facts and entry.min_tokens else facts

    def _own_facts(
        self, entry: PrefixEntry, raw: Mapping[str, Any], place: Place, known: ModelFacts | None
    ) -> ModelFacts | None:
        where = place.of("prices")
        unknown = [name for name in raw if name not in _PRICE_KEYS]
        for name in unknown:
            self._findings.refuse((*where, name), f"is not a price; known are {', '.join(_PRICE_KEYS)}")
        try:
            prices = parse_prices(raw, "prices", f"the registry {self._path}")
        except CatalogError as error:
            self._findings.refuse((*where, *_steps(error.key)[1:]), error.message)
            return None
        if known:
            return replace(known, prices=prices)
        base_id = parse_model_id(entry.base_model or entry.model_id).base_id
        ttls = frozenset(Ttl) if prices.base.cache_write_1h is not None else frozenset({Ttl.FIVE_MINUTES})
        family = Family.NOVA if "amazon.nova" in base_id else Family.ANTHROPIC
        return ModelFacts(base_id, family, entry.min_tokens or 1, ttls, prices)

    # -- requests -------------------------------------------------------------------------------------------------

    def _request(self, entry: PrefixEntry, place: Place, facts: ModelFacts | None) -> Request | None:
        if place.broken & {"request", "system"}:
            return None
        if (entry.request is None) == (entry.system is None):
            message = "needs exactly one of request (a file) and system ({file: ...} or {text: ...})"
            self._findings.refuse(place.entry, message)
            return None
        if facts is None:
            return None
        dialect = dialects.dialect_of(entry.api, facts.family)
        try:
            if entry.request is not None:
                return self._read_request(entry, dialect)
            text = self._system_text(entry)
            return requests.shorthand_request(text, entry.api, dialect, ttls.fixed_ttl(entry) or Ttl.FIVE_MINUTES)
        except ConfigError as error:
            key = "request" if entry.request is not None else "system"
            for problem in error.problems:
                self._findings.problems.append(problem)
                self._findings.refuse_value(place, key, f"names {problem.file}, which cannot be used")
            return None

    def _read_request(self, entry: PrefixEntry, dialect: dialects.Dialect) -> Request:
        path = self._beside(str(entry.request))
        memo = (path, entry.api, dialect)
        known = self._requests.get(memo)
        if known and known.model_id in {"", entry.model_id}:
            return known
        if len(self._requests) >= _MOST_AT_HAND:
            del self._requests[next(iter(self._requests))]
        self._requests[memo] = requests.read_request(path, entry.api, dialect, entry.model_id, self._files)
        return self._requests[memo]

    def _system_text(self, entry: PrefixEntry) -> str:
        if entry.system is None or entry.system.file is None:
            return entry.system.text or "" if entry.system else ""
        return requests.read_text(self._beside(entry.system.file), self._files)

    def _beside(self, name: str) -> Path:
        return requests.beside(self._path, name, confined=self._confined)

    # -- the prefix -----------------------------------------------------------------------------------------------

    def _build(
        self, entry: PrefixEntry, place: Place, facts: ModelFacts, request: Request, hours: BusyHours
    ) -> Prefix | None:
        key = "request" if entry.request is not None else "system"
        found = requests.check_request(request, facts)
        for message in found:
            self._findings.refuse_value(place, key, f"{entry.request or 'the system text'} {message}")
        if found:
            return None
        ttls.check_ttl(self._findings, entry, place, facts, request)
        other_ttl = ttls.other_ttl(entry, facts, request)
        try:
            ping = self._ping(entry, facts, request, None)
            other_ping = other_ttl and self._ping(entry, facts, request, other_ttl)
        except ValueError as error:
            self._findings.refuse_value(place, key, f"{entry.request} {error}")
            return None
        self._check_minimum(entry, place, facts, request, ping)
        lifetime, margin = ttls.lifetime_and_margin(self._findings, entry, place, request.ttl)
        lead = ttls.lead_of(self._findings, entry, place, lifetime - margin)
        self._warn_of_surprises(entry, place, facts, request, hours)
        route = self._share(Route(entry.region, entry.profile, entry.role_arn))
        digest = fingerprint.combine(
            self._key, entry.profile, entry.role_arn, entry.region, entry.model_id, entry.api.value, ping.digest
        )
        prefix = Prefix(
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
            prewarm=entry.prewarm is not False,
            prewarm_lead=lead,
            auto_ttl=entry.ttl == AUTO,
            cold_start_usd=entry.cold_start_usd,
            fingerprint=digest,
            estimated_tokens=max(1, ping.cached_characters // _CHARACTERS_PER_TOKEN),
            ping_request=ping.request,
            provisioned=entry.provisioned,
            metrics=entry.metrics,
            limits=self._share(Limits(entry.ping_cap_usd, entry.day_cap_usd, entry.month_cap_usd, entry.tripwire_usd)),
            tags=self._share(tuple(sorted(entry.tags.items()))),
            line=self._findings.line(place.entry),
            sketch=ping.sketch,
        )
        if other_ttl and other_ping:
            prefix = replace(prefix, other=ttls.asking(prefix, other_ttl, other_ping, entry.margin))
        costs = worth.daily_costs(prefix, planner.mean_ping_period(prefix, PrefixState()), self._now)
        high = max(verdicts.high_cost_usd(prefix.asking(ttl), PrefixState()) for ttl in _TTLS)
        for doubtful, message in worth.doubts(prefix, high, costs):
            self._findings.warn_value(place, doubtful, message)
        return prefix

    def _ping(self, entry: PrefixEntry, facts: ModelFacts, request: Request, ttl: Ttl | None) -> Ping:
        """The ping of a request, made once for all prefixes that have the file in common."""
        memo = (entry.request, entry.api, facts.family, facts.min_max_tokens, ttl)
        ping = self._pings.get(memo)
        if ping is None:
            asking = requests.with_ttl(request, ttl) if ttl else request
            ping = requests.make_ping(asking, facts, self._key)
            ping = replace(ping, request=self._shelf.put(ping.request)) if self._shelf else ping
            if entry.request is not None:
                self._pings[memo] = ping
        return ping

    def _share(self, value: Value) -> Value:
        """The first value that is equal to this one: prefixes by the thousand have most of theirs in common."""
        found: Value = self._shared.setdefault(value, value)
        return found

    def _opens_ever(self, hours: BusyHours) -> bool:
        if hours not in self._opens:
            now = self._now
            self._opens[hours] = bool(busyhours.span_at(hours, now) or busyhours.next_span(hours, now))
        return self._opens[hours]

    def _check_minimum(self, entry: PrefixEntry, place: Place, facts: ModelFacts, request: Request, ping: Ping) -> None:
        if not ping.certain or "min_tokens" in place.broken:
            return
        key = "request" if entry.request is not None else "system"
        has_tools = any(block.section is Section.TOOLS for block in request.reading.blocks)
        at_most = ping.cached_bytes + (_TOOL_OVERHEAD_TOKENS if has_tools else 0)
        guess = ping.cached_characters // _CHARACTERS_PER_TOKEN
        least = f"and {facts.base_id} caches from {facts.min_tokens} on"
        if at_most < facts.min_tokens:
            message = f"its cached part has at most {at_most} tokens, {least}: make it longer or remove it"
            self._findings.refuse_value(place, key, message)
        elif guess < facts.min_tokens:
            message = f"its cached part has about {guess} tokens, {least}: it may never be cached; "
            self._findings.warn_value(place, key, message + f"try `keepwarm ping {entry.name}`")

    def _warn_of_surprises(
        self, entry: PrefixEntry, place: Place, facts: ModelFacts, request: Request, hours: BusyHours
    ) -> None:
        if requests.thinks(request):
            message = "its ping leaves thinking out; on a few models that warms another entry (docs/decisions/0004)"
            self._findings.warn(place.entry, message)
        self._warn_of_prewarm(entry, place)
        if entry.ttl == AUTO and not isinstance(entry.policy, AdaptivePolicy):
            message = f"is auto, but policy {entry.policy.name} never chooses: {request.ttl.value} is always asked for"
            self._findings.warn_value(place, "ttl", message)
        if facts.prices.write_assumed:
            message = f"no write price is published for {facts.base_id}; the input price stands in for it"
            self._findings.warn(place.entry, message)
        if not self._opens_ever(hours):
            message = f"{hours.name!r} does not open within the next 400 days"
            self._findings.warn_value(place, "busy_hours", message)

    def _warn_of_prewarm(self, entry: PrefixEntry, place: Place) -> None:
        if not entry.prewarm:
            message = "is false: it is pinged only once traffic was reported, or after `keepwarm ping`"
            self._findings.warn_value(place, "prewarm", message)
        elif entry.prewarm is not True and isinstance(entry.policy, AdaptivePolicy) and not entry.cold_start_usd:
            message = "has a lead, but cold_start_usd is 0: once traffic is known, adaptive writes nothing ahead"
            self._findings.warn_value(place, "prewarm", message)

    def _check_duplicates(self, prefixes: list[tuple[int, Prefix]]) -> None:
        first: dict[str, Prefix] = {}
        for index, prefix in prefixes:
            same = first.setdefault(prefix.fingerprint, prefix)
            if same is not prefix:
                message = (
                    f"is the same as {same.name!r} in line {same.line}: same credentials, region, model, api and "
                    "prefix; keep one of them"
                )
                self._findings.refuse(("prefixes", index), message)
        self._check_metrics(prefixes)

    def _check_metrics(self, prefixes: list[tuple[int, Prefix]]) -> None:
        """Metrics are counted by model id, so only one that is nobody else's tells of a single prefix."""
        for index, prefix in prefixes:
            if not prefix.metrics:
                continue
            if ":application-inference-profile/" not in prefix.model_id:
                message = "needs the ARN of an application inference profile as model_id; others share their metrics"
                self._findings.refuse(("prefixes", index, "metrics"), message)
            if any(prefix.model_id == other.model_id for at, other in prefixes if at != index):
                message = "needs a model_id that no other prefix has; the metrics would be those of both"
                self._findings.refuse(("prefixes", index, "metrics"), message)


def _without_broken_keys(raw: Mapping[str, Any]) -> PrefixEntry | None:
    try:
        return PrefixEntry.model_validate(raw)
    except ValidationError as error:
        broken = {str(detail["loc"][0]) for detail in error.errors()}
    left = {name: value for name, value in raw.items() if name not in broken}
    left |= {name: value for name, value in _STAND_INS.items() if name in broken}
    return None if left == raw else _without_broken_keys(left)


def _steps(key: str) -> Location:
    """The steps of a dotted key: `prices.steps[0].input`."""
    return tuple(int(step[1:-1]) if step.startswith("[") else step for step in re.findall(r"[^.\[]+|\[\d+\]", key))
