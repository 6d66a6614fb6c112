"""Turns a recognised request into a registry entry and its request file, both proven before either is there.

It decides no busy hours: it takes what the registry has by default and says that somebody should look.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from keepwarm import fingerprint, replay
from keepwarm.dialects import dialect_of
from keepwarm.errors import ConfigError, Problem
from keepwarm.importing.appending import NEW_REGISTRY, CannotAppend, append_entry, replace_text, show
from keepwarm.importing.publishing import Draft, publish, publish_new
from keepwarm.importing.recognising import NotRecognised, Recognised, recognise, where_a_point_would_go
from keepwarm.model import ALWAYS, Api, ModelFacts, Prefix
from keepwarm.pricing import Catalog, parse_model_id
from keepwarm.registry import Registry, load_registry
from keepwarm.registry.document import Document, read_document
from keepwarm.registry.requests import Request, build_request, check_request, make_ping

_DIRECTORY = "prefixes"
_MAX_NAME = 63
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the user says of a request; None for what the request itself or the registry should tell.

    Attributes:
        base_model: the model behind an application inference profile.
        fallback_region: where neither the request nor the registry names one.
        force: replace the request of an entry that has this name already.
    """

    name: str | None = None
    api: Api | None = None
    model_id: str | None = None
    base_model: str | None = None
    region: str | None = None
    fallback_region: str | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What was done.

    Attributes:
        prefix: as the registry now has it.
        kind: what the file was, in words.
        replaced: True when the entry was there and only its request is new.
        left_out: blocks behind the last cache point.
        open_questions: what still wants a decision, in words.
    """

    prefix: Prefix
    kind: str
    registry: Path
    request: Path
    registry_created: bool
    replaced: bool
    left_out: int
    open_questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Registry:
    """The registry before the import.

    Attributes:
        document: None when there is no file yet.
        key: the installation's fingerprint key.
        load: reads a trial of it as the daemon would.
    """

    path: Path
    text: str = field(repr=False)
    document: Document | None
    key: bytes
    load: Callable[[Path], Registry]

    @property
    def defaults(self) -> Mapping[str, Any]:
        found = self.document.data.get("defaults") if self.document and isinstance(self.document.data, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def entries(self) -> list[Any]:
        found = self.document.data.get("prefixes") if self.document and isinstance(self.document.data, dict) else None
        return found if isinstance(found, list) else []

    def find(self, name: str) -> int | None:
        """The index of the entry of this name."""
        matching = (i for i, entry in enumerate(self.entries) if isinstance(entry, dict) and entry.get("name") == name)
        return next(matching, None)


@dataclass(frozen=True, slots=True)
class Cut:
    """A checked request on its way into the registry.

    Attributes:
        digest: of its ping, which that of the written request must equal.
        content: the request file.
    """

    request: Request
    digest: str
    content: bytes = field(repr=False)
    left_out: int


def import_request(
    source: str, data: Any, path: Path, wanted: Wanted, catalog: Catalog, key: bytes, now: datetime
) -> Imported:
    """Write the entry and the request file of a request; if anything is wrong with them, write nothing.

    Args:
        source: the name of the file, for messages and as a name for the prefix; `-` for standard input.
        data: its parsed JSON.
        path: of the registry; created when missing.
        key: the installation's fingerprint key.

    Raises:
        ConfigError: it is no request, has no cache point, does not fit its model, or the registry cannot take it.
    """
    registry = _read(path, key, partial(load_registry, catalog=catalog, key=key, now=now))
    try:
        found = recognise(data, wanted.api)
        model_id = wanted.model_id or found.model_id
        region = wanted.region or found.region or _region_of(model_id) or registry.defaults.get("region")
        facts = _facts(catalog, model_id, region or wanted.fallback_region, wanted)
        found = recognise(data, wanted.api, facts.family)
    except NotRecognised as error:
        raise ConfigError([Problem(source, 0, "", str(error))]) from None
    cut = cut_request(source, found, model_id, facts, key)
    name = wanted.name or _name_of(source, found, facts, cut.digest)
    entry = {
        "name": name,
        "model_id": model_id,
        **({"base_model": wanted.base_model} if wanted.base_model else {}),
        "region": region or str(wanted.fallback_region),
        "api": found.api.value,
        "request": f"{_DIRECTORY}/{name}.json",
        "ttl": cut.request.ttl.value,
        **({} if "busy_hours" in registry.defaults else {"busy_hours": ALWAYS.name}),
    }
    index = registry.find(name)
    if index is None:
        prefix, request = _add(registry, entry, cut, force=wanted.force)
    elif wanted.force:
        prefix, request = _renew(registry, index, entry, cut)
    else:
        message = f"{name!r} is registered already; choose another --name, or --force to renew its request"
        raise _refusal_at(registry, index, message)
    return Imported(
        prefix=prefix,
        kind=found.kind,
        registry=path,
        request=request,
        registry_created=registry.document is None,
        replaced=index is not None,
        left_out=cut.left_out,
        open_questions=tuple(_open_questions(registry, prefix, found, wanted)) if index is None else (),
    )


# -- the request --------------------------------------------------------------------------------------------------


def cut_request(source: str, found: Recognised, model_id: str, facts: ModelFacts, key: bytes) -> Cut:
    """A checked request cut behind its last cache point.

    Raises:
        ConfigError: it has no cache point, does not fit its model, or its ping would warm another entry.
    """
    dialect = dialect_of(found.api, facts.family)
    request = build_request(source, dict(found.data), found.api, dialect, model_id)
    if not request.reading.cache_points:
        place = where_a_point_would_go(request.reading, tools_cacheable=facts.tools_cacheable)
        raise _refusal(source, f"has no cache point, so nothing of it is cached; in the application, {place}")
    problems = check_request(request, facts)
    if problems:
        raise ConfigError([Problem(source, 0, "", message) for message in problems])
    try:
        ping = make_ping(request, facts, key)
    except ValueError as error:
        raise _refusal(source, str(error)) from None
    body = replay.cut_body(request.reading, request.body)
    whole = body if found.api is Api.CONVERSE or not request.arguments else {**request.arguments, "body": body}
    blocks = request.reading.blocks
    left_out = len(blocks) - 1 - blocks.index(request.reading.cache_points[-1])
    return Cut(request, ping.digest, _to_json(whole), left_out)


def _to_json(value: Any) -> bytes:
    """JSON for people, but ASCII where a lone surrogate leaves no choice; bytes become base64."""
    try:
        return (json.dumps(value, indent=2, ensure_ascii=False, default=_base64) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(value, indent=2, default=_base64) + "\n").encode()


def _base64(value: bytes) -> str:
    return b64encode(value).decode()


def _facts(catalog: Catalog, model_id: str, region: str | None, wanted: Wanted) -> ModelFacts:
    if not model_id:
        raise _refusal("--model-id", "is missing: the request names no model; give what the application passes")
    if not region:
        raise _refusal("--region", "is missing: neither the request nor the registry names one")
    facts = catalog.find(model_id, region) or catalog.find(wanted.base_model or "", region)
    if facts is None:
        raise _refusal(
            "--model-id",
            f"{model_id!r} in {region} is not a model whose prices keepwarm knows; name the model behind it "
            "(--base-model), or give its prices in a file that KEEPWARM_MODELS names",
        )
    return facts


def _region_of(model_id: str) -> str:
    """The region that an ARN names, empty without one."""
    parts = model_id.split(":")
    return parts[3] if len(parts) > 5 and parts[0] == "arn" else ""


def _name_of(source: str, found: Recognised, facts: ModelFacts, digest: str) -> str:
    stem = "" if source == "-" or found.operation else Path(source).stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:_MAX_NAME]
    if name:
        return name
    model = re.sub(r"(-\d{8})?(-v\d+(:\d+)?)?$", "", facts.base_id).split(".", 1)[-1]
    return f"{model}-{digest[:6]}"


# -- the registry -------------------------------------------------------------------------------------------------


def _read(path: Path, key: bytes, load: Callable[[Path], Registry]) -> _Registry:
    if not path.exists():
        return _Registry(path, NEW_REGISTRY, None, key, load)
    document = read_document(path)
    return _Registry(path, path.read_bytes().decode(), document, key, load)


def _add(registry: _Registry, entry: dict[str, str], cut: Cut, *, force: bool) -> tuple[Prefix, Path]:
    """Append a new entry, and write its request file."""
    request = registry.path.parent / entry["request"]
    if request.exists() and not force:
        raise _refusal(str(request), "exists already; choose another --name, or --force to overwrite it")
    with ExitStack() as stack:
        draft = stack.enter_context(Draft(request, cut.content, private=True))
        text = _appended(registry, entry | {"request": f"{_DIRECTORY}/{draft.path.name}"})
        trial = stack.enter_context(Draft(registry.path, text.encode()))
        prefix = _prove(registry, trial, draft, entry["name"], cut)
        after = read_document(trial.path).data
        if registry.document and not _only_one_more(registry.document.data, after):
            raise _by_hand(registry, entry)
        _refuse_changed(registry)
        publish_new(draft, overwrite=force)
        final = stack.enter_context(Draft(registry.path, _appended(registry, entry).encode()))
        try:
            publish(final)
        except ConfigError:
            request.unlink(missing_ok=True)
            raise
    return prefix, request


def _renew(registry: _Registry, index: int, entry: dict[str, str], cut: Cut) -> tuple[Prefix, Path]:
    """Replace the request file of an entry; the entry stays as somebody has written it."""
    old = {**registry.defaults, **registry.entries[index]}
    differing = [name for name in ("model_id", "region", "api") if old.get(name) != entry[name]]
    if differing or not isinstance(registry.entries[index].get("request"), str):
        what = ", ".join(f"{name} is {old.get(name)!r}, not {entry[name]!r}" for name in differing)
        message = what or "has no request file of its own; --force can only renew one"
        raise _refusal_at(registry, index, message)
    request = registry.path.parent / registry.entries[index]["request"]
    with ExitStack() as stack:
        draft = stack.enter_context(Draft(request, cut.content, private=True))
        name = str(Path(registry.entries[index]["request"]).parent / draft.path.name)
        try:
            text = replace_text(registry.text, _request_node(registry, index), name)
        except CannotAppend:
            message = f"its request stands on several lines; write it on one: request: {request.name}"
            raise _refusal_at(registry, index, message) from None
        trial = stack.enter_context(Draft(registry.path, text.encode()))
        prefix = _prove(registry, trial, draft, entry["name"], cut)
        _refuse_changed(registry)
        publish(draft)
    return prefix, request


def _prove(registry: _Registry, trial: Draft, draft: Draft, name: str, cut: Cut) -> Prefix:
    """Read the trial registry as the daemon would, and see that its ping warms what the production request reads."""
    named = {str(trial.path): str(registry.path), str(draft.path): str(draft.target)}
    try:
        prefix = registry.load(trial.path).find(name)
    except ConfigError as error:
        problems = [_renamed(problem, named) for problem in error.problems]
        raise ConfigError(problems, hint="nothing was written") from None
    route = prefix.route
    parts = (route.profile, route.role_arn, route.region, prefix.model_id, prefix.api.value, cut.digest)
    if fingerprint.combine(registry.key, *parts) != prefix.fingerprint:
        raise _refusal(str(draft.target), "would not name the same cache entry as the request; report this as a bug")
    return prefix


def _renamed(problem: Problem, named: Mapping[str, str]) -> Problem:
    """A problem under the names that the files will have."""
    message = problem.message
    for trial, real in named.items():
        message = message.replace(trial, real).replace(Path(trial).name, Path(real).name)
    return replace(problem, file=named.get(problem.file, problem.file), message=message)


def _appended(registry: _Registry, entry: Mapping[str, str]) -> str:
    try:
        return append_entry(registry.text, registry.document, entry)
    except CannotAppend:
        raise _by_hand(registry, entry) from None


def _by_hand(registry: _Registry, entry: Mapping[str, str]) -> ConfigError:
    message = f"is written in a way that cannot be added to without rewriting it; add this by hand:\n{show(entry)}"
    return _refusal(str(registry.path), message)


def _only_one_more(before: Any, after: Any) -> bool:
    """Whether all that was there is still there, and one entry more."""
    return {**after, "prefixes": after["prefixes"][:-1]} == {**before, "prefixes": before.get("prefixes") or []}


def _refuse_changed(registry: _Registry) -> None:
    now = registry.path.read_bytes().decode() if registry.path.exists() else NEW_REGISTRY
    if now != registry.text:
        raise _refusal(str(registry.path), "was changed meanwhile; nothing was written, run the command again")


def _request_node(registry: _Registry, index: int) -> Any:
    root: Any = registry.document.root if registry.document else None
    entry = _child(root, "prefixes").value[index]
    return _child(entry, "request")


def _child(node: Any, key: str) -> Any:
    return next(value for name, value in node.value if name.value == key)


def _refusal_at(registry: _Registry, index: int, message: str) -> ConfigError:
    line = registry.document.line(("prefixes", index)) if registry.document else 0
    problem = Problem(str(registry.path), line, f"prefixes[{index}]", message)
    return ConfigError([problem], hint="nothing was written")


def _refusal(file: str, message: str) -> ConfigError:
    return ConfigError([Problem(file, 0, "", message)], hint="nothing was written")


# -- what is left to decide ---------------------------------------------------------------------------------------


def _open_questions(registry: _Registry, prefix: Prefix, found: Recognised, wanted: Wanted) -> list[str]:
    questions = []
    if "busy_hours" in registry.defaults:
        questions.append(f"busy hours: {prefix.busy_hours.name}, the default of this registry")
    else:
        questions.append("busy hours: always, day and night; name hours of your own and it pays less")
    if found.operation and not wanted.model_id:
        questions.append(
            f"model id: {prefix.model_id}, as the log names it; if the application passes another name of it, register "
            "that one: two names are not taken to share a cache"
        )
    if prefix.estimated_tokens < prefix.facts.min_tokens:
        questions.append(
            f"length: about {prefix.estimated_tokens:,} tokens, and {parse_model_id(prefix.facts.base_id).base_id} "
            f"caches from {prefix.facts.min_tokens:,} on; try `keepwarm ping {prefix.name}`"
        )
    return questions
